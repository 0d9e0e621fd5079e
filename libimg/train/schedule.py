"""Phases and weight curves as data: which networks train when, and what each loss weighs."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

__all__ = ["Phase", "Ramp", "cosine", "phase_at", "value_at"]


@dataclass(frozen=True, kw_only=True)
class Ramp:
    """A weight that moves linearly and then stays.

    Args:
        start: value at the beginning of the run.
        end: value from ``epochs`` on.
        epochs: length of the ramp, counted from the first epoch of the run.

    Example:
        >>> value_at(Ramp(start=0, end=1, epochs=4), 1)
        0.25
    """

    start: float
    end: float
    epochs: float


@dataclass(frozen=True, kw_only=True)
class Phase:
    """One stretch of a run.

    Args:
        name: what the logs call it.
        epochs: its length.
        train: networks that learn.
        frozen: networks that take part in eval mode and do not change. A network in neither
            list does not take part at all.
        weights: weight of each loss term, a number or a `Ramp`.

    Raises:
        ValueError: a network is in both lists, or ``epochs`` is negative.

    Example:
        >>> phase = Phase(name="gan", epochs=10, train=("G", "D"), frozen=("R",))
        >>> sorted(phase.networks)
        ['D', 'G', 'R']
    """

    name: str
    epochs: int
    train: tuple[str, ...]
    frozen: tuple[str, ...] = ()
    weights: dict[str, float | Ramp] = field(default_factory=dict)

    def __post_init__(self) -> None:
        both = set(self.train) & set(self.frozen)
        if both:
            msg = f"phase {self.name!r}: {sorted(both)} cannot both train and be frozen"
            raise ValueError(msg)
        if self.epochs < 0:
            msg = f"phase {self.name!r}: epochs must be at least 0, got {self.epochs}"
            raise ValueError(msg)

    @property
    def networks(self) -> frozenset[str]:
        """All networks that take part."""
        return frozenset(self.train) | frozenset(self.frozen)


def phase_at(phases: Sequence[Phase], epoch: float) -> tuple[Phase, float]:
    """Return the phase that an epoch falls in and the share of it that is over.

    Args:
        phases: in order.
        epoch: from 0, fractions allowed; after the end the last phase goes on with share 1.

    Raises:
        ValueError: there is no phase.

    Example:
        >>> phases = [Phase(name="a", epochs=2, train=("G",)), Phase(name="b", epochs=4, train=())]
        >>> for epoch in (1, 2, 3, 9):
        ...     phase, share = phase_at(phases, epoch)
        ...     print(phase.name, share)
        a 0.5
        b 0.0
        b 0.25
        b 1.0
    """
    if not phases:
        msg = "phases: expected at least one, got none"
        raise ValueError(msg)
    for phase in phases:
        if epoch < phase.epochs:
            return phase, epoch / phase.epochs
        epoch -= phase.epochs
    return phases[-1], 1.0


def value_at(value: float | Ramp, epoch: float) -> float:
    """Return a weight at an epoch (fractions allowed).

    Example:
        >>> value_at(Ramp(start=1, end=10, epochs=20), 10)
        5.5
        >>> value_at(0.5, 10)
        0.5
    """
    if not isinstance(value, Ramp):
        return float(value)
    share = min(max(epoch / value.epochs, 0.0), 1.0) if value.epochs > 0 else 1.0
    return value.start + (value.end - value.start) * share


def cosine(share: float, *, warmup: float = 0.0, final: float = 0.05) -> float:
    """Factor on a learning rate: linear warm-up to 1, then half a cosine down to ``final``.

    Args:
        share: how much of the phase is over, 0 to 1.
        warmup: share of the phase that the linear rise from 0.01 takes, in [0, 1).
        final: the factor at the end.

    Raises:
        ValueError: ``warmup`` leaves nothing of the phase.

    Reference:
        Loshchilov and Hutter, SGDR, 2017, eq. 5. With the share of a `Phase` it restarts in each
        phase, so that a network that joins late does not meet a rate that has decayed away.

    Example:
        >>> [cosine(share, final=0.0) for share in (0.0, 0.5, 1.0)]
        [1.0, 0.5, 0.0]
    """
    if not 0 <= warmup < 1:
        msg = f"warmup must be in [0, 1), got {warmup}"
        raise ValueError(msg)
    if share < warmup:
        return 0.01 + 0.99 * share / warmup
    share = (share - warmup) / (1 - warmup)
    return final + (1 - final) * 0.5 * (1 + math.cos(math.pi * share))
