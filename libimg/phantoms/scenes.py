"""Moving textured scenes filmed by an event camera, with the cause of every event."""

from dataclasses import astuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from libimg.phantoms.camera import (
    EventLabel,
    LabelledEvents,
    Pixels,
    pack,
    periodic,
    settle,
    unpack,
)
from libimg.phantoms.flare import flicker, stray_light
from libimg.phantoms.scenery import Scene, sample_scene

__all__ = ["EventLabel", "LabelledEvents", "Scene", "render_scene", "sample_scene", "scene"]

STEP_US = 500
"""Time between two pictures of the scene."""

FINE_US = 125
"""Time between two pictures of stray light, which flickers fast but moves slowly."""

BLOCK = 16
"""Pictures drawn at a time."""

DIM = 0.02
"""Stray light, in units of the background's, that is too little for an event."""

JITTER = 0.1
"""How much the events of leaking and hot pixels are off, in periods."""


def render_scene(
    scene: Scene, *, generator: torch.Generator, flare: bool = True, noise: bool = True
) -> LabelledEvents:
    """Film a scene: events of what moves, of the camera's noise and of stray light.

    Labels are true by construction. Each cause is a process of its own: SIGNAL are the crossings
    of the log light of the bodies, FLARE those of ``log(1 + stray light)``, which is what flare
    adds to a scene as bright as the background, and noise comes at random. In the end every pixel
    keeps its refractory period: an event of the signal always stays, others give way to it and
    to earlier ones. So SIGNAL is exactly what the same camera would see without flare and noise.
    Not modelled: that flare lessens the contrast of what lies behind it, and that leak and flare
    shift the times of the signal.

    Args:
        scene: from `sample_scene`.
        generator: for the noise; on the CPU.
        flare: False leaves the FLARE events out, and only them.
        noise: False leaves LEAK, SHOT and HOT out, and only them.

    Returns:
        Events of ``[0, duration_us)``, sorted by time, then row, column, polarity and label.

    Example:
        >>> generator = torch.Generator().manual_seed(0)
        >>> case = sample_scene(sensor=(32, 48), duration_us=20_000, generator=generator)
        >>> events, label = render_scene(case, generator=generator)
        >>> events.is_sorted(), len(events) == len(label), label.unique().tolist()
        (True, True, [0, 1, 2, 3, 4])

    Reference:
        Rebecq et al., ESIM, CoRL 2018; Hu et al., v2e, CVPRW 2021 (leak and shot noise).
    """
    count = scene.sensor[0] * scene.sensor[1]
    codes = torch.cat(
        [*_film(scene, generator), _stray(scene), *_own_events(scene, generator)]
    ).sort()[0]
    codes = settle(codes, count=count, refractory_us=scene.refractory_us)
    label = codes & 7
    dropped = torch.zeros_like(label, dtype=torch.bool)
    if not flare:
        dropped |= label == EventLabel.FLARE
    if not noise:
        dropped |= (label != EventLabel.FLARE) & (label != EventLabel.SIGNAL)
    return unpack(codes[~dropped], sensor=scene.sensor, stop_us=scene.duration_us)


def scene(
    *,
    sensor: tuple[int, int] = (180, 240),
    duration_us: int = 100_000,
    generator: torch.Generator,
    flare: bool = True,
    noise: bool = True,
) -> LabelledEvents:
    """Draw a scene and film it, see `sample_scene` and `render_scene`.

    Args:
        sensor: (height, width), at least 8 pixels each.
        duration_us: length of the recording.
        generator: the only source of randomness; on the CPU.
        flare: False leaves the FLARE events out.
        noise: False leaves LEAK, SHOT and HOT out.

    Returns:
        Events and their labels.

    Example:
        >>> events, label = scene(sensor=(32, 48), generator=torch.Generator().manual_seed(0))
        >>> truth = events[label == 0]
        >>> 0 < len(truth) < len(events)
        True
    """
    drawn = sample_scene(sensor=sensor, duration_us=duration_us, generator=generator)
    return render_scene(drawn, generator=generator, flare=flare, noise=noise)


def _pixels(scene: Scene, light: Tensor) -> Pixels:
    """Start the pixels at their offset from the given log light."""
    on, off, offset = (m.reshape(-1) for m in (scene.on, scene.off, scene.offset))
    level = light - torch.where(offset > 0, offset * on, offset * off)
    return Pixels(on=on, off=off, level=level, refractory_us=scene.refractory_us)


def _times(scene: Scene, step_us: int) -> Tensor:
    """Return when pictures are taken, from 0 to the end of the recording."""
    inner = torch.arange(0, scene.duration_us, step_us)
    return torch.cat([inner, torch.tensor([scene.duration_us])])


def _film(scene: Scene, generator: torch.Generator) -> list[Tensor]:
    """Return the codes of the signal, and of shot noise, which depends on the light."""
    from libimg._ops.scene_kernels import paint

    count, times = scene.on.numel(), _times(scene, STEP_US)
    table = np.array([astuple(body) for body in scene.bodies], np.float64).reshape(-1, 14)
    texture, everywhere = scene.texture.float().numpy(), torch.arange(count)
    frames = torch.zeros(BLOCK + 1, *scene.sensor)
    codes, pixels = [], None
    for first in range(0, len(times) - 1, BLOCK):
        at = times[first : first + BLOCK + 1]
        paint(table, texture, at.numpy(), frames[: len(at)].numpy())
        light = frames[: len(at)].flatten(1)
        pixels = pixels or _pixels(scene, light[0])
        codes.append(pixels.see(light, at, pixel=everywhere, label=EventLabel.SIGNAL))
        codes.append(_shot(light, at, scene.shot_hz, generator))
    return codes


def _shot(light: Tensor, times: Tensor, hz: float, generator: torch.Generator) -> Tensor:
    """Return the codes of shot noise between the first and the last of the times."""
    most, count = 4.0, light.shape[1]
    start, stop = int(times[0]), int(times[-1])
    mean = torch.tensor(hz * most * count * (stop - start) * 1e-6, dtype=torch.float64)
    n = int(torch.poisson(mean, generator=generator))
    pixel = torch.randint(count, (n,), generator=generator)
    t_us = torch.randint(start, stop, (n,), generator=generator)
    picture = torch.searchsorted(times, t_us, right=True) - 1
    rate = torch.exp(light[picture, pixel] * -0.5).clamp(0.25, most)
    kept = torch.rand(n, generator=generator) * most < rate
    p = (torch.rand(n, generator=generator) < 0.5).to(torch.int8)
    return pack(t_us[kept], pixel[kept], p[kept], label=EventLabel.SHOT, count=count)


def _own_events(scene: Scene, generator: torch.Generator) -> list[Tensor]:
    """Return the codes of the events of leaking and of hot pixels."""
    count = scene.on.numel()
    leaking = (
        (torch.arange(count), scene.leak_hz.reshape(-1), torch.ones(count, dtype=torch.int8)),
        (scene.hot_pixel, scene.hot_hz, scene.hot_p),
    )
    return [
        periodic(
            pixel, hz, p, jitter=JITTER, count=count, stop_us=scene.duration_us, label=label,
            generator=generator,
        )
        for (pixel, hz, p), label in zip(leaking, (EventLabel.LEAK, EventLabel.HOT), strict=True)
    ]  # fmt: skip


def _stray(scene: Scene) -> Tensor:
    """Return the codes of the events of stray light, which drifts linearly within a block."""
    codes = [torch.empty(0, dtype=torch.int64)]
    if not scene.flares:
        return codes[0]
    times = _times(scene, FINE_US)
    pulses = torch.stack([flicker(lamp, times).float() for lamp in scene.flares], dim=1)
    before = _lamps(scene, 0)
    pixels = _pixels(scene, (pulses[0] @ before).log1p())
    for first in range(0, len(times) - 1, 4 * BLOCK):
        at = times[first : first + 4 * BLOCK + 1]
        after = _lamps(scene, int(at[-1]))
        lit = ((before + after).sum(0) > DIM).nonzero()[:, 0]
        part = ((at - at[0]) / (at[-1] - at[0]))[:, None]
        pulse = pulses[first : first + 4 * BLOCK + 1]
        ends = torch.cat([before[:, lit], after[:, lit]])
        light = (torch.cat([pulse * (1 - part), pulse * part], dim=1) @ ends).log1p_()
        codes.append(pixels.see(light, at, pixel=lit, label=EventLabel.FLARE))
        before = after
    return torch.cat(codes)


def _lamps(scene: Scene, time_us: int) -> Float[Tensor, "lamps k"]:
    """Return the stray light of each lamp."""
    maps = [stray_light(lamp, sensor=scene.sensor, time_us=time_us) for lamp in scene.flares]
    return torch.stack(maps).flatten(1)
