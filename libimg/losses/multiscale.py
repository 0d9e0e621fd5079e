"""A loss on a pyramid of pooled images."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from libimg import _check
from libimg._ops.pooling import area_pool, masked_pool
from libimg._types import PerSample

__all__ = ["multi_scale"]


Loss = Callable[..., Tensor]
"""A function ``(pred, target, *, mask=None)`` that returns one value per sample."""


def multi_scale(loss: Loss, scales: Sequence[int] = (1, 2, 4)) -> Loss:
    """Make a loss that is averaged over pooled versions of its images.

    Args:
        loss: such as `l1` or a `functools.partial` of `ssim`.
        scales: pooling factors; 1 is the image itself. Blocks are averaged; where there is a
            mask, only over its voxels, and the pooled mask is the share that it covers.

    Returns:
        A function ``(pred, target, *, mask=None, **options)`` that returns ``(b,)``. It raises
        ``ValueError`` when an image is smaller than the largest factor.

    Raises:
        ValueError: there is no scale, or one is below 1.

    Example:
        >>> from libimg.losses import l1
        >>> fine = torch.tensor([[1.0, -1.0], [-1.0, 1.0]]).repeat(2, 2)[None, None]
        >>> multi_scale(l1, scales=(1, 2))(fine, torch.zeros_like(fine))
        tensor([0.50])
    """
    factors = tuple(scales)
    if not factors or min(factors) < 1:
        msg = f"scales must hold factors of at least 1, got {factors}"
        raise ValueError(msg)

    def pyramid(
        pred: Tensor, target: Tensor, *, mask: Tensor | None = None, **options: Any
    ) -> PerSample:
        _check.same_shape(pred=pred, target=target)
        if min(pred.shape[2:]) < max(factors):
            msg = f"pred is {tuple(pred.shape)}, too small to be pooled by {max(factors)}"
            raise ValueError(msg)
        values = []
        for factor in factors:
            if mask is None:
                small = [area_pool(x, factor=factor) for x in (pred, target)]
                values.append(loss(small[0], small[1], **options))
            else:
                (ours, part), (theirs, _) = (
                    masked_pool(x, mask, factor=factor) for x in (pred, target)
                )
                values.append(loss(ours, theirs, mask=part, **options))
        return torch.stack(values).mean(0)

    return pyramid
