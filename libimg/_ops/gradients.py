"""Finite differences on images and volumes."""

from functools import reduce

import torch
from torch import Tensor

from libimg._types import Image

__all__ = ["finite_differences", "inner", "laplacian", "sobel"]


def finite_differences(x: Image) -> list[Tensor]:
    """Forward differences ``x[i + 1] - x[i]``, one tensor an axis, shorter by one along it."""
    return [x.diff(dim=axis) for axis in range(2, x.ndim)]


def inner(x: Tensor, *, but: int = -1) -> Tensor:
    """Cut the outermost voxel off each end of every spatial axis except ``but``."""
    for axis in range(2, x.ndim):
        if axis != but:
            x = x.narrow(axis, 1, x.shape[axis] - 2)
    return x


def laplacian(x: Image) -> Tensor:
    """Sum of second differences on the valid interior: every axis shorter by two."""
    parts = [inner(x.diff(n=2, dim=axis), but=axis) for axis in range(2, x.ndim)]
    return reduce(torch.add, parts)


def sobel(x: Image) -> list[Tensor]:
    """Sobel derivatives on the valid interior, per voxel: a ramp of slope 1 gives 1.

    Central difference along one axis, the mean with weights 1/4, 1/2, 1/4 along the others.
    """
    derivatives = []
    for axis in range(2, x.ndim):
        part = x
        for other in range(2, x.ndim):
            n = x.shape[other] - 2
            low, mid, high = (part.narrow(other, start, n) for start in range(3))
            part = (high - low) / 2 if other == axis else (low + 2 * mid + high) / 4
        derivatives.append(part)
    return derivatives
