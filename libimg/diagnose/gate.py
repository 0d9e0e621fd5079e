"""Is it good enough? A verdict with the numbers that decided; a small run only informs."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from libimg import _check, data
from libimg.diagnose.report import bootstrap_interval, markdown_table
from libimg.diagnose.thresholds import Gate, Threshold

__all__ = ["GateLine", "Verdict", "judge"]

State = Literal["direction", "final"]
Outcome = Literal["passed", "failed", "undecided"]


@dataclass(frozen=True)
class GateLine:
    """One threshold and the numbers that decided.

    Args:
        threshold: what was asked.
        mean: over the cases with a finite value; NaN without any.
        interval: of the mean, bootstrap; NaN if there are fewer than two such cases.
        cases: how many count.
        undefined: cases whose value is NaN or infinite.
        outcome: ``"passed"`` or ``"failed"`` if the whole interval lies on one side of the bound,
            ``"undecided"`` if it straddles it or the cases are too few.

    Example:
        >>> gate = Gate("g", (Threshold("mre", 2.0, "at most", "mm"),), min_cases=2)
        >>> judge({"a": {"mre": 1.0}, "b": {"mre": 1.2}}, gate, state="final").lines[0].outcome
        'passed'
    """

    threshold: Threshold
    mean: float
    interval: tuple[float, float]
    cases: int
    undefined: tuple[str, ...]
    outcome: Outcome


@dataclass(frozen=True)
class Verdict:
    """Result of `judge`.

    Args:
        state: ``"direction"`` or ``"final"``.
        passed: True if every line passed, False if one failed, else None.
        blocks: whether the next stage has to wait: in ``final`` unless it passed, in
            ``direction`` never.
        lines: one a threshold, in its order.
        markdown: the lines as a table.
        text: the verdict in words, with the numbers that decided.

    Example:
        >>> gate = Gate("gate 1", (Threshold("mre", 2.0, "at most", "mm"),), min_cases=2)
        >>> verdict = judge({"a": {"mre": 3.0}, "b": {"mre": 3.2}}, gate, state="direction")
        >>> verdict.passed, verdict.blocks
        (False, False)
    """

    state: State
    passed: bool | None
    blocks: bool
    lines: tuple[GateLine, ...]
    markdown: str
    text: str


def judge(
    scores: Mapping[str, Mapping[str, float]],
    gate: Gate,
    *,
    state: State,
    manifest: Mapping[str, str] | None = None,
    undefined: Literal["raise", "exclude"] = "raise",
    samples: int = 2000,
    seed: int = 0,
) -> Verdict:
    """Hold the scores of a run against a gate, interval and all.

    Args:
        scores: case to metric to value; every case has every metric of the gate.
        gate: the thresholds.
        state: ``"direction"`` for a small run that shows whether the way is right, and never
            blocks; ``"final"`` for the run that decides.
        manifest: content hashes of the scored cases; needed if the gate has one.
        undefined: a value that is NaN or infinite raises, or with ``"exclude"`` is listed and left
            out of the mean.
        samples: number of bootstrap resamples.
        seed: of the resampling.

    Returns:
        The verdict, its lines, a table and text.

    Raises:
        ValueError: no case, a missing metric, an undefined value with ``"raise"``, an unknown
            word, or another evaluation set than the gate's.

    Example:
        >>> gate = Gate("gate 1", (Threshold("l1", 0.1, "at most"),), min_cases=2)
        >>> print(judge({"a": {"l1": 0.2}, "b": {"l1": 0.22}}, gate, state="direction").text)
        gate 1 FAILED as a direction check; it does not block. l1 is 0.21 [0.2, 0.22] over 2
        cases, at most 0.1 was asked: failed.
    """
    _check.one_of("state", state, ("direction", "final"))
    _check.one_of("undefined", undefined, ("raise", "exclude"))
    if not scores:
        msg = "scores: expected at least one case, got none"
        raise ValueError(msg)
    if gate.manifest is not None:
        data.same_manifest(gate.manifest, manifest or {})
    if manifest is not None:
        data.same_manifest(dict.fromkeys(manifest, ""), dict.fromkeys(scores, ""))
    lines = tuple(
        _line(scores, threshold, gate=gate, undefined=undefined, samples=samples, seed=seed)
        for threshold in gate.thresholds
    )
    outcomes = {line.outcome for line in lines}
    passed = False if "failed" in outcomes else None if "undecided" in outcomes else True
    blocks = state == "final" and passed is not True
    return Verdict(
        state=state,
        passed=passed,
        blocks=blocks,
        lines=lines,
        markdown=_markdown(lines),
        text=_text(gate, lines, state=state, passed=passed),
    )


def _line(
    scores: Mapping[str, Mapping[str, float]],
    threshold: Threshold,
    *,
    gate: Gate,
    undefined: Literal["raise", "exclude"],
    samples: int,
    seed: int,
) -> GateLine:
    """Judge one threshold."""
    name = threshold.metric
    lacking = [case for case, values in scores.items() if name not in values]
    if lacking:
        msg = f"scores: {len(lacking)} cases lack {name}, such as {lacking[0]}"
        raise ValueError(msg)
    values = {case: float(row[name]) for case, row in scores.items()}
    odd = [case for case, value in values.items() if not math.isfinite(value)]
    if odd and undefined == "raise":
        msg = f"scores: {name} is undefined for {', '.join(odd)}; exclude it on purpose or mend it"
        raise ValueError(msg)
    known = [value for case, value in values.items() if case not in odd]
    mean = math.fsum(known) / len(known) if known else math.nan
    low, high = math.nan, math.nan
    if len(known) > 1:
        low, high = bootstrap_interval(known, level=gate.level, samples=samples, seed=seed)
    good, bad = high <= threshold.bound, low > threshold.bound
    if threshold.sense == "at least":
        good, bad = low >= threshold.bound, high < threshold.bound
    enough = len(known) >= gate.min_cases
    return GateLine(
        threshold=threshold,
        mean=mean,
        interval=(low, high),
        cases=len(known),
        undefined=tuple(odd),
        outcome="passed" if enough and good else "failed" if enough and bad else "undecided",
    )


def _markdown(lines: Sequence[GateLine]) -> str:
    """Lay out the lines."""
    rows: dict[str, dict[str, object]] = {}
    for line in lines:
        asked = line.threshold
        rows[f"{asked.metric} {asked.sense} {asked.bound:g} {asked.unit}".strip()] = {
            "mean": line.mean,
            "low": line.interval[0],
            "high": line.interval[1],
            "cases": line.cases,
            "undefined": len(line.undefined),
            "outcome": line.outcome,
        }
    return markdown_table(rows, columns=list(next(iter(rows.values()))))


def _text(gate: Gate, lines: Sequence[GateLine], *, state: State, passed: bool | None) -> str:
    """Say what was decided, and by which numbers."""
    word = {True: "passed", False: "FAILED", None: "is undecided"}[passed]
    if state == "direction":
        start = f"{gate.name} {word} as a direction check; it does not block."
    else:
        start = f"{gate.name} {word} as the final check" + "; it blocks." * (passed is not True)
        start += "." * (passed is True)
    return " ".join([start, *(_sentence(line, gate=gate) for line in lines)])


def _sentence(line: GateLine, *, gate: Gate) -> str:
    """Give the numbers of one line."""
    asked = line.threshold
    unit = f" {asked.unit}" if asked.unit else ""
    low, high = line.interval
    text = f"{asked.metric} is {line.mean:.4g} [{low:.4g}, {high:.4g}]{unit} over {line.cases} "
    text += f"case{'s' * (line.cases != 1)}, {asked.sense} {asked.bound:g}{unit} was asked: "
    text += f"{line.outcome}"
    if line.cases < gate.min_cases:
        text += f" (fewer than {gate.min_cases} cases)"
    if line.undefined:
        text += f"; undefined and left out: {', '.join(line.undefined)}"
    return text + "."
