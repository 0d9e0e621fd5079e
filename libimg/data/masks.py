"""Body and lungs found in a CT itself."""

from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

__all__ = ["body_mask", "lung_mask"]

AIR_HU = -500.0
OPEN_AIR_HU = -930.0
SMALLEST_LUNG = 0.002


def body_mask(hu: Float[Tensor, "d h w"]) -> Bool[Tensor, "d h w"]:
    """Find the body: the largest piece that is not outside air, lungs included.

    Air that touches the border counts as outside if its median is below -930 HU. Lungs that the
    field of view cuts touch the border too, but hold tissue and lie near -850 HU.

    Args:
        hu: CT in HU.

    Raises:
        ValueError: everything is outside air.

    Example:
        >>> hu = torch.full((8, 8, 8), -1000.0)
        >>> hu[:, 2:6, 2:6] = 40.0
        >>> int(body_mask(hu).sum())
        128
    """
    from scipy import ndimage

    inside = ~_outside(_pieces(hu))
    labels, count = ndimage.label(inside)
    if count == 0:
        msg = "no body found: everything is air (is this a CT in HU?)"
        raise ValueError(msg)
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    return torch.from_numpy(labels == sizes.argmax())


def lung_mask(hu: Float[Tensor, "d h w"]) -> Bool[Tensor, "d h w"]:
    """Find the lungs, the vessels in them included.

    Pieces below -500 HU with a median above -930 HU, so neither outside air nor gas in the bowel,
    and not smaller than 0.2 % of the volume; then closed by two voxels, which takes the vessels in.

    Args:
        hu: CT without contrast or with, in HU.

    Raises:
        ValueError: there is no such piece.

    Example:
        >>> hu = torch.full((8, 16, 16), 40.0)
        >>> hu[:, 4:10, 4:10] = -850.0
        >>> int(lung_mask(hu).sum())
        288
    """
    from scipy import ndimage

    pieces = _pieces(hu)
    keep = [
        label
        for label, (size, median, _) in enumerate(pieces[1], start=1)
        if size >= SMALLEST_LUNG * hu.numel() and median >= OPEN_AIR_HU
    ]
    if not keep:
        msg = "no lung found: no large piece between -930 and -500 HU (is this a chest CT in HU?)"
        raise ValueError(msg)
    lung = np.pad(np.isin(pieces[0], keep), 3, mode="edge")
    ball = ndimage.iterate_structure(ndimage.generate_binary_structure(3, 1), 2)
    closed = ndimage.binary_closing(lung, ball)[3:-3, 3:-3, 3:-3]
    return torch.from_numpy(closed)


def _pieces(hu: Tensor) -> tuple[Any, list[tuple[int, float, bool]]]:
    """Connected pieces of air: labels, and size, median HU and border contact of each."""
    from scipy import ndimage

    values = hu.detach().cpu().numpy()
    labels, count = ndimage.label(values < AIR_HU)
    sizes = np.bincount(labels.ravel(), minlength=count + 1)[1:]
    border = np.zeros(count + 1, dtype=bool)
    for axis in range(3):
        for end in (0, -1):
            border[np.unique(labels.take(end, axis))] = True
    large = np.flatnonzero(sizes >= SMALLEST_LUNG * values.size) + 1
    medians = np.full(count, np.nan)
    for label in large:
        medians[label - 1] = np.median(values[labels == label])
    return labels, list(zip(sizes.tolist(), medians.tolist(), border[1:].tolist(), strict=True))


def _outside(pieces: tuple[Any, list[tuple[int, float, bool]]]) -> Any:
    """Large pieces of air at the border that hold no tissue."""
    labels, facts = pieces
    outside = [
        label
        for label, (_, median, border) in enumerate(facts, start=1)
        if border and median < OPEN_AIR_HU
    ]
    return np.isin(labels, outside)
