"""Structural similarity as a metric: 1 for equal images, same definition as `libimg.losses`."""

from collections.abc import Sequence

import torch
from jaxtyping import Bool
from torch import Tensor

from libimg._ops.ssim import MS_WEIGHTS, ms_ssim_mean, ssim_mean
from libimg._types import Image, Mask, PerSample
from libimg.ranges import ValueRange

__all__ = ["ms_ssim", "ssim"]


def ssim(
    pred: Image,
    target: Image,
    *,
    data_range: float | ValueRange,
    mask: Mask | None = None,
    window: int = 11,
    sigma: float = 1.5,
) -> PerSample:
    """Mean structural similarity, in 2D or 3D; higher is better.

    Gaussian window, valid region only, population covariance, K 0.01 and 0.03, mean over channels.

    Args:
        pred: ``(b, c, h, w)`` or ``(b, c, d, h, w)``, finite; half precision is computed in
            float32.
        target: the same shape.
        data_range: a number says that values lie in ``[0, data_range]``. A range also gives the
            value of black, which is subtracted: use it for signed images and Hounsfield units.
        mask: weights ``(b, 1 or c, *spatial)`` of the window centres. A window inside the mask
            still sees its neighbours outside.
        window: taps of the Gaussian; odd.
        sigma: its standard deviation in voxels.

    Returns:
        ``(b,)`` in ``[-1, 1]``; NaN where the mask has nothing in the valid region.

    Raises:
        ValueError: shapes differ, or an axis is shorter than the window.

    Example:
        >>> from libimg.ranges import BYTE
        >>> x = torch.arange(256.0).view(1, 1, 16, 16)
        >>> ssim(x, 255 - x, data_range=BYTE)
        tensor([-0.826])

    Reference:
        Wang et al., Image Quality Assessment: From Error Visibility to Structural Similarity, 2004.
        MONAI and torchmetrics default or guess the range; here it has to be given.
    """
    index, covered = ssim_mean(
        pred, target, data_range=data_range, mask=mask, window=window, sigma=sigma
    )
    return _metric(index, covered)


def ms_ssim(
    pred: Image,
    target: Image,
    *,
    data_range: float | ValueRange,
    mask: Mask | None = None,
    weights: Sequence[float] = MS_WEIGHTS,
    window: int = 11,
    sigma: float = 1.5,
) -> PerSample:
    """Multi-scale structural similarity, in 2D or 3D; higher is better.

    Args:
        pred: ``(b, c, h, w)`` or ``(b, c, d, h, w)``; five scales and a window of 11 need 176
            voxels along every axis.
        target: the same shape.
        data_range: as in `ssim`.
        mask: as in `ssim`, averaged along with the image.
        weights: exponent of each scale, the finest first.
        window: taps of the Gaussian; odd.
        sigma: its standard deviation in voxels of each scale.

    Returns:
        ``(b,)`` in ``[0, 1]``, 0 where the mean structure of a scale is not positive; NaN where the
        mask has nothing in the valid region of some scale.

    Raises:
        ValueError: shapes differ, or an axis is too short for the coarsest scale.

    Example:
        >>> x = torch.linspace(0, 1, 48 * 48).view(1, 1, 48, 48)
        >>> ms_ssim(x, x, data_range=1.0, weights=(0.4, 0.6))
        tensor([1.])

    Reference:
        Wang, Simoncelli and Bovik, Multi-scale Structural Similarity, 2003, eq. 7. Scales are
        halved by means of two, an odd last row is left out; unlike in pytorch-msssim, channels are
        averaged before the product.
    """
    index, covered = ms_ssim_mean(
        pred, target, data_range=data_range, mask=mask, weights=weights, window=window, sigma=sigma
    )
    return _metric(index, covered)


def _metric(index: PerSample, covered: Bool[Tensor, " b"] | None) -> PerSample:
    return index if covered is None else torch.where(covered, index, torch.nan)
