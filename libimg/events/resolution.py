"""Bringing voxel grids to the size a network wants, and its answer back."""

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from libimg import _check

__all__ = ["fit_resolution", "restore_resolution"]

Mode = Literal["pad", "reflect", "interpolate"]
Preserve = Literal["sum", "value"]


def fit_resolution(
    voxels: Float[Tensor, "*axes h w"],
    size: tuple[int, int],
    *,
    mode: Mode = "pad",
    preserve: Preserve = "sum",
) -> Float[Tensor, "*axes height width"]:
    """Bring a grid to another size.

    Padding is the only way that loses nothing and keeps counts whole; `ResidualUNet3D` takes any
    size and needs none. ``"interpolate"`` weighs pixels by the area they share, separately in
    both axes, which for whole factors is block summing (or averaging) and repeating.

    Args:
        voxels: any leading axes, then rows and columns.
        size: (height, width) wanted.
        mode: ``"pad"``: zeros below and to the right; ``"reflect"``: mirrored there, at most one
            pixel less than the grid has; ``"interpolate"``: up or down in each axis.
        preserve: for ``"interpolate"``: ``"sum"`` keeps the number of events, ``"value"`` the
            events per pixel.

    Returns:
        The grid at ``size``.

    Raises:
        ValueError: an option is unknown, or the grid is too large (or too small to reflect) for
            padding.

    Example:
        >>> grid = torch.tensor([[1.0, 3.0], [0.0, 2.0]])
        >>> fit_resolution(grid, (1, 2), mode="interpolate").tolist()
        [[1.0, 5.0]]
        >>> fit_resolution(grid, (2, 3)).tolist()
        [[1.0, 3.0, 0.0], [0.0, 2.0, 0.0]]

    Reference:
        Rebecq et al. (E2VID), TPAMI 2019, reflects to a multiple of 2^n and crops.
    """
    _check.one_of("mode", mode, ("pad", "reflect", "interpolate"))
    _check.one_of("preserve", preserve, ("sum", "value"))
    old = (voxels.shape[-2], voxels.shape[-1])
    _check.positive(height=size[0], width=size[1])
    if mode == "interpolate":
        return _apply(voxels, *(_overlap(n, m, preserve) for n, m in zip(old, size, strict=True)))
    below, right = size[0] - old[0], size[1] - old[1]
    if min(below, right) < 0 or (mode == "reflect" and (below >= old[0] or right >= old[1])):
        limit = "at most one pixel less than its own size beyond it" if mode == "reflect" else "it"
        msg = f"size must hold the grid of {old}, {mode} reaching {limit}, got {size}"
        raise ValueError(msg)
    if mode == "pad":
        return F.pad(voxels, (0, right, 0, below))
    flat = voxels.reshape(-1, 1, *old)
    padded = F.pad(flat, (0, right, 0, below), mode="reflect")
    return padded.reshape(*voxels.shape[:-2], *size)


def restore_resolution(
    voxels: Float[Tensor, "*axes h w"],
    size: tuple[int, int],
    *,
    mode: Mode = "pad",
    preserve: Preserve = "sum",
) -> Float[Tensor, "*axes height width"]:
    """Undo `fit_resolution`: called with the same options and the size from before.

    Exact after padding, and after interpolation to more pixels (by the least-squares inverse,
    an average where the factor is whole). What interpolation to fewer pixels has summed up stays
    spread evenly.

    Args:
        voxels: a grid of the size that was fitted to.
        size: (height, width) from before.
        mode: as given to `fit_resolution`.
        preserve: as given to `fit_resolution`.

    Returns:
        The grid at ``size``.

    Raises:
        ValueError: an option is unknown, or ``size`` does not fit into the grid.

    Example:
        >>> grid = torch.rand(8, 26, 34, generator=torch.Generator().manual_seed(0))
        >>> larger = fit_resolution(grid, (48, 64), mode="interpolate")
        >>> restored = restore_resolution(larger, (26, 34), mode="interpolate")
        >>> bool(torch.isclose(larger.sum(), grid.sum())), torch.allclose(restored, grid, atol=1e-4)
        (True, True)
    """
    _check.one_of("mode", mode, ("pad", "reflect", "interpolate"))
    _check.one_of("preserve", preserve, ("sum", "value"))
    new = (voxels.shape[-2], voxels.shape[-1])
    _check.positive(height=size[0], width=size[1])
    if mode != "interpolate":
        if size[0] > new[0] or size[1] > new[1]:
            msg = f"size must lie inside the padded grid of {new}, got {size}"
            raise ValueError(msg)
        return voxels[..., : size[0], : size[1]]
    ways = (
        torch.linalg.pinv(_overlap(n, m, preserve)) if m >= n else _overlap(m, n, preserve)
        for n, m in zip(size, new, strict=True)
    )
    return _apply(voxels, *ways)


def _overlap(old: int, new: int, preserve: Preserve) -> Float[Tensor, "new old"]:
    """Share of each old pixel in each new one (columns sum to 1), or the other way round."""
    edges = torch.arange(new + 1, dtype=torch.float64) * (old / new)
    low = torch.arange(old, dtype=torch.float64)
    right = torch.minimum(edges[1:, None], low + 1)
    shares = (right - torch.maximum(edges[:-1, None], low)).clamp(min=0)
    return shares if preserve == "sum" else shares * (new / old)


def _apply(voxels: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    rows, columns = (m.to(voxels.device, voxels.dtype) for m in (rows, columns))
    return rows @ voxels @ columns.T
