"""Warping, composition, velocities and Jacobians of flows in voxels, in two and three dimensions.

A flow is ``(b, n, *spatial)``; channel ``i`` moves along spatial axis ``i``, in voxels, and
``warp(moving, flow)(p) = moving(p + flow(p))``.
"""

from libimg.registration.jacobian import folding_fraction as folding_fraction
from libimg.registration.jacobian import jacobian_determinant as jacobian_determinant
from libimg.registration.velocity import integrate_velocity as integrate_velocity
from libimg.registration.warp import compose as compose
from libimg.registration.warp import resize_flow as resize_flow
from libimg.registration.warp import warp as warp

__all__ = [
    "compose",
    "folding_fraction",
    "integrate_velocity",
    "jacobian_determinant",
    "resize_flow",
    "warp",
]
