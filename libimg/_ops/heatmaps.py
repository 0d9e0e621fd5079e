"""Landmarks as heat-maps: the cells, and the normalised Gaussian that a network learns."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from libimg._check import positive

__all__ = ["cell_centres", "gaussian_axes", "present"]


def cell_centres(cells: int, *, stride: int, like: Tensor) -> Float[Tensor, " cells"]:
    """Return the pixel coordinate of each cell's centre along one axis.

    Cell i covers the pixels ``stride·i`` to ``stride·i + stride - 1``; pixels count from the
    centre of the first, so its middle is ``stride·i + (stride - 1) / 2``.

    Example:
        >>> cell_centres(3, stride=2, like=torch.zeros(()))
        tensor([0.5000, 2.5000, 4.5000])
    """
    index = torch.arange(cells, dtype=like.dtype, device=like.device)
    return index * stride + (stride - 1) / 2


def present(points: Float[Tensor, "b n 2"]) -> Bool[Tensor, "b n"]:
    """Tell which points are there: a point with a NaN coordinate is missing."""
    return ~points.isnan().any(-1)


def gaussian_axes(
    points: Float[Tensor, "b n 2"], *, cells: tuple[int, int], sigma: float, stride: int
) -> tuple[Float[Tensor, "b n h"], Float[Tensor, "b n w"]]:
    """Logarithms of a normalised Gaussian along rows and columns; the map is their sum.

    Each axis sums to one over the cells that there are, so a point at the border, or outside, has
    a truncated Gaussian with the whole mass inside. A missing point is taken as (0, 0).

    Args:
        points: row and column in pixels of the full image.
        cells: rows and columns of the heat-map.
        sigma: standard deviation in pixels of the full image.
        stride: pixels a cell.
    """
    positive(sigma=sigma, stride=stride)
    known = torch.where(present(points)[..., None], points, 0.0)
    rows, columns = (
        -(((known[..., axis, None] - cell_centres(n, stride=stride, like=points)) / sigma) ** 2) / 2
        for axis, n in enumerate(cells)
    )
    return rows.log_softmax(-1), columns.log_softmax(-1)
