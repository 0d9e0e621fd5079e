"""Warping by a displacement in voxels, and the flow of a stationary velocity."""

from functools import lru_cache
from types import ModuleType
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from libimg._types import Flow, Image

__all__ = ["Mode", "Padding", "integrate", "resize", "warp"]

Mode = Literal["bilinear", "nearest"]
Padding = Literal["border", "zeros", "reflection"]


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
    centres = padding == "reflection"
    sizes = shift.shape[2:]
    lengths = [max(n - 1, 1) if centres else n for n in sizes]
    lines = [
        torch.arange(n, dtype=kind, device=shift.device).mul_(2).add_(0 if centres else 1).div_(length)
        for n, length in zip(sizes, lengths, strict=True)
    ]
    identity = torch.stack(torch.meshgrid(*lines, indexing="ij")).sub_(1)
    scale = shift.new_tensor([2 / length for length in lengths]).view(-1, *[1] * len(sizes))
    grid = torch.addcmul(identity, shift, scale).movedim(1, -1)
    # grid_sample wants the last axis first; turning the image's axes around costs no copy
    turned = source.permute(0, 1, *range(source.ndim - 1, 1, -1))
    out = F.grid_sample(turned, grid, mode=mode, padding_mode=padding, align_corners=centres)
    return out.to(moving.dtype)


def integrate(velocity: Flow, *, steps: int) -> Flow:
    """Integrate over unit time: see `libimg.registration.integrate_velocity`."""
    flow = velocity.to(torch.promote_types(velocity.dtype, torch.float32)) / 2**steps
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
    if moving.device.type != "cpu" or flow.device.type != "cpu" or torch.compiler.is_compiling():
        return None
    small = 0 < moving.numel() and moving[0, 0].numel() < 2**31 if len(moving) else False
    return _loops() if moving.ndim == 5 and moving.dtype == torch.float32 and small else None


@lru_cache(maxsize=1)
def _loops() -> ModuleType:
    from libimg._ops import warp_cpu

    return warp_cpu
