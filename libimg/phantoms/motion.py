"""Breathing: a smooth displacement, largest at the diaphragm, small at spine and chest wall."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from libimg.phantoms.fields import (
    LATTICE_MM,
    LATTICE_SIZE,
    resample_lattice,
    smooth_lattice,
    smooth_step,
    uniform,
)

__all__ = ["breathing"]


def breathing(
    axes: Sequence[Float[Tensor, " _"]],
    *,
    amplitude_mm: tuple[float, float, float],
    generator: torch.Generator,
) -> Float[Tensor, "3 d h w"]:
    """Displacement (mm) on a grid: into or out of the breath, wandering a little by case.

    Args:
        axes: coordinates of the grid along z (to the feet), y (to the back), x (to the left), mm.
        amplitude_mm: bound along each axis; the largest displacement is 60 to 100 % of it.
        generator: source of the amplitude, the direction and the wandering.
    """
    line = torch.linspace(-LATTICE_MM, LATTICE_MM, LATTICE_SIZE)
    z, y, x = torch.meshgrid(line, line, line, indexing="ij")
    inside = torch.exp(-1.2 * ((x / 130).square() + (y / 100).square()).square())
    free = inside * (1 - 0.85 * torch.exp(-(x / 35).square() - ((y - 65) / 35).square()))
    chest = torch.exp(-((z - 10) / 80).square() - (x / 110).square())
    down = smooth_step(z, -130.0, 60.0) * free
    front = smooth_step(y, 60.0, -100.0) * chest
    side = torch.tanh(x / 60) * chest * free
    wander = smooth_lattice(generator, channels=3, waves=4) * free
    field = resample_lattice(torch.stack([down, front, side]) + 0.2 * wander, axes)
    sign = 1.0 if uniform(generator, 0, 1) < 0.5 else -1.0
    most = torch.tensor([sign * a * uniform(generator, 0.6, 1.0) for a in amplitude_mm])
    return field * (most / field.abs().amax((1, 2, 3))).view(3, 1, 1, 1)
