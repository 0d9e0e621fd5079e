"""Scores of sampled completions, and of classes that a model saw or had to complete."""

import math
from collections.abc import Sequence
from typing import Literal, NamedTuple

import torch
from jaxtyping import Bool, Float
from scipy.stats import rankdata
from torch import Tensor

from libimg._check import one_of
from libimg._ops.reduce import masked_mean
from libimg._types import PerSample

__all__ = ["ClassSummary", "Summary", "coverage", "error_variance_correlation", "summarise_classes"]


def coverage(
    samples: Float[Tensor, "b k *where"],
    truth: Float[Tensor, " b *where"],
    *,
    trim: int = 0,
    mask: Bool[Tensor, " b *where"] | None = None,
) -> PerSample:
    """Share of the places where the truth lies between the samples.

    Between the lowest and the highest of the ``k`` samples, or those left when ``trim`` are taken
    off each side. A truth that is drawn like the samples lies there with probability
    ``(k - 1 - 2·trim) / (k + 1)``: less is too little spread (or a bias), more is too much.

    Args:
        samples: ``(b, k, *where)``, such as signed distances of k completions at voxels or
            points. Occupancies of 0 and 1 say little here: ties count as covered.
        truth: ``(b, *where)`` in the same unit.
        trim: samples left out on each side; ``k`` must be above ``2·trim + 1``.
        mask: places that count, such as those near the surface; all if None.

    Returns:
        ``(b,)`` in [0, 1]; NaN where the mask is empty.

    Raises:
        ValueError: the shapes do not fit, or ``trim`` leaves fewer than two samples.

    Example:
        >>> samples = torch.tensor([[[0.0, 0, 0], [1, 2, 3], [2, 4, 6]]])
        >>> coverage(samples, torch.tensor([[1.0, 5, 6]]))  # a calibrated model: 2 / 4
        tensor([0.6667])

    Reference:
        Hamill, Interpretation of rank histograms for verifying ensemble forecasts, Monthly
        Weather Review 129, 2001. Order statistics instead of interpolated quantiles, so that the
        expected value holds exactly.
    """
    k = _samples(samples, truth, mask)
    if not 0 <= 2 * trim < k - 1:
        msg = f"trim must leave two samples or more, got trim {trim} of {k} samples"
        raise ValueError(msg)
    ordered = samples.sort(dim=1).values
    inside = (ordered[:, trim] <= truth) & (truth <= ordered[:, k - 1 - trim])
    weight = torch.ones_like(inside) if mask is None else mask
    share = masked_mean(inside.float().flatten(1)[:, None], weight.flatten(1)[:, None])
    return torch.where(weight.flatten(1).any(1), share, math.nan).to(samples.dtype)


def error_variance_correlation(
    samples: Float[Tensor, "b k *where"],
    truth: Float[Tensor, " b *where"],
    *,
    kind: Literal["spearman", "pearson"] = "spearman",
    mask: Bool[Tensor, " b *where"] | None = None,
) -> PerSample:
    """Correlation, over places, of the spread of the samples with the error of their mean.

    Spread is the standard deviation of the samples (n - 1), error is ``|mean - truth|``. Above 0,
    the model doubts where it is wrong. Even a calibrated model stays well below 1: the spread
    tells how large an error may be, not how large it is.

    Args:
        samples: ``(b, k, *where)`` with at least two samples.
        truth: ``(b, *where)`` in the same unit.
        kind: ``"spearman"`` correlates ranks (ties share their mean rank), ``"pearson"`` values.
        mask: places that count; all if None.

    Returns:
        ``(b,)`` in [-1, 1]; NaN where spread or error is the same everywhere, or fewer than two
        places count.

    Raises:
        ValueError: the shapes do not fit, there is one sample only, or ``kind`` is unknown.

    Example:
        >>> samples = torch.tensor([[[0.0, 0, 0], [1, 2, 4]]])
        >>> error_variance_correlation(samples, torch.tensor([[0.6, 1.5, 4.0]]))
        tensor([1.])

    Reference:
        Whitaker and Loughe, The relationship between ensemble spread and ensemble mean skill,
        Monthly Weather Review 126, 1998; Spearman, American Journal of Psychology 15, 1904.
    """
    one_of("kind", kind, ("spearman", "pearson"))
    if _samples(samples, truth, mask) < 2:
        msg = f"samples must hold two or more for a spread, got shape {tuple(samples.shape)}"
        raise ValueError(msg)
    values = samples.detach().double()
    spread, error = values.std(dim=1), (values.mean(dim=1) - truth).abs()
    found = []
    for i in range(len(samples)):
        keep = slice(None) if mask is None else mask[i].flatten()
        pair = [x[i].flatten()[keep] for x in (spread, error)]
        if kind == "spearman":
            pair = [torch.from_numpy(rankdata(x.cpu().numpy())) for x in pair]
        found.append(_pearson(*pair))
    return torch.tensor(found, dtype=samples.dtype, device=samples.device)


class Summary(NamedTuple):
    """Values of one group; those that are not defined are left out, and counted.

    Attributes:
        mean: of the defined values, NaN if there is none. An infinite value (a structure that
            is missing altogether) stays in and makes it infinite.
        median: of the defined values.
        defined: number of values that are not NaN.
        undefined: number of values that are.

    Example:
        >>> Summary(mean=0.9, median=0.9, defined=2, undefined=1).defined
        2
    """

    mean: float
    median: float
    defined: int
    undefined: int


class ClassSummary(NamedTuple):
    """What became of a class where it was given to the model, and where it had to be completed.

    Attributes:
        observed: cases in which the class was part of the input.
        completed: cases in which it was not.

    Example:
        >>> nothing = Summary(float("nan"), float("nan"), 0, 0)
        >>> ClassSummary(observed=nothing, completed=nothing).observed.defined
        0
    """

    observed: Summary
    completed: Summary


def summarise_classes(
    values: Float[Tensor, "n k"], observed: Bool[Tensor, "n k"], *, classes: Sequence[str]
) -> dict[str, ClassSummary]:
    """Summarise a metric by class, observed and completed cases apart.

    Args:
        values: ``(n, k)``, one for each case and class, such as `dice` gives them. NaN where there
            is nothing to score: the class is absent from both, or has no truth.
        observed: ``(n, k)``, true where the class was part of the model's input.
        classes: k names.

    Returns:
        A summary for each name, and under ``"all"`` one of all values, every value counting the
        same.

    Raises:
        ValueError: shapes differ, names are not k different ones, or one of them is ``"all"``.

    Example:
        >>> dice = torch.tensor([[0.75, 0.5], [0.25, float("nan")]])
        >>> observed = torch.tensor([[True, False], [False, False]])
        >>> summary = summarise_classes(dice, observed, classes=("LV", "LAA"))
        >>> summary["LV"].completed
        Summary(mean=0.25, median=0.25, defined=1, undefined=0)
        >>> summary["all"].completed
        Summary(mean=0.375, median=0.375, defined=2, undefined=1)
    """
    names = list(classes)
    if values.shape != observed.shape or values.ndim != 2 or values.shape[1] != len(names):
        msg = f"values and observed must be (cases, {len(names)} classes), got shapes "
        msg += f"{tuple(values.shape)} and {tuple(observed.shape)}"
        raise ValueError(msg)
    if len({*names, "all"}) != len(names) + 1:
        msg = f"classes must be different names and none of them 'all', got {names}"
        raise ValueError(msg)
    parts = {name: (values[:, k], observed[:, k]) for k, name in enumerate(names)}
    parts["all"] = (values, observed)
    return {
        name: ClassSummary(_summary(part[given]), _summary(part[~given]))
        for name, (part, given) in parts.items()
    }


def _summary(values: Tensor) -> Summary:
    defined = values.detach().double()[~values.isnan()]
    count = len(defined)
    middle = (defined.sort().values[[(count - 1) // 2, count // 2]]).mean() if count else math.nan
    mean = defined.mean() if count else math.nan
    return Summary(float(mean), float(middle), count, len(values) - count)


def _samples(samples: Tensor, truth: Tensor, mask: Tensor | None) -> int:
    """Return the number of samples; raise if the shapes do not fit."""
    shape = (*samples.shape[:1], *samples.shape[2:])
    if samples.ndim < 3 or truth.shape != shape or (mask is not None and mask.shape != shape):
        msg = "samples must be (b, k, *where), truth and mask (b, *where), got shapes "
        msg += ", ".join(str(tuple(x.shape)) for x in (samples, truth, mask) if x is not None)
        raise ValueError(msg)
    return samples.shape[1]


def _pearson(x: Tensor, y: Tensor) -> float:
    """Correlation of two vectors, NaN if one of them does not vary."""
    if len(x) < 2 or bool((x == x[0]).all()) or bool((y == y[0]).all()):
        return math.nan
    a, b = x - x.mean(), y - y.mean()
    return float((a @ b / (a.norm() * b.norm())).clamp(-1, 1))
