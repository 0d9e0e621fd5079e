"""How sharp an image is beside its target: top-octave power and variance of the Laplacian.

Error metrics reward blur; these two show it. Values above 1 mean more detail, or more noise.
"""

import math
from functools import reduce

import torch
from jaxtyping import Bool
from torch import Tensor
from torch.nn import functional as F

from libimg._check import same_shape, spatial
from libimg._ops.gradients import laplacian
from libimg._types import Image, Mask, PerSample
from libimg.metrics.image import mean_inside

__all__ = ["laplacian_ratio", "sharpness_ratio"]


def sharpness_ratio(
    pred: Image, target: Image, *, mask: Mask | None = None, taper: int = 4
) -> PerSample:
    """Spectral power of ``pred`` over that of ``target`` in the top octave of frequencies.

    The top octave holds radial frequencies in (0.25, 0.5] cycles per voxel, whatever the spacing.
    A mask's edge must not count as detail, so the mask is eroded by ``taper`` voxels and then
    smoothed by a Hann kernel that reaches ``taper`` voxels: the weight rises from 0 at the mask's
    edge to 1 at twice that depth. The weighted mean is removed, and what is left is weighted and
    transformed. The border of the image is treated as an edge of the mask.

    Args:
        pred: ``(b, c, h, w)`` or ``(b, c, d, h, w)``.
        target: same shape and unit.
        mask: region to compare, ``(b, 1 or c, *spatial)``; non-zero is inside; all if None.
        taper: depth of the erosion in voxels; at most a quarter of each axis is used.

    Returns:
        ``(b,)``, power summed over channels, float32 for half-precision input: 1 for equal images,
        below 1 for blur, above 1 for noise, NaN where the mask has no voxel deeper than ``taper``.

    Raises:
        ValueError: the shapes differ, are not 2-D or 3-D, or ``taper`` is negative.

    Example:
        >>> x = torch.rand(1, 1, 32, 32, generator=torch.Generator().manual_seed(0))
        >>> sharpness_ratio(0.5 * x + 3, x)
        tensor([0.2500])
    """
    same_shape(pred=pred, target=target)
    spatial("pred", pred)
    if taper < 0:
        msg = f"taper must be at least 0, got {taper}"
        raise ValueError(msg)
    dtype = pred.dtype if pred.dtype == torch.float64 else torch.float32
    weight = _tapered(torch.ones_like(pred[:, :1]) if mask is None else mask, taper).to(dtype)
    return _top_octave(pred.to(dtype), weight) / _top_octave(target.to(dtype), weight)


def laplacian_ratio(pred: Image, target: Image, *, mask: Mask | None = None) -> PerSample:
    """Variance of the Laplacian of ``pred`` over that of ``target``.

    Only voxels whose whole stencil (themselves and their neighbours along each axis) lies inside
    the image and the mask take part, so an edge of the mask adds nothing.

    Args:
        pred: ``(b, c, h, w)`` or ``(b, c, d, h, w)``, at least 3 voxels along each axis.
        target: same shape and unit.
        mask: region to compare, ``(b, 1 or c, *spatial)``; non-zero is inside; all if None.

    Returns:
        ``(b,)``, channels jointly, float32 for half-precision input; NaN where no stencil fits
        into the mask.

    Raises:
        ValueError: the shapes differ, are not 2-D or 3-D, or have an axis under 3 voxels.

    Example:
        >>> x = torch.rand(1, 1, 16, 16, generator=torch.Generator().manual_seed(0))
        >>> laplacian_ratio(2 * x, x)
        tensor([4.])
    """
    same_shape(pred=pred, target=target)
    spatial("pred", pred)
    if min(pred.shape[2:]) < 3:
        msg = f"the Laplacian needs at least 3 voxels along each axis, got {tuple(pred.shape)}"
        raise ValueError(msg)
    inside = None if mask is None else _stencil_inside(mask)
    dtype = pred.dtype if pred.dtype == torch.float64 else torch.float32

    def variance(x: Tensor) -> Tensor:
        detail = laplacian(x.to(dtype))
        mean = mean_inside(detail, inside).reshape(-1, *[1] * (x.ndim - 1))
        return mean_inside((detail - mean).square(), inside)

    return variance(pred) / variance(target)


def _tapered(mask: Mask, taper: int) -> Mask:
    """Erode by a box, then smooth by a Hann kernel of the same reach, one axis at a time."""
    weight = (mask != 0).float()
    reach = {axis: min(taper, mask.shape[axis] // 4) for axis in range(2, mask.ndim)}
    for axis, r in reach.items():
        weight = reduce(torch.minimum, _shifts(weight, axis, r))
    for axis, r in reach.items():
        hann = [math.sin(math.pi * k / (2 * r + 2)) ** 2 / (r + 1) for k in range(1, 2 * r + 2)]
        shifts = _shifts(weight, axis, r)
        weight = reduce(torch.add, (tap * x for tap, x in zip(hann, shifts, strict=True)))
    return weight


def _shifts(x: Tensor, axis: int, reach: int) -> list[Tensor]:
    """All shifts of ``x`` along an axis by up to ``reach`` voxels, zeros beyond the image."""
    padded = F.pad(x, [0, 0] * (x.ndim - 1 - axis) + [reach, reach])
    return [padded.narrow(axis, k, x.shape[axis]) for k in range(2 * reach + 1)]


def _top_octave(x: Image, weight: Mask) -> PerSample:
    """Power of the weighted, mean-free image at radial frequencies in (0.25, 0.5]; NaN if none."""
    axes, size = tuple(range(2, x.ndim)), x.shape[2:]
    weight = weight.expand_as(x)
    x = torch.where(weight > 0, x, 0)
    mean = (x * weight).sum(axes, keepdim=True) / weight.sum(axes, keepdim=True)
    power = torch.fft.rfftn((x - mean.nan_to_num()) * weight, dim=axes).abs().square()
    lines = [torch.fft.fftfreq(n, dtype=torch.float64, device=x.device) for n in size[:-1]]
    last = torch.fft.rfftfreq(size[-1], dtype=torch.float64, device=x.device)
    square = torch.zeros((), dtype=torch.float64, device=x.device)
    for line in (*lines, last):
        square = square[..., None] + line.square()
    # every column but 0 and Nyquist stands for two of the full spectrum
    twice = torch.where((last == 0) | (last == 0.5), 1.0, 2.0)
    band = ((square > 0.25**2) & (square <= 0.5**2)) * twice
    total = (power * band.to(power.dtype)).flatten(1).sum(1)
    return torch.where((weight > 0).flatten(1).any(1), total, torch.nan)


def _stencil_inside(mask: Mask) -> Bool[Tensor, "b _ ..."]:
    """Voxels whose neighbours along each axis are inside as well, without the outermost ones."""
    dims = range(2, mask.ndim)
    mask = inside = mask != 0
    for axis in dims:
        inside = inside & mask.roll(1, axis) & mask.roll(-1, axis)
    for axis in dims:
        inside = inside.narrow(axis, 1, mask.shape[axis] - 2)
    return inside
