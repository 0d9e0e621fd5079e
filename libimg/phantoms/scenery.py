"""One random scene and the camera before it: parameters only, no picture yet."""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int8, Int64
from torch import Tensor

from libimg import _check
from libimg.phantoms.fields import uniform
from libimg.phantoms.flare import Flare, draw_flare

__all__ = ["Body", "Scene", "sample_scene"]

TEXTURE = 256
"""Edge of the periodic texture, a power of two."""


@dataclass(frozen=True)
class Body:
    """A textured disc or polygon that moves straight on and turns; lengths in pixels.

    Attributes:
        corners: 3 to 6, 0 for a disc, -1 for the background, which has no edge.
        radius: from the centre to the edge; of a polygon to its sides.
        stretch: length over width of a bar, which has four corners; else 1.
        y: row of the centre at time 0.
        x: column of the centre at time 0.
        vy: speed along the rows, pixels a second; what leaves the picture comes in again.
        vx: speed along the columns.
        angle: radians at time 0.
        spin: radians a second.
        level: mean of log light; that of the background is 0.
        contrast: standard deviation of log light.
        grain: steps in the texture for a pixel.
        v: row of the texture at the centre.
        u: column of the texture at the centre.

    Example:
        >>> case = sample_scene(sensor=(32, 48), generator=torch.Generator().manual_seed(0))
        >>> case.bodies[0].corners, case.bodies[0].level
        (-1, 0.0)
    """

    corners: int
    radius: float
    stretch: float
    y: float
    x: float
    vy: float
    vx: float
    angle: float
    spin: float
    level: float
    contrast: float
    grain: float
    v: float
    u: float


@dataclass(frozen=True, eq=False)
class Scene:
    """What `render_scene` films, and the camera; `dataclasses.replace` makes variants.

    Attributes:
        sensor: (height, width).
        duration_us: length of the recording.
        texture: periodic log light with mean 0 and variance 1, edge a power of two.
        bodies: the background, then one body over another.
        flares: lamps that flicker.
        on: threshold of each pixel for more light, in log light.
        off: threshold for less light.
        offset: how far each pixel is towards its next event at time 0, -1 (OFF) to 1 (ON).
        refractory_us: how long a pixel is blind after an event.
        leak_hz: ON events that a pixel makes by itself.
        shot_hz: noise events of a pixel at the light of the background, both polarities
            together; in the dark more, as light to the power of -1/2.
        hot_pixel: row times width plus column of the hot pixels.
        hot_hz: their events a second.
        hot_p: their polarity.

    Example:
        >>> from dataclasses import replace
        >>> case = sample_scene(sensor=(32, 48), generator=torch.Generator().manual_seed(0))
        >>> replace(case, flares=()).flares
        ()
    """

    sensor: tuple[int, int]
    duration_us: int
    texture: Float[Tensor, "n n"]
    bodies: tuple[Body, ...]
    flares: tuple[Flare, ...]
    on: Float[Tensor, "h w"]
    off: Float[Tensor, "h w"]
    offset: Float[Tensor, "h w"]
    refractory_us: int
    leak_hz: Float[Tensor, "h w"]
    shot_hz: float
    hot_pixel: Int64[Tensor, " k"]
    hot_hz: Float[Tensor, " k"]
    hot_p: Int8[Tensor, " k"]


def sample_scene(
    *,
    sensor: tuple[int, int] = (180, 240),
    duration_us: int = 100_000,
    objects: int | None = None,
    flares: int | None = None,
    threshold: float | None = None,
    leak_hz: float | None = None,
    shot_hz: float | None = None,
    hot_fraction: float = 1e-3,
    generator: torch.Generator,
) -> Scene:
    """Draw a scene and a camera at random.

    Args:
        sensor: (height, width), at least 8 pixels each.
        duration_us: length of the recording.
        objects: moving bodies in front of the background; None draws 4 to 9.
        flares: flickering lamps; None draws 1 to 3.
        threshold: mean contrast threshold in log light; None draws from 0.15 to 0.27. Pixels
            differ by 3 %.
        leak_hz: None draws from 0.1 to 0.3 events a second and pixel.
        shot_hz: None draws from 1 to 10.
        hot_fraction: share of pixels that fire at 100 to 600 events a second.
        generator: the only source of randomness; on the CPU.

    Returns:
        Parameters only, to be filmed by `render_scene`.

    Raises:
        ValueError: a size, number, rate or threshold out of range.

    Example:
        >>> case = sample_scene(sensor=(32, 48), generator=torch.Generator().manual_seed(0))
        >>> case.sensor, case.duration_us, len(case.bodies) > 4
        ((32, 48), 100000, True)
    """
    if len(sensor) != 2 or not all(8 <= n <= 65536 for n in sensor):
        msg = f"sensor must be (height, width) of 8 to 65536 pixels, got {tuple(sensor)}"
        raise ValueError(msg)
    _check.positive(duration_us=duration_us)

    def u(lo: float, hi: float) -> float:
        return uniform(generator, lo, hi)

    drawn = {
        "objects": int(u(4, 10)) if objects is None else objects,
        "flares": int(u(1, 3.5)) if flares is None else flares,
        "leak_hz": u(0.1, 0.3) if leak_hz is None else leak_hz,
        "shot_hz": 10 ** u(0, 1) if shot_hz is None else shot_hz,
        "hot_fraction": hot_fraction,
    }
    for name, value in drawn.items():
        if not value >= 0 or (name == "hot_fraction" and value > 1):
            msg = f"{name} must be 0 or more{', at most 1' * (name == 'hot_fraction')}, got {value}"
            raise ValueError(msg)
    contrast = u(0.15, 0.27) if threshold is None else threshold
    _check.positive(threshold=contrast)
    count = sensor[0] * sensor[1]
    hot = torch.rand(count, generator=generator).argsort()[: round(drawn["hot_fraction"] * count)]
    spread = torch.randn(3, *sensor, generator=generator)
    return Scene(
        sensor=(sensor[0], sensor[1]),
        duration_us=duration_us,
        texture=_texture(generator),
        bodies=_bodies(int(drawn["objects"]), sensor, generator=generator),
        flares=tuple(draw_flare(sensor, generator=generator) for _ in range(int(drawn["flares"]))),
        on=contrast * (1 + 0.03 * spread[0]).clamp(min=0.5),
        off=contrast * u(0.85, 1.15) * (1 + 0.03 * spread[1]).clamp(min=0.5),
        offset=torch.rand(sensor, generator=generator) * 1.8 - 0.9,
        refractory_us=round(u(300, 1000)),
        leak_hz=drawn["leak_hz"] * (1 + 0.3 * spread[2]).clamp(min=0),
        shot_hz=drawn["shot_hz"],
        hot_pixel=hot,
        hot_hz=100 + 500 * torch.rand(len(hot), generator=generator),
        hot_p=(torch.rand(len(hot), generator=generator) < 0.8).to(torch.int8) * 2 - 1,
    )


def _texture(generator: torch.Generator) -> Float[Tensor, "n n"]:
    """Draw patches with steep flanks and a finer pattern on them."""
    k = torch.fft.fftfreq(TEXTURE) * TEXTURE
    radius = torch.hypot(k[:, None], k)
    layers = []
    for lo, hi in ((3, 12), (12, 30)):
        band = ((radius >= lo) & (radius < hi)) / radius.clamp(min=1)
        white = torch.randn(TEXTURE, TEXTURE, generator=generator)
        layer = torch.fft.ifft2(torch.fft.fft2(white) * band).real
        layers.append(layer / layer.std())
    mixed = torch.tanh(4 * layers[0]) + 0.3 * layers[1]
    flat: Tensor = mixed - mixed.mean()
    return flat / flat.std()


def _bodies(
    objects: int, sensor: tuple[int, int], *, generator: torch.Generator
) -> tuple[Body, ...]:
    """Draw the background, which pans slowly, and what moves in front of it."""

    def u(lo: float, hi: float) -> float:
        return uniform(generator, lo, hi)

    h, w = sensor
    size, bodies = math.sqrt(h * w), []
    for i in range(objects + 1):
        way, speed = u(0, 2 * math.pi), 10 ** u(2, math.log10(1500))
        corners = (0, 3, 4, 4, 5, 6)[int(u(0, 6))]
        bar = corners == 4
        radius = size * (u(0.015, 0.04) if bar else u(0.04, 0.13))
        if i == 0:
            corners, speed = -1, u(60, 220)
        bodies.append(
            Body(
                corners=corners,
                radius=radius,
                stretch=u(2, 7) if bar else 1.0,
                y=u(0, h) if i else h / 2,
                x=u(0, w) if i else w / 2,
                vy=speed * math.sin(way),
                vx=speed * math.cos(way),
                angle=u(0, 2 * math.pi),
                spin=u(-12, 12) if i else u(-0.2, 0.2),
                level=(1 if u(0, 1) < 0.5 else -1) * u(0.4, 1.4) if i else 0.0,
                contrast=u(0.05, 0.3) if i else u(0.25, 0.5),
                grain=u(0.7, 1.5) if i else u(0.5, 1.0),
                v=u(0, TEXTURE),
                u=u(0, TEXTURE),
            )
        )
    return tuple(bodies)
