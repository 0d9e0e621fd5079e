"""Smoothness of flows: first and second differences."""

from collections.abc import Sequence
from itertools import combinations_with_replacement
from typing import Literal

import torch
from jaxtyping import Shaped
from torch import Tensor

from libimg._check import one_of, positive
from libimg._ops import grids
from libimg._ops.reduce import masked_mean
from libimg._types import Flow, PerSample

__all__ = ["bending_energy", "flow_smoothness"]

FlowMask = Shaped[Tensor, "b #n *spatial"]


def flow_smoothness(
    flow: Flow,
    *,
    mask: FlowMask | None = None,
    spacing: Sequence[float] | None = None,
    penalty: Literal["l2", "l1"] = "l2",
) -> PerSample:
    """Mean squared (or absolute) forward difference of a flow, over axes and components.

    Zero for a translation. An axis of one voxel has no differences and counts as smooth.

    Args:
        flow: ``(b, n, *spatial)`` in voxels, channel ``i`` along spatial axis ``i``.
        mask: boolean or non-negative weights ``(b, 1 or n, *spatial)``; a difference weighs the
            product of its two voxels' weights.
        spacing: size of a voxel along each axis in mm. The differences are then those of the
            displacement in mm by position in mm, which has no unit and equals the plain value
            when voxels are cubes.
        penalty: ``"l2"`` (diffusion) or ``"l1"`` (total variation).

    Returns:
        ``(b,)``; float32 for half-precision flows.

    Raises:
        ValueError: ``flow`` is no 2D or 3D flow, or an option is out of range.

    Example:
        >>> flow = torch.zeros(1, 2, 4, 4)
        >>> flow[:, 0] = 0.2 * torch.arange(4.0).view(4, 1)  # a stretch of axis 0 by 1.2
        >>> flow_smoothness(flow)  # 0.2², mean of two components along two axes
        tensor([0.0100])

    Reference:
        Balakrishnan et al., "VoxelMorph", TMI 2019, eq. 7. RegGAN adds the two axes' means
        (``mean(dy²) + mean(dx²)``): twice this value in 2D.
    """
    sizes, shift = _physical(flow, spacing)
    one_of("penalty", penalty, ("l2", "l1"))
    total = shift.new_zeros(len(shift))
    for axis, step in enumerate(sizes):
        if shift.shape[2 + axis] > 1:
            change = _difference(shift, axis) / step
            cost = change.abs() if penalty == "l1" else change.square()
            total = total + masked_mean(cost, _both(mask, axis))
    return total / len(sizes)


def bending_energy(
    flow: Flow,
    *,
    mask: FlowMask | None = None,
    spacing: Sequence[float] | None = None,
) -> PerSample:
    """Mean squared second difference of a flow, mixed ones twice; the mean over components.

    Zero for affine flows. Second derivatives are forward differences of forward differences,
    each averaged over the stencils that fit; an axis too short for them counts as straight.

    Args:
        flow: ``(b, n, *spatial)`` in voxels, channel ``i`` along spatial axis ``i``.
        mask: boolean or non-negative weights ``(b, 1 or n, *spatial)``; a stencil weighs the
            product of its voxels' weights, so none reaches outside a boolean mask.
        spacing: size of a voxel along each axis in mm; the value is then in 1/mm², and cubes of
            edge ``s`` give the plain value divided by ``s²``.

    Returns:
        ``(b,)``; float32 for half-precision flows.

    Raises:
        ValueError: ``flow`` is no 2D or 3D flow, or ``spacing`` does not fit it.

    Example:
        >>> flow = torch.zeros(1, 2, 5, 5)
        >>> flow[:, 0] = torch.arange(5.0).square()  # second derivative 2 in one of two components
        >>> bending_energy(flow)
        tensor([2.])

    Reference:
        Rueckert et al., "Nonrigid registration using free-form deformations", TMI 1999, eq. 3.
        MONAI differentiates over two voxels twice, which cannot see a checkerboard.
    """
    sizes, shift = _physical(flow, spacing)
    total = shift.new_zeros(len(shift))
    for i, j in combinations_with_replacement(range(len(sizes)), 2):
        if min(shift.shape[2 + i], shift.shape[2 + j]) > 1 + (i == j):
            bend = _difference(_difference(shift, i), j) / (sizes[i] * sizes[j])
            mean = masked_mean(bend.square(), _both(_both(mask, i), j))
            total = total + (1 if i == j else 2) * mean
    return total


def _physical(flow: Tensor, spacing: Sequence[float] | None) -> tuple[tuple[float, ...], Tensor]:
    """Return the step along each axis, and the flow in its unit, in float32 or better."""
    n = grids.axes("flow", flow)
    shift = flow.to(torch.promote_types(flow.dtype, torch.float32))
    if spacing is None:
        return (1.0,) * n, shift
    sizes = tuple(spacing)
    if len(sizes) != n:
        msg = f"spacing must have {n} values (mm), one for each spatial axis, got {sizes}"
        raise ValueError(msg)
    positive(**{f"spacing[{axis}]": size for axis, size in enumerate(sizes)})
    return sizes, shift * shift.new_tensor(sizes).view(-1, *[1] * n)


def _difference(x: Tensor, axis: int) -> Tensor:
    return x.diff(dim=2 + axis)


def _both(mask: Tensor | None, axis: int) -> Tensor | None:
    """Weight of each pair of neighbours along an axis."""
    if mask is None:
        return None
    pairs = mask.shape[2 + axis] - 1
    return mask.narrow(2 + axis, 0, pairs) * mask.narrow(2 + axis, 1, pairs)
