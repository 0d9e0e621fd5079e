"""Pictures of results, with their windows and units on them."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jaxtyping import Float
from torch import Tensor

from libimg._extras import optional
from libimg.ranges import ValueRange

__all__ = ["Tile", "panel"]


@dataclass(frozen=True)
class Tile:
    """One picture of a panel.

    Args:
        image: ``(h, w)`` values, or ``(3, h, w)`` RGB, which is shown in its own colours.
        window: the range from black to white.
        colours: a matplotlib colour map; ``"gray"`` for images, ``"RdBu_r"`` for signed errors.

    Example:
        >>> import torch
        >>> Tile(torch.zeros(4, 4), ValueRange(-1000, 600, "HU")).colours
        'gray'
    """

    image: Float[Tensor, "*rgb h w"]
    window: ValueRange
    colours: str = "gray"


def panel(
    path: Path,
    rows: Sequence[Sequence[Tile]],
    *,
    columns: Sequence[str],
    labels: Sequence[str],
    title: str = "",
    aspect: float = 1.0,
    inches: float = 2.6,
) -> Path:
    """Write a grid of pictures as PNG, each row with its name and its colour bars.

    Args:
        path: file to write; its folder is made.
        rows: tiles, row by row, equally many in each.
        columns: heading of each column.
        labels: name of each row, such as the display window.
        title: line above everything.
        aspect: height of a pixel divided by its width, for voxels that are not square.
        inches: width of a tile.

    Returns:
        ``path``.

    Raises:
        ValueError: there is no row, the rows are of unequal length, or they do not fit
            ``columns`` and ``labels``.

    Example:
        >>> import tempfile, torch
        >>> tile = Tile(torch.rand(8, 8), ValueRange(0, 1))
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder) / "p.png"
        ...     panel(path, [[tile, tile]], columns=["a", "b"], labels=["row"]).name
        'p.png'
    """
    if not rows or len(rows) != len(labels) or any(len(row) != len(columns) for row in rows):
        got = f"{len(rows)} rows of {sorted({len(row) for row in rows})} tiles"
        msg = f"rows: expected {len(labels)} rows of {len(columns)} tiles, got {got}"
        raise ValueError(msg)
    figures = optional("matplotlib.figure", extra="tasks")
    height, width = rows[0][0].image.shape[-2:]
    tall = inches * height * aspect / width
    figure = figures.Figure(
        figsize=(inches * len(columns) + 0.9, tall * len(rows) + 0.7), layout="constrained"
    )
    figure.suptitle(title, fontsize=10)
    axes = figure.subplots(len(rows), len(columns), squeeze=False)
    for r, (row, label) in enumerate(zip(rows, labels, strict=True)):
        shown = {}
        for c, tile in enumerate(row):
            axis = axes[r, c]
            picture = axis.imshow(
                _shown(tile),
                cmap=tile.colours,
                vmin=tile.window.lo,
                vmax=tile.window.hi,
                aspect=aspect,
                interpolation="nearest",
            )
            axis.set_xticks([])
            axis.set_yticks([])
            if r == 0:
                axis.set_title(columns[c], fontsize=9)
            if c == 0:
                axis.set_ylabel(label, fontsize=9)
            if tile.image.ndim == 2:
                shown[tile.window, tile.colours] = (picture, c)
        for (window, _), (picture, c) in shown.items():
            bar = figure.colorbar(picture, ax=axes[r, c], fraction=0.046, pad=0.02)
            bar.ax.tick_params(labelsize=6)
            bar.ax.set_title(window.unit, fontsize=6)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
    return path


def _shown(tile: Tile) -> Any:
    """Values for matplotlib: as they are, or RGB from the window to [0, 1]."""
    image = tile.image.detach().float().cpu()
    if image.ndim == 2:
        return image.numpy()
    lo, hi = tile.window.lo, tile.window.hi
    return ((image - lo) / (hi - lo)).clamp(0, 1).movedim(0, -1).numpy()
