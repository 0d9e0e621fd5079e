"""Distances between the surfaces of two masks, in millimetres."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Bool, Float
from scipy.spatial import cKDTree
from torch import Tensor

from libimg._check import one_of, positive, same_shape
from libimg.metrics.surface_elements import Elements, surface_elements

__all__ = ["SurfaceDistances", "surface_distances"]


@dataclass(frozen=True)
class SurfaceDistances:
    """Distance from every element of one surface to the nearest element of the other.

    A figure of merit of nothing is NaN; a structure that only one of the two has is infinitely
    far away, and its surface Dice is 0. ``status`` tells these cases apart.

    Attributes:
        pred: ``(n,)`` float64, mm, from each element of the prediction to the target.
        target: ``(m,)`` float64, mm, the other way round.
        pred_sizes: ``(n,)`` float64, what each element counts.
        target_sizes: ``(m,)`` float64.
        status: which of the two images have the structure at all.

    Example:
        >>> near, far = torch.tensor([0.0, 1.0]).double(), torch.tensor([0.0, 3.0]).double()
        >>> ones = torch.ones(2).double()
        >>> both = SurfaceDistances(near, far, ones, ones, "both")
        >>> both.hausdorff(100), both.mean(), both.dice(tolerance_mm=1)
        (3.0, 1.0, 0.75)
        >>> both.chamfer(), both.f_score(tolerance_mm=1)
        (1.0, 0.6666)
    """

    pred: Float[Tensor, " n"]
    target: Float[Tensor, " m"]
    pred_sizes: Float[Tensor, " n"]
    target_sizes: Float[Tensor, " m"]
    status: Literal["both", "only pred", "only target", "neither"]

    def hausdorff(self, percentile: float = 95.0) -> float:
        """Return the larger of the two directed distances at ``percentile``, in mm.

        Raises:
            ValueError: ``percentile`` is not within (0, 100].
        """
        if not 0 < percentile <= 100:
            msg = f"percentile must be above 0 and at most 100, got {percentile}"
            raise ValueError(msg)
        if self.status != "both":
            return self._undefined(math.inf)
        sides = ((self.pred, self.pred_sizes), (self.target, self.target_sizes))
        return max(_percentile(x.numpy(), s.numpy(), percentile) for x, s in sides)

    def mean(self) -> float:
        """Return the mean over the elements of both surfaces together, in mm."""
        if self.status != "both":
            return self._undefined(math.inf)
        total = self.pred @ self.pred_sizes + self.target @ self.target_sizes
        return float(total / (self.pred_sizes.sum() + self.target_sizes.sum()))

    def dice(self, *, tolerance_mm: float) -> float:
        """Return the share of both surfaces that lies within ``tolerance_mm`` of the other."""
        if self.status != "both":
            return self._undefined(0.0)
        near = self.pred_sizes[self.pred <= tolerance_mm].sum()
        near += self.target_sizes[self.target <= tolerance_mm].sum()
        return float(near / (self.pred_sizes.sum() + self.target_sizes.sum()))

    def chamfer(self) -> float:
        """Return the mean of both directed means, in mm: `chamfer` of the elements' places."""
        if self.status != "both":
            return self._undefined(math.inf)
        there, back = self._means(self.pred, self.target)
        return (there + back) / 2

    def f_score(self, *, tolerance_mm: float) -> float:
        """Return the harmonic mean of both shares within ``tolerance_mm``: `f_score` of places."""
        if self.status != "both":
            return self._undefined(0.0)
        near = ((x <= tolerance_mm).double() for x in (self.pred, self.target))
        precision, recall = self._means(*near)
        return 2 * precision * recall / max(precision + recall, 1e-12)

    def _means(self, pred: Tensor, target: Tensor) -> tuple[float, float]:
        """Mean over the elements of each surface, by what they count."""
        sides = ((pred, self.pred_sizes), (target, self.target_sizes))
        there, back = (float(x @ sizes / sizes.sum()) for x, sizes in sides)
        return there, back

    def _undefined(self, only_one: float) -> float:
        return math.nan if self.status == "neither" else only_one


def surface_distances(
    pred: Bool[Tensor, "*spatial"],
    target: Bool[Tensor, "*spatial"],
    *,
    spacing_mm: Sequence[float],
    elements: Elements = "voxels",
) -> SurfaceDistances:
    """Measure from each surface to the other; all figures of one structure come from here.

    The other functions of this module do this for batches. To have several figures of one
    structure, call this once and ask the result.

    Args:
        pred: boolean mask ``(h, w)`` or ``(d, h, w)``.
        target: same shape.
        spacing_mm: size of a voxel along each axis.
        elements: ``"voxels"``: the surface is the voxels of the mask with a face next to the
            outside, measured between centres, each counting 1. ``"areas"``: it is the surface
            through the 2×2×2 cells that are not all alike, measured between the middles of cells,
            each counting its area in mm². Outside the image is outside the mask.

    Returns:
        Distances in both directions and the status. Computed on the CPU.

    Raises:
        ValueError: shapes differ, there are not 2 or 3 axes, or ``spacing_mm`` does not fit them.

    Example:
        >>> pred = torch.zeros(8, 8, 8, dtype=torch.bool)
        >>> pred[2:5, 2:5, 2:5] = True
        >>> distances = surface_distances(pred, pred.roll(2, 0), spacing_mm=(1.5, 1, 1))
        >>> distances.status, distances.hausdorff(100)
        ('both', 3.0)

    Reference:
        Nikolov et al. 2018 (arXiv 1809.04430) for areas, equal to the table of DeepMind's
        surface-distance for every pattern of a cell and every spacing.
    """
    same_shape(pred=pred, target=target)
    one_of("elements", elements, ("voxels", "areas"))
    if pred.ndim not in (2, 3) or len(spacing_mm) != pred.ndim:
        msg = "masks must have 2 or 3 axes and spacing_mm as many, got shape "
        msg += f"{tuple(pred.shape)} and spacing_mm {tuple(spacing_mm)}"
        raise ValueError(msg)
    for size in spacing_mm:
        positive(spacing_mm=float(size))
    arrays = [mask.cpu().numpy() for mask in (pred, target)]
    box = bounding_box(*arrays)
    surfaces = [surface_elements(array[box], spacing_mm, elements) for array in arrays]
    has_pred, has_target = (len(surface.sizes) > 0 for surface in surfaces)
    if has_pred and has_target:
        there, back = _nearest(*(surface.places_mm for surface in surfaces))
        status: Any = "both"
    else:
        there, back = (np.full(len(surface.sizes), np.inf) for surface in surfaces)
        status = "only pred" if has_pred else "only target" if has_target else "neither"
    return SurfaceDistances(
        pred=torch.from_numpy(there),
        target=torch.from_numpy(back),
        pred_sizes=torch.from_numpy(surfaces[0].sizes),
        target_sizes=torch.from_numpy(surfaces[1].sizes),
        status=status,
    )


def _nearest(a: Any, b: Any) -> tuple[Any, Any]:
    """Distance from each place to the nearest of the other set, both ways."""
    threads = torch.get_num_threads()
    trees = [cKDTree(places, balanced_tree=False) for places in (a, b)]
    return trees[1].query(a, workers=threads)[0], trees[0].query(b, workers=threads)[0]


def _percentile(values: Any, sizes: Any, percentile: float) -> float:
    """Weighted percentile, linear between neighbours; numpy's for equal sizes."""
    order = np.argsort(values)
    values, sizes = values[order], sizes[order]
    rank = np.cumsum(sizes) - (sizes + sizes[0]) / 2
    return float(np.interp(percentile / 100 * rank[-1], rank, values))


def bounding_box(*masks: Any) -> tuple[slice, ...]:
    """Smallest box around all the arrays' true places; empty if there is none."""
    axes, box = range(masks[0].ndim), []
    for axis in axes:
        others = tuple(k for k in axes if k != axis)
        used = np.flatnonzero(np.logical_or.reduce([mask.any(axis=others) for mask in masks]))
        box.append(slice(used[0], used[-1] + 1) if len(used) else slice(0, 0))
    return tuple(box)
