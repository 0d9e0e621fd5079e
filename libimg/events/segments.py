"""Cutting recordings into pieces by one clock, and putting them together again."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from libimg import _check
from libimg.events.stream import Events, concatenate

__all__ = ["Clock", "merge_segments", "shared_clock", "split_segments"]


@dataclass(frozen=True)
class Clock:
    """Windows that follow each other: ``[start_us + i * duration_us, ... + duration_us)``.

    Args:
        start_us: start of the first window.
        duration_us: length of each.
        count: number of windows.

    Example:
        >>> list(Clock(500, duration_us=20_000, count=2))
        [500, 20500]
    """

    start_us: int
    duration_us: int
    count: int

    @property
    def stop_us(self) -> int:
        """End of the last window."""
        return self.start_us + self.duration_us * self.count

    def __len__(self) -> int:
        """Count the windows."""
        return self.count

    def __iter__(self) -> Iterator[int]:
        """Go through the starts of the windows."""
        return iter(range(self.start_us, self.stop_us, self.duration_us))


def shared_clock(
    *spans: tuple[int, int] | None,
    duration_us: int = 20_000,
    start_us: int | None = None,
) -> Clock:
    """Lay windows over several recordings of one scene, so that all are cut at the same times.

    Cutting each stream at its own first event, as E-Flare does, shifts the noisy voxels against
    the clean ones; a half-open end at the last event loses it. Here the last window reaches
    beyond the last event of all.

    Args:
        spans: times of the first and last event of every recording (`Events.span`,
            `EventFile.span`), None for one without events.
        duration_us: length of a window.
        start_us: start of the recordings; the first event of all if None.

    Returns:
        The clock, with one window or more: five for a recording of 100 ms and windows of 20 ms.

    Raises:
        ValueError: an event lies before ``start_us``, or there are neither events nor a start.

    Example:
        >>> shared_clock((130, 99_000), (510, 100_129))
        Clock(start_us=130, duration_us=20000, count=5)
    """
    _check.positive(duration_us=duration_us)
    known = [span for span in spans if span is not None]
    if start_us is None and not known:
        msg = "start_us is needed where no recording has an event, got None"
        raise ValueError(msg)
    start = min(span[0] for span in known) if start_us is None else start_us
    first = min([span[0] for span in known], default=start)
    last = max([span[1] for span in known], default=start)
    if first < start:
        msg = f"start_us must not be after the first event, got {start} and an event at {first}"
        raise ValueError(msg)
    return Clock(start, duration_us, (last - start) // duration_us + 1)


def split_segments(events: Events, clock: Clock) -> list[Events]:
    """Cut a sorted stream into the windows of a clock; times stay absolute.

    Args:
        events: sorted by time.
        clock: covers all events.

    Returns:
        One stream a window, some perhaps empty. They share memory with ``events``.

    Raises:
        ValueError: events lie outside the clock's windows; nothing is dropped in silence.

    Example:
        >>> events = Events([0, 19_999, 20_000], [0] * 3, [0] * 3, [1] * 3, sensor=(1, 1))
        >>> [len(piece) for piece in split_segments(events, Clock(0, 20_000, count=2))]
        [2, 1]
    """
    pieces = [events.between(start, start + clock.duration_us) for start in clock]
    lost = len(events) - sum(len(piece) for piece in pieces)
    if lost:
        msg = f"{lost} of {len(events)} events lie outside [{clock.start_us}, {clock.stop_us}) us"
        raise ValueError(msg)
    return pieces


def merge_segments(pieces: Sequence[Events]) -> Events:
    """Join pieces of absolute time; the inverse of `split_segments`.

    Args:
        pieces: one or more, each behind the one before it.

    Raises:
        ValueError: there is none, the sensors differ, or the pieces overlap in time.

    Example:
        >>> events = Events([0, 25_000], [0] * 2, [0] * 2, [1] * 2, sensor=(1, 1))
        >>> merge_segments(split_segments(events, Clock(0, 20_000, count=2))).t_us.tolist()
        [0, 25000]
    """
    joined = concatenate(pieces)
    if not joined.is_sorted():
        msg = "pieces must follow each other in time, got overlapping ones"
        raise ValueError(msg)
    return joined
