"""U-Net for image translation in two and three dimensions."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from libimg._check import one_of
from libimg.nets.blocks import DoubleConv, Norm, conv, upsampling

__all__ = ["UNet"]


class UNet(nn.Module):
    """U-Net with a skip connection at every level, full resolution included.

    Each level has two 3×3 convolutions; the first convolution of a lower level has stride 2.
    The output is linear: a tanh would have no gradient left where bright vessels saturate.
    Any size is taken: the image is reflected at its far ends up to a multiple of
    ``2 ** (len(channels) - 1)`` and the output cropped.

    | ``channels`` | parameters in 2D | in 3D |
    |---|---|---|
    | ``(8, 16, 32, 64)`` | 0.11 M | 0.33 M |
    | ``(16, 32, 64, 128)`` | 0.45 M | 1.3 M |
    | ``(32, 64, 128, 256)`` | 1.8 M | 5.3 M |
    | ``(64, 128, 256, 512, 1024)`` | 29 M | 85 M |
    | ``(96, 192, 384, 768, 1408)`` | 61 M | 179 M |

    Args:
        spatial_dims: 2 for images, 3 for volumes.
        in_channels: channels of the input.
        out_channels: channels of the output.
        channels: width of each level, from full resolution down; two levels or more.
        norm: ``"group"``: 8 groups (4, 2 or 1 where 8 does not divide the width);
            ``"instance"``: one group per channel, which removes a channel's mean and contrast;
            None: values pass unscaled.
        residual: the output is an input channel plus a learned difference, and the last layer
            starts at zero, so the untrained network is the identity.
        base_channel: index of that input channel; the middle one for neighbour slices (2.5-D).
            Every output channel is added to it. Without ``residual`` it has no effect.
        upsample: ``"resize"``: convolution and nearest-neighbour repetition, no checkerboard;
            ``"transpose"``: transposed convolution of stride 2.

    Raises:
        ValueError: an option is unknown or out of range.

    Example:
        >>> net = UNet(2, in_channels=3, channels=(8, 16, 32), residual=True, base_channel=1)
        >>> slices = torch.rand(1, 3, 17, 20, generator=torch.Generator().manual_seed(0))
        >>> torch.equal(net(slices), slices[:, 1:2])
        True

    Reference:
        Ronneberger, Fischer, Brox, "U-Net", MICCAI 2015. Here convolutions are padded, stride
        replaces max-pooling and group norm is added. Odena, Dumoulin, Olah, "Deconvolution and
        Checkerboard Artifacts", Distill 2016, for ``"resize"``.
    """

    def __init__(
        self,
        spatial_dims: int,
        *,
        in_channels: int = 1,
        out_channels: int = 1,
        channels: Sequence[int] = (32, 64, 128, 256),
        norm: Norm = "group",
        residual: bool = False,
        base_channel: int = 0,
        upsample: Literal["resize", "transpose"] = "resize",
    ) -> None:
        super().__init__()
        one_of("spatial_dims", spatial_dims, (2, 3))
        one_of("norm", norm, ("group", "instance", None))
        one_of("upsample", upsample, ("resize", "transpose"))
        widths = tuple(channels)
        if len(widths) < 2 or min(in_channels, out_channels, *widths) < 1:
            msg = "expected in_channels, out_channels >= 1 and two or more channels >= 1, got "
            msg += f"{in_channels}, {out_channels}, {widths}"
            raise ValueError(msg)
        if not 0 <= base_channel < in_channels:
            msg = f"base_channel must be in [0, {in_channels}), got {base_channel}"
            raise ValueError(msg)
        self.spatial_dims = spatial_dims
        self.in_channels = in_channels
        self.base_channel = base_channel if residual else None
        self.multiple = 2 ** (len(widths) - 1)
        self.encoder = nn.ModuleList(
            DoubleConv(spatial_dims, inside, outside, norm=norm, stride=2 if level else 1)
            for level, (inside, outside) in enumerate(pairwise((in_channels, *widths)))
        )
        upward = list(pairwise(reversed(widths)))
        self.up = nn.ModuleList(upsampling(spatial_dims, *pair, kind=upsample) for pair in upward)
        self.decoder = nn.ModuleList(
            DoubleConv(spatial_dims, 2 * width, width, norm=norm) for _, width in upward
        )
        self.head = conv(spatial_dims, widths[0], out_channels, kernel=1)
        if residual:
            for parameter in self.head.parameters():
                nn.init.zeros_(parameter)

    def forward(self, x: Float[Tensor, "b c *spatial"]) -> Float[Tensor, "b o *spatial"]:
        """Translate images.

        Args:
            x: ``(b, in_channels, *spatial)``, every axis at least ``2 ** (levels - 1)`` voxels
                long and one of them longer, so that the lowest level is not a single voxel.

        Returns:
            ``(b, out_channels, *spatial)``.

        Raises:
            ValueError: wrong number of axes or channels, or an axis is too short.
        """
        size = x.shape[2:]
        if len(size) != self.spatial_dims or x.shape[1] != self.in_channels:
            msg = f"x must be (b, {self.in_channels}, *spatial) with {self.spatial_dims} spatial "
            msg += f"axes, got shape {tuple(x.shape)}"
            raise ValueError(msg)
        if min(size) < self.multiple or max(size) == self.multiple:
            msg = f"every axis of x must have at least {self.multiple} voxels, and one more than "
            msg += f"that, for {len(self.encoder)} levels, got {tuple(size)}"
            raise ValueError(msg)
        missing = [-n % self.multiple for n in size]
        h = x
        if any(missing):
            h = F.pad(x, [n for m in reversed(missing) for n in (0, m)], mode="reflect")
        skips = []
        for level in self.encoder:
            h = level(h)
            skips.append(h)
        skips.pop()
        for up, level in zip(self.up, self.decoder, strict=True):
            h = level(torch.cat((skips.pop(), up(h)), 1))
        out: Tensor = self.head(h)
        for axis, n in enumerate(size, start=2):
            out = out.narrow(axis, 0, n)
        if self.base_channel is None:
            return out
        return x[:, self.base_channel : self.base_channel + 1] + out
