"""Values of fields between and beyond their voxels."""

import math
from collections.abc import Sequence
from itertools import product

import torch
from jaxtyping import Float
from torch import Tensor

__all__ = ["check_spacing", "interpolate_fields"]


def interpolate_fields(
    fields: Float[Tensor, "classes d h w"],
    points: Float[Tensor, "n 3"],
    *,
    spacing_mm: Sequence[float],
) -> Float[Tensor, "classes n"]:
    """Read every field at the points, trilinearly.

    A point outside the box of the voxel centres gets the value at the nearest point of the box
    plus its distance to it: continuous, growing outwards, never below the true distance. A class
    that touches the border is thereby closed beyond it. Differentiable in fields and points.

    Args:
        fields: ``(classes, d, h, w)`` in millimetres; may be infinite for absent classes.
        points: ``(n, 3)`` in millimetres.
        spacing_mm: voxel size along (d, h, w).

    Returns:
        ``(classes, n)`` in the fields' dtype.

    Raises:
        ValueError: a spacing is not finite and above 0.

    Example:
        >>> field = torch.arange(4.0).view(1, 1, 1, 4).expand(2, 2, 2, 4)
        >>> points = torch.tensor([[0.0, 0.0, 1.25], [0.5, 0.5, 5.0]])
        >>> interpolate_fields(field, points, spacing_mm=(1, 1, 0.5))[0]
        tensor([2.5000, 6.5000])
    """
    check_spacing(spacing_mm)
    kind = torch.promote_types(fields.dtype, torch.float32)
    sizes = fields.shape[1:]
    spacing = torch.tensor(spacing_mm, dtype=kind, device=points.device)
    last = torch.tensor([n - 1 for n in sizes], dtype=kind, device=points.device)
    index = points.to(kind) / spacing
    within = torch.minimum(index.clamp(min=0), last)
    beyond = torch.linalg.vector_norm((index - within) * spacing, dim=1)
    low = torch.minimum(within.detach().floor(), (last - 1).clamp(min=0)).long()
    share = within - low
    flat = fields.flatten(1)
    out = torch.zeros(len(fields), len(points), dtype=kind, device=fields.device)
    for corner in product((0, 1), repeat=3):
        place = [torch.clamp(low[:, a] + c, max=sizes[a] - 1) for a, c in enumerate(corner)]
        weights = [share[:, a] if c else 1 - share[:, a] for a, c in enumerate(corner)]
        weight = weights[0] * weights[1] * weights[2]
        value = flat.index_select(1, (place[0] * sizes[1] + place[1]) * sizes[2] + place[2])
        out = out + torch.where(weight == 0, 0, value * weight)
    distances: Tensor = (out + beyond).to(fields.dtype)
    return distances


def check_spacing(spacing_mm: Sequence[float]) -> None:
    """Raise ``ValueError`` unless there are three finite lengths above 0."""
    if len(spacing_mm) != 3:
        msg = f"spacing_mm must be 3 lengths, along (d, h, w), got {spacing_mm}"
        raise ValueError(msg)
    for axis, size in enumerate(spacing_mm):
        if not 0 < size < math.inf:
            msg = f"spacing_mm[{axis}] must be above 0 and finite, got {size}"
            raise ValueError(msg)
