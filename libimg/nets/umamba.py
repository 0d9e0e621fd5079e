"""U-Net whose lower levels look at the whole image through a selective state-space scan."""

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint as recompute

from libimg._check import one_of
from libimg._ops.scan import selective_scan
from libimg.nets.blocks import conv
from libimg.nets.conv3d import SumGroupNorm

__all__ = ["UMamba"]

TAPS = 4  # of the causal convolution in front of the scan
CHUNK = 32  # tokens; decays then take about the memory of the states
STEPS = (1e-3, 1e-1)  # step sizes of the heads at the start
RATES = (1.0, 16.0)  # decays a unit step at the start


class UMamba(nn.Module):
    """U-Net of residual convolutions with a Mamba-2 mixer on the encoder's levels.

    A mixer reads all positions of a level as one sequence, forth and back with the same weights,
    so every output depends on every input; time and memory grow linearly with the positions.
    Untrained it is the identity, and there is no activation behind it, so signed values pass. An
    axis is halved, rounded up, and one voxel stays one, so a volume of 8 bins can have any
    number of levels, and every size is taken as it is.

    | ``channels`` | parameters in 2D | in 3D |
    |---|---|---|
    | ``(16, 32, 64)`` | 0.16 M | 0.40 M |
    | ``(32, 64, 128, 256)`` | 2.6 M | 6.5 M |

    Args:
        spatial_dims: 2 for images, 3 for volumes such as event voxels.
        in_channels: channels of the input.
        out_channels: channels of the output.
        channels: width of each level, from full resolution down; two levels or more.
        state: numbers that the scan remembers for every channel.
        head_dim: channels that share a decay, of the twice as wide mixer; one head where it has
            fewer. More channels a head cost less memory.
        scan_from: first level with a mixer. Full resolution has most of the positions and the
            least to gain from distant ones, so 0 costs four times more than 1; the lowest
            level alone is ``len(channels) - 1``.
        checkpoint: compute the mixers again for the gradient instead of storing their insides.
        identity: the output is the input plus the network's, whose last layer starts at zero.

    Raises:
        ValueError: an option is out of range, the width of a mixer is no multiple of
            ``head_dim``, or an identity from other than equal or one channel.

    Example:
        >>> net = UMamba(channels=(8, 16, 32))
        >>> voxels = torch.randn(1, 1, 8, 17, 20, generator=torch.Generator().manual_seed(0))
        >>> torch.equal(net(voxels), voxels)
        True

    Reference:
        Ma, Li, Wang, "U-Mamba", 2024 (its ``Enc`` is ``scan_from=0``, ``Bot`` the lowest level
        alone); Dao, Gu, "Transformers are SSMs", ICML 2024 (the mixer). There the scan is
        Mamba-1, in one direction; here it is Mamba-2, in both, and max-pooling replaces stride.
    """

    def __init__(
        self,
        spatial_dims: int = 3,
        *,
        in_channels: int = 1,
        out_channels: int = 1,
        channels: Sequence[int] = (16, 32, 64),
        state: int = 16,
        head_dim: int = 32,
        scan_from: int = 1,
        checkpoint: bool = False,
        identity: bool = True,
    ) -> None:
        super().__init__()
        one_of("spatial_dims", spatial_dims, (2, 3))
        widths = tuple(channels)
        if len(widths) < 2 or min(widths) < 2 or min(in_channels, out_channels, state) < 1:
            msg = "expected in_channels, out_channels, state >= 1 and two or more channels >= 2, "
            msg += f"got {in_channels}, {out_channels}, {state}, {widths}"
            raise ValueError(msg)
        if not 0 <= scan_from < len(widths):
            msg = f"scan_from must be in [0, {len(widths)}), got {scan_from}"
            raise ValueError(msg)
        if head_dim < 1 or any(2 * c > head_dim and 2 * c % head_dim for c in widths[scan_from:]):
            msg = f"head_dim must divide twice the channels {widths[scan_from:]}, got {head_dim}"
            raise ValueError(msg)
        if identity and in_channels not in (1, out_channels):
            msg = f"identity needs in_channels of 1 or out_channels, got {in_channels} and "
            msg += f"{out_channels}"
            raise ValueError(msg)
        self.spatial_dims, self.in_channels = spatial_dims, in_channels
        self.checkpoint, self.identity = checkpoint, identity
        self.encoder = nn.ModuleList(
            Block(spatial_dims, *pair) for pair in pairwise((in_channels, *widths))
        )
        self.mixers = nn.ModuleList(
            Mixer(width, state, head_dim) if level >= scan_from else nn.Identity()
            for level, width in enumerate(widths)
        )
        upward = list(pairwise(reversed(widths)))
        self.up = nn.ModuleList(conv(spatial_dims, *pair, kernel=1) for pair in upward)
        self.decoder = nn.ModuleList(Block(spatial_dims, width, width) for _, width in upward)
        self.head = conv(spatial_dims, widths[0], out_channels, kernel=1)
        if identity:
            for parameter in self.head.parameters():
                nn.init.zeros_(parameter)

    def forward(self, x: Float[Tensor, "b c *spatial"]) -> Float[Tensor, "b o *spatial"]:
        """Restore images or volumes.

        Args:
            x: ``(b, in_channels, *spatial)``, any size.

        Returns:
            ``(b, out_channels, *spatial)``.

        Raises:
            ValueError: wrong number of axes or channels.
        """
        if x.ndim != self.spatial_dims + 2 or x.shape[1] != self.in_channels:
            msg = f"x must be (b, {self.in_channels}, *spatial) with {self.spatial_dims} spatial "
            msg += f"axes, got shape {tuple(x.shape)}"
            raise ValueError(msg)
        pool = F.max_pool2d if self.spatial_dims == 2 else F.max_pool3d
        h, skips = x, []
        for level, (block, mixer) in enumerate(zip(self.encoder, self.mixers, strict=True)):
            if level:
                h = pool(h, 2, ceil_mode=True)  # one voxel stays one
            h = block(h)
            if self.checkpoint and torch.is_grad_enabled() and isinstance(mixer, Mixer):
                h = recompute(mixer, h, use_reentrant=False)
            else:
                h = mixer(h)
            skips.append(h)
        skips.pop()
        for up, block in zip(self.up, self.decoder, strict=True):
            skip = skips.pop()
            h = block(skip + F.interpolate(up(h), list(skip.shape[2:])))
        out: Tensor = self.head(h)
        return x + out if self.identity else out


class Block(nn.Module):
    """A 1×1 projection if the width changes, then twice (norm, SiLU, convolution), added."""

    def __init__(self, spatial_dims: int, inside: int, outside: int) -> None:
        super().__init__()
        changes = inside != outside
        self.project = conv(spatial_dims, inside, outside, kernel=1) if changes else nn.Identity()
        groups = 1 if outside % 2 else math.gcd(8, outside // 2)  # two channels each or more
        self.norm1, self.norm2 = SumGroupNorm(groups, outside), SumGroupNorm(groups, outside)
        self.conv1 = conv(spatial_dims, outside, outside, bias=False)
        self.conv2 = conv(spatial_dims, outside, outside)

    def forward(self, x: Tensor) -> Tensor:
        """Transform features."""
        h: Tensor = self.project(x)
        inner = self.conv1(F.silu(self.norm1(h)))
        out: Tensor = self.conv2(F.silu(self.norm2(inner)))
        return h + out


class Mixer(nn.Module):
    """Mamba-2 over all positions, forth and back with the same weights, added to its input."""

    def __init__(self, width: int, state: int, head_dim: int) -> None:
        super().__init__()
        inner = 2 * width
        heads = max(1, inner // head_dim)
        self.inner, self.state, self.heads = inner, state, heads
        self.norm = nn.LayerNorm(width)
        self.enter = nn.Linear(width, 2 * inner + 2 * state + heads, bias=False)
        self.near = nn.Conv1d(inner + 2 * state, inner + 2 * state, TAPS, groups=inner + 2 * state)
        self.rate = nn.Parameter(torch.empty(heads).uniform_(*RATES).log())
        step = torch.empty(heads).uniform_(*map(math.log, STEPS)).exp()
        self.step = nn.Parameter(step + torch.log(-torch.expm1(-step)))  # softplus undoes it
        self.direct = nn.Parameter(torch.ones(heads))
        self.gated = nn.RMSNorm(inner, eps=1e-5)
        self.leave = nn.Linear(inner, width, bias=False)

    def forward(self, h: Tensor) -> Tensor:
        """Mix ``(b, c, *spatial)``."""
        tokens = self.enter(self.norm(h.flatten(2).mT))
        gate, ways, dt = tokens.split((self.inner, self.inner + 2 * self.state, self.heads), -1)
        ways, dt = (torch.cat((v, v.flip(1))) for v in (ways, dt))
        ways = F.silu(self.near(F.pad(ways.mT, (TAPS - 1, 0)))).mT
        x, b, c = ways.split((self.inner, self.state, self.state), -1)
        x = x.unflatten(2, (self.heads, -1))
        step = F.softplus(dt + self.step)
        y = selective_scan(x, step, -self.rate.exp(), b, c, d=self.direct, chunk=CHUNK)
        forth, back = y.flatten(2).to(self.gated.weight.dtype).chunk(2)
        y = self.leave(self.gated((forth + back.flip(1)) * F.silu(gate)))
        out: Tensor = y.mT.unflatten(2, h.shape[2:])
        return h + out
