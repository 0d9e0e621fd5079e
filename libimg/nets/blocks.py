"""Parts that several networks are built of, for two and three spatial axes."""

import math
from typing import Literal

from torch import Tensor, nn

from libimg.nets.conv3d import Conv3d, ConvTranspose3d

__all__ = ["DoubleConv", "Norm", "ResidualBlock", "conv", "normalisation", "upsampling"]

Norm = Literal["group", "instance"] | None


def conv(
    spatial_dims: int,
    inside: int,
    outside: int,
    *,
    kernel: int = 3,
    stride: int = 1,
    dilation: int = 1,
    bias: bool = True,
) -> nn.Module:
    """Build a convolution with an odd kernel that keeps the size (at stride 1)."""
    kind = nn.Conv2d if spatial_dims == 2 else Conv3d
    return kind(
        inside,
        outside,
        kernel,
        stride=stride,
        padding=dilation * (kernel // 2),
        dilation=dilation,
        bias=bias,
    )


def normalisation(norm: Norm, channels: int) -> nn.Module:
    """Build a norm: 8 groups, or 4, 2, 1 where 8 does not divide; one a channel; or none."""
    if norm is None:
        return nn.Identity()
    return nn.GroupNorm(math.gcd(8, channels) if norm == "group" else channels, channels)


def upsampling(
    spatial_dims: int, inside: int, outside: int, *, kind: Literal["resize", "transpose"]
) -> nn.Module:
    """Build a doubling of the size that also changes the channels.

    ``"resize"`` is a 1×1 convolution and nearest-neighbour repetition: cheap because it convolves
    before it enlarges, and a constant stays constant. ``"transpose"`` learns its 2×2 pattern.
    """
    if kind == "transpose":
        transposed = nn.ConvTranspose2d if spatial_dims == 2 else ConvTranspose3d
        return transposed(inside, outside, 2, stride=2)
    return nn.Sequential(
        conv(spatial_dims, inside, outside, kernel=1), nn.Upsample(scale_factor=2, mode="nearest")
    )


class DoubleConv(nn.Sequential):
    """Twice (3×3 convolution, norm, SiLU); a stride of 2 in the first halves the size."""

    def __init__(
        self, spatial_dims: int, inside: int, outside: int, *, norm: Norm, stride: int = 1
    ) -> None:
        super().__init__(
            conv(spatial_dims, inside, outside, stride=stride, bias=norm is None),
            normalisation(norm, outside),
            nn.SiLU(),
            conv(spatial_dims, outside, outside, bias=norm is None),
            normalisation(norm, outside),
            nn.SiLU(),
        )


class ResidualBlock(nn.Module):
    """``h + conv(SiLU(conv(SiLU(h))))``, without norm, so that values pass unchanged.

    With a ``bound`` the result is kept in [-bound, bound]: what no norm holds back can run away.
    """

    def __init__(
        self, spatial_dims: int, width: int, *, dilation: int = 1, bound: float | None = None
    ) -> None:
        super().__init__()
        self.bound = bound
        layers = [conv(spatial_dims, width, width, dilation=dilation) for _ in range(2)]
        self.body = nn.Sequential(nn.SiLU(), layers[0], nn.SiLU(), layers[1])

    def forward(self, h: Tensor) -> Tensor:
        """Add the body's output to its input."""
        out: Tensor = h + self.body(h)
        return out.clamp(-self.bound, self.bound) if self.bound else out
