"""Area pooling that knows about masks."""

import torch
from torch import Tensor
from torch.nn import functional as F

from libimg._types import Image, Mask

__all__ = ["area_pool", "masked_pool"]


def area_pool(x: Image, *, factor: int) -> Tensor:
    """Mean over blocks of ``factor`` voxels a side; a rest at the far end is left out."""
    if factor == 1:
        return x
    pool = F.avg_pool2d if x.ndim == 4 else F.avg_pool3d
    return pool(x, factor)


def masked_pool(x: Image, mask: Mask, *, factor: int) -> tuple[Tensor, Tensor]:
    """Mean of each block weighted by the mask, and the mean of the mask.

    What lies outside the mask, NaN included, reaches no block that the mask touches.
    """
    if factor == 1:
        return x, mask
    weight: Tensor = mask.to(x.dtype)
    inside = torch.where(weight.expand_as(x) != 0, x, torch.zeros_like(x))
    share = area_pool(weight, factor=factor)
    mean = area_pool(inside * weight, factor=factor) / torch.where(share > 0, share, 1.0)
    return mean, share
