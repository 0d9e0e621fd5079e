"""Blur, and a trip to a lower resolution and back: degradations of their own."""

from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from libimg import _check
from libimg._ops.windows import gaussian

__all__ = ["Blur", "BlurParams", "Resample", "ResampleParams", "gaussian_blur", "resample"]

Filter = Literal["area", "bilinear", "bicubic"]
FILTERS = ("area", "bilinear", "bicubic")


def gaussian_blur(
    x: Float[Tensor, "*batch c h w"], sigma_px: float | tuple[float, float]
) -> Float[Tensor, "*batch c h w"]:
    """Blur by a Gaussian cut at four sigma, the edge repeated outside.

    Args:
        x: ``(c, h, w)`` or ``(b, c, h, w)``.
        sigma_px: standard deviation in pixels, at least 0; one, or along rows and columns (y, x).

    Raises:
        ValueError: a sigma is negative or not finite, or ``x`` has another number of axes.

    Example:
        >>> x = torch.zeros(1, 9, 9)
        >>> x[0, 4, 4] = 1
        >>> out = gaussian_blur(x, 1)
        >>> round(float(out.sum()), 3), round(float(out[0, 4, 4]), 3)
        (1.0, 0.159)
    """
    _picture(x)
    sigmas = sigma_px if isinstance(sigma_px, tuple) else (sigma_px, sigma_px)
    for sigma in sigmas:
        if not 0 <= sigma < float("inf"):
            msg = f"sigma_px must be at least 0 and finite, got {sigma_px}"
            raise ValueError(msg)
    out = x.to(torch.promote_types(x.dtype, torch.float32)).reshape(-1, 1, *x.shape[-2:])
    for axis, sigma in zip((2, 3), sigmas, strict=True):
        reach = int(4 * sigma + 0.5)
        if reach:
            size, margin = out.shape[axis], [reach, reach]
            out = F.pad(out, [0, 0, *margin] if axis == 2 else [*margin, 0, 0], mode="replicate")
            taps = enumerate(gaussian(2 * reach + 1, sigma))
            out = sum((out.narrow(axis, i, size) * tap for i, tap in taps), out.new_zeros(()))
    return out.reshape(x.shape).to(x.dtype)


def resample(
    x: Float[Tensor, "*batch c h w"],
    scale: float,
    *,
    down: Filter = "bicubic",
    up: Filter = "bicubic",
) -> Float[Tensor, "*batch c h w"]:
    """Shrink and enlarge to the same size again.

    Args:
        x: ``(c, h, w)`` or ``(b, c, h, w)``.
        scale: in (0, 1]; 1 changes nothing. Sizes are rounded, at least one pixel.
        down: filter of the way down, antialiased as in Pillow and MATLAB.
        up: filter of the way up; "area" repeats pixels.

    Returns:
        The shape and dtype of ``x``. Bicubic values can leave [0, 1]; nothing is clipped.

    Raises:
        ValueError: an argument is out of its range.

    Example:
        >>> x = torch.tensor([[[0.0, 1.0, 0.0, 1.0]] * 4])
        >>> resample(x, 0.5, down="area", up="area")[0, 0]
        tensor([0.5000, 0.5000, 0.5000, 0.5000])
    """
    _picture(x)
    _check.one_of("down", down, FILTERS)
    _check.one_of("up", up, FILTERS)
    if not 0 < scale <= 1:
        msg = f"scale must be in (0, 1], got {scale}"
        raise ValueError(msg)
    if scale == 1:
        return x.clone()
    height, width = x.shape[-2:]
    small = (max(1, round(height * scale)), max(1, round(width * scale)))
    out = x.to(torch.promote_types(x.dtype, torch.float32)).reshape(1, -1, height, width)
    out = _resize(out, small, down, antialias=True)
    return _resize(out, (height, width), up, antialias=False).reshape(x.shape).to(x.dtype)


def _resize(x: Tensor, size: tuple[int, int], mode: Filter, *, antialias: bool) -> Tensor:
    if mode == "area":
        return F.interpolate(x, size, mode="area")
    return F.interpolate(x, size, mode=mode, align_corners=False, antialias=antialias)


def _picture(x: Tensor) -> None:
    if x.ndim not in (3, 4) or 0 in x.shape:
        msg = f"x must be (c, h, w) or (b, c, h, w), not empty, got shape {tuple(x.shape)}"
        raise ValueError(msg)


@dataclass(frozen=True, kw_only=True)
class BlurParams:
    """Standard deviation of a Gaussian blur along rows and columns, in pixels.

    Example:
        >>> BlurParams(sigma_px=(1.0, 2.0))
        BlurParams(sigma_px=(1.0, 2.0))
    """

    sigma_px: tuple[float, float]


@dataclass(frozen=True, kw_only=True)
class Blur:
    """What Gaussian blur to draw.

    Args:
        sigma_range_px: standard deviation in pixels, drawn uniformly.
        isotropic: one value for both axes; otherwise one for each.

    Raises:
        ValueError: the range is reversed or negative.

    Example:
        >>> blur = Blur(sigma_range_px=(0.5, 2))
        >>> params = blur.sample(torch.Generator().manual_seed(0))
        >>> blur.apply(torch.rand(3, 8, 8), params).shape
        torch.Size([3, 8, 8])
    """

    sigma_range_px: tuple[float, float] = (0.0, 2.0)
    isotropic: bool = True

    def __post_init__(self) -> None:
        low, high = self.sigma_range_px
        if not 0 <= low <= high < float("inf"):
            msg = f"sigma_range_px must be 0 <= low <= high, got {self.sigma_range_px}"
            raise ValueError(msg)

    def sample(self, generator: torch.Generator) -> BlurParams:
        """Draw a record. Two numbers are drawn whatever the settings."""
        low, high = self.sigma_range_px
        y, x = (low + draw * (high - low) for draw in _draws(2, generator))
        return BlurParams(sigma_px=(y, y) if self.isotropic else (y, x))

    @staticmethod
    def apply(
        x: Float[Tensor, "*batch c h w"], params: BlurParams
    ) -> Float[Tensor, "*batch c h w"]:
        """Blur as the record says: `gaussian_blur`."""
        return gaussian_blur(x, params.sigma_px)


@dataclass(frozen=True, kw_only=True)
class ResampleParams:
    """Scale and filters of a trip to a lower resolution and back.

    Example:
        >>> ResampleParams(scale=0.5)
        ResampleParams(scale=0.5, down='bicubic', up='bicubic')
    """

    scale: float
    down: Filter = "bicubic"
    up: Filter = "bicubic"


@dataclass(frozen=True, kw_only=True)
class Resample:
    """What trip to a lower resolution to draw.

    Args:
        scale_range: in (0, 1], drawn uniformly.
        filters: to draw from, one for each way.

    Raises:
        ValueError: the range or a filter is out of bounds.

    Example:
        >>> low = Resample(scale_range=(0.25, 0.75))
        >>> params = low.sample(torch.Generator().manual_seed(0))
        >>> low.apply(torch.rand(3, 8, 8), params).shape
        torch.Size([3, 8, 8])
    """

    scale_range: tuple[float, float] = (0.5, 1.0)
    filters: tuple[Filter, ...] = ("area", "bilinear", "bicubic")

    def __post_init__(self) -> None:
        low, high = self.scale_range
        if not 0 < low <= high <= 1:
            msg = f"scale_range must be 0 < low <= high <= 1, got {self.scale_range}"
            raise ValueError(msg)
        for name in self.filters or ("none",):
            _check.one_of("filters", name, FILTERS)

    def sample(self, generator: torch.Generator) -> ResampleParams:
        """Draw a record. Three numbers are drawn whatever the settings."""
        low, high = self.scale_range
        scale, down, up = _draws(3, generator)
        count = len(self.filters)
        return ResampleParams(
            scale=low + scale * (high - low),
            down=self.filters[int(down * count)],
            up=self.filters[int(up * count)],
        )

    @staticmethod
    def apply(
        x: Float[Tensor, "*batch c h w"], params: ResampleParams
    ) -> Float[Tensor, "*batch c h w"]:
        """Shrink and enlarge as the record says: `resample`."""
        return resample(x, params.scale, down=params.down, up=params.up)


def _draws(count: int, generator: torch.Generator) -> list[float]:
    draws = torch.rand(count, generator=generator, device=generator.device, dtype=torch.float64)
    return [float(v) for v in draws.tolist()]
