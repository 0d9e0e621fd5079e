"""Pictures of any size brought into one, padded and not squashed, and the way back."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from libimg import _check
from libimg.data import placing
from libimg.data.placing import Axis, cut, paste, place, resize, whole

__all__ = ["Letterbox", "letterbox"]


@dataclass(frozen=True, kw_only=True)
class Letterbox:
    """Where a picture, or a region of it, lies in the target picture; made by `letterbox`.

    Points are in array order (row, column), and a whole number is the *centre* of a pixel, so
    ``p' = (p + 0.5 - corner) * scale - 0.5 + offset``. The content is a whole number of pixels and
    the scale of each axis is exactly content / region, so points and pictures agree.

    Args:
        source: (height, width) of the pictures that come in.
        target: (height, width) of those that go out.
        roi: (top, left, height, width) in source pixels; None takes all. What reaches beyond the
            source is padding.
        keep_aspect: False squashes the region to the target.

    Raises:
        ValueError: a size that is not two whole numbers above 0, or a region without a pixel of
            the picture.

    Example:
        >>> box = letterbox((1520, 1236), target=(512, 512))
        >>> box.content, box.offset
        ((512, 416), (0, 48))
        >>> box.points(torch.tensor([[0.0, 0.0], [1519.0, 1235.0]])).tolist()  # corners
        [[-0.33, 47.67], [511.33, 463.33]]
        >>> Letterbox.from_dict(box.to_dict()) == box
        True

    Reference:
        The usual ``p' = p * scale + offset``, with the one scale from before rounding, differs:
        where whole numbers are centres it is ``(1 - scale) / 2`` pixels off everywhere, and up to
        half a pixel more at the far edge.
    """

    source: tuple[int, int]
    target: tuple[int, int]
    roi: tuple[int, int, int, int] | None = None
    keep_aspect: bool = True

    def __post_init__(self) -> None:
        whole("source", self.source, 2)
        whole("target", self.target, 2)
        if self.roi is not None:
            whole("roi", self.roi, 4)
        _check.one_of("keep_aspect", self.keep_aspect, (True, False))
        if any(at.first >= at.last for axis in self._axes for at in axis):
            msg = f"roi {self.roi} (top, left, height, width) shows no pixel of a picture of "
            msg += f"{self.source} in {self.target}"
            raise ValueError(msg)

    @property
    def content(self) -> tuple[int, int]:
        """(height, width) of the region in the target."""
        return self._axes[0].target.length, self._axes[1].target.length

    @property
    def offset(self) -> tuple[int, int]:
        """First row and column of the region in the target: the padding is centred."""
        return self._axes[0].target.start, self._axes[1].target.start

    @property
    def scale(self) -> tuple[float, float]:
        """Target pixels per source pixel, down and across."""
        return self._axes[0].scale, self._axes[1].scale

    def image(self, x: Float[Tensor, "b c h w"], *, fill: float = 0.0) -> Float[Tensor, "b c H W"]:
        """Bring pictures to the target, linearly and, where they shrink, without aliasing.

        Args:
            x: ``(b, c, h, w)`` of the source size, any unit.
            fill: value of the padding.

        Returns:
            ``(b, c, H, W)`` of the target size and the dtype of ``x``.

        Raises:
            ValueError: ``x`` has another size.

        Example:
            >>> letterbox((2, 1), target=(2, 3)).image(torch.ones(1, 1, 2, 1), fill=-1)
            tensor([[[[-1.,  1., -1.],
                      [-1.,  1., -1.]]]])
        """
        placing.sized("x", x, self.source)
        content = resize(cut(x, [axis.source for axis in self._axes]), self.content)
        return paste(content, [axis.target for axis in self._axes], self.target, fill=fill)

    def source_image(
        self, x: Float[Tensor, "b c H W"], *, fill: float = 0.0
    ) -> Float[Tensor, "b c h w"]:
        """Bring pictures back to the grid of the source; the padding has no say in it.

        Args:
            x: ``(b, c, H, W)`` of the target size, any unit.
            fill: value outside the region, see `source_mask`.

        Returns:
            ``(b, c, h, w)`` of the source size and dtype.

        Example:
            >>> box = letterbox((2, 3), target=(4, 4), roi=(0, 1, 2, 2))
            >>> box.source_image(torch.ones(1, 1, 4, 4))
            tensor([[[[0., 1., 1.],
                      [0., 1., 1.]]]])
        """
        placing.sized("x", x, self.target)
        rows, columns = self._axes
        content = cut(x, (rows.target, columns.target))
        region = resize(content, (rows.source.length, columns.source.length))
        return paste(region, (rows.source, columns.source), self.source, fill=fill)

    def crop(self, x: Float[Tensor, "b c H W"]) -> Float[Tensor, "b c _ _"]:
        """Cut the picture out of the target, unscaled, without any padding.

        For what looks further than a mask can tell it: MS-SSIM, LPIPS, the whole spectrum.

        Example:
            >>> letterbox((2, 1), target=(2, 3)).crop(torch.rand(1, 1, 2, 3)).shape
            torch.Size([1, 1, 2, 1])
        """
        placing.sized("x", x, self.target)
        rows, columns = (slice(axis.target.first, axis.target.last) for axis in self._axes)
        return x[:, :, rows, columns]

    def mask(
        self, *, batch: int = 1, inset: int = 0, device: torch.device | str | None = None
    ) -> Bool[Tensor, "b 1 H W"]:
        """Where the target shows the picture: the ``mask=`` of every loss and metric.

        Args:
            batch: number of samples; they share memory.
            inset: pixels to leave out along the edge. The window of SSIM reaches 5 beyond its
                centre: with 5 none sees padding.
            device: of the result.

        Raises:
            ValueError: ``batch`` is below 1, or ``inset`` below 0 or so large that nothing is left.

        Example:
            >>> letterbox((2, 1), target=(2, 3)).mask().int()
            tensor([[[[0, 1, 0],
                      [0, 1, 0]]]], dtype=torch.int32)
        """
        spans = [axis.target for axis in self._axes]
        return placing.inside(self.target, spans, batch=batch, inset=inset, device=device)

    def source_mask(
        self, *, batch: int = 1, device: torch.device | str | None = None
    ) -> Bool[Tensor, "b 1 h w"]:
        """Where `source_image` shows the picture, as `mask` does for the target.

        Example:
            >>> letterbox((1, 3), target=(4, 4), roi=(0, 1, 1, 2)).source_mask()
            tensor([[[[False,  True,  True]]]])
        """
        spans = [axis.source for axis in self._axes]
        return placing.inside(self.source, spans, batch=batch, device=device)

    def points(self, points: Float[Tensor, "*n 2"]) -> Float[Tensor, "*n 2"]:
        """Map points of the source to the target; those outside stay outside.

        Args:
            points: ``(..., 2)`` as (row, column) in source pixels, float32 or float64.

        Raises:
            ValueError: another shape, or half precision, which cannot name a pixel.

        Example:
            >>> letterbox((10, 20), target=(40, 40)).points(torch.tensor([0.5, 3.0]))
            tensor([11.5000,  6.5000])
        """
        scale, shift = self._affine(points)
        return points * scale + shift

    def source_points(self, points: Float[Tensor, "*n 2"]) -> Float[Tensor, "*n 2"]:
        """Map points of the target to the source: the inverse of `points`.

        Args:
            points: as for `points`, in target pixels.

        Example:
            >>> letterbox((10, 20), target=(40, 40)).source_points(torch.tensor([11.5, 6.5]))
            tensor([0.5000, 3.0000])
        """
        scale, shift = self._affine(points)
        return (points - shift) / scale

    def spacing_mm(self, source_spacing_mm: Sequence[float]) -> tuple[float, float]:
        """Return the height and width of a target pixel in millimetres.

        Args:
            source_spacing_mm: those of a source pixel, in this order.

        Raises:
            ValueError: they are not two finite numbers above 0.

        Example:
            >>> letterbox((1520, 1236), target=(512, 512)).spacing_mm((0.1, 0.1))
            (0.297, 0.297)
        """
        row, column = placing.lengths(source_spacing_mm)
        return row / self.scale[0], column / self.scale[1]

    def points_mm(
        self, points: Float[Tensor, "*n 2"], source_spacing_mm: Sequence[float]
    ) -> Float[Tensor, "*n 2"]:
        """Millimetres of target points, from the centre of the first pixel of the *source*.

        Distances between them are those in the source, however it was scaled or squashed.

        Args:
            points: as for `source_points`.
            source_spacing_mm: as for `spacing_mm`.

        Example:
            >>> box = letterbox((10, 20), target=(40, 40))
            >>> box.points_mm(torch.tensor([11.5, 6.5]), (0.1, 0.2))
            tensor([0.0500, 0.6000])
        """
        at = self.source_points(points)
        return at * at.new_tensor(placing.lengths(source_spacing_mm))

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, ready for JSON or YAML."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return {k: list(v) if isinstance(v, tuple) else v for k, v in values.items()}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Letterbox":
        """Build what `to_dict` gave; unknown, missing or bad values are refused."""
        names = [field.name for field in fields(cls)]
        if set(values) != set(names):
            msg = f"a letterbox has {', '.join(names)}, got {', '.join(map(str, values))}"
            raise ValueError(msg)
        return letterbox(values["source"], **{k: v for k, v in values.items() if k != "source"})

    @property
    def _axes(self) -> tuple[Axis, Axis]:
        top, left, height, width = self.roi or (0, 0, *self.source)
        content = placing.fit((height, width), self.target) if self.keep_aspect else self.target
        (h, w), (rows, columns) = self.source, self.target
        return (
            place(h, top, height, target=rows, content=content[0]),
            place(w, left, width, target=columns, content=content[1]),
        )

    def _affine(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """Scale and shift of both axes as tensors beside ``points``."""
        placing.pairs(points)
        scale = points.new_tensor(self.scale)
        return scale, points.new_tensor([axis.shift for axis in self._axes])


def letterbox(
    size: Sequence[int],
    *,
    target: Sequence[int],
    roi: Sequence[int] | None = None,
    keep_aspect: bool = True,
) -> Letterbox:
    """Fit pictures of one size into another: as large as possible, centred, the rest padded.

    Args:
        size: (height, width) of the pictures.
        target: (height, width) to bring them to.
        roi: fixed region of interest (top, left, height, width) in their pixels; all if None.
        keep_aspect: False squashes the region to the target, as most translation codes do.

    Returns:
        The transform and its inverse; what it refuses stands at `Letterbox`.

    Example:
        >>> letterbox((1520, 1236), target=(512, 512), keep_aspect=False).scale
        (0.337, 0.414)
    """
    return Letterbox(
        source=whole("size", size, 2),
        target=whole("target", target, 2),
        roi=None if roi is None else whole("roi", roi, 4),
        keep_aspect=keep_aspect,
    )
