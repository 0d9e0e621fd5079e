"""Restoring photographs from file to file: any size, any mode, a folder with its tree."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from libimg import inference
from libimg._extras import optional
from libimg.io import Picture, as_rgb, list_images, read_image, restored, write_image

__all__ = ["Outcome", "restore_files", "restore_picture"]

Model = Callable[[Tensor], Tensor]
PLAIN = (".png", ".tif", ".tiff")
MULTIPLE = 16


@dataclass(frozen=True)
class Outcome:
    """What became of a file.

    Attributes:
        source: the file.
        target: what was written, None if it failed.
        state: ``"restored"``, ``"kept"`` (there already) or ``"failed"``.
        notes: what was done to it on the way, or the reason.

    Example:
        >>> Outcome(Path("a.png"), None, "failed", "no image").state
        'failed'
    """

    source: Path
    target: Path | None
    state: str
    notes: str


@torch.no_grad()
def restore_picture(
    picture: Picture, model: Model, *, tile: int = 512, overlap: float = 0.25
) -> Picture:
    """Restore a photograph; large ones in overlapping tiles that are blended.

    Tiles begin at multiples of 16 pixels, and the image is repeated at its far ends up to one, so
    that a network that halves its image up to four times does the same in a tile and in the whole.

    Args:
        picture: gray or RGB; transparency is passed on as it is.
        model: from ``(1, 3, h, w)`` in [0, 1] to the same.
        tile: largest height and width that the model gets at once, rounded down to a multiple
            of 16.
        overlap: about the share of a tile that the next one repeats.

    Raises:
        ValueError: the model's answer has another shape or is not finite, or ``tile`` or
            ``overlap`` is out of range.

    Example:
        >>> picture = Picture(torch.full((1, 4, 6), 0.5))
        >>> restore_picture(picture, lambda x: x / 2).image[0, 0, 0]
        tensor(0.2500)
    """
    if tile < MULTIPLE or not 0 <= overlap < 1:
        msg = f"expected a tile of {MULTIPLE} or more and an overlap in [0, 1), got {tile} and "
        msg += f"{overlap:g}"
        raise ValueError(msg)
    x = as_rgb(picture.image)[None]
    height, width = x.shape[2:]
    padding = (0, -width % MULTIPLE, 0, -height % MULTIPLE)
    padded = F.pad(x, padding, mode="replicate") if any(padding) else x
    tile -= tile % MULTIPLE
    if max(height, width) > tile:
        size = [min(tile, n) for n in padded.shape[2:]]
        step = max(1, round(tile * (1 - overlap) / MULTIPLE)) * MULTIPLE
        part = 1 - step / tile
        how: Any = {"window": size, "overlap": part, "batch": 1, "blend": "hann"}
        out = inference.sliding_window(padded, model, **how)
    else:
        out = model(padded)
    if out.shape != padded.shape or not bool(out.isfinite().all()):
        msg = f"model must give finite values of shape {tuple(padded.shape)}, got "
        msg += f"{tuple(out.shape)}"
        raise ValueError(msg)
    return restored(picture, out[0, :, :height, :width].float().clamp(0, 1))


def restore_files(
    source: Path,
    target: Path,
    model: Model,
    *,
    tile: int = 512,
    overlap: float = 0.25,
    progress: bool = False,
) -> Iterator[Outcome]:
    """Restore a file, or all images below a folder into another with the same tree.

    Results are PNG (TIFF stays TIFF), since a lossy format would bring the artefacts back. What is
    there already is kept, so a stopped run goes on. A file that cannot be read is reported with
    its reason, and the rest goes on.

    Args:
        source: file or folder.
        target: file for a file, folder for a folder.
        model: see `restore_picture`.
        tile: see `restore_picture`.
        overlap: see `restore_picture`.
        progress: show a progress bar.

    Yields:
        What became of each file.

    Raises:
        FileNotFoundError: there is no such file or folder, or no image in it.
        ValueError: ``target`` is ``source``, or lies in it.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     source = Path(folder) / "in"
        ...     write_image(source / "a.jpg", Picture(torch.zeros(3, 4, 6)))
        ...     found = list(restore_files(source, Path(folder) / "out", lambda x: x))
        >>> found[0].state, found[0].target.name
        ('restored', 'a.jpg.png')
    """
    if target.resolve() == source.resolve() or source.resolve() in target.resolve().parents:
        msg = f"{target}: must lie outside {source}"
        raise ValueError(msg)
    single = source.is_file()
    paths: Any = list_images(source)
    for path in optional("tqdm", extra="tasks").tqdm(paths, unit="image") if progress else paths:
        goal = target if single else target / path.relative_to(source)
        if goal.suffix.lower() not in PLAIN and not single:
            goal = goal.with_name(f"{goal.name}.png")
        if goal.exists():
            yield Outcome(path, goal, "kept", "is there already")
            continue
        part = goal.with_name(f".{goal.stem}.part{goal.suffix}")
        try:
            picture = read_image(path)
            write_image(part, restore_picture(picture, model, tile=tile, overlap=overlap))
            part.replace(goal)
        except (ValueError, OSError, ImportError) as error:
            part.unlink(missing_ok=True)
            yield Outcome(path, None, "failed", str(error))
        else:
            yield Outcome(path, goal, "restored", ", ".join(picture.notes))
