"""Pictures of events: frames, voxel grids and clouds in space and time."""

from typing import Any

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from libimg import _check
from libimg._extras import optional
from libimg.events.stream import Events

__all__ = ["event_cloud", "event_frame", "voxel_picture"]

ON, OFF = (214, 39, 40), (31, 80, 180)


def event_frame(
    events: Events,
    *,
    start_us: int | None = None,
    stop_us: int | None = None,
    full: int = 2,
    dark: bool = False,
) -> UInt8[Tensor, "h w 3"]:
    """Draw events as a picture: red for brighter, blue for darker, by their sum at each pixel.

    Args:
        events: in any order; those beyond the sensor are not drawn.
        start_us: first microsecond to draw, None for all.
        stop_us: end.
        full: surplus of one polarity that has the full colour.
        dark: on black instead of white.

    Returns:
        RGB, ``(h, w, 3)``, on the CPU.

    Raises:
        ValueError: ``full`` is not positive.

    Example:
        >>> events = Events([0, 1], [0, 1], [0, 0], [1, -1], sensor=(1, 3))
        >>> event_frame(events, full=1).tolist()
        [[[214, 39, 40], [31, 80, 180], [255, 255, 255]]]
    """
    t = events.t_us
    chosen = torch.ones_like(t, dtype=torch.bool)
    chosen &= t >= (start_us if start_us is not None else -(2**62))
    chosen &= t < (stop_us if stop_us is not None else 2**62)
    height, width = events.sensor
    x, y = events.x.long(), events.y.long()
    chosen &= (x < width) & (y < height)
    at = (y * width + x)[chosen]
    total = torch.zeros(height * width, device=at.device)
    total.index_add_(0, at, events.p[chosen].float())
    return voxel_picture(total.reshape(1, height, width), full=full, dark=dark)


def voxel_picture(
    voxels: Float[Tensor, "*polarity bins h w"], *, full: float = 2.0, dark: bool = False
) -> UInt8[Tensor, "h w_ 3"]:
    """Draw a voxel grid: its bins side by side, red positive and blue negative.

    Args:
        voxels: ``(bins, h, w)`` signed sums, or ``(2, bins, h, w)`` counts, drawn as difference.
        full: value that has the full colour.
        dark: on black instead of white.

    Returns:
        RGB, ``(h, bins * (w + 1) - 1, 3)``, with a grey line between bins; on the CPU.

    Raises:
        ValueError: wrong shape, or ``full`` is not positive.

    Example:
        >>> voxel_picture(torch.zeros(8, 4, 5)).shape
        torch.Size([4, 47, 3])
    """
    _check.positive(full=full)
    grid = voxels.detach().float().cpu()
    if grid.ndim == 4 and grid.shape[0] == 2:
        grid = grid[0] - grid[1]
    if grid.ndim != 3:
        msg = f"voxels must be (bins, h, w) or (2, bins, h, w), got shape {tuple(voxels.shape)}"
        raise ValueError(msg)
    ground = torch.full((3,), 0.0 if dark else 255.0)
    colours = torch.where((grid > 0).unsqueeze(-1), torch.tensor(ON), torch.tensor(OFF)).float()
    strength = (grid.abs() / full).clamp(max=1).unsqueeze(-1)
    pictures = ground + strength * (colours - ground)
    line = torch.full((1, grid.shape[1], 1, 3), 128.0)
    parts = [part for picture in pictures for part in (line[0], picture)][1:]
    return torch.cat(parts, 1).round().to(torch.uint8)


def event_cloud(
    events: Events, *, most: int = 20_000, generator: torch.Generator | None = None
) -> UInt8[Tensor, "h w 3"]:
    """Draw events as points in space and time, with axes in pixels and milliseconds.

    Args:
        events: in any order.
        most: points to draw at most.
        generator: draws them where there are more; evenly spaced ones are taken if None.

    Returns:
        RGB, ``(720, 960, 3)``.

    Raises:
        ValueError: ``most`` is not positive.
        ImportError: matplotlib is not installed.

    Example:
        >>> event_cloud(Events([0], [1], [1], [1], sensor=(4, 4))).shape
        torch.Size([720, 960, 3])
    """
    _check.positive(most=most)
    if len(events) > most:
        if generator is None:
            index = torch.arange(most) * len(events) // most
        else:
            index = torch.randperm(len(events), generator=generator)[:most]
        events = events[index.to(events.t_us.device)]
    figure = optional("matplotlib.figure", extra="tasks").Figure(figsize=(9.6, 7.2), dpi=100)
    canvas = optional("matplotlib.backends.backend_agg", extra="tasks").FigureCanvasAgg(figure)
    axes: Any = figure.add_subplot(projection="3d")
    span = events.span or (0, 0)
    t, x, y, p = (c.cpu().numpy() for c in (events.t_us, events.x, events.y, events.p))
    colours = np.where(p[:, None] > 0, np.array(ON) / 255, np.array(OFF) / 255)
    axes.scatter((t - span[0]) / 1000, x, y, c=colours, s=1.5, depthshade=False, linewidths=0)
    axes.set(xlabel=f"t - {span[0] / 1000:.1f} ms [ms]", ylabel="x [pixels]", zlabel="y [pixels]")
    axes.set(ylim=(0, events.sensor[1]), zlim=(events.sensor[0], 0))
    axes.set_title(f"{len(t)} events: red brighter, blue darker")
    axes.view_init(elev=18, azim=-62)
    canvas.draw()
    return torch.from_numpy(np.asarray(canvas.buffer_rgba())[..., :3].copy())
