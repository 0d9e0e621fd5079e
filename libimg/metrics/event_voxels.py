"""Distances and overlap of event voxel grids: MSE, PSNR, pooled MSE, precision, recall, F1."""

from typing import Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn.functional import avg_pool2d

from libimg._check import one_of, same_shape
from libimg._types import Image, PerSample
from libimg.metrics.image import psnr
from libimg.ranges import ValueRange

__all__ = ["event_f1", "event_precision_recall", "pooled_mse", "voxel_mse", "voxel_psnr"]

Collapse = Literal["none", "time", "time_polarity"]


def voxel_mse(a: Image, b: Image) -> PerSample:
    """Mean squared difference over all voxels, empty ones included.

    Args:
        a: signed ``(b, bins, h, w)``, or with a channel axis ``(b, 1 or 2, bins, h, w)``.
        b: same shape.

    Returns:
        ``(b,)`` in events squared a voxel, float32 for half-precision input. It falls with the
        share of empty voxels: compare only what was recorded and cut the same way.

    Raises:
        ValueError: the shapes differ.

    Example:
        >>> a, b = torch.tensor([[[[2.0, -1.0]]]]), torch.tensor([[[[1.0, 1.0]]]])
        >>> voxel_mse(a, b)
        tensor([2.5000])
    """
    same_shape(a=a, b=b)
    return (_wide(a) - _wide(b)).square().flatten(1).mean(1)


def voxel_psnr(a: Image, b: Image, *, data_range: float | ValueRange) -> PerSample:
    """Peak signal-to-noise ratio of grids, with the range of values given and never guessed.

    Signed grids that hold -8 to 8 events span 16. Their largest magnitude in place of the span
    gives 6.02 dB less, and the extremes of the data give a new scale for each sample.

    Args:
        a: signed ``(b, bins, h, w)``, or with a channel axis ``(b, 1 or 2, bins, h, w)``.
        b: same shape.
        data_range: the span, highest minus lowest value, or the range itself.

    Returns:
        ``(b,)`` in dB, float32 for half-precision input; infinite for equal grids.

    Raises:
        ValueError: the shapes differ or ``data_range`` is not above 0.

    Example:
        >>> a, b = torch.tensor([[[[2.0, -1.0]]]]), torch.tensor([[[[1.0, -2.0]]]])
        >>> voxel_psnr(a, b, data_range=ValueRange(-5, 5))
        tensor([20.])
    """
    return psnr(a, b, data_range=data_range)


def pooled_mse(a: Image, b: Image, *, kernel: int) -> PerSample:
    """Squared difference of each polarity after averaging blocks of pixels (PMSE).

    An event that is off by a pixel inside its block costs nothing. A signed grid is first split
    into its positive and its negative part.

    Args:
        a: signed ``(b, bins, h, w)`` or ``(b, 1, bins, h, w)``, or counts of positive and of
            negative events ``(b, 2, bins, h, w)``.
        b: same shape.
        kernel: side of a block in pixels, at least 1. Blocks that stick out of the grid are
            averaged over the pixels they have.

    Returns:
        ``(b,)`` in events squared a voxel, float32 for half-precision input; a mean over two
        polarities, so 1 x 1 blocks give half of `voxel_mse` where no sign differs.

    Raises:
        ValueError: the shapes differ, are none of the above, or ``kernel`` is below 1.

    Example:
        >>> a, b = torch.tensor([[[[1.0, 0.0, 0.0]]]]), torch.tensor([[[[0.0, 1.0, 0.0]]]])
        >>> pooled_mse(a, b, kernel=1), pooled_mse(a, b, kernel=2)
        (tensor([0.3333]), tensor([0.]))

    Reference:
        Han et al., Learning to Remove Lens Flare in Event Camera, 2025: PMSE2 and PMSE4, the mean
        over segments of 20 ms. There the rows and columns beyond the last whole block are lost.
    """
    same_shape(a=a, b=b)
    if kernel < 1:
        msg = f"kernel must be at least 1, got {kernel}"
        raise ValueError(msg)
    difference = _split(_wide(a)) - _split(_wide(b))
    return avg_pool2d(difference.flatten(1, 2), kernel, ceil_mode=True).square().flatten(1).mean(1)


def event_f1(
    predicted: Image, truth: Image, *, collapse: Collapse = "none", threshold: float = 1e-3
) -> PerSample:
    """F1 ``2·|A ∩ B| / (|A| + |B|)`` of the cells that hold events.

    A cell is a voxel of one polarity; a signed grid counts as positive where above zero and as
    negative where below, so opposite events in one voxel cancel. How many events a cell holds
    does not matter.

    Args:
        predicted: signed ``(b, bins, h, w)`` or ``(b, 1, bins, h, w)``, or counts of positive and
            of negative events ``(b, 2, bins, h, w)``, where values below 0 count as 0.
        truth: same shape.
        collapse: ``"none"``: every cell for itself (R-F1); ``"time"``: bins are summed first
            (T-F1); ``"time_polarity"``: both polarities too, so that pixels remain (TP-F1).
        threshold: a cell is occupied if its (summed) count is above it. 0.001 is meant for
            counts; a network's raw output is occupied nearly everywhere, so round it or give 0.5.

    Returns:
        ``(b,)`` in [0, 1], float32. Two empty grids agree: 1. Only one empty: 0.

    Raises:
        ValueError: the shapes differ or are none of the above, or ``collapse`` is unknown.

    Example:
        >>> predicted = torch.tensor([[[[1.0, 0.0]], [[0.0, 2.0]]]])
        >>> truth = torch.tensor([[[[0.0, 0.0]], [[3.0, -1.0]]]])
        >>> [event_f1(predicted, truth, collapse=c).item() for c in ("none", "time")]
        [0.0, 0.5]

    Reference:
        Han et al., Learning to Remove Lens Flare in Event Camera, 2025. Released scorers of that
        paper's definition give 0 for two empty grids, which punishes a segment that is all noise
        and was removed whole, and lay the grid of each stream from its own first event.
    """
    common, of_predicted, of_truth = _cells(predicted, truth, collapse, threshold)
    total = of_predicted + of_truth
    return torch.where(total > 0, 2 * common / total, 1.0).float()


def event_precision_recall(
    predicted: Image, truth: Image, *, collapse: Collapse = "none", threshold: float = 1e-3
) -> tuple[PerSample, PerSample]:
    """Share of predicted cells that are right, and share of true cells that are found.

    Args:
        predicted: as in `event_f1`.
        truth: same shape.
        collapse: as in `event_f1`.
        threshold: as in `event_f1`.

    Returns:
        Precision, NaN where nothing is predicted, and recall, NaN where the truth is empty: each
        ``(b,)`` in [0, 1], float32.

    Raises:
        ValueError: as in `event_f1`.

    Example:
        >>> predicted, truth = torch.tensor([[[[1.0, 1.0]]]]), torch.tensor([[[[1.0, -1.0]]]])
        >>> event_precision_recall(predicted, truth, collapse="time_polarity")
        (tensor([1.]), tensor([1.]))
        >>> event_precision_recall(predicted, torch.zeros(1, 1, 1, 2))
        (tensor([0.]), tensor([nan]))
    """
    common, of_predicted, of_truth = _cells(predicted, truth, collapse, threshold)
    return (common / of_predicted).float(), (common / of_truth).float()


def _cells(
    predicted: Image, truth: Image, collapse: Collapse, threshold: float
) -> tuple[PerSample, PerSample, PerSample]:
    """Occupied cells in both, in ``predicted`` and in ``truth``; counted exactly, in float64."""
    same_shape(predicted=predicted, truth=truth)
    one_of("collapse", collapse, ("none", "time", "time_polarity"))
    a, b = (_occupied(grid, collapse, threshold) for grid in (predicted, truth))
    common, of_a, of_b = (cells.flatten(1).sum(1).double() for cells in (a & b, a, b))
    return common, of_a, of_b


def _occupied(grid: Image, collapse: Collapse, threshold: float) -> Bool[Tensor, "b ..."]:
    counts = _split(_wide(grid)).clamp(min=0)
    if collapse == "time":
        counts = counts.sum(2)
    elif collapse == "time_polarity":
        counts = counts.sum((1, 2))
    return counts > threshold


def _split(grid: Image) -> Float[Tensor, "b 2 bins h w"]:
    """Positive and negative part of a signed grid; a grid that is split is returned as it is."""
    if grid.ndim == 5 and grid.shape[1] == 2:
        return grid
    if grid.ndim == 5 and grid.shape[1] == 1:
        grid = grid[:, 0]
    if grid.ndim != 4:
        msg = "voxel grids must be (b, bins, h, w), (b, 1, bins, h, w) or (b, 2, bins, h, w), "
        msg += f"got shape {tuple(grid.shape)}"
        raise ValueError(msg)
    return torch.stack([grid.clamp(min=0), -grid.clamp(max=0)], 1)


def _wide(grid: Image) -> Image:
    return grid.float() if grid.dtype in (torch.float16, torch.bfloat16) else grid
