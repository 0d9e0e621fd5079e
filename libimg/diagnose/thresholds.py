"""A gate as data: which metric has to reach what."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from libimg import _check

__all__ = ["Gate", "Threshold"]

Sense = Literal["at most", "at least"]
_OPTIONS = ("level", "min_cases", "manifest")


@dataclass(frozen=True)
class Threshold:
    """What the mean of one metric over the cases has to reach.

    Args:
        metric: its name.
        bound: the number; it passes itself.
        sense: ``"at most"`` or ``"at least"``.
        unit: of the bound, for the text; empty for plain numbers.

    Raises:
        ValueError: the bound is not finite or the sense is another.

    Example:
        >>> Threshold("mre", 2.0, "at most", "mm")
        Threshold(metric='mre', bound=2.0, sense='at most', unit='mm')
    """

    metric: str
    bound: float
    sense: Sense
    unit: str = ""

    def __post_init__(self) -> None:
        _check.one_of("sense", self.sense, ("at most", "at least"))
        number = isinstance(self.bound, (int, float)) and not isinstance(self.bound, bool)
        if not (number and math.isfinite(self.bound)):
            msg = f"bound of {self.metric} must be a finite number, got {self.bound!r}"
            raise ValueError(msg)


@dataclass(frozen=True)
class Gate:
    """Thresholds, and how they are judged.

    Args:
        name: of the gate, for the text.
        thresholds: at least one, each metric and sense once.
        level: coverage of the intervals, in (0, 1).
        min_cases: with fewer cases a line stays undecided, at least 2.
        manifest: content hashes of the evaluation set that the gate is about, by case; None takes
            any set.

    Raises:
        ValueError: one of these is impossible.

    Example:
        >>> gate = Gate("gate 1", (Threshold("mre", 2.0, "at most", "mm"),))
        >>> Gate.from_dict(gate.to_dict()) == gate
        True
    """

    name: str
    thresholds: tuple[Threshold, ...]
    level: float = 0.95
    min_cases: int = 5
    manifest: Mapping[str, str] | None = None

    def __post_init__(self) -> None:
        keys = [(t.metric, t.sense) for t in self.thresholds]
        if not keys or len(set(keys)) < len(keys):
            msg = f"thresholds: expected at least one, each metric and sense once, got {keys}"
            raise ValueError(msg)
        if not 0 < self.level < 1 or self.min_cases < 2:
            msg = "expected level in (0, 1) and min_cases of at least 2, got "
            msg += f"{self.level} and {self.min_cases}"
            raise ValueError(msg)

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> "Gate":
        """Build a gate from what a YAML or JSON file holds; unknown and missing keys are refused.

        Example:
            >>> Gate.from_dict({"name": "g", "thresholds": [{"metric": "ssim", "bound": 0.8}]})
            Traceback (most recent call last):
            ValueError: threshold: expected metric, bound, sense (unit), got metric, bound
        """
        _keys("gate", content, needed=("name", "thresholds"), free=_OPTIONS)
        thresholds = content["thresholds"]
        for threshold in thresholds:
            _keys("threshold", threshold, needed=("metric", "bound", "sense"), free=("unit",))
        rest = {key: value for key, value in content.items() if key != "thresholds"}
        return cls(thresholds=tuple(Threshold(**threshold) for threshold in thresholds), **rest)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for a YAML or JSON file."""
        return {**vars(self), "thresholds": [dict(vars(t)) for t in self.thresholds]}


def _keys(what: str, content: object, *, needed: Sequence[str], free: Sequence[str]) -> None:
    """Refuse a table with missing or unknown keys."""
    got = list(content) if isinstance(content, Mapping) else [type(content).__name__]
    if set(needed) - set(got) or set(got) - {*needed, *free}:
        msg = f"{what}: expected {', '.join(needed)} ({', '.join(free)}), got {', '.join(got)}"
        raise ValueError(msg)
