"""One row of a triage: what a flag, or a metric, has to do with the failures."""

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import torch

from libimg import metrics
from libimg._ops.proportions import rate_ratio, wilson

__all__ = ["FlagRow", "MetricRow", "flag_row", "metric_row"]


@dataclass(frozen=True)
class FlagRow:
    """What a flag has to do with the failures.

    Args:
        flag: its name.
        cases: scored cases that carry it.
        failed: those of them that failed.
        others: scored cases without it.
        others_failed: those of them that failed.
        elsewhere: cases that carry it but were not scored; they tell nothing here.
        rate: share of failures among the cases with the flag; NaN without any.
        rate_interval: of ``rate``, Wilson.
        others_rate: share of failures among the cases without the flag.
        ratio: enrichment, ``rate / others_rate``.
        interval: of the ratio.
        p: Fisher's exact test, two-sided; NaN if the flag is on no scored case or on all.
        p_holm: the same after Holm's correction over all tests of the table.

    Example:
        >>> from libimg.diagnose.triage import triage_table
        >>> table = triage_table(
        ...     {"a": {}, "b": {}, "c": {}}, flags={"a": ["tilted"]}, failed=["a", "b"]
        ... )
        >>> table.flags[0].rate, table.flags[0].others_rate, table.flags[0].ratio
        (1.0, 0.5, 2.0)
    """

    flag: str
    cases: int
    failed: int
    others: int
    others_failed: int
    elsewhere: int
    rate: float
    rate_interval: tuple[float, float]
    others_rate: float
    ratio: float
    interval: tuple[float, float]
    p: float
    p_holm: float


@dataclass(frozen=True)
class MetricRow:
    """What a metric has to do with the failures and the flags.

    Args:
        metric: its name.
        failed: mean over the failed cases; NaN if none has a finite value.
        passed: mean over the others.
        auc: chance that a failed case has the higher value; 0.5 tells nothing, and below 0.5 the
            failed cases have the lower values.
        p: Mann and Whitney's test, two-sided.
        p_holm: the same after Holm's correction over all tests of the table.
        flagged: flag to mean over the cases that carry it.
        undefined: cases whose value is NaN or infinite: listed, in no mean.

    Example:
        >>> from libimg.diagnose.triage import triage_table
        >>> table = triage_table({"a": {"l1": 3.0}, "b": {"l1": 1.0}}, flags={}, failed=["a"])
        >>> table.metrics[0].failed, table.metrics[0].passed, table.metrics[0].auc
        (3.0, 1.0, 1.0)
    """

    metric: str
    failed: float
    passed: float
    auc: float
    p: float
    p_holm: float
    flagged: Mapping[str, float]
    undefined: tuple[str, ...]


def flag_row(
    flag: str,
    *,
    cases: Mapping[str, Mapping[str, float]],
    flags: Mapping[str, Collection[str]],
    lost: frozenset[str],
) -> FlagRow:
    """Count one flag and test it."""
    from scipy.stats import fisher_exact

    carriers = {case for case, some in flags.items() if flag in some}
    here = carriers & cases.keys()
    n, k = len(here), len(here & lost)
    m, j = len(cases) - n, len(lost) - k
    ratio, low, high = rate_ratio(k, n, j, m)
    return FlagRow(
        flag=flag,
        cases=n,
        failed=k,
        others=m,
        others_failed=j,
        elsewhere=len(carriers) - n,
        rate=k / n if n else math.nan,
        rate_interval=wilson(k, n),
        others_rate=j / m if m else math.nan,
        ratio=ratio,
        interval=(low, high),
        p=float(fisher_exact([[k, n - k], [j, m - j]])[1]) if n and m else math.nan,
        p_holm=math.nan,
    )


def metric_row(
    name: str,
    *,
    cases: Mapping[str, Mapping[str, float]],
    flags: Mapping[str, Collection[str]],
    known: Sequence[str],
    lost: frozenset[str],
) -> MetricRow:
    """Compare one metric between failed and passed cases."""
    values = {c: scores[name] for c, scores in cases.items() if math.isfinite(scores[name])}
    bad = [value for case, value in values.items() if case in lost]
    good = [value for case, value in values.items() if case not in lost]
    return MetricRow(
        metric=name,
        failed=_mean(bad),
        passed=_mean(good),
        auc=metrics.auc(*(torch.tensor(side, dtype=torch.float64) for side in (bad, good))),
        p=_rank_test(bad, good),
        p_holm=math.nan,
        flagged={
            flag: _mean([value for case, value in values.items() if flag in flags.get(case, ())])
            for flag in known
        },
        undefined=tuple(case for case in cases if case not in values),
    )


def _rank_test(first: Sequence[float], second: Sequence[float]) -> float:
    """Two-sided p of Mann and Whitney; NaN if a side is empty, 1 if all values are equal."""
    from scipy.stats import mannwhitneyu

    if not (first and second):
        return math.nan
    if len({*first, *second}) == 1:
        return 1.0
    return float(mannwhitneyu(first, second).pvalue)


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else math.nan
