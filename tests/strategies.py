"""Hypothesis strategies: hypothesis draws structure and seeds, torch fills tensors from a seed."""

import torch
from hypothesis import strategies as st
from torch import Tensor

__all__ = ["image_shapes", "images", "mask_like", "seeds"]

seeds = st.integers(0, 2**31 - 1)


@st.composite
def image_shapes(
    draw: st.DrawFn,
    *,
    dims: tuple[int, ...] = (2, 3),
    sides: tuple[int, int] = (1, 6),
    batch: int = 3,
    channels: int = 3,
) -> tuple[int, ...]:
    """Shapes ``(b, c, *spatial)`` of images and volumes."""
    n = draw(st.sampled_from(dims))
    spatial = draw(st.tuples(*[st.integers(*sides)] * n))
    return (draw(st.integers(1, batch)), draw(st.integers(1, channels)), *spatial)


@st.composite
def images(
    draw: st.DrawFn,
    shapes: st.SearchStrategy[tuple[int, ...]] | None = None,
    *,
    dtype: torch.dtype = torch.float64,
    lo: float = -1.0,
    hi: float = 1.0,
) -> Tensor:
    """Uniform noise of a drawn shape and seed."""
    shape = draw(image_shapes() if shapes is None else shapes)
    generator = torch.Generator().manual_seed(draw(seeds))
    return torch.rand(shape, generator=generator, dtype=dtype) * (hi - lo) + lo


@st.composite
def mask_like(
    draw: st.DrawFn, x: Tensor, *, soft: bool | None = None, empty: bool = False
) -> Tensor:
    """Masks for an image: boolean or soft, one channel or all; each sample has a voxel inside."""
    channels = x.shape[1] if draw(st.booleans()) else 1
    generator = torch.Generator().manual_seed(draw(seeds))
    weight = torch.rand(len(x), channels, *x.shape[2:], generator=generator, dtype=x.dtype)
    weight = weight * (weight > draw(st.sampled_from((0.0, 0.5, 0.9))))
    if not empty:
        weight.view(len(x), -1)[:, 0] = 0.75
    return weight if (draw(st.booleans()) if soft is None else soft) else weight > 0
