"""Surface metrics of segmentations, for each sample and class, in millimetres."""

import math
from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from libimg.metrics.segmentation import Segmentation, class_pairs
from libimg.metrics.surface_distance import SurfaceDistances, bounding_box, surface_distances
from libimg.metrics.surface_elements import Elements

__all__ = ["average_surface_distance", "hausdorff95", "surface_dice"]


def hausdorff95(
    pred: Segmentation,
    target: Segmentation,
    *,
    spacing_mm: Sequence[float],
    classes: Sequence[int] | None = None,
    elements: Elements = "voxels",
    missing_mm: float = math.inf,
) -> Float[Tensor, "b k"]:
    """Hausdorff distance without the farthest 5 % of each surface, in mm.

    The larger of the two directed 95th percentiles, interpolated between neighbours. Other
    percentiles: ``surface_distances(...).hausdorff(100)``.

    Args:
        pred: boolean masks ``(b, k, *spatial)``, or integer labels ``(b, 1, *spatial)``.
        target: same shape and kind.
        spacing_mm: size of a voxel along each spatial axis.
        classes: the labels to score, for label maps only.
        elements: see `surface_distances`.
        missing_mm: value of a class that only one of the two has.

    Returns:
        ``(b, k)`` float32, mm. NaN for a class that neither has; ``missing_mm`` where one lacks it.

    Raises:
        ValueError: the shapes differ, or ``classes`` or ``spacing_mm`` does not fit the images.
        TypeError: the images are neither both boolean nor both integer.

    Example:
        >>> pred = torch.tensor([[[[0, 1, 1, 0, 2]]]])
        >>> target = torch.tensor([[[[0, 0, 1, 1, 0]]]])
        >>> hausdorff95(pred, target, spacing_mm=(1, 2), classes=(1, 2, 3))
        tensor([[1.9000,    inf,    nan]])

    Reference:
        Huttenlocher, Klanderman and Rucklidge, IEEE PAMI 15, 1993. Equals MONAI's for voxels.
        medpy takes one percentile of both directions together; DeepMind's surface-distance
        weighs by area (``elements="areas"``) and does not interpolate.
    """
    return _each(pred, target, spacing_mm, classes, elements, missing_mm, lambda d: d.hausdorff(95))


def average_surface_distance(
    pred: Segmentation,
    target: Segmentation,
    *,
    spacing_mm: Sequence[float],
    classes: Sequence[int] | None = None,
    elements: Elements = "voxels",
    missing_mm: float = math.inf,
) -> Float[Tensor, "b k"]:
    """Average symmetric surface distance: mean over the elements of both surfaces, in mm.

    Args:
        pred: boolean masks ``(b, k, *spatial)``, or integer labels ``(b, 1, *spatial)``.
        target: same shape and kind.
        spacing_mm: size of a voxel along each spatial axis.
        classes: the labels to score, for label maps only.
        elements: see `surface_distances`.
        missing_mm: value of a class that only one of the two has.

    Returns:
        ``(b, k)`` float32, mm. NaN for a class that neither has; ``missing_mm`` where one lacks it.

    Raises:
        ValueError: the shapes differ, or ``classes`` or ``spacing_mm`` does not fit the images.
        TypeError: the images are neither both boolean nor both integer.

    Example:
        >>> pred = torch.tensor([[[[0, 1, 1, 0, 2]]]])
        >>> target = torch.tensor([[[[0, 0, 1, 1, 0]]]])
        >>> average_surface_distance(pred, target, spacing_mm=(1, 2), classes=(1, 2, 3))
        tensor([[1., inf, nan]])

    Reference:
        Heimann et al., IEEE TMI 28, 2009: the elements of both surfaces are pooled, so that the
        larger surface counts more.
    """
    return _each(pred, target, spacing_mm, classes, elements, missing_mm, SurfaceDistances.mean)


def surface_dice(
    pred: Segmentation,
    target: Segmentation,
    *,
    tolerance_mm: float,
    spacing_mm: Sequence[float],
    classes: Sequence[int] | None = None,
    elements: Elements = "areas",
) -> Float[Tensor, "b k"]:
    """Share of both surfaces that lies within a tolerance of the other (normalised surface Dice).

    Args:
        pred: boolean masks ``(b, k, *spatial)``, or integer labels ``(b, 1, *spatial)``.
        target: same shape and kind.
        tolerance_mm: what counts as equal, at least 0; a distance of just this still does.
        spacing_mm: size of a voxel along each spatial axis.
        classes: the labels to score, for label maps only.
        elements: see `surface_distances`. By area, a surface counts the same from whichever side
            the voxels are long.

    Returns:
        ``(b, k)`` float32 in [0, 1]. NaN for a class that neither has, 0 where one lacks it.

    Raises:
        ValueError: the shapes differ, ``tolerance_mm`` is negative, or ``classes`` or
            ``spacing_mm`` does not fit the images.
        TypeError: the images are neither both boolean nor both integer.

    Example:
        >>> pred = torch.zeros(1, 1, 8, 8, 8, dtype=torch.bool)
        >>> pred[..., 2:6, 2:6, 2:6] = True
        >>> surface_dice(pred, pred.roll(1, 4), tolerance_mm=0.5, spacing_mm=(1, 1, 1))
        tensor([[0.66]])

    Reference:
        Nikolov et al. 2018 (arXiv 1809.04430), as in DeepMind's surface-distance and MONAI's
        ``use_subvoxels=True``; MONAI without it counts voxels, in units of voxels unless it is
        told the spacing (``elements="voxels"``).
    """
    if not tolerance_mm >= 0:
        msg = f"tolerance_mm must be at least 0, got {tolerance_mm}"
        raise ValueError(msg)
    return _each(
        pred,
        target,
        spacing_mm,
        classes,
        elements,
        0.0,
        lambda d: d.dice(tolerance_mm=tolerance_mm),
    )


def _each(
    pred: Tensor,
    target: Tensor,
    spacing_mm: Sequence[float],
    classes: Sequence[int] | None,
    elements: Elements,
    missing: float,
    figure: Callable[[SurfaceDistances], float],
) -> Float[Tensor, "b k"]:
    """One figure for every sample and class."""
    columns = []
    if classes and pred.shape == target.shape and pred.dtype != torch.bool:
        low, high = min(classes), max(classes)
        used = [((x >= low) & (x <= high)).flatten(0, 1).cpu().numpy() for x in (pred, target)]
        box = (slice(None), slice(None), *bounding_box(*used)[1:])
        pred, target = pred[box], target[box]  # labels are compared once a class: in few voxels
    for ours, theirs in class_pairs(pred, target, classes):
        for channel in range(ours.shape[1]):
            column = []
            for a, b in zip(ours[:, channel], theirs[:, channel], strict=True):
                found = surface_distances(a, b, spacing_mm=spacing_mm, elements=elements)
                column.append(missing if "only" in found.status else figure(found))
            columns.append(column)
    values = torch.tensor(columns, dtype=torch.float32, device=pred.device)
    return values.reshape(len(columns), len(pred)).T
