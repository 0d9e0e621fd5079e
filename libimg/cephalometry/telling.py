"""The story of a failure and its repair, as sections of a report."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from libimg import diagnose
from libimg.cephalometry.diagnosis import Diagnosis
from libimg.cephalometry.report import Section

__all__ = ["compare_runs", "tell"]

COLUMNS = ("mre", "delta_mre", "sdr2", "sharpness", "ssim", "psnr", "l1")


def compare_runs(a: Mapping[str, Any], b: Mapping[str, Any], *, metric: str, higher: bool) -> str:
    """Compare one metric of two results on the same held-out cases, as one sentence.

    Example:
        >>> first, second = (
        ...     {
        ...         "manifest": {"a": "12", "b": "34"},
        ...         "rows": {"G": {"cases": {"a": {"mre": error}, "b": {"mre": error}}}},
        ...     }
        ...     for error in (3.0, 2.0)
        ... )
        >>> compare_runs(first, second, metric="mre", higher=False)[:4]
        'mre:'
    """
    values = [
        {name: row[metric] for name, row in result["rows"]["G"]["cases"].items()}
        for result in (a, b)
    ]
    found = diagnose.paired_bootstrap(
        *values, manifest_a=a["manifest"], manifest_b=b["manifest"], higher=higher
    )
    return f"{metric}: {found.text}"


def tell(
    runs: Mapping[str, Mapping[str, Any]],
    *,
    causes: Diagnosis,
    curve: Mapping[str, Any],
    gate: diagnose.Gate,
    panels: Mapping[str, Path],
) -> list[Section]:
    """Put the report together.

    Args:
        runs: name to ``metrics.json``: the small run, the same with all cases, the repaired one.
        causes: diagnosis of the small run.
        curve: of the small runs.
        gate: thresholds.
        panels: name to picture of the run.
    """
    small, large, repaired = runs
    more, last = runs[large], runs[repaired]
    rows = {name: _means(result, "G") for name, result in runs.items()}
    rows |= {name: _means(last, name) for name in last["rows"] if name != "G"}
    table = diagnose.markdown_table(rows, columns=COLUMNS)
    reached = more["rows"]["G"]["mean"]["mre"]["mean"]
    low, high = curve["interval"]
    kept = "inside" if low <= reached <= high else "OUTSIDE"
    verdicts = {
        name: diagnose.judge(
            result["rows"]["G"]["cases"],
            gate,
            state="direction" if name == small else "final",
            manifest=result["manifest"],
            undefined="exclude",
        )
        for name, result in runs.items()
    }
    pairs = [("mre", False), ("sharpness", True)]
    compared = [compare_runs(more, last, metric=m, higher=h) for m, h in pairs]
    return [
        Section("The small run", verdicts[small].text, [panels[small]]),
        Section("Why", causes.text),
        Section(
            "Data or method?",
            f"{curve['text']}\n\nWith all cases the error is {reached:.2f} mm, {kept} the "
            f"predicted interval [{low:.2f}, {high:.2f}].",
            [panels[large]],
        ),
        Section(
            "Repaired: letterbox with a region, gradient loss",
            "Against the squashed run with the same cases:\n\n"
            + "\n".join(f"- {line}" for line in compared),
            [panels[repaired]],
        ),
        Section("Verdict", "\n\n".join(f"{n}: {verdicts[n].text}" for n in (large, repaired))),
        Section("All rows", f"{table}\n\n{last['verdict']} mre, delta_mre in mm; l1 in [-1, 1]."),
    ]


def _means(result: Mapping[str, Any], row: str) -> dict[str, float]:
    return {column: result["rows"][row]["mean"][column]["mean"] for column in COLUMNS}
