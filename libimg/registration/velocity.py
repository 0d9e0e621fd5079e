"""Flows of stationary velocity fields."""

from libimg._ops import grids
from libimg._types import Flow

__all__ = ["integrate_velocity"]


def integrate_velocity(velocity: Flow, *, steps: int = 7) -> Flow:
    """Integrate a stationary velocity over unit time, by scaling and squaring.

    Starts from ``velocity / 2**steps`` and composes the flow with itself ``steps`` times. The
    flow of a smooth velocity is invertible, its inverse being that of ``-velocity``. The border
    value goes on outside, so a constant velocity gives that constant.

    Args:
        velocity: ``(b, n, *spatial)`` in voxels per unit time, channel ``i`` along axis ``i``.
        steps: number of squarings; 0 returns the velocity itself. The error falls as
            ``2**-steps`` until interpolation dominates.

    Returns:
        The flow ``(b, n, *spatial)`` in voxels, accumulated in float32 or better.

    Raises:
        ValueError: ``velocity`` is no 2D or 3D flow, or ``steps`` is negative.

    Example:
        >>> import torch
        >>> integrate_velocity(torch.full((1, 2, 4, 4), 1.5)).unique()
        tensor([1.5000])

    Reference:
        Arsigny et al., "A Log-Euclidean Framework for Statistics on Diffeomorphisms", MICCAI
        2006; Dalca et al., MICCAI 2018. voxelmorph and MONAI pad with zeros here, which bends
        even a constant velocity at the border.
    """
    grids.axes("velocity", velocity)
    if steps < 0:
        msg = f"steps must be 0 or more, got {steps}"
        raise ValueError(msg)
    return grids.integrate(velocity, steps=steps)
