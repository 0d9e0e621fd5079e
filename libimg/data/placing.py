"""Where a region of a picture lies in another picture, axis by axis, and moving its pixels."""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from libimg import _check

__all__ = [
    "Axis",
    "Span",
    "cut",
    "fit",
    "inside",
    "lengths",
    "pairs",
    "paste",
    "place",
    "resize",
    "sized",
    "whole",
]


class Span(NamedTuple):
    """Pixels ``[start, stop)`` of an axis, of which ``[first, last)`` show the picture."""

    start: int
    stop: int
    first: int
    last: int

    @property
    def length(self) -> int:
        """Number of pixels."""
        return self.stop - self.start


class Axis(NamedTuple):
    """One axis of a region: where it lies in the source, and where in the target."""

    source: Span
    target: Span

    @property
    def scale(self) -> float:
        """Target pixels per source pixel."""
        return self.target.length / self.source.length

    @property
    def shift(self) -> float:
        """What is added after scaling; whole numbers are centres of pixels."""
        return (0.5 - self.source.start) * self.scale - 0.5 + self.target.start


def fit(size: tuple[int, int], target: tuple[int, int]) -> tuple[int, int]:
    """Largest whole size of the same shape: one axis is full, the other rounded, at least 1.

    Example:
        >>> fit((1520, 1236), (512, 512))
        (512, 416)
    """
    (height, width), (rows, columns) = size, target
    if rows * width <= columns * height:
        return rows, max((2 * width * rows + height) // (2 * height), 1)
    return max((2 * height * columns + width) // (2 * width), 1), columns


def place(source: int, start: int, length: int, *, target: int, content: int) -> Axis:
    """Put ``[start, start + length)`` of ``source`` pixels in the middle of ``target`` pixels.

    A target pixel shows the picture if all of its area does. Whole numbers only, so no rounding.

    Example:
        >>> place(10, -2, 8, target=8, content=4).target
        Span(start=2, stop=6, first=3, last=6)
    """
    stop, offset = start + length, (target - content) // 2
    first = max(-(start * content // length), 0)
    last = min((source - start) * content // length, content)
    return Axis(
        Span(start, stop, max(start, 0), min(stop, source)),
        Span(offset, offset + content, offset + first, offset + last),
    )


def cut(x: Float[Tensor, "b c h w"], spans: Sequence[Span]) -> Float[Tensor, "b c _ _"]:
    """Cut ``[start, stop)`` out of rows and columns; beyond what shows the picture its ends go on.

    Values that do not show the picture are never read, so padding cannot leak into it.
    """
    for axis, (start, stop, first, last) in enumerate(spans, start=2):
        if first <= start and stop <= last:
            x = x.narrow(axis, start, stop - start)
        else:
            at = torch.arange(start, stop, device=x.device).clamp(first, last - 1)
            x = x.index_select(axis, at)
    return x


def resize(x: Float[Tensor, "b c _ _"], size: tuple[int, int]) -> Float[Tensor, "b c _ _"]:
    """Linear interpolation with half-pixel centres, wider where it shrinks; at least in float32."""
    if x.shape[2:] == size:
        return x
    if size[1] == 1 < size[0]:  # torch 2.15 on the CPU repeats the first row in a single column
        return resize(x.mT, (1, size[0])).mT
    wide = x.to(torch.promote_types(x.dtype, torch.float32))
    return F.interpolate(wide, size, mode="bilinear", antialias=True).to(x.dtype)


def paste(
    x: Float[Tensor, "b c _ _"], spans: Sequence[Span], size: tuple[int, int], *, fill: float
) -> Float[Tensor, "b c h w"]:
    """Lay what ``x`` shows of the picture on a ground of ``fill``."""
    for axis, (start, _, first, last) in enumerate(spans, start=2):
        x = x.narrow(axis, first - start, last - first)
    rows, columns = spans
    margins = (columns.first, size[1] - columns.last, rows.first, size[0] - rows.last)
    return F.pad(x, margins, value=fill)


def inside(
    size: tuple[int, int],
    spans: Sequence[Span],
    *,
    batch: int,
    inset: int = 0,
    device: torch.device | str | None = None,
) -> Bool[Tensor, "b 1 h w"]:
    """True where the picture is shown, but for ``inset`` pixels along its edge.

    The samples share memory.
    """
    _check.positive(batch=batch)
    (top, bottom), (left, right) = ((s.first + inset, s.last - inset) for s in spans)
    if inset < 0 or top >= bottom or left >= right:
        shown = tuple(span.last - span.first for span in spans)
        msg = f"inset must be 0 or more and leave something of {shown} pixels, got {inset}"
        raise ValueError(msg)
    mask = torch.zeros(1, 1, *size, dtype=torch.bool, device=device)
    mask[..., top:bottom, left:right] = True
    return mask.expand(batch, -1, -1, -1)


def pairs(points: Tensor) -> None:
    """Raise ``ValueError`` unless these are points in a type that can tell pixels apart."""
    wide = points.dtype in (torch.float32, torch.float64)
    if not (wide and points.ndim and points.shape[-1] == 2):
        msg = "points must be (..., 2) as (row, column) in float32 or float64, "
        msg += f"got shape {tuple(points.shape)} in {points.dtype}"
        raise ValueError(msg)


def sized(name: str, x: Tensor, size: tuple[int, int]) -> None:
    """Raise ``ValueError`` unless ``x`` is a batch of pictures of this size."""
    if x.ndim != 4 or x.shape[2:] != size:
        msg = f"{name} must be (batch, channel, {size[0]}, {size[1]}), got {tuple(x.shape)}"
        raise ValueError(msg)


def whole(name: str, values: Any, count: int) -> Any:
    """Return a tuple of whole numbers, of which the last two are lengths."""
    numbers = tuple(values) if isinstance(values, Sequence) else ()
    good = all(isinstance(n, int) and not isinstance(n, bool) for n in numbers)
    if len(numbers) != count or not good or min(numbers[-2:]) < 1:
        kind = "(height, width)" if count == 2 else "(top, left, height, width)"
        msg = f"{name} must be whole numbers {kind} with lengths above 0, got {values!r}"
        raise ValueError(msg)
    return numbers


def lengths(values: Sequence[float]) -> tuple[float, float]:
    """Return the height and width of a pixel as two finite numbers above 0."""
    numbers = tuple(values) if isinstance(values, Sequence) else ()
    if len(numbers) != 2 or not all(0 < value < math.inf for value in numbers):
        msg = f"source_spacing_mm must be 2 finite lengths above 0, (row, column), got {values!r}"
        raise ValueError(msg)
    return float(numbers[0]), float(numbers[1])
