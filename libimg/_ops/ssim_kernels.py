"""The loops of SSIM on the CPU, compiled by numba; imported by the first call only.

Rows are filtered for all maps at once: the maps lie one after another in one long row, each
``width`` values apart, so one loop runs over all of them. Going forward, the last values of each
map mix with the next one and are left out; going back, zeros stand there and nothing mixes.

``bounds`` is (value of black, 1 / span), ``terms`` is (c1, c2, light): ``light`` is 1, or 0
together with ``c1 = 1`` to leave the luminance term out. Each kernel does the rows start..stop.
"""

from typing import Any

import numpy as np

from libimg._ops.loops import jit

__all__ = ["depth_back", "depth_forward", "plane_back", "plane_forward"]

Rows = Any  # float32 array
Terms = Any  # tuple of float32
HALF, ONE, TWO = np.float32(0.5), np.float32(1), np.float32(2)


@jit  # pragma: no cover
def weigh(row: Rows, g: Rows, flat: Rows, start: int, step: int, first: int) -> None:
    """``row[w] = sum_k g[k] * flat[start + (first + k) % taps * step + w]``, four taps a pass."""
    taps, n = len(g), len(row)
    head = 1 + (taps - 1) % 4
    a = flat[start + first % taps * step :]
    for w in range(n):
        row[w] = g[0] * a[w]
    for k in range(1, head):
        a = flat[start + (first + k) % taps * step :]
        for w in range(n):
            row[w] += g[k] * a[w]
    for k in range(head, taps, 4):
        a = flat[start + (first + k) % taps * step :]
        b = flat[start + (first + k + 1) % taps * step :]
        c = flat[start + (first + k + 2) % taps * step :]
        d = flat[start + (first + k + 3) % taps * step :]
        for w in range(n):
            row[w] += g[k] * a[w] + g[k + 1] * b[w] + g[k + 2] * c[w] + g[k + 3] * d[w]


@jit  # pragma: no cover
def compare(line: Rows, width: int, terms: Terms, out: Rows, slope: Rows) -> None:
    """SSIM of one row from E[x], E[y], E[x²+y²], E[xy]; its slopes by the 1st, 3rd, 4th, 2nd."""
    n, (c1, c2, light) = len(out), terms
    mx, my, sq, xy = line, line[width:], line[2 * width :], line[3 * width :]
    scale = line[4 * width :]
    for w in range(n):
        x, y = mx[w], my[w]
        u, v = x + HALF, y + HALF
        scale[w] = ONE / ((light * (u * u + v * v) + c1) * (sq[w] - x * x - y * y + c2))
    for w in range(n):
        x, y = mx[w], my[w]
        a1 = light * TWO * (x + HALF) * (y + HALF) + c1
        out[w] = a1 * (TWO * (xy[w] - x * y) + c2) * scale[w]
    maps = len(slope) // n
    if maps == 0:
        return
    by_x, by_square, by_product = slope, slope[n:], slope[2 * n :]
    for w in range(n):
        u, v = mx[w] + HALF, my[w] + HALF
        by_square[w] = -out[w] * scale[w] * (light * (u * u + v * v) + c1)
    for w in range(n):
        by_product[w] = TWO * scale[w] * (light * TWO * (mx[w] + HALF) * (my[w] + HALF) + c1)
    for side in range(maps - 2):
        if side == 1:
            mx, my, by_x = my, mx, slope[3 * n :]
        for w in range(n):
            x, y = mx[w], my[w]
            u, v = x + HALF, y + HALF
            a1, a2 = light * TWO * u * v + c1, TWO * (xy[w] - x * y) + c2
            b1, b2 = light * (u * u + v * v) + c1, sq[w] - x * x - y * y + c2
            down = out[w] * (x * b1 - light * u * b2)
            by_x[w] = TWO * scale[w] * (light * v * a2 - y * a1 + down)


@jit  # pragma: no cover
def combine(line: Rows, x: Rows, y: Rows, bounds: Terms, dx: Rows, dy: Rows) -> None:
    """Gradients of one row from the four slopes carried back to it."""
    width, (lo, scale) = len(x), bounds
    by_x, by_square, by_product, by_y = line, line[width:], line[2 * width :], line[3 * width :]
    for w in range(len(dx)):
        p, q = (x[w] - lo) * scale - HALF, (y[w] - lo) * scale - HALF
        dx[w] = scale * (by_x[w] + TWO * p * by_square[w] + q * by_product[w])
    for w in range(len(dy)):
        p, q = (x[w] - lo) * scale - HALF, (y[w] - lo) * scale - HALF
        dy[w] = scale * (by_y[w] + TWO * q * by_square[w] + p * by_product[w])


@jit  # pragma: no cover
def plane_forward(
    x: Rows,
    y: Rows,
    bounds: Terms,
    g: Rows,
    terms: Terms,
    filtered: Rows,
    out: Rows,
    slopes: Rows,
    start: int,
    stop: int,
) -> None:
    """Filter the rows start..stop of all planes; compare them, or keep them for the depth."""
    taps, width, (lo, scale) = len(g), x.shape[2], bounds
    height, size = x.shape[1] - taps + 1, 4 * width
    flat = np.zeros(size + taps, np.float32)
    ring = np.zeros(taps * size, np.float32)
    line = np.empty(5 * width, np.float32)
    for t in range(start, stop):
        p, i = t // height, t % height
        for r in range(i if t == start or i == 0 else i + taps - 1, i + taps):
            u, v = x[p, r], y[p, r]
            for m in range(2):
                z, centred = (u, flat) if m == 0 else (v, flat[width:])
                for w in range(width):
                    centred[w] = (z[w] - lo) * scale - HALF
            a, b, sq, xy = flat, flat[width:], flat[2 * width :], flat[3 * width :]
            for w in range(width):
                sq[w] = a[w] * a[w] + b[w] * b[w]
            for w in range(width):
                xy[w] = a[w] * b[w]
            weigh(ring[r % taps * size : (r % taps + 1) * size], g, flat, 0, 1, 0)
        if len(filtered):
            weigh(filtered[p, i], g, ring, 0, size, i)
        else:
            weigh(line[:size], g, ring, 0, size, i)
            compare(line, width, terms, out[p, i], slopes[p, i])


@jit  # pragma: no cover
def depth_forward(
    filtered: Rows,
    gd: Rows,
    terms: Terms,
    out: Rows,
    slopes: Rows,
    start: int,
    stop: int,
) -> None:
    """Filter the rows start..stop along depth and compare them."""
    _, depth, height, _ = out.shape
    size = filtered.shape[3]
    line = np.empty(size // 4 * 5, np.float32)
    for t in range(start, stop):
        b, d, i = t // (depth * height), t // height % depth, t % height
        weigh(line[:size], gd, filtered[b].ravel(), (d * height + i) * size, height * size, 0)
        compare(line, size // 4, terms, out[b, d, i], slopes[b, d, i])


@jit  # pragma: no cover
def plane_back(
    slopes: Rows,
    grad: Rows,
    x: Rows,
    y: Rows,
    bounds: Terms,
    g: Rows,
    carried: Rows,
    dx: Rows,
    dy: Rows,
    start: int,
    stop: int,
) -> None:
    """Carry the slopes back to the rows start..stop of all planes."""
    taps = len(g)
    lines, wide = slopes.shape[1], grad.shape[2]
    height, width, maps = lines + taps - 1, wide + taps - 1, slopes.shape[2] // wide
    size = maps * width
    padded = np.zeros(size + 2 * taps, np.float32)
    ring = np.zeros(taps * size, np.float32)
    line = np.empty(4 * width, np.float32)
    for t in range(start, stop):
        p, i = t // height, t % height
        for r in range(i - taps + 1 if t == start or i == 0 else i, i + 1):
            here = ring[(r + taps) % taps * size : ((r + taps) % taps + 1) * size]
            if r < 0 or r >= lines:
                here[:] = np.float32(0)
                continue
            weight = grad[p, r % grad.shape[1]]
            for m in range(maps):
                a, b = padded[taps - 1 + m * width :], slopes[p, r, m * wide :]
                for w in range(wide):
                    a[w] = b[w] * weight[w]
            weigh(here, g, padded, 0, 1, 0)
        if len(carried):
            weigh(carried[p, i], g, ring, 0, size, i + 1)
        else:
            weigh(line[:size], g, ring, 0, size, i + 1)
            combine(line, x[p, i], y[p, i], bounds, dx[p, i], dy[p, i])


@jit  # pragma: no cover
def depth_back(
    carried: Rows,
    x: Rows,
    y: Rows,
    bounds: Terms,
    gd: Rows,
    dx: Rows,
    dy: Rows,
    start: int,
    stop: int,
) -> None:
    """Carry the slopes back along depth, for the rows start..stop of all planes."""
    _, layers, _, size = carried.shape
    _, depth, height, width = x.shape
    line = np.empty(4 * width, np.float32)
    for t in range(start, stop):
        b, d, i = t // (depth * height), t // height % depth, t % height
        low, high = max(0, d - len(gd) + 1), min(layers, d + 1)
        window = gd[len(gd) - 1 - d + low : len(gd) - 1 - d + high]
        step = height * size
        weigh(line[:size], window, carried[b].ravel(), low * step + i * size, step, 0)
        combine(line, x[b, d, i], y[b, d, i], bounds, dx[b, d, i], dy[b, d, i])
