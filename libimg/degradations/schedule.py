"""From light to heavy degradation, and a count of what was drawn."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from libimg import _check
from libimg.degradations.pipeline import Degradation, DegradationParams

__all__ = ["curriculum", "histogram"]


def curriculum(step: float, *, start: Degradation, end: Degradation, steps: float) -> Degradation:
    """Return what to draw at a step: the ranges move linearly from ``start`` to ``end``.

    Args:
        step: from 0; before it ``start``, from ``steps`` on ``end``.
        start: the light degradation.
        end: the heavy one, which also sets all that is not a range or a share.
        steps: length of the way, above 0, in the unit of ``step``.

    Returns:
        A degradation. Nothing is kept between calls: a run that resumes draws the same.

    Raises:
        ValueError: only one of the two has JPEG, or ``steps`` is not above 0.

    Example:
        >>> light = Degradation(sigma_range=(0, 10), quality_range=(70, 95))
        >>> heavy = Degradation(sigma_range=(0, 50), quality_range=(10, 95))
        >>> now = curriculum(500, start=light, end=heavy, steps=1000)
        >>> now.sigma_range, now.quality_range
        ((0.0, 30.0), (40, 95))
    """
    _check.positive(steps=steps)
    share = min(max(step / steps, 0.0), 1.0)

    def between(a: float, b: float) -> float:
        return a + (b - a) * share if share < 1 else float(b)

    quality = None
    if start.quality_range is not None and end.quality_range is not None:
        low, high = map(between, start.quality_range, end.quality_range)
        quality = (round(low), round(high))
    elif start.quality_range != end.quality_range:
        msg = "start and end must both have a quality_range or neither, "
        msg += f"got {start.quality_range} and {end.quality_range}"
        raise ValueError(msg)
    lowest, highest = map(between, start.sigma_range, end.sigma_range)
    return replace(
        end,
        sigma_range=(lowest, highest),
        quality_range=quality,
        noise_share=between(start.noise_share, end.noise_share),
        jpeg_share=between(start.jpeg_share, end.jpeg_share),
    )


def histogram(
    params: Sequence[DegradationParams], *, sigma_bin: float = 5.0, quality_bin: int = 10
) -> dict[str, Any]:
    """Count what was drawn, for a log.

    Args:
        params: the records.
        sigma_bin: width of a bin of sigma in levels of 255.
        quality_bin: width of a bin of quality.

    Returns:
        Plain values, ready for JSON: ``count``; ``no_noise`` and ``no_jpeg``; ``sigma`` and
        ``quality`` as counts by the lower end of their bin, those without left out, bins between
        the first and last kept.

    Raises:
        ValueError: a bin is not above 0.

    Example:
        >>> drawn = [DegradationParams(sigma=s, quality=q) for s, q in ((3, 12), (14, 18), (0, 30))]
        >>> histogram(drawn)
        {'count': 3, 'no_noise': 1, 'no_jpeg': 0, 'sigma': {'0': 1, '5': 0, '10': 1},
         'quality': {'10': 2, '20': 0, '30': 1}}
    """
    _check.positive(sigma_bin=sigma_bin, quality_bin=quality_bin)
    sigmas = [p.sigma for p in params if p.sigma > 0]
    qualities = [p.quality for p in params if p.quality is not None]
    return {
        "count": len(params),
        "no_noise": len(params) - len(sigmas),
        "no_jpeg": len(params) - len(qualities),
        "sigma": _counts(sigmas, sigma_bin),
        "quality": _counts(qualities, quality_bin),
    }


def _counts(values: Sequence[float], width: float) -> dict[str, int]:
    if not values:
        return {}
    bins = np.floor(np.asarray(values) / width).astype(int)
    counts = np.bincount(bins - bins.min())
    return {f"{(bins.min() + i) * width:g}": int(n) for i, n in enumerate(counts)}
