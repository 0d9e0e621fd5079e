"""Scores of completions per class, observed and completed apart, beside the baselines."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Bool, Float, Int16
from torch import Tensor

from libimg import diagnose, metrics
from libimg._extras import optional
from libimg.completion.asked import Question
from libimg.completion.baselines import Baselines
from libimg.completion.batches import draw_inputs, observed_middle
from libimg.completion.cases import Case
from libimg.completion.fields import coarse_fields, read_coarse, sparse
from libimg.completion.model import Completer
from libimg.nets import Latent
from libimg.shapes import labels_from_fields, query_grid

__all__ = ["encode_case", "evaluate", "label_grid"]

METRICS = ("dice", "iou", "surface dice", "f-score", "chamfer", "hd95")


@torch.no_grad()
def encode_case(
    model: Completer, case: Case, observed: Bool[Tensor, " k"], *, inputs: int, seed: int = 0
) -> tuple[Latent, Float[Tensor, " 3"]]:
    """Encode the observed classes of a case at the middle that they tell.

    Args:
        model: in evaluation mode.
        case: any; only its observed classes are read.
        observed: which those are.
        inputs: number of points.
        seed: of the points.

    Returns:
        Latents, and the middle in the cube of the case's frame.

    Example:
        >>> from libimg.completion import learn_shape, phantom_case
        >>> from libimg.nets import VecSetAutoencoder
        >>> case = phantom_case()
        >>> model = Completer(VecSetAutoencoder.preset("tiny", classes=10), grid=16).eval()
        >>> learn_shape(model, [case])
        >>> latent, middle = encode_case(model, case, case.labelled, inputs=64)
        >>> latent.mean.shape, middle.shape
        (torch.Size([1, 40, 32]), torch.Size([3]))
    """
    device = next(model.parameters()).device
    middle = observed_middle(case, observed, model.shape.centre)
    generator = torch.Generator().manual_seed(seed)
    points, classes = draw_inputs(case, observed, number=inputs, generator=generator)
    batch = [x[None].to(device) for x in (points - middle, classes, observed)]
    return model.encode(batch[0], batch[1], presence=batch[2]), middle


def label_grid(
    case: Case, read: Callable[[Tensor], Tensor], *, stride: int, chunk: int = 1 << 15
) -> Int16[Tensor, "d h w"]:
    """Ask for the class at every ``stride``-th voxel of a case's labels.

    Args:
        case: with its labels.
        read: distances in mm ``(n, k)`` at points ``(n, 3)`` of the cube of the case's frame.
        stride: along each axis.
        chunk: points at once.
    """
    labels = _labels(case)[::stride, ::stride, ::stride]
    spacing = [stride * size for size in case.frame.spacing_mm]
    numbers = range(1, len(case.classes) + 1)

    cheap = sparse(
        lambda points: read(case.frame.to_unit(points)), shape=labels.shape, spacing_mm=spacing
    )

    def classes(points: Tensor) -> Tensor:
        return labels_from_fields(cheap(points).T, classes=numbers)[:, None]

    return query_grid(classes, shape=labels.shape, spacing_mm=spacing, chunk=chunk)[0]


def evaluate(
    models: Mapping[str, Completer],
    baselines: Baselines | None,
    asked: Sequence[Question],
    *,
    inputs: int,
    stride: int = 1,
    tolerance_mm: float = 2.0,
    progress: bool = False,
) -> dict[str, Any]:
    """Score models and the baselines on the label grid of every case.

    Only classes whose truth is known count. One that neither truth nor answer has is undefined
    (NaN): it is counted and listed, and left out of the means. One that only one of them has
    scores a Dice of 0 and infinite distances, which are listed and not averaged.

    Args:
        models: row to model in evaluation mode; the first one is compared with all other rows.
        baselines: None to leave them out.
        asked: questions.
        inputs: points that a model gets.
        stride: every how many voxels of the labels are scored.
        tolerance_mm: of the surface Dice and the F-score.
        progress: show a progress bar.

    Returns:
        ``table``: row to mean Dice, IoU, surface Dice, F-score, Chamfer distance and HD95,
        observed and completed apart, every class counting the same; F-score and Chamfer distance
        (mean of both directions, not squared) are of the centres of surface voxels. ``infinite``
        is the number of classes that Chamfer distance and HD95 leave out.
        ``classes``: the same for each class, with the numbers of defined and undefined cases.
        ``cases``: row to question to its scores, ``summary`` with bootstrap intervals.
        ``verdict``: whether the model is better than each baseline at the completed classes (the
        observed ones, if none is completed). ``grid_mm``: voxel sizes.

    Example:
        >>> from libimg.completion import Drop, learn_shape, phantom_case, questions
        >>> from libimg.nets import VecSetAutoencoder
        >>> case = phantom_case()
        >>> model = Completer(VecSetAutoencoder.preset("tiny", classes=10), grid=16).eval()
        >>> learn_shape(model, [case])
        >>> asked = questions([case], drop=Drop(fewest=2, most=2))
        >>> found = evaluate({"network": model}, None, asked, inputs=64)
        >>> found["table"]["network"]["dice observed"] > 0.6
        True
    """
    name = next(iter(models))
    values: dict[str, list[dict[str, Tensor]]] = {}
    observed, sizes = [], set()
    tqdm = optional("tqdm", extra="tasks").tqdm if progress else iter
    for question in tqdm(asked):
        case, names = question.case, list(question.case.classes)
        truth = _labels(case)[::stride, ::stride, ::stride].to(torch.int16)
        spacing = tuple(stride * size for size in case.frame.spacing_mm)
        sizes.add(tuple(round(size, 3) for size in spacing))
        observed.append(question.observed)
        for row, read in _answers(models, baselines, question, inputs).items():
            labels = label_grid(case, read, stride=stride)
            values.setdefault(row, []).append(
                _scores(labels, truth, case.known, spacing, tolerance_mm)
            )
    seen = torch.stack(observed)
    classes = {
        row: {
            m: _plain(metrics.summarise_classes(_stack(found, m), seen, classes=names))
            for m in METRICS
        }
        for row, found in values.items()
    }
    cases = {
        row: {q.name: _means(found[i], q.observed) for i, q in enumerate(asked)}
        for row, found in values.items()
    }
    known = torch.stack([question.case.known for question in asked])
    done = "completed" if bool((known & ~seen).any()) else "observed"
    return {
        "table": {row: _line(found) for row, found in classes.items()},
        "classes": classes,
        "summary": {row: diagnose.summarise(found) for row, found in cases.items()},
        "cases": cases,
        "verdict": diagnose.verdict(cases, metric=f"dice {done}", model=name, higher=True),
        "grid_mm": sorted(sizes),
        "tolerance_mm": tolerance_mm,
        "questions": {q.name: q.case.source["sha256"] for q in asked},
    }


def _answers(
    models: Mapping[str, Completer], baselines: Baselines | None, question: Question, inputs: int
) -> dict[str, Callable[[Tensor], Tensor]]:
    """Functions from points of the case's cube to distances, of the models and the baselines."""
    case, observed = question.case, question.observed
    rows: dict[str, Callable[[Tensor], Tensor]] = {}
    for name, model in models.items():
        latent, middle = encode_case(model, case, observed, inputs=inputs)
        how: Any = {"half_mm": case.sampling.half_mm, "levelled": True}
        rows[name] = field_reader(model, latent.mean, middle, **how)
    if baselines is not None:
        middle = observed_middle(case, observed, baselines.centre)
        fields = coarse_fields(case, middle)
        fields[~observed] = torch.nan
        for row, found in baselines(fields, observed).items():
            rows[row] = _reader(found, middle)
    return rows


def field_reader(
    model: Completer, code: Tensor, middle: Tensor, *, half_mm: float, levelled: bool
) -> Callable[[Tensor], Tensor]:
    """Return the distances in mm as a function of points of the case's cube; no gradient.

    Levelled, for an answer without a draw, they are those to the surfaces of `fit_levels`.
    """
    with torch.no_grad():
        features = model.net.expand(code)
    levels = model.shape.levels.cpu() if levelled else 0.0

    def read(points: Tensor) -> Tensor:
        place = (points - middle)[None].to(features.device)
        with torch.no_grad():
            found: Tensor = model.shape(place) + model.net.read(features, place).float()
        return found[0].cpu() * half_mm - levels

    return read


def _reader(fields: Tensor, middle: Tensor) -> Callable[[Tensor], Tensor]:
    return lambda points: read_coarse(fields, points - middle)


def _scores(
    labels: Tensor, truth: Tensor, known: Tensor, spacing: tuple[float, ...], tolerance_mm: float
) -> dict[str, Tensor]:
    """Metrics of every class, NaN where the truth is not known."""
    how: Any = {"classes": range(1, len(known) + 1)}
    pair = labels[None, None], truth[None, None]
    found = {"dice": metrics.dice(*pair, **how)[0], "iou": metrics.iou(*pair, **how)[0]}
    how |= {"spacing_mm": spacing, "tolerance_mm": tolerance_mm}
    found["surface dice"] = metrics.surface_dice(*pair, **how)[0]
    far = [
        metrics.surface_distances(labels == c, truth == c, spacing_mm=spacing)
        for c in range(1, len(known) + 1)
    ]
    found["f-score"] = torch.tensor([d.f_score(tolerance_mm=tolerance_mm) for d in far])
    found["chamfer"] = torch.tensor([d.chamfer() for d in far])
    found["hd95"] = torch.tensor([d.hausdorff(95) for d in far])
    return {name: torch.where(known, value, math.nan) for name, value in found.items()}


def _stack(found: Sequence[Mapping[str, Tensor]], metric: str) -> Tensor:
    return torch.stack([scores[metric] for scores in found])


def _means(scores: Mapping[str, Tensor], observed: Tensor) -> dict[str, float]:
    """Mean over the defined classes of one question, in both groups."""
    groups = {"observed": observed, "completed": ~observed}
    return {
        f"{m} {g}": float(scores[m][mask].nanmean()) for m in METRICS for g, mask in groups.items()
    }


def _plain(summary: Mapping[str, metrics.ClassSummary]) -> dict[str, dict[str, dict[str, float]]]:
    return {
        name: {"observed": found.observed._asdict(), "completed": found.completed._asdict()}
        for name, found in summary.items()
    }


def _line(classes: Mapping[str, Any]) -> dict[str, float]:
    """Mean over the classes of their means, in both groups; infinite ones are only counted."""
    line: dict[str, float] = {}
    for metric in METRICS:
        for group in ("observed", "completed"):
            means = [c[group]["mean"] for name, c in classes[metric].items() if name != "all"]
            means = [m for m in means if math.isfinite(m)]
            line[f"{metric} {group}"] = sum(means) / len(means) if means else math.nan
    for group in ("observed", "completed"):
        far = [c[group]["mean"] for name, c in classes["hd95"].items() if name != "all"]
        far = [value for value in far if not math.isnan(value)]
        line[f"infinite {group}"] = sum(map(math.isinf, far)) if far else math.nan
    return line


def _labels(case: Case) -> Tensor:
    if case.labels is None:
        msg = f"{case.name}: loaded without its labels"
        raise ValueError(msg)
    return case.labels
