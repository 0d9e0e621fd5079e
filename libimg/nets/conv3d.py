"""Convolutions of volumes whose gradients are right in half precision on the CPU, too."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

__all__ = ["Conv3d", "ConvTranspose3d", "SumGroupNorm"]

HALF = (torch.bfloat16, torch.float16)
FEW = 16  # channels below which one slice of a volume goes wrong in half precision


class _Convolution(torch.autograd.Function):
    """A convolution in half precision with the gradient of its weights in float32."""

    @staticmethod
    def forward(  # type: ignore[override]
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, how: tuple[Any, ...]
    ) -> Tensor:
        with torch.autocast("cpu", enabled=False):
            low = None if bias is None else bias.to(x.dtype)
            ctx.save_for_backward(x, weight)
            ctx.how, ctx.bias = how, bias is not None
            out: Tensor = torch.ops.aten.convolution(x, weight.to(x.dtype), low, *how)
        return out

    @staticmethod
    @once_differentiable  # type: ignore[untyped-decorator]
    def backward(ctx: Any, gradient: Tensor) -> Any:
        x, weight = ctx.saved_tensors
        wanted = ctx.needs_input_grad
        sizes = [len(weight)] if not ctx.how[4] else [weight.shape[1]]
        back = torch.ops.aten.convolution_backward
        to_x = to_weight = to_bias = None
        with torch.autocast("cpu", enabled=False):
            if wanted[0]:
                low = weight.to(x.dtype)
                to_x = back(gradient.to(x.dtype), x, low, None, *ctx.how, [True, False, False])[0]
            if wanted[1] or wanted[2]:
                wide = gradient.float(), x.float(), weight.float(), sizes
                mask = [False, wanted[1], ctx.bias and wanted[2]]
                _, to_weight, to_bias = back(*wide, *ctx.how, mask)
                to_weight = to_weight.to(weight.dtype) if wanted[1] else None
        return to_x, to_weight, to_bias, None


def _convolve(x: Tensor, weight: Tensor, bias: Tensor | None, how: tuple[Any, ...]) -> Tensor:
    """Convolve; go a safe way where half precision is wrong on the CPU."""
    cast = torch.is_autocast_enabled("cpu") and x.dtype != torch.float64
    kind = torch.get_autocast_dtype("cpu") if cast else x.dtype
    half = x.device.type == "cpu" and kind in HALF
    if half and x.shape[2] == 1 < weight.shape[2] and weight.shape[1] < FEW and not how[3]:
        with torch.autocast("cpu", enabled=False):
            wide = None if bias is None else bias.float()
            found = torch.ops.aten.convolution(x.to(kind).float(), weight.float(), wide, *how)
        one: Tensor = found.to(kind)
        return one
    if half and torch.is_grad_enabled():
        safe: Tensor = _Convolution.apply(x.to(kind), weight, bias, how)
        return safe
    stride, padding, dilation, transposed, more, groups = how
    if transposed:
        return F.conv_transpose3d(x, weight, bias, stride, padding, more, groups, dilation)
    return F.conv3d(x, weight, bias, stride, padding, dilation, groups)


class Conv3d(nn.Conv3d):
    """`torch.nn.Conv3d` with zero padding, safe to train in bfloat16 on the CPU.

    There oneDNN's gradient of the weights of a 3-D convolution (torch 2.13 to 2.15) is wrong at
    depth 2 on some processors, and writes beyond its memory at 1 or 16 channels on others. So it
    is computed in float32; the result and the gradient of the input stay in half precision. Only
    the result for a volume of one slice and less than 16 channels, wrong there too, is not.
    """

    def forward(self, input: Tensor) -> Tensor:
        """Convolve ``(b, c, d, h, w)``."""
        how = (self.stride, self.padding, self.dilation, False, (0, 0, 0), self.groups)
        return _convolve(input, self.weight, self.bias, how)


class ConvTranspose3d(nn.ConvTranspose3d):
    """`torch.nn.ConvTranspose3d`, safe like `Conv3d`, with a stride for every call."""

    def forward(  # type: ignore[override]
        self, input: Tensor, stride: Sequence[int] | None = None
    ) -> Tensor:
        """Convolve ``(b, c, d, h, w)``; with a stride of 1 an axis keeps its size."""
        steps = self.stride if stride is None else tuple(stride)
        how = (steps, self.padding, self.dilation, True, self.output_padding, self.groups)
        return _convolve(input, self.weight, self.bias, how)


class SumGroupNorm(nn.GroupNorm):
    """`torch.nn.GroupNorm` that a compiler can join with its neighbours.

    While compiling it is two sums in float32 and one pass over the data, in any layout of memory;
    torch's own kernel, used otherwise, has no layout of channels last in half precision. Both are
    equal to 1e-5 where the mean of a group is not far above its deviation.
    """

    def forward(self, input: Tensor) -> Tensor:
        """Normalise ``(b, c, *spatial)``, in the dtype of the input."""
        return self.by_sums(input) if torch.compiler.is_compiling() else super().forward(input)

    def by_sums(self, input: Tensor) -> Tensor:
        """Normalise by the two sums."""
        b, c = input.shape[:2]
        inner = (1,) * (input.ndim - 2)
        axes = tuple(range(2, input.ndim))
        wide = input.float()
        count = input[0, 0].numel() * (c // self.num_groups)
        first, second = wide.sum(axes), wide.square().sum(axes)
        mean = first.reshape(b, self.num_groups, -1).sum(2) / count
        square = second.reshape(b, self.num_groups, -1).sum(2) / count
        deviation = torch.rsqrt((square - mean.square()).clamp(min=0) + self.eps)
        repeat = c // self.num_groups
        scale = deviation.repeat_interleave(repeat, 1) * self.weight.float()
        shift = self.bias.float() - mean.repeat_interleave(repeat, 1) * scale
        out = wide * scale.reshape(b, c, *inner) + shift.reshape(b, c, *inner)
        return out.to(input.dtype)
