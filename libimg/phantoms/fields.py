"""Signed distances (mm, negative inside), soft edges and random fields of the phantoms."""

import math

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

__all__ = [
    "correlated_noise",
    "ellipsoid",
    "sample_lattice",
    "smooth_min",
    "smooth_step",
    "uniform",
]

LATTICE_MM = 200.0
"""Half the edge of the cube that a lattice of random values covers."""


def uniform(generator: torch.Generator, lo: float, hi: float) -> float:
    """Draw one number from ``[lo, hi)``."""
    return lo + (hi - lo) * float(torch.rand((), generator=generator, dtype=torch.float64))


def smooth_step(x: Tensor, lo: float, hi: float) -> Tensor:
    """Rise from 0 at ``lo`` to 1 at ``hi`` with zero slope at both ends; ``lo`` may be above ``hi``."""
    t = ((x - lo) / (hi - lo)).clamp(0, 1)
    return t * t * (3 - 2 * t)


def smooth_min(a: Tensor, b: Tensor, width: float) -> Tensor:
    """Union of two signed distances whose crease is rounded over ``width`` mm."""
    h = (width - (a - b).abs()).clamp(min=0) / width
    return torch.minimum(a, b) - h * h * (width / 4)


def ellipsoid(
    z: Tensor,
    y: Tensor,
    x: Tensor,
    *,
    centre: tuple[float, float, float],
    radii: tuple[float, float, float],
) -> Tensor:
    """Signed distance of an ellipsoid to first order (exact on the surface and for a sphere)."""
    offsets = (z - centre[0], y - centre[1], x - centre[2])
    k0 = sum(((o / r).square() for o, r in zip(offsets, radii, strict=True)), torch.zeros(()))
    k1 = sum(((o / r**2).square() for o, r in zip(offsets, radii, strict=True)), torch.zeros(()))
    k0, k1 = k0.sqrt(), k1.sqrt()
    return k0 * (k0 - 1) / k1.clamp(min=1e-6)


def sample_lattice(lattice: Float[Tensor, "c k k k"], at: Float[Tensor, "3 d h w"]) -> Tensor:
    """Interpolate random values that are known on a cube of ``±LATTICE_MM`` at points in mm."""
    grid = at.flip(0).movedim(0, -1)[None] / LATTICE_MM
    return F.grid_sample(lattice[None], grid, padding_mode="border", align_corners=True)[0]


def smooth_lattice(
    generator: torch.Generator, *, channels: int, waves: int, size: int = 40
) -> Float[Tensor, "c k k k"]:
    """Sum of random cosines up to ``waves`` half periods an axis; each channel has variance 1."""
    coefficients = torch.randn(channels, waves, waves, waves, generator=generator)
    k, t = torch.arange(waves), torch.linspace(0, math.pi, size)
    basis = torch.cos(k[:, None] * t)
    field = torch.einsum("cijk,iz,jy,kx->czyx", coefficients, basis, basis, basis)
    flat = field - field.mean((1, 2, 3), keepdim=True)
    return flat / flat.square().mean((1, 2, 3), keepdim=True).sqrt()


def correlated_noise(
    shape: tuple[int, int, int], *, sd: float, generator: torch.Generator
) -> Float[Tensor, "d h w"]:
    """Gaussian noise of standard deviation ``sd`` whose in-plane neighbours are slightly alike."""
    d, h, w = shape
    white = torch.randn(d, h + 2, w + 2, generator=generator)
    side = 0.25
    rows = white[:, 1:-1] + side * (white[:, :-2] + white[:, 2:])
    both = rows[:, :, 1:-1] + side * (rows[:, :, :-2] + rows[:, :, 2:])
    return both.mul_(sd / (1 + 2 * side**2))
