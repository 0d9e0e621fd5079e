"""Losses of single voxels: absolute, squared and in between."""

from libimg import _check
from libimg._ops.reduce import masked_mean
from libimg._types import Image, Mask, PerSample

__all__ = ["charbonnier", "huber", "l1", "mse"]


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
