"""Test-time augmentation by flips and rotations."""

import math
from collections.abc import Callable, Sequence
from itertools import combinations

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from libimg._check import spatial
from libimg._types import Image

__all__ = ["tta", "tta_variants"]


def tta_variants(
    *, flips: Sequence[int] = (), rotations: Sequence[float] = ()
) -> list[tuple[tuple[int, ...], float]]:
    """List what `tta` runs: every subset of the flips with every rotation and with none.

    Args:
        flips: spatial axes, 0 for the first.
        rotations: angles in degrees, without 0.

    Returns:
        ``2 ** len(flips) * (1 + len(rotations))`` pairs (flipped axes, degrees); the first is the
        unchanged image.

    Raises:
        ValueError: an axis or an angle is repeated, or an angle is a full turn.

    Example:
        >>> tta_variants(flips=(1,), rotations=(5.0,))
        [((), 0.0), ((), 5.0), ((1,), 0.0), ((1,), 5.0)]
    """
    angles = [0.0, *map(float, rotations)]
    if len(set(flips)) < len(flips) or len({angle % 360 for angle in angles}) < len(angles):
        msg = "flips must not repeat, rotations must not repeat or be full turns, got "
        msg += f"flips={tuple(flips)}, rotations={tuple(rotations)}"
        raise ValueError(msg)
    subsets = [axes for k in range(len(flips) + 1) for axes in combinations(flips, k)]
    return [(axes, angle) for axes in subsets for angle in angles]


def tta(
    x: Image,
    model: Callable[[Tensor], Tensor],
    *,
    flips: Sequence[int] = (),
    rotations: Sequence[float] = (),
) -> Float[Tensor, "b o ..."]:
    """Average a model over flipped and rotated copies of its input, without gradients.

    Each output is turned back before the mean. Flips and multiples of 90 degrees are exact. Other
    angles interpolate twice and so blur, whatever the model does: with ``rotations=(-3, 3)`` the
    identity keeps 77 % of the top-octave power of scikit-image's cameraman. Where a rotated copy
    had left the frame it takes no part in the mean. Outputs must be values by voxel; a
    displacement field would have to be turned as a vector. `tta_variants` lists the runs.

    Args:
        x: ``(b, c, h, w)`` or ``(b, c, d, h, w)``.
        model: takes such an image and returns ``(b, o, ...)``. With rotations by 90 or 270
            degrees it is also given the image with ``h`` and ``w`` exchanged.
        flips: spatial axes to flip, 0 for the first; all their subsets are run.
        rotations: angles in degrees, in the plane of the last two axes, from the first of them
            towards the second as in ``torch.rot90``. They are degrees, not radians, so that
            quarter turns can be said exactly.

    Returns:
        ``(b, o, ...)``, the mean, in the dtype of ``x``.

    Raises:
        ValueError: ``x`` is not 2-D or 3-D, an axis is out of range or something is repeated.

    Example:
        >>> x = torch.arange(6.0).reshape(1, 1, 2, 3)
        >>> tta(x, lambda v: 2 * v, flips=(0, 1), rotations=(90.0,))
        tensor([[[[ 0., 2., 4.], [ 6., 8., 10.]]]])
    """
    n = spatial("x", x)
    if any(not 0 <= axis < n for axis in flips):
        msg = f"flips must be spatial axes in [0, {n}), got {tuple(flips)}"
        raise ValueError(msg)
    wide = torch.promote_types(x.dtype, torch.float32)
    total: Tensor | float = 0.0
    covered: Tensor | float = 0.0
    with torch.no_grad():
        for axes, degrees in tta_variants(flips=flips, rotations=rotations):
            dims = [axis + 2 for axis in axes]
            out = model(_rotated(x.flip(dims), degrees)).to(wide)
            weight = _rotated(torch.ones_like(out[:1, :1]), -degrees, inside=True).flip(dims)
            total = total + _rotated(out, -degrees).flip(dims) * weight
            covered = covered + weight
    return torch.as_tensor(total / covered).to(x.dtype)


def _rotated(x: Tensor, degrees: float, *, inside: bool = False) -> Tensor:
    """Rotate about the centre, bicubic; ``inside``: bilinear with zeros beyond, for weights."""
    if degrees % 90 == 0:
        return torch.rot90(x, int(degrees // 90), (-2, -1))
    height, width = x.shape[-2:]
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    wide = torch.promote_types(x.dtype, torch.float32)
    row = torch.arange(height, dtype=wide, device=x.device)[:, None] - (height - 1) / 2
    column = torch.arange(width, dtype=wide, device=x.device) - (width - 1) / 2
    source = (  # column and row to read, as shares of the half size
        (cos * column - sin * row) * (2 / max(width - 1, 1)),
        (cos * row + sin * column) * (2 / max(height - 1, 1)),
    )
    stack = x.to(wide).reshape(len(x), -1, height, width)
    out = F.grid_sample(
        stack,
        torch.stack(source, -1).expand(len(x), -1, -1, -1),
        mode="bilinear" if inside else "bicubic",
        padding_mode="zeros" if inside else "border",
        align_corners=True,
    )
    return out.reshape(x.shape).to(x.dtype)
