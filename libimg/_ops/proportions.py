"""Counts of small samples: intervals of a share and of the ratio of two, and Holm's correction."""

import math
from collections.abc import Sequence
from statistics import NormalDist

__all__ = ["check_counts", "holm", "rate_ratio", "wilson"]


def wilson(hits: int, cases: int, *, level: float = 0.95) -> tuple[float, float]:
    """Score interval of a share; honest for few cases and for shares of 0 and 1.

    Args:
        hits: how many of the cases, 0 to ``cases``.
        cases: how many there are; with none the interval is all of [0, 1].
        level: coverage, in (0, 1).

    Returns:
        Lower and upper end, in [0, 1].

    Raises:
        ValueError: the counts are impossible.

    Reference:
        Wilson, JASA 22, 1927.

    Example:
        >>> low, high = wilson(3, 25)
        >>> round(low, 3), round(high, 3)
        (0.042, 0.3)
    """
    check_counts(hits, cases)
    if cases == 0:
        return 0.0, 1.0
    z2 = _z(level) ** 2
    middle = (hits + z2 / 2) / (cases + z2)
    reach = math.sqrt(z2 * (hits * (cases - hits) / cases + z2 / 4)) / (cases + z2)
    low = 0.0 if hits == 0 else max(0.0, middle - reach)
    return low, 1.0 if hits == cases else min(1.0, middle + reach)


def rate_ratio(
    hits: int, cases: int, other_hits: int, other_cases: int, *, level: float = 0.95
) -> tuple[float, float, float]:
    """Ratio of two shares with its log interval.

    If one of the shares is 0 or 1, the interval is taken from ``(hits + ½) / (cases + 1)`` of
    both; an end that the counts leave open is 0 or infinite.

    Args:
        hits: how many of the first group, 0 to ``cases``.
        cases: size of the first group.
        other_hits: how many of the second group.
        other_cases: size of the second group.
        level: coverage, in (0, 1).

    Returns:
        Ratio, lower and upper end. The ratio is NaN if both shares are 0 or a group is empty,
        and infinite if only the second share is 0.

    Raises:
        ValueError: the counts are impossible.

    Reference:
        Katz et al., Biometrics 34, 1978; the halves as in Walter, Biometrika 62, 1975.

    Example:
        >>> [round(x, 2) for x in rate_ratio(10, 20, 15, 60)]
        [2.0, 1.08, 3.72]
        >>> rate_ratio(0, 20, 0, 60)
        (nan, 0.0, inf)
    """
    check_counts(hits, cases)
    check_counts(other_hits, other_cases)
    if min(cases, other_cases) == 0:
        return math.nan, 0.0, math.inf
    counts = [(hits, cases), (other_hits, other_cases)]
    half = 0.5 if any(k in (0, n) for k, n in counts) else 0.0
    logs = [math.log((k + half) / (n + 2 * half)) for k, n in counts]
    spread = math.sqrt(sum(1 / (k + half) - 1 / (n + 2 * half) for k, n in counts))
    middle, reach = logs[0] - logs[1], _z(level) * spread
    low = 0.0 if hits == 0 else math.exp(middle - reach)
    high = math.inf if other_hits == 0 else math.exp(middle + reach)
    if other_hits == 0:
        return (math.inf if hits else math.nan), low, high
    return hits * other_cases / (cases * other_hits), low, high


def holm(values: Sequence[float]) -> list[float]:
    """Correct p-values so that the chance of one false alarm among all of them stays in hand.

    Args:
        values: p-values; NaN stays NaN and does not count as a test.

    Returns:
        Corrected p-values in the same order, each at least as large as before.

    Reference:
        Holm, Scandinavian Journal of Statistics 6, 1979.

    Example:
        >>> holm([0.01, 0.04, 0.03])
        [0.03, 0.06, 0.06]
    """
    order = sorted((i for i, p in enumerate(values) if not math.isnan(p)), key=lambda i: values[i])
    corrected, highest = [math.nan] * len(values), 0.0
    for rank, i in enumerate(order):
        highest = max(highest, min(1.0, (len(order) - rank) * values[i]))
        corrected[i] = highest
    return corrected


def check_counts(hits: int, cases: int) -> None:
    """Raise ``ValueError`` unless ``0 <= hits <= cases``."""
    if not 0 <= hits <= cases:
        msg = f"expected 0 <= hits <= cases, got {hits} of {cases}"
        raise ValueError(msg)


def _z(level: float) -> float:
    """Quantile of the normal distribution for a two-sided interval."""
    if not 0 < level < 1:
        msg = f"level must be in (0, 1), got {level}"
        raise ValueError(msg)
    return NormalDist().inv_cdf((1 + level) / 2)
