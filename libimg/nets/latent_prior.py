"""Distributions of latent sets: an encoder's own Gaussians, and a flow that completes a set."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from libimg._check import one_of
from libimg._types import PerSample
from libimg.nets.attention import Attention, GatedMLP

__all__ = ["Latent", "LatentFlow", "flow_matching_loss", "sample_flow"]

Set = Float[Tensor, "b m c"]
Condition = Float[Tensor, "b k d"]


@dataclass(frozen=True)
class Latent:
    """What the encoder found: a set of latents, exact or as independent Gaussians.

    Attributes:
        mean: ``(b, latents, latent_channels)``.
        logvar: logarithm of the variances, same shape; None where the encoder is deterministic.

    Example:
        >>> latent = Latent(torch.zeros(1, 2, 3), torch.zeros(1, 2, 3))
        >>> latent.kl()
        tensor([0.])
        >>> latent.sample(torch.Generator().manual_seed(0)).shape
        torch.Size([1, 2, 3])
    """

    mean: Float[Tensor, "b m c"]
    logvar: Float[Tensor, "b m c"] | None = None

    def sample(self, generator: torch.Generator | None = None) -> Float[Tensor, "b m c"]:
        """Draw from the Gaussians; the mean itself where there is no variance.

        Args:
            generator: on the device of the latents; torch's own if None.
        """
        if self.logvar is None:
            return self.mean
        like = self.mean
        noise = torch.randn(like.shape, generator=generator, dtype=like.dtype, device=like.device)
        return like + noise * (0.5 * self.logvar).exp()

    def kl(self) -> PerSample:
        """Divergence from the standard normal, in nats, mean over all numbers of a latent set.

        Returns:
            ``(b,)``. Other codes sum; times ``latents * latent_channels`` this is their value.

        Raises:
            ValueError: the latents have no variance.
        """
        if self.logvar is None:
            msg = "latents without variance have no divergence: build the net with bottleneck='kl'"
            raise ValueError(msg)
        each = self.mean.square() + self.logvar.exp() - 1 - self.logvar
        return 0.5 * each.flatten(1).mean(1)


class FlowBlock(nn.Module):
    """Transformer block shifted, scaled and gated by the time; it begins as the identity."""

    def __init__(self, width: int, *, heads: int, expansion: int) -> None:
        super().__init__()
        self.attention = Attention(width, heads=heads)
        self.mlp = GatedMLP(width, expansion=expansion)
        self.modulation = nn.Linear(width, 6 * width)
        nn.init.zeros_(self.modulation.weight)
        nn.init.zeros_(self.modulation.bias)

    def forward(self, x: Float[Tensor, "b n w"], time: Float[Tensor, "b 1 w"]) -> Tensor:
        """Update all tokens."""
        shift, scale, gate, shift_mlp, scale_mlp, gate_mlp = self.modulation(time).chunk(6, -1)
        h = F.layer_norm(x, x.shape[-1:]) * (1 + scale) + shift
        x = x + gate * self.attention(h, h)
        h = F.layer_norm(x, x.shape[-1:]) * (1 + scale_mlp) + shift_mlp
        out: Tensor = x + gate_mlp * self.mlp(h)
        return out


class LatentFlow(nn.Module):
    """Velocity of a rectified flow from noise to latent sets, given the latents of a partial input.

    A transformer over the latents that are drawn and those of the condition in one sequence, with
    the time in its norms (adaLN-zero). Drawing several completions of one input shows how much
    the input leaves open; an autoencoder alone answers with one, close to their average. The
    latents should have unit scale: take ``bottleneck="normalised"`` or divide by their deviation.

    Args:
        channels: numbers in each latent.
        latents: size of the set, each place with its own learned vector, as fits an encoder with
            learned queries; None for a set without order, as one of point queries.
        condition_channels: numbers in each latent of the condition; ``channels`` if None.
        width: of the tokens.
        layers: blocks.
        heads: of the attention; they divide the width.
        expansion: of the width inside the GEGLU.

    Raises:
        ValueError: a size is below 1, or the heads do not divide the width.

    Example:
        >>> net = LatentFlow(channels=16, latents=64, width=32, layers=1)
        >>> partial = torch.randn(2, 64, 16, generator=torch.Generator().manual_seed(0))
        >>> net(torch.randn(2, 64, 16), torch.tensor([0.1, 0.9]), partial).shape
        torch.Size([2, 64, 16])

    Reference:
        Liu et al., "Flow Straight and Fast", ICLR 2023; Lipman et al., "Flow Matching", ICLR
        2023; Peebles and Xie, "DiT", ICCV 2023 (the time in the norms).
    """

    def __init__(
        self,
        *,
        channels: int,
        latents: int | None,
        condition_channels: int | None = None,
        width: int = 128,
        layers: int = 4,
        heads: int = 4,
        expansion: int = 2,
    ) -> None:
        super().__init__()
        seen = channels if condition_channels is None else condition_channels
        places = 1 if latents is None else latents
        sizes = (channels, seen, places, width, layers, heads, expansion)
        if min(sizes) < 1 or width % heads:
            msg = "expected sizes of at least 1 and a width that heads divide, got channels, "
            msg += f"condition_channels, latents, width, layers, heads, expansion {sizes}"
            raise ValueError(msg)
        self.channels, self.condition_channels, self.latents = channels, seen, latents
        self.inside = nn.Linear(channels, width)
        self.inside_condition = nn.Linear(seen, width)
        self.place = nn.Parameter(0.1 * torch.randn(places, width))
        self.place_condition = nn.Parameter(0.1 * torch.randn(places, width))
        self.time = nn.Sequential(nn.Linear(64, width), nn.SiLU(), nn.Linear(width, width))
        self.blocks = nn.ModuleList(
            FlowBlock(width, heads=heads, expansion=expansion) for _ in range(layers)
        )
        self.norm = nn.LayerNorm(width)
        self.outside = nn.Linear(width, channels)
        nn.init.zeros_(self.outside.weight)
        nn.init.zeros_(self.outside.bias)

    def forward(self, x: Set, time: PerSample, condition: Condition) -> Set:
        """Velocity at ``x``.

        Args:
            x: ``(b, m, channels)`` between noise and latents.
            time: ``(b,)``, 0 at the noise, 1 at the latents.
            condition: ``(b, k, condition_channels)``; ``k`` is ``latents`` where that is given.

        Raises:
            ValueError: a shape does not fit.
        """
        m = x.shape[1] if self.latents is None else self.latents
        k = condition.shape[1] if self.latents is None else self.latents
        wanted = (m, self.channels), (k, self.condition_channels)
        if (x.shape[1:], condition.shape[1:]) != wanted:
            msg = f"x and condition must be (b, {m}, {self.channels}) and "
            msg += f"(b, {k}, {self.condition_channels}), got {tuple(x.shape)} and "
            msg += f"{tuple(condition.shape)}"
            raise ValueError(msg)
        scales = math.pi * torch.linspace(0.0, 5.0, 32, device=time.device, dtype=time.dtype).exp2()
        angles = time[:, None, None] * scales
        moment = F.silu(self.time(torch.cat([angles.sin(), angles.cos()], -1)))
        drawn = self.inside(x) + self.place
        h = torch.cat([drawn, self.inside_condition(condition) + self.place_condition], 1)
        for block in self.blocks:
            h = block(h, moment)
        out: Tensor = self.outside(self.norm(h[:, :m]))
        return out


def flow_matching_loss(
    net: Callable[[Tensor, Tensor, Tensor], Tensor],
    target: Set,
    condition: Condition,
    *,
    generator: torch.Generator | None = None,
) -> PerSample:
    """Squared error of the velocity at a random time on the line from noise to the latents.

    With ``x_t = (1 - t)·noise + t·target`` the velocity is ``target - noise``.

    Args:
        net: a `LatentFlow`, or any other velocity of ``x``, the time and the condition.
        target: latents of complete inputs, ``(b, m, c)``; detach them unless the encoder learns.
        condition: latents of the same cases with classes taken away, ``(b, k, d)``.
        generator: for times and noise, on the device of the latents; torch's own if None.

    Returns:
        ``(b,)``, mean over the numbers of a latent set.

    Example:
        >>> still = lambda x, time, condition: torch.zeros_like(x)
        >>> target = torch.zeros(2, 4000, 8)
        >>> generator = torch.Generator().manual_seed(0)
        >>> flow_matching_loss(still, target, target, generator=generator).round(decimals=1)
        tensor([1., 1.])

    Reference:
        Liu et al., "Flow Straight and Fast", ICLR 2023, equation 1.
    """
    dtype, device = target.dtype, target.device
    noise = torch.randn(target.shape, generator=generator, dtype=dtype, device=device)
    time = torch.rand(len(target), generator=generator, dtype=dtype, device=device)
    x = torch.lerp(noise, target, time[:, None, None])
    error: Tensor = net(x, time, condition) - (target - noise)
    return error.square().flatten(1).mean(1)


@torch.no_grad()
def sample_flow(
    net: LatentFlow,
    condition: Condition,
    *,
    steps: int = 32,
    method: Literal["euler", "heun"] = "heun",
    generator: torch.Generator | None = None,
) -> Set:
    """Draw one latent set for each condition; repeat a condition to draw several.

    Args:
        net: the trained flow.
        condition: latents of partial inputs, ``(b, k, d)``.
        steps: equal steps of the time from 0 to 1.
        method: ``"euler"``, or ``"heun"`` with two evaluations a step.
        generator: for the noise, on the device of the condition; torch's own if None.

    Returns:
        ``(b, latents, channels)``; as many latents as the condition has where the net names none.

    Raises:
        ValueError: fewer than one step, or an unknown method.

    Example:
        >>> net = LatentFlow(channels=4, latents=8, width=32, layers=1)
        >>> partial = torch.zeros(1, 8, 4).repeat_interleave(5, 0)  # five completions of one case
        >>> sample_flow(net, partial, steps=2, generator=torch.Generator().manual_seed(0)).shape
        torch.Size([5, 8, 4])
    """
    one_of("method", method, ("euler", "heun"))
    if steps < 1:
        msg = f"steps must be at least 1, got {steps}"
        raise ValueError(msg)
    b, k, _ = condition.shape
    shape = (b, k if net.latents is None else net.latents, net.channels)
    x = torch.randn(shape, generator=generator, dtype=condition.dtype, device=condition.device)
    times = torch.linspace(0, 1, steps + 1, dtype=x.dtype, device=x.device).unsqueeze(1)
    for now, then in zip(times[:-1].expand(-1, b), times[1:].expand(-1, b), strict=True):
        step = (then - now)[:, None, None]
        velocity = net(x, now, condition)
        ahead = x + step * velocity
        if method == "heun":
            ahead = x + step * (velocity + net(ahead, then, condition)) / 2
        x = ahead
    return x
