"""Trilinear warping of float32 volumes on the CPU: one pass, no grid, all threads.

torch's ``grid_sample`` shares volumes only over the batch; these loops share the rows.
"""

import math
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from libimg._ops import loops, warp_kernels

__all__ = ["Trilinear"]


class Trilinear(torch.autograd.Function):
    """``apply(moving, flow, reach)``: ``reach`` is 0 for border padding and 2 for zeros."""

    @staticmethod
    def forward(ctx: Any, moving: Tensor, flow: Tensor, reach: int) -> Tensor:
        """Gather the warped volume."""
        moving, flow = moving.detach().contiguous(), flow.detach().contiguous()
        ctx.save_for_backward(moving, flow)
        ctx.reach = reach
        out = torch.empty_like(moving)
        rows, width = moving.shape[2] * moving.shape[3], moving.shape[4]
        for volumes in zip(moving, flow, out, strict=True):
            m, u, o = (tensor.numpy() for tensor in volumes)
            pieces = loops.parts(rows, cost=width * len(m))
            loops.run([partial(warp_kernels.gather, m, u, reach, o, *piece) for piece in pieces])
        return out

    @staticmethod
    @once_differentiable  # type: ignore[untyped-decorator]
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        """Scatter to the moving volume, and differentiate the weights by the flow.

        Each thread adds to the planes that its own rows can reach, and these are then summed in
        order: no races, and the same result every time.
        """
        moving, flow = ctx.saved_tensors
        wants_moving, wants_flow, _ = ctx.needs_input_grad
        d_moving = torch.zeros_like(moving) if wants_moving else None
        d_flow = torch.empty_like(flow) if wants_flow else None
        nothing = np.empty((len(moving[0]), 0, *moving.shape[3:]), np.float32)
        height, width = moving.shape[3:]
        grad = grad.contiguous()
        for b in range(len(moving)):
            m, u, g = (tensor[b].numpy() for tensor in (moving, flow, grad))
            jobs, own = [], []
            for start, stop in loops.parts(len(m[0]) * height, cost=width * len(m), most=16):
                first, last = _reached(flow[b, 0].view(-1, width), start, stop, height)
                shape = (len(m), last + 1 - first, height, width)
                own.append((first, np.zeros(shape, np.float32) if wants_moving else nothing))
                by_flow = nothing if d_flow is None else d_flow[b].numpy()
                jobs.append(
                    partial(
                        warp_kernels.scatter,
                        m,
                        u,
                        ctx.reach,
                        g,
                        own[-1][1],
                        by_flow,
                        first,
                        start,
                        stop,
                    )
                )
            loops.run(jobs)
            if d_moving is not None:
                for first, piece in own:
                    d_moving[b, :, first : first + piece.shape[1]] += torch.from_numpy(piece)
        return d_moving, d_flow, None


def _reached(shift: Tensor, start: int, stop: int, height: int) -> tuple[int, int]:
    """First and last plane that the rows start..stop reach, one to spare for rounding."""
    end = len(shift) // height - 1
    low, high = (float(value) for value in shift[start:stop].aminmax())
    if math.isnan(low):
        return 0, end
    near = max(0, min(end, start // height + low - 1))
    far = max(0, min(end, (stop - 1) // height + high + 2))
    return math.floor(near), math.ceil(far)
