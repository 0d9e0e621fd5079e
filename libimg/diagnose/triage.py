"""Which flag or metric goes with the failures? Most flags explain nothing; the numbers say so."""

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from libimg._ops.proportions import holm, wilson
from libimg.diagnose.report import markdown_table
from libimg.diagnose.triage_rows import FlagRow, MetricRow, flag_row, metric_row

__all__ = ["Triage", "triage_table"]


@dataclass(frozen=True)
class Triage:
    """Result of `triage_table`.

    Args:
        cases: number of scored cases.
        failed: how many failed.
        flags: one row a flag, the smallest p first.
        metrics: one row a metric, in the order of the first case.
        explains: flags with more failures than chance gives, after the correction.
        markdown: both tables.
        text: what they say.

    Example:
        >>> triage_table({"a": {}, "b": {}}, flags={"a": ["tilted"]}, failed=["a"]).explains
        ()
    """

    cases: int
    failed: int
    flags: tuple[FlagRow, ...]
    metrics: tuple[MetricRow, ...]
    explains: tuple[str, ...]
    markdown: str
    text: str


def triage_table(
    cases: Mapping[str, Mapping[str, float]],
    *,
    flags: Mapping[str, Collection[str]],
    failed: Collection[str],
    alpha: float = 0.05,
) -> Triage:
    """Cross metrics, flags and failures of an evaluation set.

    A flag explains failures if they are more frequent with it than without it, beyond chance; how
    often it is raised says nothing. No flag drops a case.

    Args:
        cases: scored case to metric to value; every case has the same metrics, or none.
        flags: case to its flags, such as those of an audit. A case that is absent has none;
            cases that were not scored are counted apart.
        failed: the cases that failed.
        alpha: p-value, after Holm's correction over all flags and metrics, below which a flag
            explains something.

    Returns:
        Rows, Markdown and text.

    Raises:
        ValueError: there is no case, the metrics differ, a failed case was not scored, or no
            flagged case was scored (the names do not match).

    Reference:
        Fisher's exact test; Katz et al., Biometrics 34, 1978, for the interval of the ratio.

    Example:
        >>> names = [f"{i:02d}" for i in range(80)]
        >>> table = triage_table(
        ...     {name: {} for name in names},
        ...     flags={name: ["orientation"] for name in names[22:30]},
        ...     failed=names[:25],
        ... )
        >>> print(table.text)
        25 of 80 cases failed (31 % [22, 42]). No flag explains the failures. orientation: 3 of its
        8 cases failed (38 %) against 22 of 72 (31 %) without it, ratio 1.23 [0.47, 3.21], p 0.7,
        0.7 after Holm over 1 test; it is on 3 of the 25 failures.
    """
    _check_cases(cases, flags=flags, failed=failed)
    lost = frozenset(failed)
    known = sorted({flag for some in flags.values() for flag in some})
    rows = [flag_row(flag, cases=cases, flags=flags, lost=lost) for flag in known]
    scored = [
        metric_row(name, cases=cases, flags=flags, known=known, lost=lost)
        for name in next(iter(cases.values()))
    ]
    tests = [row.p for row in rows] + [row.p for row in scored]
    corrected = iter(holm(tests))
    rows = [replace(row, p_holm=next(corrected)) for row in rows]
    scored = [replace(row, p_holm=next(corrected)) for row in scored]
    rows.sort(key=lambda row: (math.isnan(row.p), row.p, row.flag))
    explains = tuple(row.flag for row in rows if row.p_holm < alpha and row.ratio > 1)
    tested = sum(not math.isnan(p) for p in tests)
    return Triage(
        cases=len(cases),
        failed=len(lost),
        flags=tuple(rows),
        metrics=tuple(scored),
        explains=explains,
        markdown=_markdown(rows, scored, known=known),
        text=_text(rows, cases=len(cases), lost=len(lost), explains=explains, tested=tested),
    )


def _check_cases(
    cases: Mapping[str, Mapping[str, float]],
    *,
    flags: Mapping[str, Collection[str]],
    failed: Collection[str],
) -> None:
    """Refuse a set without cases, with mixed metrics, or with names that do not match."""
    if not cases:
        msg = "cases: expected at least one, got none"
        raise ValueError(msg)
    first, names = next(iter(cases.items()))
    for case, scores in cases.items():
        if scores.keys() != names.keys():
            odd = sorted(scores.keys() ^ names.keys())
            msg = f"cases: {case} differs from {first} in its metrics {odd}"
            raise ValueError(msg)
    if isinstance(failed, str) or any(isinstance(some, str) for some in flags.values()):
        msg = "flags and failed: expected collections of names, got a bare string"
        raise ValueError(msg)
    unknown = sorted(set(failed) - cases.keys())
    if unknown:
        msg = f"failed: {len(unknown)} were not scored, such as {unknown[0]}"
        raise ValueError(msg)
    if flags and not flags.keys() & cases.keys():
        msg = f"flags: no case was scored; names look like {next(iter(flags))}, scored like {first}"
        raise ValueError(msg)


def _markdown(rows: Sequence[FlagRow], scored: Sequence[MetricRow], *, known: Sequence[str]) -> str:
    """Lay out both tables."""
    flags: dict[str, dict[str, object]] = {
        row.flag: {
            "failed with": f"{row.failed} of {row.cases}",
            "failed without": f"{row.others_failed} of {row.others}",
            "ratio": row.ratio,
            "95 %": f"[{row.interval[0]:.2f}, {row.interval[1]:.2f}]",
            "p": row.p,
            "p Holm": row.p_holm,
            "not scored": row.elsewhere,
        }
        for row in rows
    }
    means: dict[str, dict[str, object]] = {
        row.metric: {
            "failed": row.failed,
            "passed": row.passed,
            "AUC": row.auc,
            "p": row.p,
            "p Holm": row.p_holm,
            **{f"with {flag}": row.flagged[flag] for flag in known},
            "undefined": len(row.undefined),
        }
        for row in scored
    }
    tables = [table for table in (flags, means) if table]
    return "\n\n".join(
        markdown_table(table, columns=list(next(iter(table.values())))) for table in tables
    )


def _text(
    rows: Sequence[FlagRow],
    *,
    cases: int,
    lost: int,
    explains: Sequence[str],
    tested: int,
) -> str:
    """Say which flags explain failures, and the numbers of each."""
    low, high = (100 * end for end in wilson(lost, cases))
    text = f"{lost} of {cases} cases failed ({_percent(lost / cases)} [{low:.0f}, {high:.0f}])."
    if not rows:
        return f"{text} There are no flags."
    if explains:
        verb = "explains" if len(explains) == 1 else "explain"
        text += f" {', '.join(explains)} {verb} failures beyond chance."
    else:
        text += " No flag explains the failures."
    after = f"Holm over {tested} test" + "s" * (tested != 1)
    return " ".join([text, *(_sentence(row, lost=lost, after=after) for row in rows)])


def _sentence(row: FlagRow, *, lost: int, after: str) -> str:
    """Give the numbers of one flag."""
    more = f"; {row.elsewhere} more cases carry it and were not scored" * (row.elsewhere > 0)
    if math.isnan(row.p):
        which = "all scored cases" if row.cases else "no scored case"
        return f"{row.flag}: on {which}, so it tells nothing{more}."
    low, high = row.interval
    return (
        f"{row.flag}: {row.failed} of its {row.cases} cases failed ({_percent(row.rate)}) against "
        f"{row.others_failed} of {row.others} ({_percent(row.others_rate)}) without it, "
        f"ratio {row.ratio:.3g} [{low:.3g}, {high:.3g}], p {row.p:.2g}, {row.p_holm:.2g} after "
        f"{after}; it is on {row.failed} of the {lost} failures{more}."
    )


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"
