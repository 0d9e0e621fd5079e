"""Compiled loops of simulated event scenes; imported by the first call only.

An event is one integer, ``((t * pixels + pixel) * 2 + (p > 0)) * 8 + label``, so that a plain
sort orders a stream by time, pixel, polarity and label.
"""

from typing import Any

import numpy as np

from libimg._ops.loops import jit

__all__ = ["cross", "paint", "settle"]

Array = Any  # numpy array
SMALL, NEVER = -(1 << 62), 1 << 62


@jit
def paint(bodies: Array, texture: Array, times: Array, frames: Array) -> None:  # pragma: no cover
    """Draw log light into ``frames (n, h, w)``: the bodies one over another, edges one pixel wide.

    ``bodies``: rows of the numbers of `libimg.phantoms.scenes.Body`, the farthest first.
    """
    count, height, width = frames.shape
    mask = len(texture) - 1
    sides = np.empty((8, 3))
    for f in range(count):
        second = times[f] * 1e-6
        for b in range(len(bodies)):
            radius, stretch, y0, x0, vy, vx = bodies[b, 1:7]
            angle, spin, level, contrast, grain, v0, u0 = bodies[b, 7:]
            corners = int(bodies[b, 0])
            for k in range(corners):
                sides[k, 0] = np.cos(2 * np.pi * k / corners)
                sides[k, 1] = np.sin(2 * np.pi * k / corners)
                sides[k, 2] = radius if k % 2 else radius * stretch
            y, x = y0 + vy * second, x0 + vx * second
            top, bottom, left, right = 0, height, 0, width
            if corners >= 0:  # what leaves the picture comes back on the other side
                reach = 1 + radius * 2 if corners == 3 else 1 + radius * 1.5 * stretch
                y = (y + reach) % (height + 2 * reach) - reach
                x = (x + reach) % (width + 2 * reach) - reach
                top, bottom = max(0, int(y - reach)), min(height, int(y + reach) + 1)
                left, right = max(0, int(x - reach)), min(width, int(x + reach) + 1)
            turn = angle + spin * second
            c, s = np.cos(turn), np.sin(turn)
            for i in range(top, bottom):
                for j in range(left, right):
                    p = c * (j - x) + s * (i - y)
                    q = c * (i - y) - s * (j - x)
                    share = 1.0
                    if corners >= 0:
                        edge = np.sqrt(p * p + q * q) - radius
                        for k in range(corners):
                            beyond = sides[k, 0] * p + sides[k, 1] * q - sides[k, 2]
                            edge = beyond if k == 0 else max(edge, beyond)
                        share = min(max(0.5 - edge, 0.0), 1.0)
                        if share == 0.0:
                            continue
                    u, v = p * grain + u0, q * grain + v0
                    fu, fv = np.floor(u), np.floor(v)
                    au, av = u - fu, v - fv
                    iu, iv = int(fu) & mask, int(fv) & mask
                    ju, jv = (iu + 1) & mask, (iv + 1) & mask
                    near = texture[iv, iu] * (1 - au) + texture[iv, ju] * au
                    next_ = texture[jv, iu] * (1 - au) + texture[jv, ju] * au
                    light = level + contrast * (near * (1 - av) + next_ * av)
                    below = frames[f, i, j]
                    frames[f, i, j] = light if share == 1 else below + share * (light - below)


@jit
def cross(
    frames: Array,
    times: Array,
    pixel: Array,
    on: Array,
    off: Array,
    refractory: int,
    level: Array,
    free: Array,
    label: int,
) -> Array:  # pragma: no cover
    """Find the threshold crossings of log light ``frames (n, k)`` that is linear between frames.

    Column ``k`` is pixel ``pixel[k]`` of the sensor. ``level`` and ``free`` are the state of the
    sensor: log light at the last event, and when a blind pixel wakes up (-1: it is awake).
    """
    codes, n = np.empty(4096, np.int64), 0
    for f in range(len(frames) - 1):
        start, stop = times[f], times[f + 1]
        for k in range(len(pixel)):
            at = pixel[k]
            last, above, below = np.float64(frames[f + 1, k]), on[at], off[at]
            if free[at] < 0 and level[at] - below < last < level[at] + above:
                continue
            if free[at] >= stop:
                continue
            first = np.float64(frames[f, k])
            slope = (last - first) / (stop - start)
            begin = np.float64(start)
            if free[at] >= 0:
                begin = max(begin, np.float64(free[at]))
                level[at] = first + slope * (begin - start)
                free[at] = -1
            while slope != 0:
                aim = level[at] + above if slope > 0 else level[at] - below
                if (slope > 0 and aim > last) or (slope < 0 and aim < last):
                    break
                t = int(max(start + (aim - first) / slope, begin))
                if n == len(codes):
                    codes = np.concatenate((codes, np.empty(n, np.int64)))
                codes[n] = ((t * len(level) + at) * 2 + (slope > 0)) * 8 + label
                n += 1
                level[at] = aim
                if refractory > 0:
                    free[at] = t + refractory
                    if free[at] >= stop:
                        break
                    begin = np.float64(free[at])
                    level[at] = first + slope * (begin - start)
                    free[at] = -1
    return codes[:n].copy()


@jit
def settle(codes: Array, pixels: int, refractory: int, keep: Array) -> None:  # pragma: no cover
    """Mark the sorted events that the refractory period leaves; those of label 0 all stay."""
    near = np.full(pixels, NEVER)
    for i in range(len(codes) - 1, -1, -1):
        t, at = codes[i] // 16 // pixels, codes[i] // 16 % pixels
        keep[i] = near[at] - t >= refractory
        if codes[i] % 8 == 0:
            near[at], keep[i] = t, True
    near[:] = SMALL
    for i in range(len(codes)):
        t, at = codes[i] // 16 // pixels, codes[i] // 16 % pixels
        if codes[i] % 8 > 0:
            keep[i] = keep[i] and t - near[at] >= refractory
        if keep[i]:
            near[at] = t
