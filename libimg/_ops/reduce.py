"""Per-sample means, weighted by masks."""

import torch
from jaxtyping import Float
from torch import Tensor

from libimg._types import Image, Mask, PerSample

__all__ = ["masked_mean"]


def masked_mean(x: Image, mask: Mask | None = None) -> PerSample:
    """Mean of each sample, weighted by ``mask`` and divided by the mask's own sum.

    A mask that covers one percent of the image therefore gives the same value as the same
    content in a full image. An empty mask gives 0 and no gradient. Voxels where the mask is zero
    never reach the result, not even if they are NaN or infinite.

    Args:
        x: ``(b, c, *spatial)``.
        mask: boolean or non-negative weights ``(b, 1 or c, *spatial)``; all ones if None.

    Returns:
        ``(b,)``, accumulated in float32 for half-precision input.

    Example:
        >>> x = torch.tensor([[[[1.0, 3.0], [5.0, 100.0]]]])
        >>> masked_mean(x, x < 50)
        tensor([3.])
    """
    x = x.float() if x.dtype in (torch.float16, torch.bfloat16) else x
    if mask is None:
        return x.flatten(1).mean(1)
    weight: Float[Tensor, "b c *spatial"] = mask.to(x.dtype).expand_as(x)
    total = weight.flatten(1).sum(1)
    inside = torch.where(weight != 0, x, torch.zeros_like(x))
    return (inside * weight).flatten(1).sum(1) / torch.where(total > 0, total, 1.0)
