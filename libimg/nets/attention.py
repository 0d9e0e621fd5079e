"""Transformer parts for sets: points as tokens, attention, pre-norm blocks, a field's head."""

import math

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint as recompute

__all__ = ["Attention", "Block", "FieldHead", "GatedMLP", "PointEmbedding", "PointTokens", "Stack"]

CROSS_SCALE = 4.0  # attention across sets begins selective: it then learns some times faster


class PointEmbedding(nn.Module):
    """Linear map of ``x``, ``sin(2^k π x)`` and ``cos(2^k π x)`` for ``k = 0 .. frequencies - 1``.

    The finest wave is ``2 ** (2 - frequencies)`` long, in the unit of the points: 0.016 for the
    usual 8, 0.0625 for 6. The angles are computed in float32 under autocast.
    """

    scales: Tensor

    def __init__(self, width: int, *, frequencies: int) -> None:
        super().__init__()
        scales = math.pi * 2.0 ** torch.arange(frequencies)
        self.register_buffer("scales", scales, persistent=False)
        self.linear = nn.Linear(3 + 6 * frequencies, width)

    def forward(self, points: Float[Tensor, "b n 3"]) -> Float[Tensor, "b n w"]:
        """Embed points."""
        angles = (points.unsqueeze(-1) * self.scales).flatten(-2)
        out: Tensor = self.linear(torch.cat([points, angles.sin(), angles.cos()], -1))
        return out


class PointTokens(nn.Module):
    """A token for each point, from its place and class, and one for what is known of each class."""

    def __init__(self, width: int, *, classes: int, frequencies: int) -> None:
        super().__init__()
        self.classes = classes
        self.place = PointEmbedding(width, frequencies=frequencies)
        self.label = nn.Embedding(classes, width)
        self.state = nn.Embedding(2 * classes, width)
        for table in (self.label, self.state):  # no larger than what places say
            nn.init.normal_(table.weight, std=0.3)

    def forward(
        self,
        points: Float[Tensor, "b n 3"],
        classes: Int[Tensor, "b n"],
        *,
        valid: Bool[Tensor, "b n"],
        presence: Bool[Tensor, "b k"],
    ) -> tuple[Float[Tensor, "b n w"], Bool[Tensor, "b n"], Float[Tensor, "b k w"]]:
        """Tokens of points, which of them count, and tokens of classes.

        A class's token says whether it was observed, and holds the mean of its points' tokens.
        What a point that does not count holds is never read, be it NaN or no class at all.
        """
        label = torch.where(valid, classes, 0).long()
        keep = valid & presence.gather(1, label)
        label = torch.where(keep, label, 0)
        tokens = self.place(torch.where(keep.unsqueeze(-1), points, 0)) + self.label(label)
        member = F.one_hot(label, self.classes).to(tokens.dtype) * keep.unsqueeze(-1)
        summary = member.mT @ tokens / member.sum(1).clamp(min=1).unsqueeze(-1)
        state = torch.arange(self.classes, device=label.device) + self.classes * presence.long()
        return tokens, keep, self.state(state) + summary


class Attention(nn.Module):
    """Multi-head attention of ``x`` to ``context``, queries and keys normalised to unit RMS.

    The norm, with a learned scale for each head, keeps the logits bounded in bfloat16; the larger
    it begins, the more selective the untrained attention is.
    """

    def __init__(self, width: int, *, heads: int, scale: float = 1.0) -> None:
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(width, width, bias=False)
        self.key_value = nn.Linear(width, 2 * width, bias=False)
        self.scale = nn.Parameter(torch.full((heads, 1, 1), scale))
        self.out = nn.Linear(width, width)

    def forward(
        self,
        x: Float[Tensor, "b n w"],
        context: Float[Tensor, "b m w"],
        *,
        keep: Bool[Tensor, "b m"] | None = None,
        twice: bool = False,
    ) -> Float[Tensor, "b n w"]:
        """Attend.

        Args:
            x: what asks.
            context: what is asked.
            keep: entries of ``context`` that can be seen, at least one a sample; all if None.
            twice: write the attention out, so that it has second derivatives; the fused kernels
                of torch have none, on no device.
        """
        q = self._split(self.query(x))
        k, v = map(self._split, self.key_value(context).chunk(2, -1))
        q, k = F.rms_norm(q, q.shape[-1:]) * self.scale, F.rms_norm(k, k.shape[-1:])
        if twice:
            logits = q @ k.mT / math.sqrt(q.shape[-1])
            if keep is not None:
                logits = logits.masked_fill(~keep[:, None, None], -math.inf)
            h = logits.softmax(-1).to(v.dtype) @ v
        else:
            mask = None if keep is None else keep[:, None, None]
            h = F.scaled_dot_product_attention(q.to(v.dtype), k.to(v.dtype), v, attn_mask=mask)
        out: Tensor = self.out(h.transpose(1, 2).flatten(2))
        return out

    def _split(self, x: Tensor) -> Tensor:
        heads: Tensor = x.unflatten(-1, (self.heads, -1))
        return heads.transpose(1, 2)


class GatedMLP(nn.Module):
    """GEGLU: ``W(gelu(a) · b)`` with ``a`` and ``b`` of ``expansion`` times the width."""

    def __init__(self, width: int, *, expansion: int) -> None:
        super().__init__()
        self.inside = nn.Linear(width, 2 * expansion * width)
        self.out = nn.Linear(expansion * width, width)

    def forward(self, x: Float[Tensor, "b n w"]) -> Float[Tensor, "b n w"]:
        """Map each token by itself."""
        value, gate = self.inside(x).chunk(2, -1)
        out: Tensor = self.out(value * F.gelu(gate))
        return out


class Block(nn.Module):
    """Pre-norm transformer block: attention to a context or to itself, then the gated MLP."""

    def __init__(self, width: int, *, heads: int, expansion: int, cross: bool = False) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.norm_context = nn.LayerNorm(width) if cross else None
        self.attention = Attention(width, heads=heads, scale=CROSS_SCALE if cross else 1.0)
        self.norm_mlp = nn.LayerNorm(width)
        self.mlp = GatedMLP(width, expansion=expansion)

    def forward(
        self,
        x: Float[Tensor, "b n w"],
        context: Float[Tensor, "b m w"] | None = None,
        *,
        keep: Bool[Tensor, "b m"] | None = None,
        twice: bool = False,
    ) -> Float[Tensor, "b n w"]:
        """Update ``x``; the options are those of `Attention`."""
        h = self.norm(x)
        seen = h if self.norm_context is None else self.norm_context(context)
        x = x + self.attention(h, seen, keep=keep, twice=twice)
        out: Tensor = x + self.mlp(self.norm_mlp(x))
        return out


class Stack(nn.ModuleList):
    """Blocks of self-attention; ``checkpoint`` computes them again for the gradient."""

    def __init__(
        self, layers: int, width: int, *, heads: int, expansion: int, checkpoint: bool
    ) -> None:
        super().__init__(Block(width, heads=heads, expansion=expansion) for _ in range(layers))
        self.checkpoint = checkpoint

    def forward(self, x: Float[Tensor, "b n w"]) -> Float[Tensor, "b n w"]:
        """Run all blocks."""
        for block in self:
            if self.checkpoint and torch.is_grad_enabled():
                x = recompute(block, x, use_reentrant=False)
            else:
                x = block(x)
        return x


class FieldHead(nn.Module):
    """Queries attend to features; ``classes`` numbers each, all at once or by a query each."""

    def __init__(
        self,
        width: int,
        *,
        classes: int,
        frequencies: int,
        heads: int,
        expansion: int,
        each: bool,
    ) -> None:
        super().__init__()
        self.embed = PointEmbedding(width, frequencies=frequencies)
        self.question = nn.Parameter(0.3 * torch.randn(classes if each else 1, width))
        self.ask = Block(width, heads=heads, expansion=expansion, cross=True)
        self.norm = nn.LayerNorm(width)
        self.answer = nn.Linear(width, 1 if each else classes)
        nn.init.zeros_(self.answer.weight)
        nn.init.zeros_(self.answer.bias)

    def forward(
        self, features: Float[Tensor, "b m w"], queries: Float[Tensor, "b q 3"]
    ) -> Float[Tensor, "b q k"]:
        """Answer in float32 at least; with second derivatives where queries need a gradient."""
        twice = torch.is_grad_enabled() and queries.requires_grad
        h = (self.embed(queries).unsqueeze(2) + self.question).flatten(1, 2)
        h = self.norm(self.ask(h, features, twice=twice))
        with torch.autocast(h.device.type, enabled=False):
            out: Tensor = self.answer(h.to(self.answer.weight.dtype))
        return out.reshape(*queries.shape[:2], -1)
