"""The next experiment after a diagnosis: a configuration with one thing changed, as a command."""

import copy
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from libimg import diagnose
from libimg._extras import optional
from libimg.train import write_json

__all__ = ["next_experiment", "write_diagnosis"]

Settings = dict[str, Any]


def next_experiment(
    settings: Mapping[str, Any], cause: str, numbers: Mapping[str, float]
) -> Settings | None:
    """Change the one setting that tests a cause.

    Args:
        settings: resolved configuration of the run, plain values.
        cause: name of a cause in `libimg.diagnose.BLUR_CAUSES`.
        numbers: what was measured; the new adversarial weight follows from it.

    Returns:
        The changed configuration under a new ``run.name``; None where no setting can help, since
        the fault is in code or data.

    Example:
        >>> run = {"run": {"name": "a"}, "rates": {"D": 0.0}}
        >>> next_experiment(run, "D does not learn", {})["rates"]
        {'D': 0.0004}
    """
    if cause not in _CHANGES:
        return None
    changed = copy.deepcopy(dict(settings))
    _CHANGES[cause](changed, numbers)
    changed["run"]["name"] += "-" + cause.lower().replace(" ", "-")
    return changed


def write_diagnosis(
    folder: Path,
    settings: Mapping[str, Any],
    numbers: Mapping[str, float],
    notes: Mapping[str, str],
) -> str:
    """Write ``diagnosis.json``, ``diagnosis.md`` and, for a cause with a remedy, ``next.yaml``.

    Args:
        folder: of the run.
        settings: its resolved configuration.
        numbers: what was measured.
        notes: what could not be measured, and why.

    Returns:
        The report.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     report = write_diagnosis(Path(folder), {}, {"range/outside": 0.5}, {})
        ...     print(report.splitlines()[4])
        Verdict: wrong data range.
    """
    causes, checks = diagnose.BLUR_CAUSES, diagnose.BLUR_CHECKS
    findings = diagnose.find_causes(numbers, causes)
    commands = {}
    if findings:
        first = findings[0].cause.name
        experiment = next_experiment(settings, first, numbers)
        command = f"python tasks/ncct2cta.py diagnose --run {folder}"
        if experiment:
            text = optional("yaml", extra="tasks").safe_dump(experiment, sort_keys=False)
            (folder / "next.yaml").write_text(text, encoding="utf-8")
            command = f"python tasks/ncct2cta.py train --cfg {folder / 'next.yaml'}"
        commands[first] = command
    report = diagnose.findings_report(
        numbers, checks=checks, causes=causes, notes=notes, commands=commands
    )
    write_json(
        folder / "diagnosis.json",
        {
            "verdict": findings[0].cause.name if findings else "healthy",
            "findings": [
                {"cause": f.cause.name, "evidence": f.evidence, "strength": f.strength}
                for f in findings
            ],
            "numbers": numbers,
            "not_measured": notes,
            "next": commands,
        },
    )
    (folder / "diagnosis.md").write_text(report + "\n", encoding="utf-8")
    return report


def _scale(name: str, factor: Callable[[Mapping[str, float]], float]) -> Any:
    """Multiply a weight in every phase that has it, ramps included."""

    def change(settings: Settings, numbers: Mapping[str, float]) -> None:
        by = factor(numbers)
        for phase in settings["phases"]:
            value = phase["weights"].get(name)
            if isinstance(value, dict):
                phase["weights"][name] = value | {k: value[k] * by for k in ("start", "end")}
            elif value is not None:
                phase["weights"][name] = value * by

    return change


def _pull(numbers: Mapping[str, float]) -> float:
    """Factor that brings the gradient ratio to 0.3; 10 where the ratio is not known."""
    ratio = numbers.get("gradient/ratio_body", 0.0)
    return float(f"{0.3 / ratio:.2g}") if ratio > 0 else 10.0


def _rate(settings: Settings, numbers: Mapping[str, float]) -> None:
    settings.setdefault("rates", {})["D"] = 4e-4


def _residual(settings: Settings, numbers: Mapping[str, float]) -> None:
    settings["networks"]["generator"]["residual"] = True


def _see(settings: Settings, numbers: Mapping[str, float]) -> None:
    judge = settings["networks"]["discriminator"]
    judge |= {"layers": max(judge.get("layers", 2) - 1, 1), "width": 2 * judge.get("width", 32)}


def _window(settings: Settings, numbers: Mapping[str, float]) -> None:
    low, high = settings["data"]["window"]
    settings["data"]["window"] = [min(low, -1000.0), max(high, 1000.0)]


def _register(settings: Settings, numbers: Mapping[str, float]) -> None:
    settings["networks"]["registration"]["enabled"] = True
    for phase in settings["phases"]:
        if "G" in phase["train"] and "R" not in phase["train"]:
            phase["train"] = [*phase["train"], "R"]
        if "R" in phase["train"]:
            phase["weights"].setdefault("smooth", 0.2)


def _unconditional(settings: Settings, numbers: Mapping[str, float]) -> None:
    settings["networks"]["discriminator"]["conditional"] = False


_CHANGES: dict[str, Callable[[Settings, Mapping[str, float]], None]] = {
    "D does not learn": _rate,
    "G blurs by itself": _residual,
    "D cannot see blur": _see,
    "D uses a trivial cue": _window,
    "pairs are misaligned and R is off": _register,
    "R is over-smoothed": _scale("smooth", lambda numbers: 0.1),
    "R folds": _scale("smooth", lambda numbers: 10.0),
    "conditional D looks at the misalignment": _unconditional,
    "adversarial weight too small": _scale("adversarial", _pull),
    "adversarial weight too large": _scale("adversarial", _pull),
}
