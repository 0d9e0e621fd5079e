"""Losses of single voxels: absolute, squared and in between."""

import math

from libimg import _check
from libimg._ops.reduce import masked_mean
from libimg._types import Image, Mask, PerSample
from libimg.ranges import ValueRange

__all__ = ["charbonnier", "huber", "l1", "mse", "psnr"]

ROUNDING = 1 / 12 / 255**2  # squared error of rounding to 8 bits, 58.9 dB


def l1(pred: Image, target: Image, *, mask: Mask | None = None) -> PerSample:
    """Mean absolute difference.

    Args:
        pred: ``(b, c, *spatial)``, any unit.
        target: the same shape and unit.
        mask: weights ``(b, 1 or c, *spatial)``; the mean is divided by their sum.

    Returns:
        ``(b,)`` in the unit of the images; 0 where the mask is empty.

    Raises:
        ValueError: the shapes differ.

    Example:
        >>> import torch
        >>> l1(torch.zeros(1, 1, 2, 2), torch.tensor([[[[1.0, 2.0], [3.0, 4.0]]]]))
        tensor([2.50])
    """
    _check.same_shape(pred=pred, target=target)
    return masked_mean((pred - target).abs(), mask)


def mse(pred: Image, target: Image, *, mask: Mask | None = None) -> PerSample:
    """Mean squared difference.

    Args:
        pred: ``(b, c, *spatial)``, any unit.
        target: the same shape and unit.
        mask: weights ``(b, 1 or c, *spatial)``; the mean is divided by their sum.

    Returns:
        ``(b,)`` in the squared unit of the images; 0 where the mask is empty.

    Raises:
        ValueError: the shapes differ.

    Example:
        >>> import torch
        >>> mse(torch.zeros(1, 1, 1, 2), torch.tensor([[[[1.0, 3.0]]]]))
        tensor([5.])
    """
    _check.same_shape(pred=pred, target=target)
    return masked_mean((pred - target).square(), mask)


def psnr(
    pred: Image,
    target: Image,
    *,
    data_range: float | ValueRange,
    floor: float = ROUNDING,
    mask: Mask | None = None,
) -> PerSample:
    """Mean squared difference in dB above a floor: what PSNR lacks to that of the floor.

    Its mean over a batch is mean PSNR, turned round. A sample with little error counts as much as
    one with a lot, so that a network learns to leave good images alone; under `l1` and `mse` the
    bad ones decide.

    Args:
        pred: ``(b, c, *spatial)``.
        target: the same shape and unit.
        data_range: width of the value range, or the range itself.
        floor: mean squared error below which nothing is gained, for a range of width 1; that of
            rounding to 8 bits by default.
        mask: weights ``(b, 1 or c, *spatial)``; the mean is divided by their sum.

    Returns:
        ``(b,)`` in dB, 10·log10(1 + MSE / (floor · width²)); 0 for equal images.

    Raises:
        ValueError: the shapes differ, or ``data_range`` or ``floor`` is not above 0.

    Example:
        >>> import torch
        >>> psnr(torch.zeros(1, 1, 2, 2), torch.full((1, 1, 2, 2), 0.3), data_range=1, floor=0.01)
        tensor([10.])

    Reference:
        Chen et al., "HINet", CVPRW 2021, whose loss it is but for the floor.
    """
    span = data_range.span if isinstance(data_range, ValueRange) else float(data_range)
    _check.positive(data_range=span, floor=floor)
    return 10 / math.log(10) * (mse(pred, target, mask=mask) / (floor * span**2)).log1p()


def charbonnier(
    pred: Image, target: Image, *, epsilon: float = 1e-3, mask: Mask | None = None
) -> PerSample:
    """Smooth absolute difference √(d² + ε²) - ε, so that equal images give 0.

    Args:
        pred: ``(b, c, *spatial)``, any unit.
        target: the same shape and unit.
        epsilon: difference, in that unit, below which the loss is quadratic; above 0.
        mask: weights ``(b, 1 or c, *spatial)``.

    Returns:
        ``(b,)``; 0 where the mask is empty.

    Raises:
        ValueError: the shapes differ or ``epsilon`` is not above 0.

    Reference:
        Charbonnier et al., ICIP 1994. Many codes leave the ``- ε`` out; then equal images give ε.

    Example:
        >>> import torch
        >>> charbonnier(torch.zeros(1, 1, 1, 1), torch.full((1, 1, 1, 1), 3.0), epsilon=4.0)
        tensor([1.])
    """
    _check.same_shape(pred=pred, target=target)
    _check.positive(epsilon=epsilon)
    return masked_mean(((pred - target).square() + epsilon**2).sqrt() - epsilon, mask)


def huber(pred: Image, target: Image, *, delta: float, mask: Mask | None = None) -> PerSample:
    """Half the squared difference up to ``delta``, then linear: ½d², δ(d - ½δ).

    Args:
        pred: ``(b, c, *spatial)``, any unit.
        target: the same shape and unit.
        delta: where the line begins, in that unit; above 0.
        mask: weights ``(b, 1 or c, *spatial)``.

    Returns:
        ``(b,)``; 0 where the mask is empty.

    Raises:
        ValueError: the shapes differ or ``delta`` is not above 0.

    Reference:
        Huber, Annals of Mathematical Statistics 35, 1964.

    Example:
        >>> import torch
        >>> huber(torch.zeros(1, 1, 1, 2), torch.tensor([[[[1.0, 3.0]]]]), delta=1.0)
        tensor([1.50])
    """
    _check.same_shape(pred=pred, target=target)
    _check.positive(delta=delta)
    size = (pred - target).abs()
    line = size.clamp(max=delta)
    return masked_mean(line * (size - 0.5 * line), mask)
