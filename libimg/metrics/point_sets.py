"""Distances between sets of points, in millimetres."""

import math
from typing import Any, Literal

import torch
from jaxtyping import Float
from scipy.spatial import cKDTree
from torch import Tensor

from libimg._check import one_of

__all__ = ["chamfer", "f_score"]

PAIRS = 2**26
"""Most distances held at a time on an accelerator."""


def chamfer(
    points_a: Float[Tensor, "*b n d"],
    points_b: Float[Tensor, "*b m d"],
    *,
    power: Literal[1, 2] = 1,
    reduction: Literal["mean", "sum"] = "mean",
) -> Float[Tensor, "*b"]:
    """Chamfer distance: how far each point is from the nearest of the other set, on average.

    ``there = mean over a of min over b of |a - b|^power``, ``back`` the other way round. Papers
    differ in both options, so say which: DeepSDF and most completion networks sum squares,
    3DShape2VecSet sums plain distances, PCN and Open3D-style figures halve that sum.

    Args:
        points_a: ``(n, d)`` or ``(b, n, d)``, mm.
        points_b: ``(m, d)`` or ``(b, m, d)``, mm.
        power: 1 for mm, 2 for squared distances in mm².
        reduction: ``"mean"`` is ``(there + back) / 2``, ``"sum"`` is ``there + back``.

    Returns:
        One value for each pair of sets, float32 (float64 for float64); a plain number's shape
        for ``(n, d)``. NaN if both sets are empty, infinite if one is. Carries no gradient.

    Raises:
        ValueError: an option is unknown, or a point is not finite.

    Example:
        >>> a, b = torch.tensor([[0.0, 0, 0]]), torch.tensor([[0.0, 0, 3], [0, 0, 1]])
        >>> chamfer(a, b), chamfer(a, b, power=2, reduction="sum")
        (tensor(1.5000), tensor(6.))

    Reference:
        Fan, Su and Guibas, A point set generation network, CVPR 2017, eq. 1, with means.
    """
    one_of("power", power, (1, 2))
    one_of("reduction", reduction, ("mean", "sum"))

    def figure(there: Tensor, back: Tensor) -> Tensor:
        if not len(there) or not len(back):
            return there.new_tensor(math.nan if len(there) == len(back) else math.inf)
        total = there.pow(power).mean() + back.pow(power).mean()
        return total / 2 if reduction == "mean" else total

    return _each(points_a, points_b, figure)


def f_score(
    points_a: Float[Tensor, "*b n d"], points_b: Float[Tensor, "*b m d"], *, threshold_mm: float
) -> Float[Tensor, "*b"]:
    """F-score: harmonic mean of the shares of both sets that have the other set near.

    Args:
        points_a: predicted points ``(n, d)`` or ``(b, n, d)``, mm.
        points_b: true points ``(m, d)`` or ``(b, m, d)``, mm.
        threshold_mm: what counts as near, at least 0; a distance of just this still does.

    Returns:
        One value in [0, 1] for each pair of sets, 0 if nothing is near. NaN if both sets are
        empty, 0 if one is. Carries no gradient.

    Raises:
        ValueError: ``threshold_mm`` is negative, or a point is not finite.

    Example:
        >>> f_score(torch.zeros(1, 3), torch.tensor([[0.0, 0, 3], [0, 0, 1]]), threshold_mm=1)
        tensor(0.6667)

    Reference:
        Knapitsch et al., Tanks and Temples, ACM TOG 36, 2017, eq. 3 to 5.
    """
    if not threshold_mm >= 0:
        msg = f"threshold_mm must be at least 0, got {threshold_mm}"
        raise ValueError(msg)

    def figure(there: Tensor, back: Tensor) -> Tensor:
        if not len(there) or not len(back):
            return there.new_tensor(math.nan if len(there) == len(back) else 0.0)
        precision, recall = ((x <= threshold_mm).to(x.dtype).mean() for x in (there, back))
        return 2 * precision * recall / (precision + recall).clamp(min=1e-12)

    return _each(points_a, points_b, figure)


def _each(points_a: Tensor, points_b: Tensor, figure: Any) -> Float[Tensor, "*b"]:
    """A figure of both directed distances for each pair of sets."""
    lead, axes = points_a.shape[:-2], points_a.shape[-1]
    if points_b.shape[:-2] != lead or points_b.shape[-1] != axes:
        msg = "points must be (n, d) or (b, n, d) with the same b and d, got shapes "
        msg += f"{tuple(points_a.shape)} and {tuple(points_b.shape)}"
        raise ValueError(msg)
    kind = torch.promote_types(torch.promote_types(points_a.dtype, points_b.dtype), torch.float32)
    nearest = _by_tree if points_a.device.type == "cpu" else _by_blocks
    values = []
    for a, b in zip(_sets(points_a), _sets(points_b), strict=True):
        for name, points in (("points_a", a), ("points_b", b)):
            if not bool(points.isfinite().all()):
                msg = f"{name} holds points that are not finite"
                raise ValueError(msg)
        values.append(figure(*(x.to(kind) for x in nearest(a.to(kind), b.to(kind)))))
    return torch.stack(values).reshape(lead) if values else points_a.new_zeros(lead, dtype=kind)


def _sets(points: Tensor) -> list[Tensor]:
    return list(points.detach().flatten(0, -3)) if points.ndim > 2 else [points.detach()]


def _by_tree(a: Float[Tensor, "n d"], b: Float[Tensor, "m d"]) -> tuple[Tensor, Tensor]:
    """Distances there and back by k-d trees, in float64; infinite to an empty set."""
    found = []
    for source, other in ((a, b), (b, a)):
        tree = cKDTree(other.numpy(), balanced_tree=False)
        near = tree.query(source.numpy(), workers=torch.get_num_threads())[0]
        found.append(torch.from_numpy(near))
    return found[0], found[1]


def _by_blocks(a: Float[Tensor, "n d"], b: Float[Tensor, "m d"]) -> tuple[Tensor, Tensor]:
    """Distances there and back from blocks of all pairs."""
    back = b.new_full((len(b),), math.inf)
    there = []
    for block in a.split(max(1, PAIRS // max(1, len(b)))):
        pairs = torch.cdist(block, b, compute_mode="donot_use_mm_for_euclid_dist")
        there.append(pairs.amin(1) if len(b) else block.new_full((len(block),), math.inf))
        if len(block):
            back = torch.minimum(back, pairs.amin(0))
    return torch.cat(there), back
