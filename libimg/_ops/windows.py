"""Gaussian windows and separable filtering by shifted slices.

Slices are exact in every backend: unlike convolutions and matrix products, no setting turns them
into TF32 or bfloat16. They also fuse under ``torch.compile``.
"""

import math
from collections.abc import Sequence

import torch.nn.functional as F
from jaxtyping import Float, Shaped
from torch import Tensor

__all__ = ["correlate", "crop", "gaussian", "spread"]


def gaussian(size: int, sigma: float) -> tuple[float, ...]:
    """Return ``size`` samples of a centred Gaussian, in pixels, that sum to one.

    Args:
        size: number of taps; odd.
        sigma: standard deviation in pixels; above 0.

    Example:
        >>> gaussian(3, 1.0)
        (0.274, 0.452, 0.274)
    """
    if size < 1 or size % 2 == 0:
        msg = f"window must be odd and positive, got {size}"
        raise ValueError(msg)
    if not sigma > 0:
        msg = f"sigma must be above 0, got {sigma}"
        raise ValueError(msg)
    taps = [math.exp(-(((i - size // 2) / sigma) ** 2) / 2) for i in range(size)]
    total = math.fsum(taps)
    return tuple(tap / total for tap in taps)


def correlate(x: Float[Tensor, "b c *spatial"], taps: Sequence[float]) -> Float[Tensor, "b c ..."]:
    """Filter along every spatial axis, where the window fits: each axis loses ``len(taps) - 1``."""
    for axis in range(2, x.ndim):
        x = _slide(x, taps, axis)
    return x


def spread(x: Float[Tensor, "b c *spatial"], taps: Sequence[float]) -> Float[Tensor, "b c ..."]:
    """Adjoint of `correlate` for a symmetric window: each axis gains ``len(taps) - 1``."""
    for axis in range(2, x.ndim):
        margin = [0, 0] * (x.ndim - 1 - axis) + [len(taps) - 1] * 2
        x = _slide(F.pad(x, margin), taps, axis)
    return x


def crop(x: Shaped[Tensor, "b c *spatial"], margin: int) -> Shaped[Tensor, "b c ..."]:
    """Take ``margin`` voxels off both ends of every spatial axis."""
    for axis in range(2, x.ndim):
        x = x.narrow(axis, margin, x.shape[axis] - 2 * margin)
    return x


def _slide(x: Float[Tensor, "..."], taps: Sequence[float], axis: int) -> Float[Tensor, "..."]:
    size = x.shape[axis] - len(taps) + 1
    out = x.narrow(axis, 0, size) * taps[0]
    for k, tap in enumerate(taps[1:], start=1):
        out.add_(x.narrow(axis, k, size), alpha=tap)
    return out
