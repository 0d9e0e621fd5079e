"""Landmarks and pixel sizes as CSV files."""

import csv
import math
from collections.abc import Sequence
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

__all__ = ["read_landmarks", "read_spacing", "write_landmarks"]

HEADER = ("landmark", "x", "y")


def read_landmarks(
    path: str | Path, *, size: tuple[int, int]
) -> tuple[tuple[str, ...], Float[Tensor, "n 2"]]:
    """Read landmarks.

    Args:
        path: CSV with the columns ``landmark``, ``x`` (to the right) and ``y`` (down), in pixels;
            the centre of the first pixel is 0. An empty ``x`` and ``y`` is a missing landmark.
        size: height and width of the picture.

    Returns:
        Names, and row and column of each; NaN where it is missing.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: another header, a name twice, no number, or a landmark outside the picture; the
            file and the line are named.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder) / "a.csv"
        ...     write_landmarks(path, ["sella"], torch.tensor([[3.0, 8.0]]))
        ...     read_landmarks(path, size=(10, 20))
        (('sella',), tensor([[3., 8.]]))
    """
    path = Path(path)
    if not path.is_file():
        msg = f"{path}: no such file"
        raise FileNotFoundError(msg)
    with path.open(newline="", encoding="utf-8-sig") as file:
        lines = list(csv.reader(file))
    if not lines or tuple(word.strip().lower() for word in lines[0]) != HEADER:
        got = ",".join(lines[0]) if lines else "nothing"
        msg = f"{path}: expected the header {','.join(HEADER)}, got {got}"
        raise ValueError(msg)
    found: dict[str, tuple[float, float]] = {}
    for number, line in enumerate(lines[1:], start=2):
        if not line:
            continue
        where = f"{path}, line {number}"
        if len(line) != len(HEADER) or line[0] in found:
            msg = f"{where}: expected a new landmark, x and y, got {','.join(line)}"
            raise ValueError(msg)
        x, y = (_number(word, where) for word in line[1:])
        height, width = size
        if math.isnan(x) != math.isnan(y) or not (
            math.isnan(x) or (-0.5 <= x <= width - 0.5 and -0.5 <= y <= height - 0.5)
        ):
            msg = f"{where}: {line[0]} at x {x:g}, y {y:g} is outside the picture, "
            msg += f"which is {width} wide and {height} high"
            raise ValueError(msg)
        found[line[0]] = (y, x)
    if not found:
        msg = f"{path}: no landmark in it"
        raise ValueError(msg)
    return tuple(found), torch.tensor(list(found.values()), dtype=torch.float32)


def write_landmarks(path: str | Path, names: Sequence[str], points: Float[Tensor, "n 2"]) -> None:
    """Write landmarks as `read_landmarks` reads them.

    Args:
        path: CSV; its folder is made.
        names: of the landmarks.
        points: row and column in pixels; NaN is missing.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder) / "a.csv"
        ...     write_landmarks(path, ["sella"], torch.tensor([[3.0, 8.0]]))
        ...     print(path.read_text().strip())
        landmark,x,y
        sella,8.00,3.00
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [",".join(HEADER)]
    for name, (row, column) in zip(names, points.tolist(), strict=True):
        known = not (math.isnan(row) or math.isnan(column))
        lines.append(f"{name},{column:.2f},{row:.2f}" if known else f"{name},,")
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def read_spacing(
    folder: Path, name: str, *, default: tuple[float, float] | None
) -> tuple[float, float]:
    """Look the pixel size of a case up.

    Args:
        folder: perhaps with ``spacing.csv``: columns ``case``, ``row_mm`` and ``column_mm``.
        name: of the case.
        default: what holds where the file does not say.

    Raises:
        ValueError: nothing says it, or not with two positive numbers; a size in millimetres is
            never guessed.

    Example:
        >>> read_spacing(Path("nowhere"), "a", default=(0.1, 0.1))
        (0.1, 0.1)
    """
    path = folder / "spacing.csv"
    if path.is_file():
        with path.open(newline="", encoding="utf-8-sig") as file:
            for line in csv.DictReader(file):
                if line.get("case") == name:
                    sides = [
                        _number(line.get(key) or "", f"{path}, {name}")
                        for key in ("row_mm", "column_mm")
                    ]
                    if not all(side > 0 for side in sides):
                        msg = f"{path}: {name} needs a positive row_mm and column_mm, got {line}"
                        raise ValueError(msg)
                    return sides[0], sides[1]
    if default is None:
        msg = f"{name}: nothing says how many millimetres a pixel has; write {path} "
        msg += "(case,row_mm,column_mm) or give data.spacing_mm"
        raise ValueError(msg)
    return default


def _number(word: str, where: str) -> float:
    try:
        return float(word) if word.strip() else math.nan
    except ValueError:
        msg = f"{where}: expected a number, got {word!r}"
        raise ValueError(msg) from None
