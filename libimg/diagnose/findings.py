"""From numbers to causes: healthy ranges and rules as data, and the report that they give."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from libimg.diagnose.report import markdown_table

__all__ = ["Cause", "Check", "Finding", "Sign", "find_causes", "findings_report", "outside"]


@dataclass(frozen=True)
class Check:
    """A number and the range it has in a run that works.

    Args:
        number: its name.
        low: lowest healthy value.
        high: highest healthy value.
        meaning: what it is, in a few words.
        source: where the range comes from.

    Example:
        >>> Check("D/auc", 0.5, 0.95, "separation").healthy(1.0)
        False
    """

    number: str
    low: float
    high: float
    meaning: str
    source: str = ""

    def healthy(self, value: float) -> bool:
        """Whether a value is within the range, ends included."""
        return self.low <= value <= self.high


@dataclass(frozen=True)
class Sign:
    """One condition of a cause: a number above or below a limit.

    Args:
        number: its name.
        side: on which side of the limit it speaks for the cause.
        limit: the limit.

    Example:
        >>> Sign("gradient_ratio", "<", 0.02).holds(0.001)
        True
    """

    number: str
    side: Literal["<", ">"]
    limit: float

    def holds(self, value: float) -> bool:
        """Whether a value speaks for the cause; NaN never does."""
        return value < self.limit if self.side == "<" else value > self.limit


@dataclass(frozen=True)
class Cause:
    """Something that can be wrong, and how it shows.

    Args:
        name: short; two rules of one name are two ways to show the same cause.
        signs: all of them must hold. A sign whose number was not measured does not hold.
        why: one sentence: what the signs mean.
        experiment: what to do next, in plain words.

    Example:
        >>> weak = Cause("D too weak", (Sign("gradient_ratio", "<", 0.02),))
        >>> weak.signs[0].number
        'gradient_ratio'
    """

    name: str
    signs: tuple[Sign, ...]
    why: str = ""
    experiment: str = ""


@dataclass(frozen=True)
class Finding:
    """A cause whose signs all hold.

    Args:
        cause: the rule.
        evidence: each sign with the value that was measured.
        strength: how many times the weakest sign is beyond its limit, at most 100.

    Example:
        >>> weak = Cause("D too weak", (Sign("gradient_ratio", "<", 0.02),))
        >>> find_causes({"gradient_ratio": 0.01}, [weak])[0].strength
        2.0
    """

    cause: Cause
    evidence: tuple[str, ...]
    strength: float


def outside(numbers: Mapping[str, float], checks: Sequence[Check]) -> list[Check]:
    """Return the checks whose number was measured and is not healthy.

    Example:
        >>> auc = Check("D/auc", 0.5, 0.95, "separation")
        >>> outside({"D/auc": 1.0}, [auc]) == [auc], outside({}, [auc])
        (True, [])
    """
    return [c for c in checks if c.number in numbers and not c.healthy(numbers[c.number])]


def find_causes(numbers: Mapping[str, float], causes: Sequence[Cause]) -> list[Finding]:
    """Apply the rules in their order.

    The order is that of cause and effect: what stands earlier explains what stands later, so the
    first finding is the verdict and the others may go away with it.

    Args:
        numbers: what was measured, by name.
        causes: the rules, upstream first.

    Returns:
        The findings in the order of the rules, one for each name; empty if nothing is wrong.

    Example:
        >>> dead = Cause("D dead", (Sign("D/lr", "<", 1e-9),))
        >>> weak = Cause("D too weak", (Sign("gradient_ratio", "<", 0.02),))
        >>> [f.cause.name for f in find_causes({"D/lr": 0.0, "gradient_ratio": 0.01}, [dead, weak])]
        ['D dead', 'D too weak']
    """
    findings: dict[str, Finding] = {}
    for cause in causes:
        values = [numbers.get(sign.number, math.nan) for sign in cause.signs]
        pairs = list(zip(cause.signs, values, strict=True))
        if cause.name not in findings and all(sign.holds(value) for sign, value in pairs):
            evidence = tuple(f"{s.number} {v:.3g} {s.side} {s.limit:g}" for s, v in pairs)
            strength = min((_times(s, v) for s, v in pairs), default=1.0)
            findings[cause.name] = Finding(cause, evidence, strength)
    return list(findings.values())


def findings_report(
    numbers: Mapping[str, float],
    *,
    checks: Sequence[Check],
    causes: Sequence[Cause],
    notes: Mapping[str, str] | None = None,
    commands: Mapping[str, str] | None = None,
) -> str:
    """Write the report: the deciding numbers, the ranked causes and what to do next, in Markdown.

    Args:
        numbers: what was measured, by name.
        checks: healthy ranges; a number without one is not shown.
        causes: the rules, see `find_causes`.
        notes: what could not be measured, and why.
        commands: the next experiment for a cause, by its name, as a command.

    Returns:
        The text.

    Example:
        >>> check = Check("gradient_ratio", 0.1, 1, "pull of D", "A7")
        >>> weak = Cause("D too weak", (Sign("gradient_ratio", "<", 0.02),), "D decorates.")
        >>> print(findings_report({"gradient_ratio": 0.25}, checks=[check], causes=[weak]))
        |                | value | healthy  | state | what      | source |
        | :------------- | ----: | -------: | ----: | --------: | -----: |
        | gradient_ratio | 0.250 | 0.1 to 1 | ok    | pull of D | A7     |
        <BLANKLINE>
        Verdict: healthy. None of 1 causes shows.
    """
    rows = {
        c.number: {
            "value": numbers[c.number],
            "healthy": _range(c),
            "state": "ok" if c.healthy(numbers[c.number]) else "OUTSIDE",
            "what": c.meaning,
            "source": c.source,
        }
        for c in checks
        if c.number in numbers
    }
    parts = [markdown_table(rows, columns=("value", "healthy", "state", "what", "source"))]
    if notes:
        parts.append("\n".join(f"Not measured: {name}: {why}." for name, why in notes.items()))
    findings = find_causes(numbers, causes)
    if findings:
        lines = [f"Verdict: {findings[0].cause.name}."]
        for rank, finding in enumerate(findings, start=1):
            cause = finding.cause
            lines.append(f"{rank}. {cause.name} ({', '.join(finding.evidence)}). {cause.why}")
        parts.append("\n".join(lines))
        first = findings[0].cause
        parts.append(f"Next: {first.experiment}\n{(commands or {}).get(first.name, '')}".strip())
    else:
        tried = len({c.name for c in causes})
        parts.append(f"Verdict: healthy. None of {tried} causes shows.")
        odd = [c.number for c in outside(numbers, checks)]
        if odd:
            parts.append(
                f"Outside its range, but no sign of a known cause alone: {', '.join(odd)}."
            )
    return "\n\n".join(parts)


def _times(sign: Sign, value: float) -> float:
    """How many times a value is beyond the limit of its sign, at most 100."""
    over, under = (value, sign.limit) if sign.side == ">" else (sign.limit, value)
    if over <= 0:
        return 1.0
    return min(over / under, 100.0) if under > 0 else 100.0


def _range(check: Check) -> str:
    """Write a healthy range in words."""
    if check.low == check.high:
        return f"{check.low:g}"
    if math.isinf(check.high):
        return f"at least {check.low:g}"
    if math.isinf(check.low):
        return f"at most {check.high:g}"
    return f"{check.low:g} to {check.high:g}"
