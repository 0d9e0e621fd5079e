"""Tensors for tests of flows."""

import torch
from scipy import ndimage


def noise(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def smooth(channels: int, size: tuple[int, ...], *, seed: int = 0, scale: float = 1.0):
    """A random field that changes slowly, largest absolute value ``scale``, in float64."""
    coarse = noise(1, channels, *[4] * len(size), seed=seed, dtype=torch.float64).numpy()
    zoom = (1, 1, *[n / 4 for n in size])
    fine = torch.from_numpy(ndimage.zoom(coarse, zoom, order=3, mode="nearest", grid_mode=True))
    return scale * fine / fine.abs().max()


def positions(size: tuple[int, ...], dtype: torch.dtype = torch.float64) -> torch.Tensor:
    axes = [torch.arange(n, dtype=dtype) for n in size]
    return torch.stack(torch.meshgrid(*axes, indexing="ij")).unsqueeze(0)


def affine(matrix: torch.Tensor, shift: torch.Tensor, size: tuple[int, ...]) -> torch.Tensor:
    """``u(p) = matrix p + shift``."""
    p = positions(size)
    moved = torch.einsum("ij,bj...->bi...", matrix, p)
    return moved + shift.view(1, -1, *[1] * len(size))
