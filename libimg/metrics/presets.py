"""SSIM as other projects define it, to reproduce numbers that were measured with them."""

from typing import Literal, get_args

import torch
import torch.nn.functional as F

from libimg import _check
from libimg._ops import windows
from libimg._types import Image, PerSample
from libimg.metrics.structural import ssim
from libimg.ranges import UNIT, ValueRange

__all__ = ["SSIM_PRESETS", "ssim_preset"]

SsimPreset = Literal["matlab", "skimage", "torchmetrics", "piq"]
SSIM_PRESETS: tuple[str, ...] = get_args(SsimPreset)
"""Names that `ssim_preset` knows."""


def ssim_preset(
    pred: Image, target: Image, *, preset: SsimPreset, data_range: float | ValueRange
) -> PerSample:
    """Structural similarity with the defaults of another project.

    - ``"matlab"``: Wang's ``ssim_index.m``, which KAIR and BasicSR follow: Gaussian 11 of sigma
      1.5, valid region, population covariance. The same as `ssim`. (The ``ssim`` of MATLAB's
      own toolbox pads instead.)
    - ``"skimage"``: ``structural_similarity`` as it comes: flat 7 by 7 window, covariance over
      n - 1, the border of 3 left out.
    - ``"torchmetrics"``: as ``"matlab"``, but the image is reflected at its borders first and
      they count as well.
    - ``"piq"``: as ``"matlab"``, after averaging over blocks of ``round(shorter side / 256)``
      pixels.

    Args:
        pred: ``(b, c, h, w)``; volumes too, other than for ``"piq"``.
        target: the same shape.
        preset: one of the four names.
        data_range: as in `ssim`; none of the guesses of those projects is made.

    Returns:
        ``(b,)`` in ``[-1, 1]``, mean over channels.

    Raises:
        ValueError: shapes differ, ``preset`` is unknown, or an axis is shorter than the window.

    Example:
        >>> x = torch.arange(256.0).view(1, 1, 16, 16)
        >>> for preset in SSIM_PRESETS:
        ...     index = ssim_preset(x, 255 - x, preset=preset, data_range=255.0)
        ...     print(f"{preset} {index.item():.3f}")
        matlab -0.826
        skimage -0.744
        torchmetrics -0.534
        piq -0.826

    Reference:
        Wang et al., Image Quality Assessment: From Error Visibility to Structural Similarity, 2004.
    """
    _check.one_of("preset", preset, SSIM_PRESETS)
    _check.same_shape(pred=pred, target=target)
    axes = _check.spatial("pred", pred, (2,) if preset == "piq" else (2, 3))
    if preset == "skimage":
        return _flat_window(pred, target, data_range)
    if preset == "torchmetrics":
        pred, target = (F.pad(x, [5] * (2 * axes), mode="reflect") for x in (pred, target))
    if preset == "piq":
        factor = max(1, round(min(pred.shape[2:]) / 256))
        pred, target = (F.avg_pool2d(x, factor) for x in (pred, target))
    return ssim(pred, target, data_range=data_range)


def _flat_window(
    x: Image, y: Image, data_range: float | ValueRange, *, window: int = 7
) -> PerSample:
    """SSIM with a uniform window and sample covariance, where the window fits."""
    if min(x.shape[2:]) < window:
        msg = f"pred must be at least {window} along every axis, got {tuple(x.shape)}"
        raise ValueError(msg)
    if not isinstance(data_range, ValueRange):
        _check.positive(data_range=float(data_range))
        data_range = ValueRange(0.0, float(data_range))
    dtype = torch.promote_types(torch.promote_types(x.dtype, y.dtype), torch.float32)
    x, y = (data_range.to(z.to(dtype), UNIT) for z in (x, y))
    taps, n = (1 / window,) * window, window ** (x.ndim - 2)
    mx, my = windows.correlate(x, taps), windows.correlate(y, taps)
    sample = n / (n - 1)
    vx = sample * (windows.correlate(x * x, taps) - mx * mx)
    vy = sample * (windows.correlate(y * y, taps) - my * my)
    vxy = sample * (windows.correlate(x * y, taps) - mx * my)
    c1, c2 = 0.01**2, 0.03**2
    luminance = (2 * mx * my + c1) / (mx * mx + my * my + c1)
    index: Image = luminance * (2 * vxy + c2) / (vx + vy + c2)
    return index.flatten(1).mean(1)
