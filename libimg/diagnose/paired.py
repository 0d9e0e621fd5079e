"""Are two runs different? Only on the same cases, and case by case."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from libimg import _check, data

__all__ = ["PairedDifference", "paired_bootstrap"]


@dataclass(frozen=True)
class PairedDifference:
    """Result of `paired_bootstrap`.

    Args:
        mean: mean of ``b - a`` over the cases.
        interval: of the mean, bootstrap over cases.
        p: two-sided: how often a resample has the other sign; at least ``2 / (samples + 1)``.
        better: cases in which ``b`` is better than ``a``, the most first.
        worse: cases in which it is worse, the most first.
        equal: cases without a difference.
        undefined: cases whose value is NaN or infinite in one of the runs.
        outcome: ``"better"``, ``"worse"`` or ``"undecided"``, whether the interval leaves out 0.
        text: the same in one sentence.

    Example:
        >>> runs = {"p1": 3.0, "p2": 2.0}, {"p1": 2.0, "p2": 1.5}
        >>> hashes = {"p1": "aa", "p2": "bb"}
        >>> pair = paired_bootstrap(*runs, manifest_a=hashes, manifest_b=hashes, higher=False)
        >>> pair.mean, pair.better
        (-0.75, ('p1', 'p2'))
    """

    mean: float
    interval: tuple[float, float]
    p: float
    better: tuple[str, ...]
    worse: tuple[str, ...]
    equal: tuple[str, ...]
    undefined: tuple[str, ...]
    outcome: Literal["better", "worse", "undecided"]
    text: str


def paired_bootstrap(
    a: Mapping[str, float],
    b: Mapping[str, float],
    *,
    manifest_a: Mapping[str, str],
    manifest_b: Mapping[str, str],
    higher: bool,
    undefined: Literal["raise", "exclude"] = "raise",
    level: float = 0.95,
    samples: int = 10000,
    seed: int = 0,
) -> PairedDifference:
    """Compare one metric of two runs on the same evaluation set, as ``b - a``.

    Args:
        a: case to value in the first run, such as the baseline.
        b: the same in the second.
        manifest_a: case to content hash, of the first run.
        manifest_b: of the second.
        higher: whether a higher value is better.
        undefined: a value that is NaN or infinite raises, or with ``"exclude"`` its case is listed
            and left out of both runs.
        level: coverage of the interval.
        samples: number of bootstrap resamples of the cases.
        seed: of the resampling.

    Returns:
        Numbers and text. With fewer than two cases interval and p are NaN.

    Raises:
        ValueError: the manifests differ, a run has other cases than its manifest, or a value is
            undefined and ``undefined`` is ``"raise"``; or no case is left.

    Reference:
        Efron and Tibshirani, An Introduction to the Bootstrap, 1993, chapters 13 and 15.

    Example:
        >>> old = {"p1": 3.0, "p2": 2.0, "p3": 2.5}
        >>> new = {"p1": 2.0, "p2": 1.5, "p3": 2.75}
        >>> hashes = {"p1": "aa", "p2": "bb", "p3": "cc"}
        >>> pair = paired_bootstrap(old, new, manifest_a=hashes, manifest_b=hashes, higher=False)
        >>> print(pair.text)
        The second run is undecided: mean difference -0.4167 [-1, 0.25], p 0.3, over 3 cases; 2
        better, 1 worse, 0 equal.
    """
    _check.one_of("undefined", undefined, ("raise", "exclude"))
    if not 0 < level < 1:
        msg = f"level must be in (0, 1), got {level}"
        raise ValueError(msg)
    data.same_manifest(manifest_a, manifest_b)
    for name, run in (("a", a), ("b", b)):
        if run.keys() != manifest_a.keys():
            odd = sorted(run.keys() ^ manifest_a.keys())
            msg = f"{name}: its cases differ from its manifest in {odd[:5]}"
            raise ValueError(msg)
    gaps = {case: float(b[case]) - float(a[case]) for case in a}
    lost = [case for case, gap in gaps.items() if not math.isfinite(gap)]
    if lost and undefined == "raise":
        msg = f"a or b is undefined for {', '.join(lost)}; exclude them on purpose or mend them"
        raise ValueError(msg)
    gaps = {case: gap for case, gap in gaps.items() if case not in lost}
    if not gaps:
        msg = "a and b: no case has a finite value in both"
        raise ValueError(msg)
    values = np.array(list(gaps.values()))
    mean, low, high, p = math.fsum(values) / len(values), math.nan, math.nan, math.nan
    if len(values) > 1:
        means = np.random.default_rng(seed).choice(values, size=(samples, len(values))).mean(1)
        low, high = (float(q) for q in np.quantile(means, [(1 - level) / 2, (1 + level) / 2]))
        other = min(int((means <= 0).sum()), int((means >= 0).sum()))
        p = min(1.0, 2 * (other + 1) / (samples + 1))
    sign = 1 if higher else -1
    order = sorted(gaps, key=lambda case: (-abs(gaps[case]), case))
    better = tuple(case for case in order if sign * gaps[case] > 0)
    worse = tuple(case for case in order if sign * gaps[case] < 0)
    equal = tuple(case for case in order if gaps[case] == 0)
    up, down = (low > 0, high < 0) if higher else (high < 0, low > 0)
    outcome: Literal["better", "worse", "undecided"]
    outcome = "better" if up else "worse" if down else "undecided"
    text = (
        f"The second run is {outcome}: mean difference {mean:+.4g} [{low:.4g}, {high:.4g}], "
        f"p {p:.2g}, over {len(gaps)} case{'s' * (len(gaps) != 1)}; {len(better)} better, "
        f"{len(worse)} worse, {len(equal)} equal"
    )
    text += f"; undefined and left out: {', '.join(lost)}." if lost else "."
    return PairedDifference(
        mean=mean,
        interval=(low, high),
        p=p,
        better=better,
        worse=worse,
        equal=equal,
        undefined=tuple(lost),
        outcome=outcome,
        text=text,
    )
