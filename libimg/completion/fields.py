"""Fields of hearts on grids: coarse ones of cases, their mean, and cheap reading of fine ones."""

import math
from collections.abc import Callable, Iterable, Sequence

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from libimg.completion.cases import Case, cube_points
from libimg.shapes import interpolate_fields, query_grid

__all__ = ["best_levels", "coarse_fields", "mean_fields", "read_coarse", "sparse"]

LEVELS_MM = (0.0, 12.0, 49)


def sparse(
    read: Callable[[Tensor], Tensor],
    *,
    shape: Sequence[int],
    spacing_mm: Sequence[float],
    origin_mm: Sequence[float] = (0.0, 0.0, 0.0),
    factor: int = 4,
) -> Callable[[Tensor], Tensor]:
    """Make reading a grid cheap: ask at every fourth voxel, and in full only near a surface.

    A distance changes by no more than one millimetre in a millimetre, so where all classes are
    farther than a coarse cell reaches, the coarse answer has the right side everywhere.

    Args:
        read: distances in mm ``(n, k)`` at points ``(n, 3)`` in mm along (d, h, w).
        shape: of the grid that will be asked for, as are its spacing and origin.
        spacing_mm: see ``shape``.
        origin_mm: see ``shape``.
        factor: voxels in a coarse one.

    Example:
        >>> ball = lambda points: points.norm(dim=1, keepdim=True) - 9
        >>> cheap = sparse(ball, shape=(9, 9, 9), spacing_mm=(1, 1, 1))
        >>> cheap(torch.tensor([[9.5, 0.0, 0.0]]))
        tensor([[0.5000]])
    """
    coarse = [size * factor for size in spacing_mm]
    count = [math.ceil((n - 1) / factor) + 1 for n in shape]
    fields = query_grid(read, shape=count, spacing_mm=coarse, origin_mm=origin_mm)
    reach = 0.75 * math.hypot(*coarse)

    def cheap(points: Tensor) -> Tensor:
        places = points - torch.tensor(tuple(origin_mm)).to(points)
        out = interpolate_fields(fields, places, spacing_mm=coarse).T.contiguous()
        near = (out.abs().amin(1) < reach).nonzero()[:, 0]
        if len(near):
            out[near] = read(points[near]).to(out)
        return out

    return cheap


def coarse_fields(case: Case, middle: Float[Tensor, " 3"]) -> Float[Tensor, "k g g g"]:
    """Read the coarse fields of a case, in mm, on the cube around another middle.

    Args:
        case: with its grid.
        middle: of the new cube, in that of the case's frame.

    Raises:
        ValueError: the case was loaded without volumes.

    Example:
        >>> from libimg.completion import phantom_case
        >>> coarse_fields(phantom_case(), torch.zeros(3)).shape
        torch.Size([10, 16, 16, 16])
    """
    if case.grid is None:
        msg = f"{case.name}: loaded without its grid"
        raise ValueError(msg)
    size, band = case.grid.shape[-1], case.sampling.band_mm
    fields = read_coarse(case.grid, cube_points(size) + middle)
    return fields.T.reshape(-1, size, size, size).clamp(-band, band)


def read_coarse(
    fields: Float[Tensor, "k g g g"], points: Float[Tensor, "n 3"]
) -> Float[Tensor, "n k"]:
    """Read coarse fields at points of the cube; outside it, at its nearest face.

    Example:
        >>> read_coarse(torch.arange(8.0).view(1, 2, 2, 2), torch.tensor([[0.5, -0.5, -0.5]]))
        tensor([[1.]])
    """
    grid = points[None, :, None, None].to(fields)
    found = F.grid_sample(fields[None], grid, padding_mode="border", align_corners=False)
    return found[0, :, :, 0, 0].T


def mean_fields(
    fields: Sequence[Float[Tensor, "k g g g"]], *, band: float
) -> Float[Tensor, "k g g g"]:
    """Mean over the cases that label a class; the band everywhere for one that none does.

    Example:
        >>> a, b = torch.full((1, 1, 1, 1), 2.0), torch.full((1, 1, 1, 1), torch.nan)
        >>> mean_fields([a, b], band=9.0).item(), mean_fields([b], band=9.0).item()
        (2.0, 9.0)
    """
    total = torch.zeros_like(fields[0], dtype=torch.float64)
    count = torch.zeros(len(total), 1, 1, 1, dtype=torch.float64)
    for field in fields:
        there = field[:, :1, :1, :1].isfinite()
        total += torch.where(there, field, 0)
        count += there
    return torch.where(count > 0, total / count.clamp(min=1), band).to(fields[0].dtype)


def best_levels(
    guesses: Iterable[Float[Tensor, "k ..."]], truths: Iterable[Float[Tensor, "k ..."]]
) -> Float[Tensor, " k"]:
    """Find the level of each class at which guesses have the highest mean Dice.

    A mean of distance fields is too small where its parts vary: a thin class that never lies at
    the same place twice vanishes from it. Its surface is not at 0 but farther out.

    Args:
        guesses: distances in mm, of each case.
        truths: theirs; a class that is NaN does not count.

    Returns:
        Level of each class in mm, at least 0 (a mean is never too large), and 0 for one that is
        nowhere.

    Raises:
        ValueError: there is no guess.

    Example:
        >>> line = torch.arange(-8.0, 8.0)
        >>> far = torch.stack(torch.meshgrid(line, line, line, indexing="ij")).norm(dim=0)[None]
        >>> round(best_levels([far - 2.5], [far - 5.5]).item())
        3
    """
    low, high, number = LEVELS_MM
    levels = torch.linspace(low, high, number)
    total: Tensor | None = None
    for guess, truth in zip(guesses, truths, strict=True):
        known = truth.flatten(1).isfinite().all(1)
        inside = truth.flatten(1) < 0
        slot = torch.bucketize(guess.flatten(1).cpu().contiguous(), levels)
        slot += (number + 1) * torch.arange(len(slot))[:, None]
        size = (number + 1) * len(slot)
        taken = torch.bincount(slot.flatten(), minlength=size).view(-1, number + 1)
        right = torch.bincount(slot[inside], minlength=size).view(-1, number + 1)
        overlap, both = right.cumsum(1), taken.cumsum(1) + inside.sum(1, keepdim=True)
        dice = torch.where(known[:, None], 2 * overlap / both.clamp(min=1), 0)[:, :number]
        total = dice if total is None else total + dice
    if total is None:
        msg = "guesses: expected one or more, got none"
        raise ValueError(msg)
    best = levels[total.argmax(1)]
    return torch.where(total.amax(1) > 0, best, 0.0)
