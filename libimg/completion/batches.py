"""Training batches: classes dropped, cases turned and scaled, points chosen, all by a generator."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from libimg.completion.cases import Case, class_mask
from libimg.completion.centre import Centre, class_centroids
from libimg.shapes import apply_rigid, sample_rigid

__all__ = [
    "SCHEMES",
    "Batch",
    "Drop",
    "draw_batch",
    "draw_inputs",
    "draw_observed",
    "draw_queries",
    "observed_middle",
]

SCHEMES: dict[str, tuple[str, ...]] = {
    "vessels": ("Aorta", "PA", "PV"),
    "left atrium": ("LA", "LAA", "PV"),
    "right heart": ("RA", "RV", "PA"),
    "thin": ("LAA", "Coronary", "PV"),
    "left heart": ("Myocardium", "LA", "LV", "LAA"),
}
"""Groups of classes that scans or data sets lack together; others can be named in `Drop`."""


@dataclass(frozen=True, kw_only=True)
class Drop:
    """Which classes are taken from the input.

    Args:
        fewest: classes dropped at random, at least.
        most: at most; one class always stays.
        scheme_share: share of the draws that drop a group of ``schemes`` instead.
        schemes: name to classes.

    Example:
        >>> Drop(fewest=2, most=5).scheme_share
        0.25
    """

    fewest: int = 0
    most: int = 0
    scheme_share: float = 0.25
    schemes: Mapping[str, Sequence[str]] | None = None


class Batch(NamedTuple):
    """Tensors of a training step, in the unit cube around the estimated middle.

    Attributes:
        points: ``(b, n, 3)`` on the surfaces of the observed classes.
        classes: ``(b, n)`` of the points.
        presence: ``(b, k)`` observed: an observed class without points is absent.
        queries: ``(b, q, 3)``.
        distances: ``(b, q, k)`` at the queries, unit of the cube, infinite beyond the band, NaN
            where unlabelled.
        labelled: ``(b, k)`` classes that the loss may read.
        on_surface: ``(b, s, 3)`` points on the surfaces of labelled classes.
        on_class: ``(b, s)`` their classes.
        whole: ``(b, n, 3)`` points of all classes that the case has, in the same place.
        whole_classes: ``(b, n)`` of those.
        whole_presence: ``(b, k)``.

    Example:
        >>> Batch._fields[:3]
        ('points', 'classes', 'presence')
    """

    points: Float[Tensor, "b n 3"]
    classes: Int[Tensor, "b n"]
    presence: Bool[Tensor, "b k"]
    queries: Float[Tensor, "b q 3"]
    distances: Float[Tensor, "b q k"]
    labelled: Bool[Tensor, "b k"]
    on_surface: Float[Tensor, "b s 3"]
    on_class: Int[Tensor, "b s"]
    whole: Float[Tensor, "b n 3"]
    whole_classes: Int[Tensor, "b n"]
    whole_presence: Bool[Tensor, "b k"]


def draw_observed(case: Case, drop: Drop, *, generator: torch.Generator) -> Bool[Tensor, " k"]:
    """Choose the classes that the network may see; at least one that is present stays.

    Args:
        case: its labelled classes are the ones to choose from.
        drop: how many, or which.
        generator: of the draw.

    Returns:
        ``(k,)``: observed classes, present or absent.

    Example:
        >>> from libimg.completion import phantom_case
        >>> drop = Drop(fewest=2, most=2, scheme_share=0)
        >>> seen = draw_observed(phantom_case(), drop, generator=torch.Generator().manual_seed(0))
        >>> int((~seen).sum())
        2
    """
    schemes = SCHEMES if drop.schemes is None else drop.schemes
    share, pick, count = torch.rand(3, generator=generator).tolist()
    order = torch.randperm(len(case.labelled), generator=generator)
    if drop.most <= 0:
        return case.labelled.clone()
    names = [n for n in schemes if set(schemes[n]) <= case.classes.keys()]
    if share < drop.scheme_share and names:
        group = schemes[names[int(pick * len(names))]]
        observed = case.labelled & ~class_mask(list(group), case.classes)
        if bool((observed & case.present).any()):
            return observed
    number = drop.fewest + int(count * (drop.most + 1 - drop.fewest))
    present = [c for c in order.tolist() if case.present[c]]
    observed = case.labelled.clone()
    observed[present[: min(number, len(present) - 1)]] = False
    return observed


def draw_inputs(
    case: Case, observed: Bool[Tensor, " k"], *, number: int, generator: torch.Generator
) -> tuple[Float[Tensor, "n 3"], Int[Tensor, " n"]]:
    """Draw points of the observed classes, each class the same number (within one).

    Args:
        case: with points for all its present classes.
        observed: which of them to draw.
        number: points in all.
        generator: of the draw.

    Raises:
        ValueError: no observed class is present.

    Example:
        >>> from libimg.completion import phantom_case
        >>> case, generator = phantom_case(), torch.Generator().manual_seed(0)
        >>> seen = class_mask(["LV", "RV"], case.classes)
        >>> points, classes = draw_inputs(case, seen, number=6, generator=generator)
        >>> points.shape, classes.tolist()
        (torch.Size([6, 3]), [2, 4, 2, 4, 2, 4])
    """
    own = (observed & case.present).nonzero()[:, 0]
    if not len(own):
        msg = f"{case.name}: none of the observed classes is present"
        raise ValueError(msg)
    classes = own[torch.arange(number) % len(own)]
    index = torch.randint(case.surface.shape[1], (number,), generator=generator)
    return case.surface[classes, index], classes


def draw_batch(
    sets: Sequence[Sequence[Case]],
    *,
    centre: Centre,
    batch: int,
    inputs: int,
    queries: int,
    generator: torch.Generator,
    drop: Drop | None = None,
    shares: Sequence[float] = (1.0,),
    hide: Sequence[Sequence[str]] = ((),),
    hide_share: float = 0.5,
    max_degrees: float = 10.0,
    scale_range: tuple[float, float] = (0.9, 1.1),
    jitter_mm: float = 0.5,
) -> Batch:
    """Draw cases, drop classes, turn and scale each case, and put it at its estimated middle.

    Args:
        sets: cases of one data set or several.
        centre: of the training cases.
        batch: number of cases.
        inputs: points that go in, shared equally by the observed classes.
        queries: points that are asked for: half near the labelled classes, each class the same
            number, half in space.
        generator: draws everything.
        drop: classes that are taken from the input; none if None.
        shares: of the data sets in the batch.
        hide: classes of each data set that are taken from its inputs in ``hide_share`` of the
            draws: those that the other data set does not label, or nothing would ever ask for
            them to be completed.
        hide_share: see ``hide``.
        max_degrees: of the rotation; see `libimg.shapes.sample_rigid`. Nothing is mirrored.
        scale_range: of the size; distances scale along.
        jitter_mm: noise of the points that go in. It makes the network robust; it does not make
            its answer a sample of anything.

    Raises:
        ValueError: ``shares`` or ``hide`` do not fit ``sets``.

    Example:
        >>> how = {"batch": 1, "inputs": 8, "queries": 8, "generator": torch.Generator()}
        >>> draw_batch([[]], centre=Centre(torch.zeros(1, 3), torch.ones(1)), **how)
        Traceback (most recent call last):
        ValueError: expected a share for each of 1 data sets with cases, got (1.0,)
    """
    if len(shares) != len(sets) or min(map(len, sets)) < 1 or not sum(shares) > 0:
        msg = f"expected a share for each of {len(sets)} data sets with cases, got {tuple(shares)}"
        raise ValueError(msg)
    limits = torch.tensor([*shares]).cumsum(0) / sum(shares)
    rows = []
    for _ in range(batch):
        which, pick, hidden = torch.rand(3, generator=generator).tolist()
        number = min(int((limits <= which).sum()), len(sets) - 1)
        case = sets[number][int(pick * len(sets[number]))]
        observed = draw_observed(case, drop or Drop(), generator=generator)
        names = hide[number] if number < len(hide) else ()
        if names and hidden < hide_share:
            less = observed & ~class_mask(list(names), case.classes)
            observed = less if bool((less & case.present).any()) else observed
        rigid = sample_rigid(
            generator, max_degrees=max_degrees, scale_range=scale_range, max_shift=0.0
        )
        half = case.sampling.half_mm
        points, classes = draw_inputs(case, observed, number=inputs, generator=generator)
        points = apply_rigid(points, rigid)
        noise = torch.randn(points.shape, generator=generator) * (jitter_mm / half)
        whole, whole_classes = draw_inputs(case, case.labelled, number=inputs, generator=generator)
        middle = centre(apply_rigid(class_centroids(case.surface), rigid), observed)
        places, distances = draw_queries(case, queries, generator)
        on, on_class = draw_inputs(case, case.labelled, number=queries // 4, generator=generator)
        band = case.sampling.band_mm * 0.999
        distances = torch.where(distances.abs() < band, distances, distances * torch.inf)
        distances = distances.masked_fill(~case.labelled, torch.nan)
        rows.append(
            Batch(
                points=points + noise - middle,
                classes=classes,
                presence=observed,
                queries=apply_rigid(places, rigid) - middle,
                distances=distances * (rigid.scale / half),
                labelled=case.labelled,
                on_surface=apply_rigid(on, rigid) - middle,
                on_class=on_class,
                whole=apply_rigid(whole, rigid) - middle,
                whole_classes=whole_classes,
                whole_presence=case.labelled,
            )
        )
    return Batch(*(torch.stack(column) for column in zip(*rows, strict=True)))


def draw_queries(
    case: Case, number: int, generator: torch.Generator
) -> tuple[Float[Tensor, "q 3"], Float[Tensor, "q k"]]:
    """Draw points half near the present classes, each the same number, half in space, and mm."""
    own = case.present.nonzero()[:, 0]
    near = number // 2
    classes = own[torch.arange(near) % len(own)]
    a = torch.randint(case.near.shape[1], (near,), generator=generator)
    b = torch.randint(len(case.volume), (number - near,), generator=generator)
    places = torch.cat([case.near[classes, a], case.volume[b]])
    return places, torch.cat([case.near_mm[classes, a], case.volume_mm[b]])


def observed_middle(
    case: Case, observed: Bool[Tensor, " k"], centre: Centre
) -> Float[Tensor, " 3"]:
    """Tell the middle of a case from its observed classes, in the cube of its frame.

    Args:
        case: with surface points.
        observed: classes that may be seen.
        centre: offsets of the classes, of the training cases.

    Example:
        >>> from libimg.completion import fit_centre, phantom_case
        >>> case = phantom_case()
        >>> centre = fit_centre([class_centroids(case.surface)])
        >>> observed_middle(case, case.labelled, centre).abs().max() < 1e-4
        tensor(True)
    """
    return centre(class_centroids(case.surface), observed & case.present)
