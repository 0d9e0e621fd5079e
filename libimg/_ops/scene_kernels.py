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
    for f in range(count):
        second = times[f] * 1e-6
        for b in range(len(bodies)):
            sides, radius, stretch, y0, x0, vy, vx = bodies[b, :7]
            angle, spin, level, contrast, grain, v0, u0 = bodies[b, 7:]
            corners = int(sides)
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
                            way = 2 * np.pi * k / corners
                            far = radius * stretch if k % 2 == 0 else radius
                            side = np.cos(way) * p + np.sin(way) * q - far
                            edge = side if k == 0 else max(edge, side)
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
                    frames[f, i, j] += share * (light - frames[f, i, j])


@jit
def cross(
    frames: Array,
    times: Array,
    pixel: Array,
    pixels: int,
    on: Array,
    off: Array,
    refractory: int,
    level: Array,
    free: Array,
    label: int,
) -> Array:  # pragma: no cover
    """Find the threshold crossings of log light ``frames (n, k)`` that is linear between frames.

    ``level`` and ``free`` are the state of the pixels: the level of the last event, and the time
    at which a pixel that is blind wakes up again (-1: it is awake).
    """
    codes, n = np.empty(4096, np.int64), 0
    for f in range(len(frames) - 1):
        start, stop = times[f], times[f + 1]
        for k in range(frames.shape[1]):
            first, last = np.float64(frames[f, k]), np.float64(frames[f + 1, k])
            if free[k] >= stop:
                continue
            slope = (last - first) / (stop - start)
            begin = np.float64(start)
            if free[k] >= 0:
                begin = max(begin, np.float64(free[k]))
                level[k] = first + slope * (begin - start)
                free[k] = -1
            rising = slope > 0
            gap = np.float64(on[k]) if rising else -np.float64(off[k])
            while slope != 0:
                aim = level[k] + gap
                if (rising and aim > last) or (not rising and aim < last):
                    break
                t = int(max(start + (aim - first) / slope, begin))
                if n == len(codes):
                    codes = np.concatenate((codes, np.empty(n, np.int64)))
                codes[n] = ((t * pixels + pixel[k]) * 2 + rising) * 8 + label
                n += 1
                level[k] = aim
                if refractory > 0:
                    free[k] = t + refractory
                    if free[k] >= stop:
                        break
                    begin = np.float64(free[k])
                    level[k] = first + slope * (begin - start)
                    free[k] = -1
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
