"""Losses of image gradients: edges where they belong, as sharp as they should be."""

from typing import Literal

import torch
from torch import Tensor

from libimg import _check
from libimg._ops.gradients import finite_differences, sobel
from libimg._ops.reduce import masked_mean
from libimg._types import Image, Mask, PerSample

__all__ = ["gradient_difference"]


def gradient_difference(
    pred: Image,
    target: Image,
    *,
    operator: Literal["difference", "sobel"] = "difference",
    mask: Mask | None = None,
) -> PerSample:
    """Mean absolute difference of the image gradients, averaged over the axes.

    Args:
        pred: ``(b, c, *spatial)``, any unit.
        target: the same shape and unit.
        operator: ``"difference"`` of neighbours, or ``"sobel"``, which averages across the edge;
            both give 1 on a ramp of slope 1 a voxel.
        mask: weights ``(b, 1 or c, *spatial)``; a gradient counts with the smallest weight that
            it touches, so nothing outside the mask has a say.

    Returns:
        ``(b,)``, per voxel; 0 where the mask is empty.

    Raises:
        ValueError: the shapes differ, or the operator is unknown.

    Reference:
        Mathieu, Couprie, LeCun, ICLR 2016, eq. 5, with signed differences and the power 1: an
        edge of the wrong direction counts, which the difference of magnitudes would miss.

    Example:
        >>> ramp = torch.arange(5.0).repeat(5, 1)[None, None]
        >>> gradient_difference(ramp, torch.zeros_like(ramp))
        tensor([0.50])
    """
    _check.same_shape(pred=pred, target=target)
    _check.one_of("operator", operator, ("difference", "sobel"))
    derivatives = finite_differences if operator == "difference" else sobel
    weight = None if mask is None else mask.to(pred.dtype)
    if weight is not None:
        inside = weight.expand_as(pred) != 0
        pred, target = (torch.where(inside, x, torch.zeros_like(x)) for x in (pred, target))
    parts = [
        masked_mean((ours - theirs).abs(), _touched(weight, axis, operator))
        for axis, (ours, theirs) in enumerate(
            zip(derivatives(pred), derivatives(target), strict=True), start=2
        )
    ]
    return torch.stack(parts).mean(0)


def _touched(weight: Tensor | None, axis: int, operator: str) -> Tensor | None:
    """Smallest weight under each stencil."""
    if weight is None:
        return None
    if operator == "difference":
        n = weight.shape[axis] - 1
        return torch.minimum(weight.narrow(axis, 0, n), weight.narrow(axis, 1, n))
    for other in range(2, weight.ndim):
        n = weight.shape[other] - 2
        parts = [weight.narrow(other, start, n) for start in range(3)]
        weight = torch.minimum(torch.minimum(parts[0], parts[1]), parts[2])
    return weight
