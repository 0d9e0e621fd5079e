"""A small U-Net that predicts the flow between two images."""

from collections.abc import Sequence
from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from libimg._check import one_of
from libimg._ops import grids
from libimg._types import Flow, Image
from libimg.nets.blocks import conv
from libimg.nets.conv3d import Conv3d

__all__ = ["RegistrationUNet"]


class RegistrationUNet(nn.Module):
    """Predict the flow that warps ``moving`` onto ``fixed``, in two and three dimensions.

    With the defaults 69,906 parameters in 2D and 209,731 in 3D. The untrained network predicts
    nearly no motion: the last layer starts with weights N(0, 1e-5) and no bias. There is no norm
    inside; each image is brought to mean 0 and deviation 1 instead, so brightness and contrast
    do not matter. The last layer, the integration and the flow are float32 under autocast.

    Any size is taken: the border is repeated up to a multiple of ``2 ** (len(channels) - 1)``
    and the flow cropped.

    Args:
        spatial_dims: 2 for images, 3 for volumes.
        in_channels: channels of ``moving`` and ``fixed`` together.
        channels: width of each level, from full resolution down; two levels or more.
        attention: one self-attention layer over all voxels of the lowest level.
        velocity_steps: if above 0, the network predicts a velocity and integrates it by so many
            squarings (7 is usual), so that the flow is nearly free of folds.
        half_resolution: predict at half the resolution and resize: smoother and cheaper.

    Raises:
        ValueError: an option is unknown or out of range.

    Example:
        >>> net = RegistrationUNet(2, velocity_steps=5)
        >>> flow = net(torch.rand(1, 1, 33, 40), torch.rand(1, 1, 33, 40))
        >>> tuple(flow.shape), bool(flow.abs().max() < 1e-3)
        ((1, 2, 33, 40), True)

    Reference:
        Balakrishnan et al., "VoxelMorph", TMI 2019; Dalca et al., MICCAI 2018, for the velocity.
        MONAI's ``RegUNet`` starts at a random flow, and resizes it by nearest neighbours.
    """

    def __init__(
        self,
        spatial_dims: int,
        *,
        in_channels: int = 2,
        channels: Sequence[int] = (16, 32, 32, 32),
        attention: bool = False,
        velocity_steps: int = 0,
        half_resolution: bool = False,
    ) -> None:
        super().__init__()
        one_of("spatial_dims", spatial_dims, (2, 3))
        widths = tuple(channels)
        if len(widths) < 2 or min(*widths, in_channels - 1) < 1 or velocity_steps < 0:
            msg = "expected in_channels >= 2, two or more channels >= 1 and velocity_steps >= 0, "
            msg += f"got {in_channels}, {widths}, {velocity_steps}"
            raise ValueError(msg)
        self.spatial_dims = spatial_dims
        self.in_channels = in_channels
        self.multiple = 2 ** (len(widths) - 1)
        self.velocity_steps = velocity_steps
        self.half_resolution = half_resolution
        self.encoder = nn.ModuleList(
            _block(spatial_dims, inside, outside, stride=2 if level else 1)
            for level, (inside, outside) in enumerate(pairwise((in_channels, *widths)))
        )
        self.attention = _Attention(widths[-1]) if attention else nn.Identity()
        upward = list(pairwise(reversed(widths)))[: -1 if half_resolution else None]
        self.decoder = nn.ModuleList(
            _block(spatial_dims, below + beside, beside) for below, beside in upward
        )
        last = widths[1] if half_resolution else widths[0]
        self.refine = _block(spatial_dims, last, last)
        kind = nn.Conv2d if spatial_dims == 2 else Conv3d
        self.head = kind(last, spatial_dims, 3, padding=1)
        nn.init.normal_(self.head.weight, std=1e-5)
        if self.head.bias is not None:
            nn.init.zeros_(self.head.bias)

    def forward(self, moving: Image, fixed: Float[Tensor, "b k *spatial"]) -> Flow:
        """Predict a flow.

        Args:
            moving: ``(b, c, *spatial)``, any unit.
            fixed: ``(b, k, *spatial)``, any unit; ``c + k`` is ``in_channels``.

        Returns:
            Flow ``(b, spatial_dims, *spatial)`` in voxels, float32 or better, for
            ``libimg.registration.warp(moving, flow)``.

        Raises:
            ValueError: sizes differ, or the number of axes or channels is wrong.
        """
        size, total = moving.shape[2:], moving.shape[1] + fixed.shape[1]
        wrong = len(size) != self.spatial_dims or total != self.in_channels
        if wrong or fixed.shape[2:] != size or len(fixed) != len(moving):
            msg = f"moving and fixed must be (b, c, *spatial) of one size with {self.spatial_dims} "
            msg += f"spatial axes and {self.in_channels} channels together, got "
            msg += f"{tuple(moving.shape)} and {tuple(fixed.shape)}"
            raise ValueError(msg)
        pair = _standardise(torch.cat((_wide(moving), _wide(fixed)), 1))
        flow = self._integrated(self._features(pair.to(self.head.weight.dtype)))
        for axis, n in enumerate(size, start=2):
            flow = flow.narrow(axis, 0, n)
        return flow

    def _features(self, pair: Tensor) -> Tensor:
        """Run the U-Net on the pair, padded at its far ends."""
        missing = [-n % self.multiple for n in pair.shape[2:]]
        h = F.pad(pair, [n for m in reversed(missing) for n in (0, m)], mode="replicate")
        skips: list[Tensor] = []
        for level in self.encoder:
            h = level(h)
            skips.append(h)
        h = self.attention(skips.pop())
        for level in self.decoder:
            h = level(torch.cat((skips.pop(), F.interpolate(h, scale_factor=2.0)), 1))
        out: Tensor = self.refine(h)
        return out

    def _integrated(self, h: Tensor) -> Tensor:
        """Turn features into a flow at the padded size, in float32 or better."""
        with torch.autocast(h.device.type, enabled=False):
            flow: Tensor = self.head(h.to(self.head.weight.dtype))
            flow = grids.integrate(_wide(flow), steps=self.velocity_steps)
            if self.half_resolution:
                flow = grids.resize(flow, size=tuple(2 * n for n in flow.shape[2:]))
        return flow


class _Attention(nn.Module):
    """Residual self-attention over all voxels, ``16`` channels or so a head."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.heads = next(n for n in range(max(1, channels // 16), 0, -1) if channels % n == 0)
        self.norm = nn.LayerNorm(channels)
        self.inward = nn.Linear(channels, 3 * channels)
        self.outward = nn.Linear(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        """Add to each voxel what it finds in the others."""
        tokens = x.flatten(2).transpose(1, 2)
        b, n, c = tokens.shape
        q, k, v = (
            self.inward(self.norm(tokens)).view(b, n, 3, self.heads, c // self.heads).unbind(2)
        )
        mixed = F.scaled_dot_product_attention(*(part.transpose(1, 2) for part in (q, k, v)))
        found = self.outward(mixed.transpose(1, 2).reshape(b, n, c))
        out: Tensor = x + found.transpose(1, 2).view_as(x)
        return out


def _block(spatial_dims: int, inside: int, outside: int, *, stride: int = 1) -> nn.Module:
    return nn.Sequential(conv(spatial_dims, inside, outside, stride=stride), nn.LeakyReLU(0.2))


def _wide(x: Tensor) -> Tensor:
    return x.to(torch.promote_types(x.dtype, torch.float32))


def _standardise(x: Tensor) -> Tensor:
    """Bring each channel of each sample to mean 0 and deviation 1; a constant one to 0."""
    axes = tuple(range(2, x.ndim))
    mean = x.mean(axes, keepdim=True)
    variance = (x - mean).square().mean(axes, keepdim=True)
    constant = variance <= 1e-10 * mean.square()  # nothing there but rounding
    return (x - mean) * ~constant / torch.where(constant, 1.0, variance).sqrt()
