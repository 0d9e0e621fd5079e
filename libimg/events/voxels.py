"""Events to voxel grids: exact, fast, and in a window that the caller gives."""

from typing import Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from libimg import _check
from libimg.events.conventions import Convention, Interpolation, Polarity, settle
from libimg.events.stream import Events

__all__ = ["Outside", "count_outside", "encode_voxels", "encode_windows"]

Outside = Literal["drop", "raise"]
MOST = 2**40  # microseconds in all windows (12 days) and bins: products of them fit int64


def encode_voxels(
    events: Events,
    *,
    bins: int,
    start_us: int,
    duration_us: int,
    sensor: tuple[int, int] | None = None,
    polarity: Polarity | None = None,
    interpolation: Interpolation | None = None,
    convention: str = "edges",
    outside: Outside = "drop",
) -> Float[Tensor, "*polarity bins h w"]:
    """Count events in a grid of time bins and pixels.

    The window ``[start_us, start_us + duration_us)`` is the caller's and never taken from the
    events, so two streams stay comparable and grids add up. With ``s`` the position of an event
    in bins, ``τ = (t - start_us) / duration_us`` and B the number of bins:

    | convention | ``s``, held to [0, B - 1] | default | and their own code |
    |---|---|---|---|
    | ``edges``, ``eflare`` | Bτ - ½ | nearest, sum: bin ⌊Bτ⌋ | E-Flare starts each segment at \
its first event, so noisy and clean grids are shifted against each other |
    | ``rvt`` | Bτ - ½ | nearest, split | RVT takes the window from the data, wraps at 255 in its \
fast mode and puts negative first: ``grid.flip(0).reshape(2 * B, h, w)`` |
    | ``metavision`` | Bτ - ½ | time, sum | openeb's torch code lets the first half bin leak into \
bin 1, its C++ code drops half of the first and last half bins |
    | ``e2vid``, ``event_utils`` | (B - 1)τ | time, sum | window from the data; one event or equal \
times divide by zero or raise; pixels beyond the sensor wrap into the next row |
    | ``dsec`` | (B - 1)τ | time, sum | window from the data, float32 times; sub-pixel positions \
(of rectified events) are not held by `Events` |
    | ``tonic`` | Bτ | time, sum | the share beyond bin B - 1 is lost, here bin B - 1 keeps it; \
boolean polarities all count +1 |

    Where the last bin lies on the end of the window (``e2vid``, ``event_utils``, ``dsec``) the
    end belongs to the window. In every convention the sum of the grid is the sum of the
    polarities, the grid of two streams together is the sum of their grids, and order does not
    matter. Float32 is exact up to 2^24 events a voxel (without interpolation).

    Args:
        events: in any order; sorted ones are faster.
        bins: number of time bins, at least 1.
        start_us: start of the window, microseconds.
        duration_us: its length, at least 1.
        sensor: (height, width) of the grid; that of the events if None.
        polarity: ``"sum"``: signed; ``"split"``: counts of positive and of negative events; None:
            that of the convention.
        interpolation: ``"none"``: the nearest bin (the later of two equally near); ``"time"``:
            shared linearly between two bins; None: that of the convention.
        convention: see the table.
        outside: events outside the window or the sensor are left out (`count_outside` tells how
            many there are) or raise.

    Returns:
        ``(bins, h, w)``, or ``(2, bins, h, w)`` for ``"split"`` (positive, negative); float32 on
        the device of the events.

    Raises:
        ValueError: an option is unknown or out of range, or there are events outside and
            ``outside="raise"``.

    Example:
        >>> events = Events([0, 2500, 19999], [1, 1, 0], [0, 0, 0], [1, -1, 1], sensor=(1, 2))
        >>> encode_voxels(events, bins=8, start_us=0, duration_us=20_000).sum((1, 2)).tolist()
        [1.0, -1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0]

    Reference:
        Zhu et al., CVPR 2019; Rebecq et al. (E2VID), TPAMI 2019; Gehrig et al. (DSEC), RA-L 2021;
        Gehrig and Scaramuzza (RVT), CVPR 2023; Perot et al. (openeb), NeurIPS 2020.
    """
    grid = encode_windows(
        events,
        windows=1,
        bins=bins,
        start_us=start_us,
        duration_us=duration_us,
        sensor=sensor,
        polarity=polarity,
        interpolation=interpolation,
        convention=convention,
        outside=outside,
    )
    return grid[0]


def encode_windows(
    events: Events,
    *,
    windows: int,
    bins: int,
    start_us: int,
    duration_us: int,
    sensor: tuple[int, int] | None = None,
    polarity: Polarity | None = None,
    interpolation: Interpolation | None = None,
    convention: str = "edges",
    outside: Outside = "drop",
) -> Float[Tensor, "windows *polarity bins h w"]:
    """Count events in several windows that follow each other, in one pass over the events.

    Args:
        events: see `encode_voxels`.
        windows: number of windows; window i is ``[start_us + i * duration_us, ... + duration_us)``.
        bins: of each window.
        start_us: start of the first window.
        duration_us: length of each.
        sensor: see `encode_voxels`.
        polarity: see `encode_voxels`.
        interpolation: see `encode_voxels`.
        convention: see `encode_voxels`; only the last window may be closed at its end.
        outside: see `encode_voxels`.

    Returns:
        ``(windows, bins, h, w)`` or ``(windows, 2, bins, h, w)``.

    Raises:
        ValueError: as `encode_voxels` does.

    Example:
        >>> events = Events([0, 100, 150], [0, 0, 0], [0, 0, 0], [1, 1, -1], sensor=(1, 1))
        >>> grids = encode_windows(events, windows=2, bins=2, start_us=0, duration_us=100)
        >>> grids.flatten(1).tolist()
        [[1.0, 0.0], [1.0, -1.0]]
    """
    chosen, polarity, interpolation = settle(convention, polarity, interpolation)
    _check.one_of("outside", outside, ("drop", "raise"))
    _check.positive(windows=windows, bins=bins, duration_us=duration_us)
    height, width = events.sensor if sensor is None else sensor
    _check.positive(height=height, width=width)
    if windows * duration_us * bins > MOST:
        msg = f"windows * duration_us * bins must be at most {MOST}, got {windows * duration_us} "
        msg += f"us in {bins} bins"
        raise ValueError(msg)
    shape = (windows, 2 if polarity == "split" else 1, bins, height, width)
    start, duration = int(start_us), int(duration_us)
    fill = _on_cpu if events.t_us.device.type == "cpu" else _on_device
    linear = interpolation == "time"
    grid, late, beyond = fill(events, shape, chosen, start, duration, linear, outside == "raise")
    if outside == "raise" and late + beyond:
        msg = f"events: {late} of {len(events)} lie outside [{start}, {start + windows * duration})"
        msg += f" us and {beyond} beyond the sensor {(height, width)}"
        raise ValueError(msg)
    return grid if polarity == "split" else grid.squeeze(1)


def count_outside(
    events: Events,
    *,
    start_us: int,
    duration_us: int,
    sensor: tuple[int, int] | None = None,
) -> dict[str, int]:
    """Count the events that `encode_voxels` leaves out, by reason.

    Args:
        events: in any order.
        start_us: start of the window.
        duration_us: length of the half-open window.
        sensor: (height, width) of the grid; that of the events if None.

    Returns:
        ``before`` and ``after`` the window, and inside it but ``beyond_sensor``.

    Example:
        >>> events = Events([-5, 0, 10], [0, 9, 0], [0, 0, 0], [1, 1, 1], sensor=(1, 10))
        >>> count_outside(events, start_us=0, duration_us=10, sensor=(1, 4))
        {'before': 1, 'after': 1, 'beyond_sensor': 1}
    """
    height, width = events.sensor if sensor is None else sensor
    before, after = events.t_us < start_us, events.t_us >= start_us + duration_us
    beyond = (events.x.to(torch.int32) >= width) | (events.y.to(torch.int32) >= height)
    beyond &= ~(before | after)
    counts = {"before": before, "after": after, "beyond_sensor": beyond}
    return {name: int(which.sum()) for name, which in counts.items()}


def _on_cpu(
    events: Events,
    shape: tuple[int, ...],
    convention: Convention,
    start: int,
    duration: int,
    linear: bool,
    count: bool,
) -> tuple[Tensor, int, int]:
    """Fill the grid by a compiled loop; numpy's memory comes in large pages."""
    from libimg._ops import event_kernels as kernels

    grid, lost = np.zeros(shape, np.float32), np.zeros(2, np.int64)
    fits = shape[1] * shape[2] * shape[3] * shape[4] < 2**32
    loop = kernels.encode_sorted if fits and events.is_sorted() else kernels.encode_unsorted
    loop(
        *(column.contiguous().numpy() for column in (events.t_us, events.x, events.y, events.p)),
        start,
        duration,
        convention.closed,
        convention.steps(shape[2]),
        convention.shift,
        linear,
        grid,
        lost,
    )
    return torch.from_numpy(grid), int(lost[0]), int(lost[1])


def _on_device(
    events: Events,
    shape: tuple[int, ...],
    convention: Convention,
    start: int,
    duration: int,
    linear: bool,
    count: bool,
) -> tuple[Tensor, int, int]:
    """Fill the grid on an accelerator: one kernel where Triton is, else torch operations."""
    late = beyond = 0
    if count:
        stop = start + shape[0] * duration + convention.closed
        outside = (events.t_us < start) | (events.t_us >= stop)
        x, y = events.x.to(torch.int32), events.y.to(torch.int32)
        late = int(outside.sum())
        beyond = int((((x >= shape[4]) | (y >= shape[3])) & ~outside).sum())
    if events.t_us.is_cuda:
        try:
            from libimg._ops import event_triton
        except ModuleNotFoundError as error:  # Triton is not on every system that torch runs on
            if error.name != "triton":
                raise
        else:
            return (
                event_triton.encode(events, shape, convention, start, duration, linear),
                late,
                beyond,
            )
    return by_index(events, shape, convention, start, duration, linear), late, beyond


def by_index(
    events: Events,
    shape: tuple[int, ...],
    convention: Convention,
    start: int,
    duration: int,
    linear: bool,
) -> Tensor:
    """Fill the grid by torch operations on any device; the definition in its plainest form."""
    windows, polarities, bins, height, width = shape
    x, y, d = events.x.long(), events.y.long(), events.t_us - start
    inside = (d >= 0) & (d < windows * duration + convention.closed) & (x < width) & (y < height)
    x, y, d, p = x[inside], y[inside], d[inside], events.p[inside]
    window = (d // duration).clamp(max=windows - 1)
    unit = 2 * duration
    num = 2 * convention.steps(bins) * (d - window * duration) + convention.shift * duration
    num = num.clamp(0, unit * (bins - 1)) if linear else num + duration
    left = (num // unit).clamp(max=bins - 1)
    value = torch.ones_like(p, dtype=torch.float32) if polarities == 2 else p.float()
    channel = (p < 0).long() if polarities == 2 else torch.zeros_like(window)
    plane = height * width
    at = ((window * polarities + channel) * bins + left) * plane + y * width + x
    grid = torch.zeros(shape, device=d.device)
    if not linear:
        grid.view(-1).index_add_(0, at, value)
        return grid
    share = value * ((num - unit * left).double() / unit).float()
    grid.view(-1).index_add_(0, at, value - share)
    onward = torch.where(left < bins - 1, at + plane, at)
    grid.view(-1).index_add_(0, onward, share)
    return grid
