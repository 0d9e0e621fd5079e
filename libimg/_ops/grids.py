"""Warping by a displacement in voxels, and the flow of a stationary velocity."""

import math
from functools import lru_cache
from types import ModuleType
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from libimg._types import Flow, Image

__all__ = ["Mode", "Padding", "axes", "integrate", "resize", "warp"]

Mode = Literal["bilinear", "nearest"]
Padding = Literal["border", "zeros", "reflection"]


def axes(name: str, flow: Tensor) -> int:
    """Return the number of spatial axes of a flow; raise if its channels are not as many."""
    n = flow.ndim - 2
    if n not in (2, 3) or flow.shape[1] != n:
        msg = f"{name} must be (b, 2, h, w) or (b, 3, d, h, w), got shape {tuple(flow.shape)}"
        raise ValueError(msg)
    return n


def warp(moving: Image, flow: Flow, *, mode: Mode, padding: Padding) -> Image:
    """Sample ``moving(p + flow(p))``: see `libimg.registration.warp`."""
    kind = torch.promote_types(torch.promote_types(moving.dtype, flow.dtype), torch.float32)
    source, shift = moving.to(kind), flow.to(kind)
    loops = _compiled(source, shift) if mode == "bilinear" and padding != "reflection" else None
    if loops is not None:
        out: Tensor = loops.Trilinear.apply(source, shift, 2 if padding == "zeros" else 0)
        return out.to(moving.dtype)
    # Positions are normalised so that -1 and 1 are the outer faces of the volume, which is defined
    # for a single voxel too; reflection about the centres of the outer voxels needs the other
    # form, with -1 and 1 at these centres. Both sample at the same points.
    centres, n = padding == "reflection", moving.ndim - 2
    places = []
    for axis, part in enumerate(shift.unbind(1)):
        size = part.shape[1 + axis]
        length, first = (max(size - 1, 1), 0) if centres else (size, 1)
        line = torch.arange(size, dtype=kind, device=part.device) * (2 / length)
        line = (line + (first / length - 1)).view([-1 if k == axis else 1 for k in range(n)])
        places.append(torch.add(line, part, alpha=2 / length))
    grid = torch.stack(places[::-1], 1).movedim(1, -1)  # grid_sample wants the last axis first
    sampled: Tensor = F.grid_sample(
        source, grid, mode=mode, padding_mode=padding, align_corners=centres
    )
    return sampled.to(moving.dtype)


def integrate(velocity: Flow, *, steps: int) -> Flow:
    """Integrate over unit time: see `libimg.registration.integrate_velocity`."""
    flow = velocity.to(torch.promote_types(velocity.dtype, torch.float32)) * 0.5**steps
    for _ in range(steps):
        flow = flow + warp(flow, flow, mode="bilinear", padding="border")
    return flow.to(velocity.dtype)


def resize(flow: Flow, *, size: tuple[int, ...]) -> Float[Tensor, "b n *new"]:
    """Resize a flow and its vectors: see `libimg.registration.resize_flow`."""
    shift = flow.to(torch.promote_types(flow.dtype, torch.float32))
    mode = "bilinear" if len(size) == 2 else "trilinear"
    factors = [
        (new - 1) / (old - 1) if old > 1 else 1.0
        for new, old in zip(size, flow.shape[2:], strict=True)
    ]
    scale = shift.new_tensor(factors).view(-1, *[1] * len(size))
    out = F.interpolate(shift, size=size, mode=mode, align_corners=True) * scale
    return out.to(flow.dtype)


def _compiled(moving: Tensor, flow: Tensor) -> ModuleType | None:
    """The loops for float32 volumes on the CPU; None where ``grid_sample`` serves."""
    fits = moving.ndim == 5 and moving.dtype == torch.float32 and moving.numel() > 0
    here = moving.device.type == flow.device.type == "cpu" and not torch.compiler.is_compiling()
    return _loops() if fits and here and math.prod(moving.shape[2:]) < 2**31 else None


@lru_cache(maxsize=1)
def _loops() -> ModuleType:
    from libimg._ops import warp_cpu

    return warp_cpu
