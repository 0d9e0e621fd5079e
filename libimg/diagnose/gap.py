"""How much worse is a model on cases it has not seen?"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

__all__ = ["Gap", "generalisation_gap"]


@dataclass(frozen=True)
class Gap:
    """Result of `generalisation_gap`.

    Args:
        train: mean error on the training cases, after ``train_weight``.
        validation: mean error on the validation cases.
        ratio: validation over train.
        interval: of the ratio; NaN if a side has a single value.
        alarm: the ratio that rings.
        rings: True or False if the whole interval lies on one side of ``alarm``, None if it
            straddles it. Without an interval the ratio alone decides.
        text: the same in one or two sentences.

    Example:
        >>> gap = generalisation_gap([0.03, 0.04, 0.05], [0.2, 0.21, 0.19])
        >>> round(gap.ratio, 2), gap.rings
        (5.0, True)
    """

    train: float
    validation: float
    ratio: float
    interval: tuple[float, float]
    alarm: float
    rings: bool | None
    text: str


def generalisation_gap(
    train: Sequence[float],
    validation: Sequence[float],
    *,
    alarm: float = 2.0,
    train_weight: float = 1.0,
    level: float = 0.95,
    samples: int = 2000,
    seed: int = 0,
) -> Gap:
    """Ratio of the validation error to the training error, with its bootstrap interval.

    Both must be the same number: same unit, range, mask, and the network in the same mode. A
    logged loss is often weighted: pix2pix logs ``λ·L1``, so 3.84 at λ 100 is an L1 of 0.0384.

    Args:
        train: error of each training case, lower is better; or one mean.
        validation: error of each validation case; or one mean.
        alarm: the ratio from which on more training only memorises.
        train_weight: the weight that the training values still carry; they are divided by it.
        level: coverage of the interval.
        samples: number of bootstrap resamples; the two sides are drawn apart.
        seed: of the resampling.

    Returns:
        Numbers and text.

    Raises:
        ValueError: a side is empty, a value is not finite or is negative, the training error is
            0, or ``alarm`` or ``train_weight`` is not above 0.

    Example:
        >>> print(generalisation_gap([3.84], [0.2033], train_weight=100).text)
        Validation error 0.2033 is 5.29 times the training error 0.0384: ALARM (2 or more). A
        single value on one side leaves no interval.
    """
    for name, number in (("alarm", alarm), ("train_weight", train_weight)):
        if not 0 < number < math.inf:
            msg = f"{name} must be above 0 and finite, got {number}"
            raise ValueError(msg)
    if not 0 < level < 1:
        msg = f"level must be in (0, 1), got {level}"
        raise ValueError(msg)
    sides = [_errors("train", train) / train_weight, _errors("validation", validation)]
    means = [float(side.mean()) for side in sides]
    if means[0] == 0:
        msg = "train: a mean error of 0 leaves no ratio"
        raise ValueError(msg)
    ratio, interval = means[1] / means[0], (math.nan, math.nan)
    if min(side.size for side in sides) > 1:
        rng = np.random.default_rng(seed)
        draws = [rng.choice(side, size=(samples, side.size)).mean(1) for side in sides]
        with np.errstate(divide="ignore", invalid="ignore"):
            ratios = np.nan_to_num(draws[1] / draws[0], nan=ratio, posinf=np.inf)
        ends = np.quantile(ratios, [(1 - level) / 2, (1 + level) / 2], method="nearest")
        interval = float(ends[0]), float(ends[1])
    low, high = (ratio, ratio) if math.isnan(interval[0]) else interval
    rings = True if low >= alarm else False if high < alarm else None
    return Gap(
        train=means[0],
        validation=means[1],
        ratio=ratio,
        interval=interval,
        alarm=alarm,
        rings=rings,
        text=_text(means, ratio, interval, alarm, rings),
    )


def _text(
    means: list[float],
    ratio: float,
    interval: tuple[float, float],
    alarm: float,
    rings: bool | None,
) -> str:
    """Say what the numbers say."""
    known = not math.isnan(interval[0])
    ends = f" [{interval[0]:.3g}, {interval[1]:.3g}]" if known else ""
    word = {
        True: f"ALARM ({alarm:g} or more)",
        False: f"no alarm (below {alarm:g})",
        None: f"undecided (the interval straddles {alarm:g})",
    }[rings]
    text = f"Validation error {means[1]:.4g} is {ratio:.3g}{ends} times "
    text += f"the training error {means[0]:.4g}: {word}."
    if not known:
        text += " A single value on one side leaves no interval."
    if ratio < 0.5:
        text += " Validation so far below training means that the two are not the same number:"
        text += " check weight, unit, range, mask and mode."
    return text


def _errors(name: str, values: Sequence[float]) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """Errors as an array; refuse what is no error."""
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1 or array.size == 0 or not np.isfinite(array).all() or (array < 0).any():
        msg = f"{name}: expected finite errors of at least 0, at least one, got {list(values)}"
        raise ValueError(msg)
    return array
