"""Restoration networks that predict what is to be taken away: a light one and a small U-Net."""

from collections.abc import Sequence
from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from libimg.nets.blocks import ResidualBlock, conv

__all__ = ["RestorationResNet", "RestorationUNet"]


class RestorationResNet(nn.Module):
    """Light residual network: the output is the input plus what the convolutions have learned.

    It works on ``shuffle x shuffle`` pixels at once as channels, so it sees far at little cost,
    and has no norm and no activation behind it: brightness and contrast pass unchanged. Untrained
    it is the identity. It is told neither noise level nor quality. Any height and width is taken:
    the image is repeated at its far ends up to a multiple of ``shuffle`` and the output cropped.

    | ``width``, ``blocks`` | parameters |
    |---|---|
    | 48, 5 | 0.22 M |
    | 64, 10 | 0.75 M |

    Args:
        channels: of the images, 1 or 3 as a rule.
        width: features.
        blocks: residual blocks of two 3×3 convolutions.
        shuffle: pixels along each side that become channels; 1 keeps full resolution.

    Raises:
        ValueError: an argument is below 1.

    Example:
        >>> net = RestorationResNet(width=8, blocks=1)
        >>> image = torch.rand(1, 3, 17, 20, generator=torch.Generator().manual_seed(0))
        >>> torch.equal(net(image), image)
        True

    Reference:
        Zhang et al., "Beyond a Gaussian Denoiser" (DnCNN), TIP 2017, for the residual; Zhang et
        al., "FFDNet", TIP 2018, for the shuffled pixels. Here without batch norm.
    """

    def __init__(
        self, *, channels: int = 3, width: int = 64, blocks: int = 10, shuffle: int = 2
    ) -> None:
        super().__init__()
        if min(channels, width, blocks, shuffle) < 1:
            msg = "channels, width, blocks and shuffle must be at least 1, got "
            msg += f"{channels}, {width}, {blocks} and {shuffle}"
            raise ValueError(msg)
        self.channels, self.multiple = channels, shuffle
        inside = channels * shuffle**2
        self.head = conv(2, inside, width)
        self.body = nn.Sequential(*(ResidualBlock(2, width) for _ in range(blocks)), nn.SiLU())
        self.tail = conv(2, width, inside)
        _initialise(self, self.tail)

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        """Restore images.

        Args:
            x: ``(b, channels, h, w)``, any size and range.

        Raises:
            ValueError: wrong number of axes or channels.
        """
        padded = _padded(x, self.channels, self.multiple)
        h = F.pixel_unshuffle(padded, self.multiple)
        change = F.pixel_shuffle(self.tail(self.body(self.head(h))), self.multiple)
        return x + change[..., : x.shape[2], : x.shape[3]]


class RestorationUNet(nn.Module):
    """Small U-Net of residual blocks: the output is the input plus what it has learned.

    No norm, no activation behind it, skip connections by addition, strided convolutions down and
    transposed ones up. Untrained it is the identity; blind to noise level and quality. Any height
    and width is taken: the image is repeated at its far ends up to a multiple of
    ``2 ** (len(widths) - 1)`` and the output cropped.

    | ``widths``, ``blocks`` | parameters |
    |---|---|
    | ``(24, 48, 96)``, 2 | 0.59 M |
    | ``(48, 96, 192)``, 2 | 2.3 M |

    Args:
        channels: of the images, 1 or 3 as a rule.
        widths: features of each level, from full resolution down; two levels or more.
        blocks: residual blocks of each level, on the way down and on the way up.
        bound: features are kept in [-bound, bound] behind every block. Without it, features that
            are near 5 as a rule can grow from block to block into the thousands in a few places
            of a few photographs under heavy noise, and the picture breaks down there.

    Raises:
        ValueError: an argument is below 1, ``bound`` is not positive, or there are fewer than
            two levels.

    Example:
        >>> net = RestorationUNet(widths=(8, 16), blocks=1)
        >>> image = torch.rand(1, 3, 17, 20, generator=torch.Generator().manual_seed(0))
        >>> torch.equal(net(image), image)
        True

    Reference:
        Zhang et al., "Plug-and-Play Image Restoration with Deep Denoiser Prior" (DRUNet), TPAMI
        2021. Here smaller, blind, with SiLU in front of the convolutions.
    """

    def __init__(
        self,
        *,
        channels: int = 3,
        widths: Sequence[int] = (48, 96, 192),
        blocks: int = 2,
        bound: float | None = None,
    ) -> None:
        super().__init__()
        sizes = tuple(widths)
        if len(sizes) < 2 or min(channels, blocks, *sizes) < 1:
            msg = "expected channels, blocks >= 1 and two or more widths >= 1, got "
            msg += f"{channels}, {blocks}, {sizes}"
            raise ValueError(msg)
        if bound is not None and not bound > 0:
            msg = f"bound must be positive, got {bound}"
            raise ValueError(msg)
        self.channels, self.multiple = channels, 2 ** (len(sizes) - 1)
        self.head = conv(2, channels, sizes[0])
        self.encoder = nn.ModuleList(_blocks(width, blocks, bound) for width in sizes)
        self.down = nn.ModuleList(nn.Conv2d(*pair, 2, stride=2) for pair in pairwise(sizes))
        upward = list(pairwise(reversed(sizes)))
        self.up = nn.ModuleList(nn.ConvTranspose2d(*pair, 2, stride=2) for pair in upward)
        self.decoder = nn.ModuleList(_blocks(width, blocks, bound) for _, width in upward)
        self.tail = conv(2, sizes[0], channels)
        _initialise(self, self.tail)

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        """Restore images.

        Args:
            x: ``(b, channels, h, w)``, any size and range.

        Raises:
            ValueError: wrong number of axes or channels.
        """
        h = self.head(_padded(x, self.channels, self.multiple))
        skips = []
        for level, body in enumerate(self.encoder):
            h = body(self.down[level - 1](h) if level else h)
            skips.append(h)
        skips.pop()
        for up, body in zip(self.up, self.decoder, strict=True):
            h = body(up(h) + skips.pop())
        change: Tensor = self.tail(F.silu(h))
        return x + change[..., : x.shape[2], : x.shape[3]]


def _blocks(width: int, count: int, bound: float | None) -> nn.Sequential:
    return nn.Sequential(*(ResidualBlock(2, width, bound=bound) for _ in range(count)))


def _initialise(net: nn.Module, last: nn.Module) -> None:
    """Keep the size of features from layer to layer, let blocks begin small, the output at zero.

    Without norms, torch's own start shrinks features at every layer, and training begins slowly.
    """
    for module in net.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    for module in net.modules():
        if isinstance(module, ResidualBlock):
            with torch.no_grad():
                next(module.body[-1].parameters()).mul_(0.1)
    for parameter in last.parameters():
        nn.init.zeros_(parameter)


def _padded(x: Tensor, channels: int, multiple: int) -> Tensor:
    """Repeat the last row and column up to a multiple of a size."""
    if x.ndim != 4 or x.shape[1] != channels:
        msg = f"x must be (b, {channels}, h, w), got shape {tuple(x.shape)}"
        raise ValueError(msg)
    bottom, right = (-n % multiple for n in x.shape[2:])
    return F.pad(x, (0, right, 0, bottom), mode="replicate") if bottom or right else x
