"""What the page does, as plain functions from files to files."""

import math
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from time import perf_counter
from zipfile import ZIP_STORED, ZipFile

from torch import Tensor
from torch.nn import functional as F

from libimg.degradations import Degradation, DegradationParams, to_bytes
from libimg.io import Picture, as_rgb, read_image, write_image
from libimg.metrics import psnr
from libimg.ranges import BYTE
from libimg.restoration import Card, Restorer, restore_picture

__all__ = ["Limits", "Restored", "pack", "range_notes", "restore_upload", "restore_uploads"]

HEADS = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"II*\0", b"MM\0*", b"BM", b"RIFF")
SHOWN = 2048  # pixels along a side; more makes a page slow
FAILURES = (ValueError, OSError, ImportError, RuntimeError, MemoryError)


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What the page takes.

    Args:
        megabytes: of a file.
        megapixels: of an image; a larger one is refused before it is unpacked.
        files: at once.

    Example:
        >>> Limits().files
        16
    """

    megabytes: float = 50.0
    megapixels: float = 24.0
    files: int = 16


DEFAULTS = Limits()


@dataclass(frozen=True, kw_only=True)
class Restored:
    """A restored photograph, in files.

    Args:
        name: of the file that was given.
        target: the result, whole and with the bits of the original.
        before: what the network was given, as shown: 8 bits, at most 2048 pixels along a side.
        after: the result as shown.
        clean: the original as shown, if it was degraded here.
        size: height and width.
        seconds: that the network took.
        psnr: of the degraded and of the restored image (dB, RGB, 8 bit), if it was degraded here.
        notes: what was done on the way, in words.

    Example:
        >>> where = {name: Path("a.png") for name in ("target", "before", "after")}
        >>> Restored(name="a.jpg", **where, size=(4, 6), seconds=0.1).psnr is None
        True
    """

    name: str
    target: Path
    before: Path
    after: Path
    clean: Path | None = None
    size: tuple[int, int]
    seconds: float
    psnr: tuple[float, float] | None = None
    notes: tuple[str, ...] = ()


def range_notes(card: Card, params: DegradationParams | None) -> tuple[str, ...]:
    """Say in which respect a degradation is one that the network was not trained on.

    Example:
        >>> range_notes(Card(sigma_range=(0, 30)), DegradationParams(sigma=50, quality=40))
        ('noise of 50 lies outside the trained range of 0 to 30',)
    """
    if params is None:
        return ()
    found = []
    low, high = card.sigma_range
    if not low <= params.sigma <= high:
        found.append(
            f"noise of {params.sigma:g} lies outside the trained range of {low:g} to {high:g}"
        )
    if params.quality is not None and card.quality_range is None:
        found.append("the network was trained without JPEG")
    elif params.quality is not None and card.quality_range is not None:
        first, last = card.quality_range
        if not first <= params.quality <= last:
            text = f"JPEG quality {params.quality} lies outside the trained range of "
            found.append(f"{text}{first} to {last}")
    return tuple(found)


def restore_upload(
    path: Path,
    restorer: Restorer,
    folder: Path,
    *,
    degradation: DegradationParams | None = None,
    limits: Limits = DEFAULTS,
    tile: int = 512,
) -> Restored:
    """Restore one photograph, degraded first if wanted.

    Args:
        path: file, treated as by `libimg.io.read_image`.
        restorer: network and card.
        folder: where the results go.
        degradation: what to do to it first; None for nothing.
        limits: of file and image.
        tile: see `libimg.restoration.restore_picture`.

    Raises:
        ValueError: it is no image, is damaged or above a limit; the message names the file.

    Example:
        >>> import torch
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder) / "a.png"
        ...     write_image(path, Picture(torch.full((3, 16, 16), 0.5)))
        ...     how = DegradationParams(sigma=10)
        ...     same = Restorer(lambda x: x, Card())
        ...     found = restore_upload(path, same, Path(folder), degradation=how)
        >>> found.psnr
        (28., 28.)
    """
    _check_file(path, limits)
    picture = read_image(path, megapixels=limits.megapixels)
    given, notes = picture, list(picture.notes)
    if degradation is not None:
        given = replace(picture, image=Degradation.apply(picture.image, degradation))
        notes += range_notes(restorer.card, degradation)
    start = perf_counter()
    result = restore_picture(given, restorer, tile=tile)
    seconds = perf_counter() - start
    height, width = picture.image.shape[1:]
    if max(height, width) > SHOWN:
        notes.append(f"shown at 1/{_shrink(picture)} of its size")
    files = {name: _free(folder, path, name) for name in ("restored", "before", "after", "clean")}
    write_image(files["restored"], result)
    write_image(files["before"], _shown(given))
    write_image(files["after"], _shown(result))
    if degradation is not None:
        write_image(files["clean"], _shown(picture))
    return Restored(
        name=path.name,
        target=files["restored"],
        before=files["before"],
        after=files["after"],
        clean=None if degradation is None else files["clean"],
        size=(height, width),
        seconds=seconds,
        psnr=None if degradation is None else (_score(given, picture), _score(result, picture)),
        notes=tuple(notes),
    )


def restore_uploads(
    paths: Sequence[Path],
    restorer: Restorer,
    folder: Path,
    *,
    degradation: DegradationParams | None = None,
    limits: Limits = DEFAULTS,
    progress: Callable[[int, str], object] = lambda number, name: None,
) -> tuple[list[Restored], list[str]]:
    """Restore several photographs; one that fails is named with its reason, the rest goes on.

    Args:
        paths: files.
        restorer: network and card.
        folder: a new folder in it gets the results.
        degradation: what to do to them first; the seed of the next one is one more.
        limits: of files and images.
        progress: is told the number and the name of each file before it is begun.

    Returns:
        What was restored, and a line for each file that was not.

    Example:
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder) / "a.txt"
        ...     path.write_text("hello")
        ...     restore_uploads([path], Restorer(lambda x: x, Card()), Path(folder))
        5
        ([], ['a.txt: is not a PNG, JPEG, TIFF, BMP or WebP image'])
    """
    inside = Path(tempfile.mkdtemp(dir=folder))
    done: list[Restored] = []
    failed: list[str] = []
    for number, path in enumerate(paths[: limits.files]):
        progress(number, path.name)
        record = None
        if degradation is not None:
            record = replace(degradation, seed=degradation.seed + number)
        try:
            found = restore_upload(path, restorer, inside, degradation=record, limits=limits)
        except FAILURES as error:
            text = str(error).replace(str(path), path.name) or type(error).__name__
            failed.append(text if text.startswith(path.name) else f"{path.name}: {text}")
        else:
            done.append(found)
    left = f"not looked at, more than the limit of {limits.files} files at once"
    failed += [f"{path.name}: {left}" for path in paths[limits.files :]]
    return done, failed


def pack(results: Sequence[Restored]) -> list[Path]:
    """List the files to download: every result, and several also as one archive."""
    files = [result.target for result in results]
    if len(files) < 2:
        return files
    archive = files[0].with_name("restored.zip")
    with ZipFile(archive, "w", ZIP_STORED) as target:  # a PNG is compressed already
        for file in files:
            target.write(file, file.name)
    return [archive, *files]


def _check_file(path: Path, limits: Limits) -> None:
    """Refuse what is too large, and formats that Pillow would open by running other programs."""
    size = path.stat().st_size / 1e6
    if size > limits.megabytes:
        msg = f"{path}: {size:.1f} MB, more than the limit of {limits.megabytes:g}"
        raise ValueError(msg)
    with path.open("rb") as file:
        if not file.read(8).startswith(HEADS):
            msg = f"{path}: is not a PNG, JPEG, TIFF, BMP or WebP image"
            raise ValueError(msg)


def _free(folder: Path, path: Path, kind: str) -> Path:
    """Find a name that is not taken; two uploads may have the same."""
    number = 1
    while True:
        part = "" if number == 1 else f"_{number}"
        file = folder / f"{path.stem[:80]}{part}_{kind}.png"
        if not file.exists():
            return file
        number += 1


def _score(picture: Picture, clean: Picture) -> float:
    pair = [to_bytes(as_rgb(p.image)[None]).float() for p in (picture, clean)]
    return float(psnr(pair[0], pair[1], data_range=BYTE))


def _shrink(picture: Picture) -> int:
    return max(1, math.ceil(max(picture.image.shape[1:]) / SHOWN))


def _shown(picture: Picture) -> Picture:
    """Make a copy for the page: 8 bits, means over squares of pixels if it is large."""
    factor = _shrink(picture)

    def small(x: Tensor) -> Tensor:
        return x if factor == 1 else F.avg_pool2d(x[None], factor, ceil_mode=True)[0]

    alpha = None if picture.alpha is None else small(picture.alpha)
    profile = {k: v for k, v in picture.info.items() if k == "icc_profile"}
    return replace(picture, image=small(picture.image), alpha=alpha, bits=8, info=profile)
