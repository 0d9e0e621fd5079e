"""Random points in the cells of a field, by trial: on its zero level or below it.

A trial takes the corner values of random cells ``(2, 2, 2, n)``, five uniform numbers for each
``(5, n)`` and the voxel size; it returns the cells that gave a point, and where in them, 0 to 1.
"""

from collections.abc import Callable, Sequence
from itertools import product
from operator import mul

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from libimg.shapes.interpolate import check_spacing

__all__ = ["bounds", "draw", "inside", "quota", "rand", "surface"]

CHUNK = 1 << 17  # trials at a time, small enough for the cache
RAREST = 4096  # trials for one point, above which a region counts as too small to sample
Trial = Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]


@torch.no_grad()
def draw(
    fields: Tensor,
    spacing_mm: Sequence[float],
    numbers: Sequence[int],
    generator: torch.Generator,
    trial: Trial,
) -> tuple[Tensor, Tensor, tuple[int, ...]]:
    """Draw points of every class by repeated trials in the cells that can hold one.

    Returns the points, the class of each and the classes without such a cell.
    """
    check_spacing(spacing_mm)
    if min(fields.shape[1:]) < 2:
        msg = f"fields must be at least 2 voxels wide, got shape {tuple(fields.shape)}"
        raise ValueError(msg)
    spacing = torch.tensor(spacing_mm, dtype=torch.float32, device=fields.device)
    parts = [spacing.new_zeros(0, 3)] * len(fields)
    absent = []
    for c, count in enumerate(numbers):
        if count == 0:
            continue
        cells = _cells(fields[c] < 0, whole=trial is inside)
        if len(cells):
            parts[c] = _repeat(trial, fields[c], cells, count, spacing, generator, c)
        else:
            absent.append(c)
    lengths = torch.tensor([len(part) for part in parts], device=fields.device)
    classes = torch.arange(len(fields), device=fields.device).repeat_interleave(lengths)
    return torch.cat(parts), classes, tuple(absent)


def bounds(mask: Bool[Tensor, "d h w"]) -> tuple[list[int], list[int]] | None:
    """Return the first and last index of the mask along each axis, or None if it is empty."""
    flags = mask.view(torch.uint8)  # whose maximum is several times as fast as any
    rows, columns = flags.amax(2), flags.amax(0).amax(0)
    where = [line.nonzero().flatten().tolist() for line in (rows.amax(1), rows.amax(0), columns)]
    return ([w[0] for w in where], [w[-1] for w in where]) if where[0] else None


def _cells(below: Bool[Tensor, "d h w"], *, whole: bool) -> Int[Tensor, "m 3"]:
    """List the cells with a corner below zero and, unless whole, one that is not."""
    box = bounds(below)
    if box is None:
        return torch.empty(0, 3, dtype=torch.int64, device=below.device)
    first = [max(low - 1, 0) for low in box[0]]
    some = below[tuple(slice(a, b + 2) for a, b in zip(first, box[1], strict=True))]
    every = some
    for axis, n in enumerate(some.shape):
        some = some.narrow(axis, 0, n - 1) | some.narrow(axis, 1, n - 1)
        every = every.narrow(axis, 0, n - 1) & every.narrow(axis, 1, n - 1)
    cells = (some if whole else some & ~every).nonzero()
    return cells + torch.tensor(first, device=cells.device)


def _repeat(
    trial: Trial,
    field: Tensor,
    cells: Tensor,
    count: int,
    spacing: Tensor,
    generator: torch.Generator,
    c: int,
) -> Tensor:
    """Try until ``count`` points are found; the trials are independent, so the first will do."""
    found: list[Tensor] = []
    have, tried, trials = 0, 0, 3 * count + 64
    strides = (field.shape[1] * field.shape[2], field.shape[2], 1)
    corner = [sum(map(mul, strides, steps)) for steps in product((0, 1), repeat=3)]
    offsets = torch.tensor(corner, device=field.device).unsqueeze(1)
    flat = field.flatten()
    while have < count:
        if tried > RAREST * (have + 16):
            msg = f"class {c} of fields is far smaller than a voxel: "
            msg += f"{have} points in {tried} trials, expected {count}"
            raise ValueError(msg)
        n = min(trials, CHUNK)
        chosen = torch.randint(len(cells), (n,), generator=generator, device=generator.device)
        cell = cells[chosen.to(cells.device)]
        base = (cell * torch.tensor(strides, device=cell.device)).sum(1)
        values = flat.index_select(0, (offsets + base).flatten()).float().view(2, 2, 2, n)
        kept, share = trial(values, rand(generator, 5, n).to(values), spacing)
        found.append((cell.index_select(0, kept) + share.T) * spacing)
        have, tried = have + len(found[-1]), tried + n
        trials = int((count - have) * 1.1 * tried / max(have, 1)) + 64
    return torch.cat(found)[:count]


def surface(values: Tensor, draws: Tensor, spacing: Tensor) -> tuple[Tensor, Tensor]:
    """Cut a line along a random axis through each cell with the surface; keep by its slope."""
    dense = torch.cumsum(spacing.prod() / spacing, 0)  # a face's area: lines of one density
    axis = (draws[3] * dense[2] >= dense[:2, None]).sum(0, keepdim=True)
    place = draws[:3]
    start = _trilinear(values, place.scatter(0, axis, 0.0))
    end = _trilinear(values, place.scatter(0, axis, 1.0))
    hit = ((start < 0) != (end < 0)).nonzero().squeeze(1)
    values, place, start, end = (x.index_select(-1, hit) for x in (values, place, start, end))
    share = place.scatter(0, axis.index_select(1, hit), (start / (start - end)).unsqueeze(0))
    slope = [_trilinear(values.diff(dim=a).expand_as(values), share) / spacing[a] for a in range(3)]
    normal = torch.stack(slope)
    keep = draws[4, hit] * normal.abs().sum(0) < torch.linalg.vector_norm(normal, dim=0)
    return hit[keep], share[:, keep]


def inside(values: Tensor, draws: Tensor, spacing: Tensor) -> tuple[Tensor, Tensor]:
    """Keep the points below zero."""
    hit = (_trilinear(values, draws[:3]) < 0).nonzero().squeeze(1)
    return hit, draws[:3, hit]


def _trilinear(values: Float[Tensor, "2 2 2 n"], share: Float[Tensor, "3 n"]) -> Tensor:
    """Value of each cell, given by its eight corners, at a place within it."""
    for weight in share:
        values = torch.lerp(values[0], values[1], weight)
    return values


def quota(name: str, counts: int | Sequence[int], classes: int) -> tuple[int, ...]:
    """Return one number of points for each class."""
    numbers = (counts,) * classes if isinstance(counts, int) else tuple(counts)
    if len(numbers) != classes or min(numbers, default=0) < 0:
        msg = f"{name} must be one number from 0 on or one for each of {classes} classes, "
        msg += f"got {counts}"
        raise ValueError(msg)
    return numbers


def rand(generator: torch.Generator, *shape: int) -> Tensor:
    """Draw uniform numbers on the generator's own device."""
    return torch.rand(*shape, generator=generator, device=generator.device)
