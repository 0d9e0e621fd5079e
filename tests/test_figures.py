from pathlib import Path

import matplotlib.image
import numpy as np
import pytest
import torch

from libimg.figures import Tile, panel
from libimg.ranges import SIGNED, UNIT, ValueRange

HU = ValueRange(-1000, 600, "HU")


def ramp(height: int, width: int, *, window: ValueRange = UNIT) -> torch.Tensor:
    line = torch.linspace(window.lo, window.hi, width)
    return line.expand(height, width)


def draw(path: Path, rows: int, columns: int, tile: Tile, **options: float) -> np.ndarray:
    """Write a panel of equal tiles and read it back, in [0, 1]."""
    names = [f"column {i}" for i in range(columns)]
    labels = [f"row {i}" for i in range(rows)]
    written = panel(path, [[tile] * columns] * rows, columns=names, labels=labels, **options)
    assert written == path
    return matplotlib.image.imread(path)[..., :3]


@pytest.mark.parametrize(
    ("shape", "rows", "columns", "options"),
    [
        ((8, 8), 1, 1, {}),
        ((20, 30), 2, 3, {}),
        ((30, 20), 1, 2, {"inches": 1.5}),
        ((10, 20), 1, 2, {"aspect": 2.5}),
    ],
)
def test_size_in_pixels(
    tmp_path: Path, shape: tuple[int, int], rows: int, columns: int, options: dict[str, float]
) -> None:
    picture = draw(tmp_path / "p.png", rows, columns, Tile(ramp(*shape), UNIT), **options)
    wide = options.get("inches", 2.6)
    tall = wide * shape[0] * options.get("aspect", 1.0) / shape[1]
    expected = [110 * (tall * rows + 0.7), 110 * (wide * columns + 0.9)]
    assert picture.shape[:2] == pytest.approx(expected, abs=1)


def red_part(picture: np.ndarray) -> tuple[float, float]:
    """Height and width of what is pure red; a median, since the colour bar has a little of it."""
    red = np.abs(picture - (1, 0, 0)).max(-1) < 0.002
    down, across = red.sum(0), red.sum(1)
    return float(np.median(down[down > 0])), float(np.median(across[across > 0]))


@pytest.mark.parametrize(("shape", "aspect"), [((20, 20), 1.0), ((10, 20), 2.5), ((30, 20), 1.0)])
def test_voxels_keep_their_shape(tmp_path: Path, shape: tuple[int, int], aspect: float) -> None:
    """A red tile is as tall as its voxels say."""
    tile = Tile(torch.zeros(shape), UNIT, colours="autumn")
    height, width = red_part(draw(tmp_path / "p.png", 1, 1, tile, aspect=aspect))
    assert height / width == pytest.approx(shape[0] * aspect / shape[1], rel=0.03)
    assert width > 150


def test_values_are_shown_in_their_window(tmp_path: Path) -> None:
    """Below is black, above white, the middle grey; another window shows another picture."""
    values = torch.tensor([[-3000.0, -200.0, 3000.0]]).repeat_interleave(10, 1).repeat(10, 1)
    picture = draw(tmp_path / "p.png", 1, 1, Tile(values, HU), inches=4.0)
    middle = picture[picture.shape[0] // 2]
    line = middle[np.abs(middle - middle.mean(1, keepdims=True)).max(1) < 0.01].mean(1)
    levels, counts = np.unique(line.round(2), return_counts=True)
    common = {float(level) for level, count in zip(levels, counts, strict=True) if count > 60}
    assert common >= {0.0, 0.5, 1.0}
    narrow = draw(tmp_path / "q.png", 1, 1, Tile(values, ValueRange(-4000, -199)), inches=4.0)
    assert not np.array_equal(picture, narrow)


def test_each_window_of_a_row_has_its_bar(tmp_path: Path) -> None:
    """Every further window or colour map adds a bar, and the tiles become narrower."""
    red = Tile(torch.zeros(10, 10), UNIT, colours="autumn")
    blue, blue_signed = (Tile(torch.ones(10, 10), w, colours="winter") for w in (UNIT, SIGNED))
    widths = []
    for row in ([red, red, red], [red, blue, blue], [red, blue, blue_signed]):
        path = panel(tmp_path / "p.png", [row], columns=["a", "b", "c"], labels=["d"])
        picture = matplotlib.image.imread(path)[..., :3]
        widths.append(red_part(picture)[1] / sum(tile is red for tile in row))
    assert widths[0] - 5 > widths[1] > widths[2] + 5


def test_the_folder_is_made_and_graphs_are_left_out(tmp_path: Path) -> None:
    tile = Tile(torch.zeros(4, 4, dtype=torch.bfloat16, requires_grad=True), UNIT)
    assert draw(tmp_path / "a" / "b" / "p.png", 1, 1, tile).std() > 0


@pytest.mark.parametrize("counts", [[], [1], [2, 1], [1, 2], [2, 2, 2], [3, 3]])
def test_rows_that_do_not_fit_are_refused(tmp_path: Path, counts: list[int]) -> None:
    tile = Tile(torch.zeros(4, 4), UNIT)
    rows = [[tile] * n for n in counts]
    labels = "cd"[: len(counts)] if not counts else "cd"
    with pytest.raises(ValueError, match=f"of 2 tiles, got {len(counts)} rows"):
        panel(tmp_path / "p.png", rows, columns="ab", labels=labels)
    assert not (tmp_path / "p.png").exists()
