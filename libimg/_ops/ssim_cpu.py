"""SSIM on the CPU in float32: hands the rows of torch tensors to compiled loops in threads.

Every volume is a stack of planes; an image is a volume of depth one, not filtered along depth.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor

from libimg._ops import loops
from libimg._ops import ssim_kernels as kernels

__all__ = ["backward", "forward"]

Rows = Any  # float32 array
PIECES = 4


def forward(
    x: Tensor,
    y: Tensor,
    *,
    taps: Sequence[float],
    bounds: Sequence[float],
    terms: Sequence[float],
    maps: int,
) -> tuple[Tensor, Tensor]:
    """Return the SSIM map and ``maps`` slopes of it (0, 3 or 4), which `backward` takes.

    Args:
        x: ``(b, c, *spatial)``.
        y: the same shape.
        taps: the window.
        bounds: value of black and 1 / span.
        terms: c1, c2, and 1 with or 0 without the luminance term.
        maps: 0 without gradient, 3 for that of x, 4 for those of both.
    """
    u, v, g, deep = _rows(x), _rows(y), np.array(taps, np.float32), x.ndim == 5
    volumes, depth, height, width = u.shape
    layers, lines, wide = depth - (len(g) - 1) * deep, height - len(g) + 1, width - len(g) + 1
    out, slopes = _empty(volumes, layers, lines, wide), _empty(volumes, layers, lines, maps * wide)
    filtered = _empty(volumes * depth * deep, lines, 4 * width)
    ends, parts = _float32(bounds), _float32(terms)
    results = _planes(out), _planes(slopes)
    job = (kernels.plane_forward, _planes(u), _planes(v), ends, g, parts, filtered, *results)
    _share(volumes * depth * lines, width, *job)
    if deep:
        stack = filtered.reshape(volumes, depth, lines, 4 * width)
        _share(volumes * layers * lines, width, kernels.depth_forward, stack, g, parts, out, slopes)
    shape = (*x.shape[:2], *(size - len(g) + 1 for size in x.shape[2:]))
    return torch.from_numpy(out).view(shape), torch.from_numpy(slopes)


def backward(
    slopes: Tensor,
    grad: Tensor,
    x: Tensor,
    y: Tensor,
    *,
    taps: Sequence[float],
    bounds: Sequence[float],
) -> tuple[Tensor, Tensor | None]:
    """Return the gradients by x and, if four slopes were kept, by y."""
    u, v, g, deep = _rows(x), _rows(y), np.array(taps, np.float32), x.ndim == 5
    if grad.stride()[2:] == (0,) * (grad.ndim - 2):  # of a plain mean: one row stands for all
        grad = grad[..., :1, :]
    s, weight, ends = slopes.numpy(), _rows(grad), _float32(bounds)
    (volumes, depth, height, width), layers = u.shape, s.shape[1]
    maps = s.shape[3] // weight.shape[3]
    dx, dy = _empty(*u.shape), _empty(*u.shape[:3], width * (maps == 4))
    carried = _empty(volumes * layers * deep, height, maps * width)
    images, results = (_planes(u), _planes(v)), (_planes(dx), _planes(dy))
    job = (kernels.plane_back, _planes(s), _planes(weight), *images, ends, g, carried, *results)
    _share(volumes * layers * height, width, *job)
    if deep:
        stack = carried.reshape(volumes, layers, height, maps * width)
        _share(volumes * depth * height, width, kernels.depth_back, stack, u, v, ends, g, dx, dy)
    return torch.from_numpy(dx).view(x.shape), torch.from_numpy(dy).view(
        y.shape
    ) if dy.size else None


def _rows(x: Tensor) -> Rows:
    x = x.detach().contiguous()
    return x.view(-1, x.shape[-3] if x.ndim == 5 else 1, *x.shape[-2:]).numpy()


def _planes(rows: Rows) -> Rows:
    return rows.reshape(rows.shape[0] * rows.shape[1], *rows.shape[2:])


def _float32(values: Sequence[float]) -> tuple[np.float32, ...]:
    return tuple(np.float32(value) for value in values)


def _empty(*shape: int) -> Rows:
    return np.empty(shape, np.float32)


def _share(rows: int, width: int, kernel: Any, *args: Any) -> None:
    """Run ``kernel`` on all rows, in as many threads as torch uses; small jobs stay in this one.

    Plain threads survive a fork. They take small pieces in turn, because one of them may have to
    share its core: the threads of torch stay busy for a while after their own work is done.
    """
    workers = max(1, min(torch.get_num_threads(), rows * width // 8192))
    pieces = 1 if workers == 1 else PIECES * workers
    ends = [rows * i // pieces for i in range(pieces + 1)]
    left = list(pairwise(ends))

    def work() -> None:
        while left:
            try:
                start, stop = left.pop()
            except IndexError:  # another thread was faster
                return
            kernel(*args, start, stop)

    loops.run([work] * workers)
