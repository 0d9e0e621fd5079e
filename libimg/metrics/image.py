"""Distances between images: PSNR, mean absolute error, bias."""

import torch

from libimg._check import positive, same_shape
from libimg._ops.reduce import masked_mean
from libimg._types import Image, Mask, PerSample
from libimg.ranges import ValueRange

__all__ = ["bias", "mae", "psnr"]


def psnr(
    pred: Image, target: Image, *, data_range: float | ValueRange, mask: Mask | None = None
) -> PerSample:
    """Peak signal-to-noise ratio ``10·log10(data_range² / MSE)``.

    Channels are taken jointly. Nothing is clipped or rounded: for 8-bit protocols do that first.

    Args:
        pred: ``(b, c, *spatial)``.
        target: same shape and unit.
        data_range: width of the value range, such as 2 for [-1, 1], or the range itself.
        mask: where to count, boolean or weights, ``(b, 1 or c, *spatial)``; all if None.

    Returns:
        ``(b,)`` in dB, float32 for half-precision input; infinite for equal images, NaN for an
        empty mask.

    Raises:
        ValueError: the shapes differ or ``data_range`` is not above 0.

    Example:
        >>> target = torch.zeros(1, 1, 4, 4)
        >>> psnr(target + 0.1, target, data_range=1.0)
        tensor([20.])
    """
    same_shape(pred=pred, target=target)
    span = data_range.span if isinstance(data_range, ValueRange) else float(data_range)
    positive(data_range=span)
    return 10 * torch.log10(span**2 / mean_inside(_wide(pred, target).square(), mask))


def mae(pred: Image, target: Image, *, mask: Mask | None = None) -> PerSample:
    """Mean absolute error, in the unit of the images.

    Args:
        pred: ``(b, c, *spatial)``.
        target: same shape and unit.
        mask: where to count, boolean or weights, ``(b, 1 or c, *spatial)``; all if None.

    Returns:
        ``(b,)``, float32 for half-precision input; NaN for an empty mask.

    Raises:
        ValueError: the shapes differ.

    Example:
        >>> pred, target = torch.tensor([[[1.0, 9.0]]]), torch.tensor([[[3.0, 3.0]]])
        >>> mae(pred, target), mae(pred, target, mask=pred < 5)
        (tensor([4.]), tensor([2.]))
    """
    same_shape(pred=pred, target=target)
    return mean_inside(_wide(pred, target).abs(), mask)


def bias(pred: Image, target: Image, *, mask: Mask | None = None) -> PerSample:
    """Mean signed error ``pred - target``: positive where the prediction is too bright.

    Args:
        pred: ``(b, c, *spatial)``.
        target: same shape and unit.
        mask: where to count, boolean or weights, ``(b, 1 or c, *spatial)``; all if None.

    Returns:
        ``(b,)``, float32 for half-precision input; NaN for an empty mask.

    Raises:
        ValueError: the shapes differ.

    Example:
        >>> bias(torch.tensor([[[1.0, 9.0]]]), torch.tensor([[[3.0, 3.0]]]))
        tensor([2.])
    """
    same_shape(pred=pred, target=target)
    return mean_inside(_wide(pred, target), mask)


def mean_inside(x: Image, mask: Mask | None) -> PerSample:
    """Mean of each sample under the mask as `masked_mean`, but NaN where the mask is empty."""
    mean = masked_mean(x, mask)
    if mask is None:
        return mean
    return torch.where((mask != 0).flatten(1).any(1), mean, torch.nan)


def _wide(pred: Image, target: Image) -> Image:
    """Difference, taken in float32 for half-precision input."""
    if pred.dtype in (torch.float16, torch.bfloat16):
        return pred.float() - target.float()
    return pred - target
