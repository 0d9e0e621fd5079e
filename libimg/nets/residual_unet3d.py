"""Residual 3-D U-Net for short, wide volumes such as event voxels."""

import re
from collections.abc import Mapping, Sequence
from copy import deepcopy
from itertools import pairwise
from os import PathLike
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from libimg.nets.conv3d import Conv3d, ConvTranspose3d, SumGroupNorm

__all__ = ["ResidualUNet3D", "load_3dunet_weights", "prepare_inference"]


class ResidualUNet3D(nn.Module):
    """3-D U-Net of residual blocks whose output is its input plus what it has learned.

    The architecture is that of ``ResidualUNet3D`` in pytorch-3dunet (layer order ``gcr``), and
    its weights can be loaded; untrained it is the identity, there is no activation behind it, so
    signed values pass. An axis is halved only while it has two voxels or more, so a volume of 8
    bins can have any number of levels, and any height and width is taken as it is. Where that
    project halves every axis, both agree.

    | ``channels`` | parameters |
    |---|---|
    | ``(16, 32, 64)`` | 0.43 M |
    | ``(32, 64, 128, 256)`` | 7.07 M, the size of E-DeflareNet |

    Args:
        in_channels: channels of the input.
        out_channels: channels of the output.
        channels: width of each level; two levels or more.
        groups: of the norms; one group where there are fewer channels.
        identity: the output is the input plus the network's, whose last layer starts at zero.

    Raises:
        ValueError: fewer than two levels, channels that the groups do not divide, or an identity
            from other than equal or one channel.

    Example:
        >>> net = ResidualUNet3D(channels=(8, 16, 32))
        >>> voxels = torch.randn(1, 1, 8, 17, 20, generator=torch.Generator().manual_seed(0))
        >>> torch.equal(net(voxels), voxels)
        True

    Reference:
        Lee et al., Superhuman Accuracy on the SNEMI3D Connectomics Challenge, 2017; Wolny et al.,
        eLife 2020 (pytorch-3dunet); Han et al., Learning to Remove Lens Flare in Event Camera,
        2025 (the identity).
    """

    def __init__(
        self,
        *,
        in_channels: int = 1,
        out_channels: int = 1,
        channels: Sequence[int] = (32, 64, 128, 256),
        groups: int = 8,
        identity: bool = True,
    ) -> None:
        super().__init__()
        widths = tuple(channels)
        none = min(in_channels, out_channels, groups, *widths) < 1
        if none or len(widths) < 2 or any(c > groups and c % groups for c in widths):
            msg = f"expected two or more channels that {groups} groups divide, got {widths} from "
            msg += f"{in_channels} to {out_channels}"
            raise ValueError(msg)
        if identity and in_channels not in (1, out_channels):
            msg = f"identity needs in_channels of 1 or out_channels, got {in_channels} and "
            msg += f"{out_channels}"
            raise ValueError(msg)
        self.in_channels, self.identity = in_channels, identity
        self.encoder = nn.ModuleList(
            Block(inside, outside, groups) for inside, outside in pairwise((in_channels, *widths))
        )
        self.up = nn.ModuleList()
        self.decoder = nn.ModuleList()
        for inside, outside in pairwise(reversed(widths)):
            self.up.append(ConvTranspose3d(inside, outside, 3, stride=2, padding=1))
            self.decoder.append(Block(outside, outside, groups))
        self.head = Conv3d(widths[0], out_channels, 1)
        if identity:
            for parameter in self.head.parameters():
                nn.init.zeros_(parameter)

    def forward(self, x: Float[Tensor, "b c d h w"]) -> Float[Tensor, "b o d h w"]:
        """Restore volumes.

        Args:
            x: ``(b, in_channels, d, h, w)``, any size.

        Returns:
            ``(b, out_channels, d, h, w)``.

        Raises:
            ValueError: wrong number of channels.
        """
        if x.shape[1] != self.in_channels:
            msg = f"x must have {self.in_channels} channels, got shape {tuple(x.shape)}"
            raise ValueError(msg)
        h, skips = x, []
        for level, block in enumerate(self.encoder):
            if level:
                h = F.max_pool3d(h, [2 if n > 1 else 1 for n in h.shape[2:]])
            h = block(h)
            skips.append(h)
        skips.pop()
        for up, block in zip(self.up, self.decoder, strict=True):
            skip = skips.pop()
            h = block(skip + enlarge(up, h, skip.shape[2:]))
        out: Tensor = self.head(h)
        return x + out if self.identity else out


class Block(nn.Module):
    """A 1×1×1 projection if the width changes, then two (norm, convolution) with a shortcut."""

    def __init__(self, inside: int, outside: int, groups: int) -> None:
        super().__init__()
        self.project = Conv3d(inside, outside, 1) if inside != outside else nn.Identity()
        count = groups if outside >= groups else 1
        self.norm1, self.norm2 = SumGroupNorm(count, outside), SumGroupNorm(count, outside)
        self.conv1 = Conv3d(outside, outside, 3, padding=1, bias=False)
        self.conv2 = Conv3d(outside, outside, 3, padding=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Transform features."""
        h = self.project(x)
        inner = F.relu(self.conv1(self.norm1(h)))
        return F.relu(h + self.conv2(self.norm2(inner)))


def enlarge(up: nn.Module, h: Tensor, size: Sequence[int]) -> Tensor:
    """Transposed convolution of stride 2 where an axis was halved, then the nearest voxels."""
    stride = [2 if n > m else 1 for n, m in zip(size, h.shape[2:], strict=True)]
    larger: Tensor = up(h, stride=stride)
    return larger if larger.shape[2:] == torch.Size(size) else F.interpolate(larger, list(size))


def load_3dunet_weights(
    net: ResidualUNet3D, checkpoint: str | PathLike[str] | Mapping[str, Any]
) -> ResidualUNet3D:
    """Fill a network with the weights of a pytorch-3dunet ``ResidualUNet3D`` of the same shape.

    | there | here |
    |---|---|
    | ``encoders.i.basic_module`` | ``encoder.i`` |
    | ``decoders.i.upsampling.upsample.conv_transposed`` | ``up.i`` |
    | ``decoders.i.basic_module`` | ``decoder.i`` |
    | in these ``conv1``; ``conv2.groupnorm, .conv``; ``conv3.groupnorm, .conv`` | ``project``; \
``norm1, conv1``; ``norm2, conv2`` |
    | ``final_conv`` | ``head`` |

    Its later versions have no bias where they enlarge: that is a bias of zero. The network there
    has no identity: build with ``identity=False``, unless it was trained
    inside a wrapper that adds its input, as E-DeflareNet is.

    Args:
        net: the network; changed.
        checkpoint: file of that tool, or its content; a state dict, also below
            ``model_state_dict``, with or without ``module.``, ``backbone.`` or ``unet.`` before
            every name.

    Returns:
        ``net``.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: names or shapes do not fit; the first of each are told.
    """
    where, content = "checkpoint", checkpoint
    if not isinstance(content, Mapping):
        where = str(content)
        content = torch.load(content, map_location="cpu", weights_only=True)
    state = content.get("model_state_dict", content)
    own = net.state_dict()
    biases = {name: torch.zeros_like(own[name]) for name in own if re.match(r"up\.\d+\.bias", name)}
    found = biases | {_renamed(name): value for name, value in state.items()}
    lacking, odd = sorted(own.keys() - found.keys()), sorted(found.keys() - own.keys())
    if lacking or odd:
        msg = f"{where}: {len(lacking)} weights are missing {lacking[:3]} and {len(odd)} not known "
        msg += f"{odd[:3]}; expected a ResidualUNet3D of order gcr with these levels"
        raise ValueError(msg)
    for name, value in found.items():
        if value.shape != own[name].shape:
            msg = f"{where}: {name} has shape {tuple(value.shape)}, expected "
            msg += f"{tuple(own[name].shape)}"
            raise ValueError(msg)
    net.load_state_dict(found)
    return net


RENAMES = (
    (r"^.*?(?=encoders\.|decoders\.|final_conv\.)", ""),
    (r"^decoders\.(\d+)\.upsampling\..*conv_transposed\.", r"up.\1."),
    (r"\.basic_module\.conv1\.", ".project."),
    (r"\.basic_module\.conv2\.groupnorm\.", ".norm1."),
    (r"\.basic_module\.conv2\.conv\.", ".conv1."),
    (r"\.basic_module\.conv3\.groupnorm\.", ".norm2."),
    (r"\.basic_module\.conv3\.conv\.", ".conv2."),
    (r"^encoders\.", "encoder."),
    (r"^decoders\.", "decoder."),
    (r"^final_conv\.", "head."),
)


def _renamed(name: str) -> str:
    """Name of a weight of pytorch-3dunet here."""
    for theirs, ours in RENAMES:
        name = re.sub(theirs, ours, name)
    return name


def prepare_inference(
    net: nn.Module, *, dtype: torch.dtype = torch.bfloat16, compiled: bool = True
) -> nn.Module:
    """Copy a network for fast inference: eval mode, channels last, half precision, compiled.

    The identity is added in the dtype of the input, so counts stay whole.

    Args:
        net: a `ResidualUNet3D` or any network of volumes; not changed.
        dtype: of weights and features; float32 changes the layout alone.
        compiled: use ``torch.compile``; the first call at each size takes a minute.

    Returns:
        A module from ``(b, c, d, h, w)`` to the same, in the dtype of the input.

    Example:
        >>> fast = prepare_inference(ResidualUNet3D(channels=(8, 16)), compiled=False)
        >>> fast(torch.ones(1, 1, 8, 4, 6)).dtype
        torch.float32
    """
    return Prepared(net, dtype, compiled).eval()


class Prepared(nn.Module):
    """See `prepare_inference`."""

    def __init__(self, net: nn.Module, dtype: torch.dtype, compiled: bool) -> None:
        super().__init__()
        inner = deepcopy(net).eval().requires_grad_(False)
        self.identity = bool(getattr(inner, "identity", False))
        if self.identity:
            inner.identity = False  # type: ignore[assignment]
        self.net = inner.to(dtype=dtype, memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
        self.dtype = dtype
        self.run = torch.compile(self.net) if compiled else self.net

    @torch.no_grad()
    def forward(self, x: Tensor) -> Tensor:
        """Restore volumes."""
        low = x.to(dtype=self.dtype, memory_format=torch.channels_last_3d)
        out: Tensor = self.run(low).to(x.dtype)
        return x + out if self.identity else out
