"""Why a run trains but is not usable: what each cause costs, in millimetres of landmark error.

Each part is measured by itself, so they need not add up to the whole.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from torch import Tensor

from libimg import degradations, diagnose, metrics
from libimg.cephalometry.frames import Framed
from libimg.cephalometry.score import sharpness

__all__ = [
    "Cause",
    "blur_to_match",
    "error_mm",
    "paired_cause",
    "ranked",
    "sharpness_of",
    "unpaired_cause",
]

WORTH_MM = 0.1
"""Mean landmark error from which a cause is worth naming; a tenth of what counts in tracing."""

Pictures = Mapping[str, Float[Tensor, "1 h w"]]


@dataclass(frozen=True)
class Cause:
    """One possible cause.

    Attributes:
        name: in a few words.
        mm: what it adds to the mean landmark error.
        interval: 95 %, over the held-out cases.
        named: the whole interval lies above `WORTH_MM`, or a deciding number is out of its healthy
            range; a cause that is not named is no fault.
        evidence: the deciding numbers.
        text: one sentence.
        next: the experiment that would settle it, as a command.

    Example:
        >>> Cause("sample size", 2.0, (1.5, 2.5), named=True).mm
        2.0
    """

    name: str
    mm: float
    interval: tuple[float, float]
    named: bool
    evidence: dict[str, float] = field(default_factory=dict)
    text: str = ""
    next: str = ""


def error_mm(
    pictures: Pictures, cases: Mapping[str, Framed], judge: Callable[[Tensor], Tensor]
) -> dict[str, float]:
    """Mean landmark error of the judge on each picture, in millimetres.

    Example:
        >>> from libimg.cephalometry import Frame, Heads, framed, load_pair
        >>> case = framed(load_pair(Heads(size=(152, 124)), "head-000"), Frame(size=(48, 48)))
        >>> error_mm({"a": case.xray}, {"a": case}, lambda x: case.points[None])
        {'a': 0.0}
    """
    found = torch.stack([judge(pictures[name][None])[0] for name in cases])
    truth = torch.stack([case.points for case in cases.values()])
    spacing = torch.tensor([case.spacing_mm for case in cases.values()])
    errors = metrics.landmark_errors(found, truth, spacing_mm=spacing, missing="skip")
    return dict(zip(cases, errors.nanmean(1).tolist(), strict=True))


def sharpness_of(pictures: Pictures, cases: Mapping[str, Framed]) -> float:
    """Mean power of the top octave against that of the true X-rays; 1 is as sharp.

    Example:
        >>> from libimg.cephalometry import Frame, Heads, framed, load_pair
        >>> case = framed(load_pair(Heads(size=(152, 124)), "head-000"), Frame(size=(48, 48)))
        >>> sharpness_of({"a": case.xray}, {"a": case})
        1.0
    """
    values = [sharpness(pictures[name], case) for name, case in cases.items()]
    return sum(values) / len(values)


def blur_to_match(
    cases: Mapping[str, Framed], sharpness: float, *, limit: float = 8.0
) -> tuple[float, dict[str, Tensor]]:
    """Blur the true X-rays until they are as smooth as the generated ones.

    Args:
        cases: the truth.
        sharpness: to reach, see `sharpness_of`.
        limit: largest sigma in pixels.

    Returns:
        Sigma in pixels, 0 if nothing has to be blurred, and the blurred X-rays.

    Example:
        >>> from libimg.cephalometry import Frame, Heads, framed, load_pair
        >>> case = framed(load_pair(Heads(size=(152, 124)), "head-000"), Frame(size=(48, 48)))
        >>> sigma, blurred = blur_to_match({"a": case}, 0.25)
        >>> 0.2 < sharpness_of(blurred, {"a": case}) <= 0.26
        True
    """

    def blurred(sigma: float) -> dict[str, Tensor]:
        return {
            name: degradations.gaussian_blur(case.xray, sigma) if sigma else case.xray
            for name, case in cases.items()
        }

    low, high = 0.0, limit
    if sharpness >= 1:
        return 0.0, blurred(0.0)
    for _ in range(8):
        middle = (low + high) / 2
        sharper = sharpness_of(blurred(middle), cases) > sharpness
        low, high = (middle, high) if sharper else (low, middle)
    return high, blurred(high)


def paired_cause(
    name: str,
    worse: Mapping[str, float],
    better: Mapping[str, float],
    *,
    evidence: Mapping[str, float],
    text: str,
    next: str,
    unhealthy: bool = False,
) -> Cause:
    """Build a cause from the errors with and without it, case by case.

    Args:
        name: of the cause.
        worse: error in millimetres by case, with the cause.
        better: without it.
        evidence: further numbers.
        text: what happened; the cost is put behind it.
        next: command.
        unhealthy: a deciding number is out of its healthy range, whatever it costs.

    Example:
        >>> one, other = {"a": 3.0, "b": 3.5}, {"a": 1.0, "b": 1.5}
        >>> cause = paired_cause("squash", one, other, evidence={}, text="Squashed.", next="x")
        >>> cause.mm, cause.named, cause.text
        (2.0, True, 'Squashed. It costs 2.00 mm [2.00, 2.00].')
    """
    costs = [worse[case] - better[case] for case in worse]
    known = [cost for cost in costs if math.isfinite(cost)]
    mean, interval = sum(known) / len(known), diagnose.bootstrap_interval(known)
    return _cause(name, mean, interval, unhealthy, evidence=evidence, text=text, next=next)


def unpaired_cause(
    name: str,
    worse: Sequence[float],
    better: Sequence[float],
    *,
    evidence: Mapping[str, float],
    text: str,
    next: str,
    unhealthy: bool = False,
) -> Cause:
    """Build a cause from the errors of two different sets of cases, such as seen and unseen.

    Example:
        >>> sides = {"worse": [3.0, 3.5, 3.1], "better": [1.0, 1.2, 0.9]}
        >>> cause = unpaired_cause("sample size", **sides, evidence={}, text="Few cases.", next="x")
        >>> round(cause.mm, 2), cause.named
        (2.17, True)
    """
    mean = sum(worse) / len(worse) - sum(better) / len(better)
    ends = [diagnose.bootstrap_interval(side) for side in (worse, better)]
    centres = [sum(side) / len(side) for side in (worse, better)]
    # independent sides: the half widths add in square (Newcombe's MOVER)
    down = math.hypot(centres[0] - ends[0][0], ends[1][1] - centres[1])
    up = math.hypot(ends[0][1] - centres[0], centres[1] - ends[1][0])
    interval = (mean - down, mean + up)
    return _cause(name, mean, interval, unhealthy, evidence=evidence, text=text, next=next)


def ranked(causes: Sequence[Cause]) -> list[Cause]:
    """Order causes by what they cost, those that are named first.

    Example:
        >>> causes = [Cause("a", 0.2, (0, 1), named=False), Cause("b", 0.1, (0, 1), named=True)]
        >>> [cause.name for cause in ranked(causes)]
        ['b', 'a']
    """
    return sorted(causes, key=lambda cause: (not cause.named, -cause.mm))


def _cause(
    name: str,
    mm: float,
    interval: tuple[float, float],
    unhealthy: bool,
    *,
    evidence: Mapping[str, float],
    text: str,
    next: str,
) -> Cause:
    low, high = interval
    return Cause(
        name,
        mm,
        interval,
        unhealthy or low > WORTH_MM,
        dict(evidence),
        f"{text} It costs {mm:.2f} mm [{low:.2f}, {high:.2f}].",
        next,
    )
