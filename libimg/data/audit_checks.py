"""The measurements behind the audit, on a small gray copy."""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

__all__ = ["clipped", "levels", "margins", "percentiles", "small_copy", "ticks"]

LONGEST = 512  # pixels of the small copy's longer side
FEWEST = 16
FRAME = 0.075  # of a side: collimation frames are narrower, bars that hide something wider
WIDEST = 0.45  # of a side: what is wider is background
SAME = 0.03  # largest step inside a uniform margin, and its spread
STEP = 0.02  # least step behind it
STRAIGHT = 0.7  # share of the edge that must show the step in one line
STRIP = 0.18  # of a side: where rulers lie
PERIODIC = 0.45  # autocorrelation at one tick's distance; 1 is perfectly periodic
INNER = 0.08  # of a side: left out of the exposure, since frames are no part of the picture


def small_copy(image: Float[Tensor, "c h w"]) -> Float[Tensor, "c H W"]:
    """Shrink by area to `LONGEST` pixels; smaller pictures stay as they are."""
    channels, height, width = image.shape
    if channels not in (1, 3) or min(height, width) < FEWEST:
        msg = f"image must have 1 or 3 channels and {FEWEST} or more pixels a side, "
        msg += f"got shape {tuple(image.shape)}"
        raise ValueError(msg)
    if not bool(image.isfinite().all()):
        msg = "image: expected finite values, got NaN or infinity"
        raise ValueError(msg)
    scale = LONGEST / max(height, width)
    if scale >= 1:
        return image.float()
    size = [max(FEWEST, round(n * scale)) for n in (height, width)]
    return F.interpolate(image[None].float(), size, mode="area")[0]


def margins(small: Float[Tensor, "c h w"]) -> dict[str, float]:
    """Share of each side that a uniform margin with a straight sharp edge takes; 0 if none."""
    gray = small.mean(0).numpy()
    views = {"top": gray, "bottom": gray[::-1], "left": gray.T, "right": gray.T[::-1]}
    return {side: _margin(view) for side, view in views.items()}


def _margin(lines: np.ndarray) -> float:
    """Margin at the beginning of the lines; their ends, which others cross, are left out."""
    count, length = lines.shape
    cut = round(0.22 * length)
    middle = lines[:, cut : length - cut]
    value = np.median(middle[0])
    uniform = np.abs(middle - value).mean(1) < SAME
    depth = int(np.argmin(uniform)) if not uniform.all() else count
    if depth == 0 or depth > WIDEST * count:
        return 0.0
    # a shrunk edge falls onto one line or two
    behind = middle[min(depth + 1, count - 1)]
    stepped = np.abs(behind - value) > STEP
    before = np.abs(middle[max(depth - 2, 0)] - value) > STEP
    return depth / count if (stepped & ~before).mean() >= STRAIGHT else 0.0


def ticks(small: Float[Tensor, "c h w"]) -> tuple[str, float, float]:
    """Find a ruler: its side, the distance of its ticks in pixels, and how periodic they are."""
    gray = small.mean(0).numpy()
    best = ("", 0.0, 0.0)
    for side, view in {
        "left": gray, "right": gray[:, ::-1], "top": gray.T, "bottom": gray.T[:, ::-1],
    }.items():  # fmt: skip
        width = round(STRIP * view.shape[1])
        for first in range(1, width - 2, 2):
            spacing, strength = _period(view[:, first : first + 2].mean(1))
            if strength > max(best[2], PERIODIC):
                best = (side, spacing, strength)
    return best


def _period(line: np.ndarray) -> tuple[float, float]:
    """Distance of equal peaks along a line, and the autocorrelation there."""
    slope = np.diff(line)
    bright = np.clip(np.abs(slope), 0, 0.5)
    if (bright > 0.08).sum() < 12:  # six ticks have twelve edges
        return 0.0, 0.0
    there = np.flatnonzero(bright > 0.08)
    part = bright[there[0] : there[-1] + 1]
    part = np.convolve(part - part.mean(), (0.25, 0.5, 0.25), "same")  # ticks between pixels
    size = len(part)
    if size < 40:
        return 0.0, 0.0
    power = np.abs(np.fft.rfft(part, 2 * size)) ** 2
    correlation = np.fft.irfft(power)[:size] / (size - np.arange(size))
    correlation = correlation / correlation[0]
    lags = np.arange(5, size // 4)
    if not len(lags):
        return 0.0, 0.0
    inner = correlation[lags]
    first = int(np.argmax(inner >= 0.8 * inner.max()))  # its multiples are as periodic
    peak = int(lags[first + np.argmax(inner[first : first + 3])])
    twice = correlation[2 * peak - 1 : 2 * peak + 2].max()
    return float(peak), float(min(correlation[peak], twice))


def percentiles(small: Float[Tensor, "c h w"], shares: Sequence[float]) -> list[float]:
    """Percentiles of the gray picture without its outermost part."""
    return [float(v) for v in np.quantile(_inner(small), shares)]


def clipped(small: Float[Tensor, "c h w"]) -> float:
    """Share of pixels at white; black is what lies beside a head."""
    return float((_inner(small) > 0.995).mean())


def _inner(small: Tensor) -> np.ndarray:
    gray: np.ndarray = small.mean(0).numpy()
    y, x = (round(INNER * n) for n in gray.shape)
    return gray[y : gray.shape[0] - y, x : gray.shape[1] - x]


def levels(image: Float[Tensor, "c h w"], *, bits: int) -> tuple[int, int]:
    """Levels of the first channel that are used, and how many lie between the ends."""
    top = 2**bits - 1
    step = max(1, image[0].numel() // 4_000_000)
    values = (image[0].flatten()[::step].double() * top).round().long().clamp(0, top)
    counts = torch.bincount(values, minlength=1)
    used = counts.nonzero().flatten()
    return len(used), int(used[-1] - used[0]) + 1
