"""Rows of results: mean with its interval, and a table that people can read."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

__all__ = ["bootstrap_interval", "markdown_table", "summarise", "verdict"]


def bootstrap_interval(
    values: Sequence[float], *, level: float = 0.95, samples: int = 2000, seed: int = 0
) -> tuple[float, float]:
    """Percentile bootstrap interval of the mean over cases.

    Args:
        values: one value a case; NaN is refused, since a silent drop would change the cases.
        level: coverage, in (0, 1).
        samples: number of resamples.
        seed: of the resampling.

    Returns:
        Lower and upper end; both equal the value when there is a single case.

    Raises:
        ValueError: no value, or one is NaN.

    Reference:
        Efron and Tibshirani, An Introduction to the Bootstrap, 1993, chapter 13.

    Example:
        >>> bootstrap_interval([1.0, 1.0, 1.0])
        (1.0, 1.0)
    """
    array = np.asarray(values, dtype=np.float64)
    if array.size == 0 or np.isnan(array).any():
        msg = f"values: expected at least one and no NaN, got {list(values)}"
        raise ValueError(msg)
    rng = np.random.default_rng(seed)
    means = rng.choice(array, size=(samples, array.size)).mean(1)
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def summarise(cases: Mapping[str, Mapping[str, float]]) -> dict[str, dict[str, Any]]:
    """Summarise scores over cases, metric by metric.

    Args:
        cases: case name to metric to value. Every case has the same metrics.

    Returns:
        Metric to ``mean``, ``interval`` (95 % bootstrap), ``cases`` (how many count) and
        ``undefined`` (cases whose value is NaN or infinite: listed, not averaged).

    Raises:
        ValueError: a case has other metrics than the first.

    Example:
        >>> summarise({"a": {"mae": 1.0}, "b": {"mae": 3.0}})["mae"]["mean"]
        2.0
    """
    names = next(iter(cases.values())).keys() if cases else {}.keys()
    for case, scores in cases.items():
        if scores.keys() != names:
            odd = sorted(scores.keys() ^ names)
            msg = f"cases: {case} differs from {next(iter(cases))} in its metrics {odd}"
            raise ValueError(msg)
    summary: dict[str, dict[str, Any]] = {}
    for name in names:
        known = {case: scores[name] for case, scores in cases.items()}
        values = [value for value in known.values() if math.isfinite(value)]
        summary[name] = {
            "mean": sum(values) / len(values) if values else math.nan,
            "interval": bootstrap_interval(values) if values else (math.nan, math.nan),
            "cases": len(values),
            "undefined": [case for case, value in known.items() if not math.isfinite(value)],
        }
    return summary


def markdown_table(rows: Mapping[str, Mapping[str, object]], *, columns: Sequence[str]) -> str:
    """Lay out rows as a Markdown table with aligned columns.

    Args:
        rows: row name to column to value; numbers get three digits or a little more.
        columns: which columns, in order; a row without one shows a dash.

    Example:
        >>> print(markdown_table({"identity": {"psnr": 20.126}}, columns=["psnr"]))
        |          | psnr  |
        | :------- | ----: |
        | identity | 20.13 |
    """
    cells = [["", *columns]]
    cells += [[name, *(_cell(row.get(column)) for column in columns)] for name, row in rows.items()]
    widths = [max(len(row[i]) for row in cells) for i in range(len(columns) + 1)]
    lines = [
        "| " + " | ".join(c.ljust(w) for c, w in zip(r, widths, strict=True)) + " |" for r in cells
    ]
    rule = [":" + "-" * (widths[0] - 1), *("-" * (w - 1) + ":" for w in widths[1:])]
    lines.insert(1, "| " + " | ".join(rule) + " |")
    return "\n".join(lines)


def verdict(
    rows: Mapping[str, Mapping[str, Mapping[str, float]]],
    *,
    metric: str,
    model: str,
    higher: bool,
) -> str:
    """Say in plain words whether a model is better than each baseline on the same cases.

    Args:
        rows: row name to case to metric to value.
        metric: the metric that decides.
        model: name of the model's row; all the others are its baselines.
        higher: whether a higher value is better.

    Returns:
        One sentence a baseline, with the paired difference and its bootstrap interval.

    Example:
        >>> rows = {"net": {"a": {"psnr": 24.0}}, "identity": {"a": {"psnr": 20.0}}}
        >>> verdict(rows, metric="psnr", model="net", higher=True)
        'net is better than identity: psnr +4.00 [4.00, 4.00] over 1 case.'
    """
    sentences = []
    for name in rows:
        if name == model:
            continue
        pairs = [(rows[model][case][metric], rows[name][case][metric]) for case in rows[model]]
        gains = [ours - theirs for ours, theirs in pairs if math.isfinite(ours - theirs)]
        if not gains:
            sentences.append(f"{model} cannot be compared with {name}: {metric} is undefined.")
            continue
        mean, (low, high) = sum(gains) / len(gains), bootstrap_interval(gains)
        sign = 1 if higher else -1
        if min(sign * low, sign * high) > 0:
            word = "better than"
        elif max(sign * low, sign * high) < 0:
            word = "WORSE than"
        else:
            word = "no different from"
        cases = f"{len(gains)} case" + "s" * (len(gains) != 1)
        sentences.append(
            f"{model} is {word} {name}: {metric} {mean:+.2f} [{low:.2f}, {high:.2f}] over {cases}."
        )
    return " ".join(sentences)


def _cell(value: object) -> str:
    """Format one cell."""
    if value is None:
        return "-"
    if isinstance(value, float):
        if not math.isfinite(value):
            return str(value)
        size = abs(value)
        if 0 < size < 0.1:
            return f"{value:.3g}"
        return f"{value:.1f}" if size >= 100 else f"{value:.2f}" if size >= 1 else f"{value:.3f}"
    return str(value)
