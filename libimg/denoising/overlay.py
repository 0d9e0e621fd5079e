"""Real noise on real signal: a recording of noise alone laid over clean ones gives labels."""

from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Bool
from torch import Tensor

from libimg import _check
from libimg.denoising.pairs import CLEAN, NOISY
from libimg.events import Events, concatenate, read_events, write_events

__all__ = ["Overlays", "overlay_noise"]


def overlay_noise(
    signal: Events, noise: Events, *, copies: int = 1, period_us: int | None = None
) -> tuple[Events, Bool[Tensor, " n"]]:
    """Lay recorded noise over a recording.

    Each copy is another window of the noise sensor, as large as the signal's: the four corners,
    the centre, then the middles of the sides. A recording of noise that is shorter is repeated.

    Args:
        signal: sorted, what counts as signal, its own noise included.
        noise: sorted, of a sensor at least as large.
        copies: how many windows of noise, 1 to 9.
        period_us: length of the noise recording; from its first to its last event if None.

    Returns:
        All events in order of time, and which of them are signal.

    Raises:
        ValueError: the noise sensor is too small, a stream is empty, or ``copies`` out of range.

    Example:
        >>> signal = Events([0, 50], [0, 1], [0, 0], [1, 1], sensor=(1, 2))
        >>> noise = Events([7, 20], [0, 3], [0, 1], [1, -1], sensor=(2, 4))
        >>> events, is_signal = overlay_noise(signal, noise, copies=1, period_us=30)
        >>> events.t_us.tolist(), is_signal.tolist()
        ([0, 0, 30, 50], [True, False, False, True])
    """
    (height, width), (tall, wide) = signal.sensor, noise.sensor
    down, right = tall - height, wide - width
    if down < 0 or right < 0:
        msg = f"noise must come from a sensor of at least {signal.sensor}, got {noise.sensor}"
        raise ValueError(msg)
    places = [(0, 0), (0, right), (down, 0), (down, right), (down // 2, right // 2)]
    places += [(0, right // 2), (down, right // 2), (down // 2, 0), (down // 2, right)]
    _check.one_of("copies", copies, range(1, len(places) + 1))
    span, within = signal.span, noise.span
    if span is None or within is None:
        msg = f"both streams need events, got {len(signal)} of signal and {len(noise)} of noise"
        raise ValueError(msg)
    period = within[1] - within[0] + 1 if period_us is None else period_us
    _check.positive(period_us=period)
    parts = [signal]
    for top, left in places[:copies]:
        part = noise.crop(top=top, left=left, sensor=signal.sensor).shift(span[0] - within[0])
        for start in range(span[0], span[1] + 1, period):
            parts.append(part.between(span[0], span[0] + period).shift(start - span[0]))
            parts[-1] = parts[-1].between(start, span[1] + 1)
    mixed = concatenate(parts)
    order = torch.argsort(mixed.t_us, stable=True)
    return mixed[order], (torch.arange(len(mixed)) < len(signal))[order]


@dataclass(frozen=True)
class Overlays:
    """Recordings with recorded noise over them: one to test on, the others to train on.

    The noise recording is halved in time: its first half is laid over training recordings, its
    second half over the test recording.

    Args:
        folder: event files.
        noise: name of the file that holds noise alone.
        test: name of the file to test on.
        copies: windows of noise laid over a training recording, one file for each number.
        test_copies: windows of noise laid over the test recording.
    """

    folder: Path
    noise: str
    test: str
    copies: tuple[int, ...] = (1, 2, 3, 5, 7, 9)
    test_copies: int = 5

    def write_training(self, target: Path) -> tuple[Path, Path]:
        """Write pairs of all other recordings, each at every noise level.

        Args:
            target: two sub-folders are made in it; files that are there are kept.

        Returns:
            The folders of noisy and of clean recordings.

        Raises:
            FileNotFoundError: a file is missing, or there is no other recording.
        """
        others = [
            p for p in sorted(self.folder.glob("*.h5")) if p.name not in (self.noise, self.test)
        ]
        if not others:
            msg = f"{self.folder}: no event files beside {self.noise} and {self.test}"
            raise FileNotFoundError(msg)
        noise, period = self._noise(0)
        for path in others:
            signal = read_events(path)
            for copies in self.copies:
                name = f"{path.stem}_{copies}.h5"
                if (target / CLEAN / name).exists():
                    continue
                mixed, is_signal = overlay_noise(signal, noise, copies=copies, period_us=period)
                start = int(signal.t_us[0])
                write_events(target / NOISY / name, mixed, start_us=start)
                write_events(target / CLEAN / name, mixed[is_signal], start_us=start)
        return target / NOISY, target / CLEAN

    def test_stream(self) -> tuple[Events, Bool[Tensor, " n"]]:
        """Return the test recording under noise, and which of its events are signal."""
        noise, period = self._noise(1)
        signal = read_events(self.folder / self.test)
        return overlay_noise(signal, noise, copies=self.test_copies, period_us=period)

    def _noise(self, half: int) -> tuple[Events, int]:
        noise = read_events(self.folder / self.noise)
        if noise.span is None:
            msg = f"{self.folder / self.noise}: expected a recording of noise, got no events"
            raise ValueError(msg)
        period = (noise.span[1] - noise.span[0] + 1) // 2
        start = noise.span[0] + half * period
        return noise.between(start, start + period).shift(-start), period
