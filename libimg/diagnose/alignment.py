"""Do two images lie on each other, and does a registration network see when they do not?"""

from collections.abc import Callable
from itertools import product

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from libimg import _check, registration
from libimg._ops.windows import crop
from libimg._types import Flow, Image, Mask

__all__ = ["known_shift_probe", "local_shifts"]


@torch.no_grad()
def known_shift_probe(
    register: Callable[[Tensor, Tensor], Flow],
    images: Image,
    *,
    shift: float = 3.0,
    mask: Mask | None = None,
) -> dict[str, float]:
    """Move images by a known distance and see how much of it a registration network finds.

    Args:
        register: ``(moving, fixed)`` to the flow that warps the one onto the other.
        images: ``(b, c, *spatial)``; each is moved along each axis in turn, forth and back.
        shift: distance in voxels.
        mask: where to measure, ``(b, 1, *spatial)``; everywhere if None. A border as wide as the
            shift never counts.

    Returns:
        ``error``, the median distance between the flow found and the true one (voxels), and
        ``recovered``, the mean of the found flow along the shift over the shift: 1 is all of it,
        0 none.

    Raises:
        ValueError: ``shift`` is not above 0.

    Example:
        >>> blind = lambda moving, fixed: torch.zeros(1, 2, 32, 32)
        >>> known_shift_probe(blind, torch.rand(1, 1, 32, 32))
        {'error': 3.0, 'recovered': 0.0}
    """
    _check.positive(shift=shift)
    axes, reach = images.ndim - 2, int(shift) + 1
    inside = crop(torch.ones_like(images[:, :1]) if mask is None else mask, reach).bool()
    errors, along = [], []
    for axis, sign in product(range(axes), (1.0, -1.0)):
        true = torch.zeros(len(images), axes, *images.shape[2:], device=images.device)
        true[:, axis] = sign * shift
        found = register(images, registration.warp(images, true.to(images.dtype))).to(true.dtype)
        distance = (found - true).square().sum(1, keepdim=True).sqrt()
        errors.append(crop(distance, reach)[inside])
        along.append(crop(found[:, axis : axis + 1], reach)[inside] * (sign / shift))
    return {
        "error": float(torch.cat(errors).median()),
        "recovered": float(torch.cat(along).mean()),
    }


@torch.no_grad()
def local_shifts(
    moving: Image, fixed: Image, *, reach: int = 3, block: int = 16, mask: Mask | None = None
) -> dict[str, float]:
    """Search, block by block, for the shift that lays one image best on the other.

    No network and no gradient: every whole shift up to ``reach`` is tried and the normalised
    cross-correlation of each block compared, refined to parts of a voxel by a parabola along each
    axis. Blocks without structure, or outside the mask, do not count.

    Args:
        moving: ``(b, 1, *spatial)``.
        fixed: same shape; another contrast is fine as long as bright stays bright.
        reach: largest shift tried, in voxels.
        block: side of a block, in voxels.
        mask: ``(b, 1, *spatial)``; a block counts if most of it is inside.

    Returns:
        ``shift``, the mean length of the best shift (voxels); ``p90`` of the same; ``ncc``, the
        mean correlation as the images lie, and ``gain``, how much the best shift adds to it; NaN
        where no block counts.

    Raises:
        ValueError: the shapes differ, or the images are smaller than one block and the reach.

    Example:
        >>> x = torch.rand(1, 1, 48, 48, generator=torch.Generator().manual_seed(0))
        >>> found = local_shifts(x.roll(2, -1), x)
        >>> round(found["shift"], 1), found["gain"] > 0.5
        (2.0, True)
    """
    _check.same_shape(moving=moving, fixed=fixed)
    axes = moving.ndim - 2
    size = [n - 2 * reach for n in fixed.shape[2:]]
    if min(size) < block:
        msg = f"images must have at least block + 2 * reach = {block + 2 * reach} voxels a side, "
        msg += f"got {tuple(fixed.shape[2:])}"
        raise ValueError(msg)
    pool = F.avg_pool2d if axes == 2 else F.avg_pool3d

    def window(x: Tensor, offset: tuple[int, ...]) -> Tensor:
        for axis, (n, o) in enumerate(zip(size, offset, strict=True), start=2):
            x = x.narrow(axis, reach + o, n)
        return x

    def means(x: Tensor) -> Tensor:
        return pool(x, block, block // 2)

    target = window(fixed.float(), (0,) * axes)
    mean, square = means(target), means(target.square())
    spread = (square - mean.square()).clamp(min=0)
    shifts = list(product(range(-reach, reach + 1), repeat=axes))
    scores = []
    for offset in shifts:
        source = window(moving.float(), offset)
        centre = means(source)
        variance = (means(source.square()) - centre.square()).clamp(min=0)
        covariance = means(source * target) - centre * mean
        scores.append(covariance / (variance * spread + 1e-12).sqrt())
    ncc = torch.stack(scores, -1).flatten(0, -2)
    counts = (spread > 0.02 * spread.amax()).flatten()
    if mask is not None:
        counts &= (means(window(mask.float(), (0,) * axes)) > 0.5).flatten()
    if not counts.any():
        return dict.fromkeys(("shift", "p90", "ncc", "gain"), float("nan"))
    ncc = ncc[counts]
    best, at = ncc.max(-1)
    found = torch.tensor(shifts, dtype=torch.float32, device=ncc.device)[at]
    found += _parabola(ncc, at, reach=reach, axes=axes)
    length = found.square().sum(1).sqrt()
    now = ncc[:, len(shifts) // 2]
    return {
        "shift": float(length.mean()),
        "p90": float(length.sort().values[round(0.9 * (len(length) - 1))]),
        "ncc": float(now.mean()),
        "gain": float((best - now).mean()),
    }


def _parabola(
    ncc: Float[Tensor, "n shifts"], at: Tensor, *, reach: int, axes: int
) -> Float[Tensor, "n axes"]:
    """Offset of the peak from the best whole shift along each axis, at most half a voxel."""
    side, offsets = 2 * reach + 1, []
    for axis in range(axes):
        stride = side ** (axes - 1 - axis)
        place = at // stride % side
        inner = (place > 0) & (place < side - 1)
        low, high = (
            ncc.gather(1, (at + step).clamp(0, ncc.shape[1] - 1)[:, None])[:, 0]
            for step in (-stride, stride)
        )
        peak = ncc.gather(1, at[:, None])[:, 0]
        bend = (2 * peak - low - high).clamp(min=1e-9)
        offset = (0.5 * (high - low) / bend).clamp(-0.5, 0.5)
        offsets.append(torch.where(inner, offset, 0.0))
    return torch.stack(offsets, 1)
