"""Lens flare of a flickering lamp: where its stray light falls, and how it pulses."""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from libimg.phantoms.fields import uniform

__all__ = ["Flare", "Ghost", "draw_flare", "flicker", "stray_light"]


@dataclass(frozen=True)
class Ghost:
    """A reflection between lenses, on the line from the lamp through the picture's centre.

    Attributes:
        along: place on that line, 0 at the centre, 1 at the lamp.
        radius: pixels.
        soft: width of the edge, pixels.
        power: light in units of the background's light.

    Example:
        >>> Ghost(along=-0.4, radius=9.0, soft=2.0, power=0.5).along
        -0.4
    """

    along: float
    radius: float
    soft: float
    power: float


@dataclass(frozen=True)
class Flare:
    """Stray light of one lamp: ghosts, a halo and a streak. The lamp itself is not drawn.

    Attributes:
        y: row of the lamp at time 0; it may lie beside the picture.
        x: column of the lamp.
        vy: speed of the lamp's image along the rows, pixels a second.
        vx: speed along the columns.
        hz: flickers in a second: twice the mains, or the pulses of an LED.
        phase: part of a period that has passed at time 0.
        duty: part of the period in which an LED is on; 0 for a lamp on the mains.
        halo: light and radius (pixels) of the glow around the lamp.
        streak: light, length, width (pixels) and angle (radians) of the streak through the lamp.
        ghosts: reflections.

    Example:
        >>> draw_flare((48, 64), generator=torch.Generator().manual_seed(0)).hz
        120.0
    """

    y: float
    x: float
    vy: float
    vx: float
    hz: float
    phase: float
    duty: float
    halo: tuple[float, float]
    streak: tuple[float, float, float, float]
    ghosts: tuple[Ghost, ...]


def draw_flare(sensor: tuple[int, int], *, generator: torch.Generator) -> Flare:
    """Draw a lamp near the edge of the picture and what it does to the lenses."""

    def u(lo: float, hi: float) -> float:
        return uniform(generator, lo, hi)

    h, w = sensor
    way, far, size = u(0, 2 * math.pi), u(0.35, 0.75), math.sqrt(h * w)
    mains = u(0, 1) < 0.75
    strength = 1.0 if mains else 0.6  # fast pulses give many events
    ghosts = tuple(
        Ghost(
            along=u(-1.3, 0.7),
            radius=size * u(0.02, 0.09),
            soft=size * u(0.008, 0.03),
            power=strength * u(0.25, 0.7),
        )
        for _ in range(int(u(2, 6)))
    )
    return Flare(
        y=h / 2 + far * h * math.sin(way),
        x=w / 2 + far * w * math.cos(way),
        vy=u(-60, 60),
        vx=u(-60, 60),
        hz=(100.0 if u(0, 1) < 0.5 else 120.0) if mains else u(200, 1000),
        phase=u(0, 1),
        duty=0.0 if mains else u(0.25, 0.75),
        halo=(strength * u(0.4, 1.2), size * u(0.03, 0.1)),
        streak=(strength * u(0.25, 0.7), size * u(0.3, 1.0), size * u(0.006, 0.02), u(0, math.pi)),
        ghosts=ghosts,
    )


def flicker(flare: Flare, times_us: Int64[Tensor, " n"]) -> Float[Tensor, " n"]:
    """Light of the lamp from 0 to 1: sine squared on the mains, else pulses with soft flanks."""
    turn = (times_us.double() * (flare.hz * 1e-6) + flare.phase) % 1
    if flare.duty == 0:
        return torch.sin(math.pi * turn).square()
    ramp = 0.1  # of a period
    rise, fall = turn / ramp, (flare.duty + ramp - turn) / ramp
    return torch.minimum(rise, fall).clamp(0, 1)


def stray_light(flare: Flare, *, sensor: tuple[int, int], time_us: int) -> Float[Tensor, "h w"]:
    """Stray light at every pixel while the lamp is on, in units of the background's light."""
    h, w = sensor
    rows, columns = torch.arange(h)[:, None].float(), torch.arange(w).float()
    lamp = (flare.y + flare.vy * time_us * 1e-6, flare.x + flare.vx * time_us * 1e-6)
    dy, dx = rows - lamp[0], columns - lamp[1]
    glow, reach = flare.halo
    light = glow * torch.exp(-torch.hypot(dy, dx) / reach)
    bright, length, width, angle = flare.streak
    along = (math.cos(angle) * dx + math.sin(angle) * dy) / length
    across = (math.cos(angle) * dy - math.sin(angle) * dx) / width
    light += bright * torch.exp(-along.abs() - across.square())
    for ghost in flare.ghosts:
        y, x = (
            (n - 1) / 2 + ghost.along * (at - (n - 1) / 2)
            for n, at in zip(sensor, lamp, strict=True)
        )
        place = torch.hypot(rows - y, columns - x)
        inside = ((ghost.radius - place) / ghost.soft + 0.5).clamp_(0, 1)
        rim = 0.65 + 0.35 * (place / ghost.radius).clamp_(max=1).pow(4)  # brighter at the edge
        light += ghost.power * inside * rim
    return light
