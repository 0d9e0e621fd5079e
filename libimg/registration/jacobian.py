"""Local volume change of a flow, and where it folds."""

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from libimg._ops import grids
from libimg._ops.reduce import masked_mean
from libimg._types import Flow, PerSample

__all__ = ["folding_fraction", "jacobian_determinant"]


def jacobian_determinant(flow: Flow) -> Float[Tensor, " b *spatial"]:
    """Determinant of the Jacobian of ``p + flow(p)``: 1 keeps volume, 0 or less folds.

    Central differences inside, one-sided ones at the border, as ``numpy.gradient``: exact for
    affine flows. Along an axis of one voxel the flow counts as constant. The voxel size does not
    matter: the determinant is the same in millimetres.

    Args:
        flow: ``(b, n, *spatial)`` in voxels, channel ``i`` along spatial axis ``i``.

    Returns:
        ``(b, *spatial)``, dtype of the flow, computed in float32 or better.

    Raises:
        ValueError: ``flow`` is no 2D or 3D flow.

    Example:
        >>> flow = torch.zeros(1, 2, 3, 3)
        >>> flow[:, 0] = 0.5 * torch.arange(3.0).view(3, 1)  # stretches axis 0 by 1.5
        >>> jacobian_determinant(flow).unique()
        tensor([1.5000])

    Reference:
        The differences are those of voxelmorph's ``jacobian_determinant``.
    """
    n = grids.axes("flow", flow)
    shift = flow.to(torch.promote_types(flow.dtype, torch.float32))
    slopes = [_slope(shift, 2 + axis) for axis in range(n)]
    # rows[i][j] is the derivative of position i along axis j
    rows = [[slopes[j][:, i] + (i == j) for j in range(n)] for i in range(n)]
    if n == 2:
        (a, b), (c, d) = rows
        det = a * d - b * c
    else:
        (a, b, c), (d, e, f), (g, h, i) = rows
        det = a * (e * i - f * h) - b * (d * i - f * g) + c * (d * h - e * g)
    return det.to(flow.dtype)


def folding_fraction(
    flow: Flow, *, mask: Shaped[Tensor, "b 1 *spatial"] | None = None
) -> PerSample:
    """Share of voxels where the flow folds: where the Jacobian determinant is 0 or less.

    Args:
        flow: ``(b, n, *spatial)`` in voxels.
        mask: boolean or non-negative weights ``(b, 1, *spatial)``; all voxels if None.

    Returns:
        ``(b,)`` in ``[0, 1]``; 0 for an empty mask. A NaN in the flow counts as folded.

    Example:
        >>> flow = torch.zeros(1, 2, 4, 4)
        >>> flow[:, 1] = -2 * torch.arange(4.0)  # mirrors axis 1
        >>> folding_fraction(flow)
        tensor([1.])
    """
    folded = ~(jacobian_determinant(flow) > 0)
    return masked_mean(folded.unsqueeze(1).to(flow.dtype), mask).to(flow.dtype)


def _slope(x: Tensor, dim: int) -> Tensor:
    return torch.gradient(x, dim=dim)[0] if x.shape[dim] > 1 else torch.zeros_like(x)
