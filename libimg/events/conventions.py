"""Where the bins of a voxel grid lie: the conventions of the known projects, by name."""

from dataclasses import dataclass
from typing import Literal

from libimg import _check

__all__ = ["CONVENTIONS", "Convention", "Interpolation", "Polarity"]

Polarity = Literal["sum", "split"]
Interpolation = Literal["none", "time"]


@dataclass(frozen=True)
class Convention:
    """Position of a time in a window, in bins: ``s = steps * (t - start) / duration + shift / 2``.

    ``s`` is held to [0, bins - 1], so that nothing is lost at the ends.

    Args:
        inner: ``steps`` is ``bins - 1`` instead of ``bins``.
        shift: ``s`` is moved by half a bin times this, 0 or -1.
        interpolation: ``"time"`` shares an event between the bins ``floor(s)`` and
            ``floor(s) + 1``; ``"none"`` gives it to the nearest.
        polarity: ``"sum"`` or ``"split"``.
        closed: the end of the window belongs to it, since the last bin lies there.

    Example:
        >>> CONVENTIONS["e2vid"].inner, CONVENTIONS["metavision"].shift
        (True, -1)
    """

    inner: bool
    shift: int
    interpolation: Interpolation
    polarity: Polarity
    closed: bool = False

    def steps(self, bins: int) -> int:
        """Bins that a whole window spans."""
        return bins - 1 if self.inner else bins


CONVENTIONS = {
    "edges": Convention(False, -1, "none", "sum"),
    "eflare": Convention(False, -1, "none", "sum"),
    "rvt": Convention(False, -1, "none", "split"),
    "metavision": Convention(False, -1, "time", "sum"),
    "tonic": Convention(False, 0, "time", "sum"),
    "e2vid": Convention(True, 0, "time", "sum", closed=True),
    "event_utils": Convention(True, 0, "time", "sum", closed=True),
    "dsec": Convention(True, 0, "time", "sum", closed=True),
}
"""Conventions by name; ``libimg.events.encode_voxels`` says what each project does otherwise."""


def settle(
    name: str, polarity: Polarity | None, interpolation: Interpolation | None
) -> tuple[Convention, Polarity, Interpolation]:
    """Look a convention up and let explicit choices go before its own."""
    _check.one_of("convention", name, tuple(CONVENTIONS))
    _check.one_of("polarity", polarity, ("sum", "split", None))
    _check.one_of("interpolation", interpolation, ("none", "time", None))
    chosen = CONVENTIONS[name]
    return chosen, polarity or chosen.polarity, interpolation or chosen.interpolation
