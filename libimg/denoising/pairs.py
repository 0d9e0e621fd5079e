"""Noisy and clean recordings: made from phantoms, paired by name, cut, encoded and drawn."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from libimg import data, phantoms
from libimg.denoising.codec import Codec, encode_segment, recording_clock, swap_polarity
from libimg.events import Clock, EventFile, Events, write_events
from libimg.events.reader import stated_sensor

__all__ = ["CLEAN", "NOISY", "EventData", "VoxelPairs", "draw_crops", "write_scene_pairs"]

NOISY, CLEAN = "background_with_flare_events", "background_with_light_events"
SUFFIXES = (".h5", ".hdf5")


@dataclass(frozen=True, kw_only=True)
class EventData:
    """Recordings and how they become voxels.

    Args:
        noisy: folder of noisy HDF5 files; phantom scenes are written and used if empty.
        clean: folder of clean ones, paired by name.
        val_noisy: folder for validation and test; the last ``val_files`` pairs if empty.
        val_clean: its clean partner.
        val_files: pairs held out where there is no folder for them; 0 tests on training pairs.
        scenes: phantom scenes to write, where there are no folders.
        sensor: (height, width) of phantom scenes, and of files that do not say it.
        length_us: length of phantom recordings.
        codec: segments and voxels.
        crop: (height, width) of a training crop; whole grids if empty.
        batch: crops in a step.
        swap: swap the polarities of half of the crops, for noise whose polarities are alike.
    """

    noisy: str = ""
    clean: str = ""
    val_noisy: str = ""
    val_clean: str = ""
    val_files: int = 2
    scenes: int = 10
    sensor: tuple[int, int] = (180, 240)
    length_us: int = 100_000
    codec: Codec = field(default_factory=Codec)
    crop: tuple[int, ...] = (96, 96)
    batch: int = 4
    swap: bool = False


class VoxelPairs(torch.utils.data.Dataset[dict[str, Tensor]]):
    """Segments of paired recordings as voxel grids ``{"raw", "label"}`` of ``(1, bins, h, w)``.

    With ``codec.polarity: split`` they are ``(2, bins, h, w)``.

    A pair is cut by one clock, so that noisy and clean grids show the same microseconds; a
    recording of 100 ms gives five items of 20 ms. Files are opened when an item is asked for,
    and only the events of its segment are read. What cannot be read raises, with its name.

    Args:
        pairs: noisy and clean file of every recording.
        config: the codec, and the sensor of files that do not say it.

    Raises:
        ValueError: a file cannot be read, or the sensors of a pair differ.

    Example:
        >>> import tempfile
        >>> from libimg.events import Events
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder) / "a.h5"
        ...     write_events(path, Events([0, 99_999], [0, 1], [0, 1], [1, 1], sensor=(4, 6)))
        ...     pairs = VoxelPairs([(path, path)], EventData())
        ...     len(pairs), pairs[4]["raw"].shape
        (5, torch.Size([1, 8, 4, 6]))
    """

    def __init__(self, pairs: Sequence[tuple[Path, Path]], config: EventData) -> None:
        self.config = config
        self.clocks: list[Clock] = []
        self.pairs = list(pairs)
        self.items: list[tuple[int, int]] = []
        for number, (noisy, clean) in enumerate(self.pairs):
            with self._open(noisy) as a, self._open(clean) as b:
                if a.sensor != b.sensor:
                    msg = f"{noisy} has a sensor of {a.sensor} and {clean} one of {b.sensor}"
                    raise ValueError(msg)
                clock = recording_clock(a, b, duration_us=config.codec.segment_us)
            self.clocks.append(clock)
            self.items += [(number, start_us) for start_us in clock]

    def __len__(self) -> int:
        """Count the segments of all pairs."""
        return len(self.items)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        """Encode one segment of a pair."""
        found, codec = self.events(index), self.config.codec
        return {name: encode_segment(part, start_us=0, codec=codec) for name, part in found.items()}

    def events(self, index: int) -> dict[str, Events]:
        """Read the events of one segment, noisy as ``raw`` and clean as ``label``."""
        number, start = self.items[index]
        stop = start + self.config.codec.segment_us
        found = {}
        for name, path in zip(("raw", "label"), self.pairs[number], strict=True):
            with self._open(path) as file:
                found[name] = file.read(start_us=start, stop_us=stop).shift(-start)
        return found

    def recording(self, number: int) -> tuple[Events, Events]:
        """Read a whole pair, noisy and clean, in absolute times."""
        found = []
        for path in self.pairs[number]:
            with self._open(path) as file:
                found.append(file.read())
        return found[0], found[1]

    def _open(self, path: Path) -> EventFile:
        return EventFile(path, sensor=stated_sensor(path) or self.config.sensor)


def draw_crops(
    items: Sequence[Mapping[str, Tensor]] | VoxelPairs,
    *,
    crop: Sequence[int],
    batch: int,
    generator: torch.Generator,
    swap: bool = False,
) -> dict[str, Float[Tensor, "batch c bins h w"]]:
    """Draw a batch of crops at random, each mirrored at random, square ones transposed, too.

    Args:
        items: data set of ``{"raw", "label"}`` grids.
        crop: (height, width), at most the grid's; whole grids if empty.
        batch: number of crops.
        generator: draws everything.
        swap: also swap the polarities at random.

    Raises:
        ValueError: a grid is smaller than the crop.
    """
    drawn = []
    for index in torch.randint(len(items), (batch,), generator=generator).tolist():
        item = items[index]
        size = item["raw"].shape[-2:]
        window = tuple(crop) or tuple(size)
        if window[0] > size[0] or window[1] > size[1]:
            msg = f"crop must fit into the grids, got {window} for a grid of {tuple(size)}"
            raise ValueError(msg)
        random = torch.rand(6, generator=generator).tolist()
        top, left = (int(r * (n - m + 1)) for r, n, m in zip(random, size, window, strict=False))
        flips = [axis for axis, r in zip((-1, -2), random[2:4], strict=True) if r < 0.5]
        turn = random[4] < 0.5 and window[0] == window[1]
        swapped = swap and random[5] < 0.5
        found = {}
        for name, grid in item.items():
            part = grid[..., top : top + window[0], left : left + window[1]].flip(flips)
            part = part.mT if turn else part
            found[name] = swap_polarity(part, channel=0) if swapped else part
        drawn.append(found)
    return {name: torch.stack([item[name] for item in drawn]) for name in ("raw", "label")}


def write_scene_pairs(config: EventData, folder: Path, *, seed: int) -> tuple[Path, Path]:
    """Write phantom scenes as pairs of files, noisy and clean; those that are there are kept.

    Args:
        config: how many, how large, how long.
        folder: the two sub-folders are made in it.
        seed: of the scenes.

    Returns:
        The folders of noisy and of clean recordings.
    """
    noisy, clean = folder / NOISY, folder / CLEAN
    for number in range(config.scenes):
        name = f"scene_{seed}_{number:03d}.h5"
        if (noisy / name).exists() and (clean / name).exists():
            continue
        generator = torch.Generator().manual_seed(1000 * seed + number)
        events, label = phantoms.scene(
            sensor=config.sensor, duration_us=config.length_us, generator=generator
        )
        signal = events[label == phantoms.EventLabel.SIGNAL]
        write_events(noisy / name, events, start_us=0, compression="gzip")
        write_events(clean / name, signal, start_us=0, compression="gzip")
    return noisy, clean


def event_pairs(
    config: EventData, folder: Path, *, seed: int
) -> tuple[list[tuple[Path, Path]], list[tuple[Path, Path]]]:
    """Pair the files to train on and those to test on.

    Args:
        config: the folders, or how to make scenes.
        folder: where scenes go if there are no folders.
        seed: of the scenes.

    Returns:
        Training pairs and held-out pairs, (noisy, clean) each.

    Raises:
        FileNotFoundError: a folder is missing or empty, or a file has no partner.
        ValueError: only one folder of a pair is given, or nothing would be left to train on.
    """
    given = (
        (bool(config.noisy), bool(config.clean)),
        (bool(config.val_noisy), bool(config.val_clean)),
    )
    if any(a != b for a, b in given):
        msg = f"data: noisy and clean folders come in pairs, got {config.noisy!r}, "
        msg += f"{config.clean!r}, {config.val_noisy!r} and {config.val_clean!r}"
        raise ValueError(msg)
    noisy, clean = Path(config.noisy), Path(config.clean)
    if not config.noisy:
        noisy, clean = write_scene_pairs(config, folder, seed=seed)
    pairs = data.pair_files(noisy, clean, names=("noisy", "clean"), suffixes=SUFFIXES)
    if not config.noisy:
        pairs = [pair for pair in pairs if pair[0].name.startswith(f"scene_{seed}_")][
            : config.scenes
        ]
    if config.val_noisy:
        folders = Path(config.val_noisy), Path(config.val_clean)
        return pairs, data.pair_files(*folders, names=("noisy", "clean"), suffixes=SUFFIXES)
    if config.val_files >= len(pairs):
        msg = f"data.val_files must leave pairs to train on, got {config.val_files} of {len(pairs)}"
        raise ValueError(msg)
    if config.val_files == 0:
        return pairs, pairs
    return pairs[: -config.val_files], pairs[-config.val_files :]
