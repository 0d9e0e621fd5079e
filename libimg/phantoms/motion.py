"""Breathing: a smooth displacement, largest at the diaphragm, small at spine and chest wall."""

import torch
from jaxtyping import Float
from torch import Tensor

from libimg.phantoms.fields import sample_lattice, smooth_lattice, smooth_step, uniform

__all__ = ["breathing"]


def breathing(
    at: Float[Tensor, "3 d h w"],
    *,
    amplitude_mm: tuple[float, float, float],
    generator: torch.Generator,
) -> Float[Tensor, "3 d h w"]:
    """Displacement in mm at points ``at``; the largest is 60 to 100 % of the amplitude."""
    z, y, x = at
    inside = torch.exp(-1.2 * ((x / 130).square() + (y / 100).square()).square())
    spine = 1 - 0.85 * torch.exp(-(x / 35).square() - ((y - 70) / 35).square())
    down = smooth_step(z, -130.0, 60.0) * inside * spine
    chest = torch.exp(-((z - 10) / 80).square()) * torch.exp(-(x / 110).square())
    front = smooth_step(y, 60.0, -100.0) * chest
    side = torch.tanh(x / 60) * chest * inside * spine
    wander = sample_lattice(smooth_lattice(generator, channels=3, waves=4), at) * inside * spine
    u = torch.stack([down, front, side]) + 0.2 * wander
    sign = 1.0 if uniform(generator, 0, 1) < 0.5 else -1.0
    most = torch.tensor([a * uniform(generator, 0.6, 1.0) for a in amplitude_mm])
    return sign * u * (most / u.abs().amax((1, 2, 3))).view(3, 1, 1, 1)
