"""Signed distances (mm, negative inside), soft edges and random fields of the phantoms."""

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

__all__ = [
    "correlated_noise",
    "ellipsoid",
    "resample_lattice",
    "sample_lattice",
    "smooth_lattice",
    "smooth_min",
    "smooth_step",
    "uniform",
]

LATTICE_MM = 200.0
"""Half the edge of the cube that a lattice of random values covers."""

LATTICE_SIZE = 41
"""Nodes of a lattice along each axis, 10 mm apart."""


def uniform(generator: torch.Generator, lo: float, hi: float) -> float:
    """Draw one number from ``[lo, hi)``."""
    return lo + (hi - lo) * float(torch.rand((), generator=generator, dtype=torch.float64))


def smooth_step(x: Tensor, lo: float, hi: float) -> Tensor:
    """Rise from 0 at ``lo`` to 1 at ``hi``, flat at both ends; ``lo`` may be above ``hi``."""
    t = ((x - lo) / (hi - lo)).clamp_(0, 1)
    return t * t * (3 - 2 * t)


def smooth_min(a: Tensor, b: Tensor, width: float) -> Tensor:
    """Union of two signed distances whose crease is rounded over ``width`` mm."""
    h = (width - (a - b).abs()).clamp_(min=0)
    return torch.minimum(a, b) - h.square_().mul_(1 / (4 * width))


def ellipsoid(
    z: Tensor,
    y: Tensor,
    x: Tensor,
    *,
    centre: tuple[float, float, float],
    radii: tuple[float, float, float],
) -> Float[Tensor, "*at"]:
    """Signed distance of an ellipsoid to first order: exact on its surface."""
    u, v, w = ((p - c) / r for p, c, r in zip((z, y, x), centre, radii, strict=True))
    level = (u.square() + v.square() + w.square()).sqrt()
    steep = ((u / radii[0]).square() + (v / radii[1]).square() + (w / radii[2]).square()).sqrt()
    return level * (level - 1) / steep.clamp(min=1e-6)


def smooth_lattice(
    generator: torch.Generator, *, channels: int, waves: int
) -> Float[Tensor, "channels k k k"]:
    """Sum of random cosines up to ``waves`` half periods an axis; each channel has variance 1."""
    coefficients = torch.randn(channels, waves, waves, waves, generator=generator)
    t = torch.linspace(0, math.pi, LATTICE_SIZE)
    basis = torch.cos(torch.arange(waves)[:, None] * t)
    field = torch.einsum("cijk,iz,jy,kx->czyx", coefficients, basis, basis, basis)
    flat = field - field.mean((1, 2, 3), keepdim=True)
    return flat / flat.square().mean((1, 2, 3), keepdim=True).sqrt()


def sample_lattice(
    lattice: Float[Tensor, "c k k k"], at: Float[Tensor, "3 d h w"]
) -> Float[Tensor, "c d h w"]:
    """Interpolate a lattice linearly at any points (mm)."""
    grid = at.flip(0).movedim(0, -1)[None] / LATTICE_MM
    return F.grid_sample(lattice[None], grid, padding_mode="border", align_corners=True)[0]


def resample_lattice(
    lattice: Float[Tensor, "c k k k"], axes: Sequence[Float[Tensor, " _"]]
) -> Float[Tensor, "c d h w"]:
    """Interpolate a lattice with cubic B-splines at the points of a rectangular grid (mm)."""
    weights = []
    for axis in axes:
        place = (axis / LATTICE_MM + 1).clamp(0, 2) * (LATTICE_SIZE - 1) / 2
        t = (place[:, None] - torch.arange(LATTICE_SIZE)).abs()
        near, far = 2 / 3 - t**2 + t**3 / 2, (2 - t).clamp(min=0) ** 3 / 6
        w = torch.where(t < 1, near, far)
        weights.append(w / w.sum(1, keepdim=True))
    return torch.einsum("cijk,zi,yj,xk->czyx", lattice, *weights).contiguous()


def correlated_noise(
    shape: tuple[int, int, int], *, sd: float, generator: torch.Generator
) -> Float[Tensor, "d h w"]:
    """Gaussian noise of standard deviation ``sd``; neighbours in a slice are slightly alike."""
    d, h, w = shape
    side = 0.25
    white = torch.randn(d, h + 2, w + 2, generator=generator)
    rows = white[:, 1:-1] + side * (white[:, :-2] + white[:, 2:])
    both = rows[:, :, 1:-1] + side * (rows[:, :, :-2] + rows[:, :, 2:])
    return both.mul_(sd / (1 + 2 * side**2))
