"""Autoencoder of many-class shapes: surface points to a set of latents to signed distances."""

from functools import partial
from typing import Any, Literal

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from libimg._check import one_of
from libimg.nets.attention import Block, FieldHead, PointTokens, Stack
from libimg.nets.latent_prior import Latent

__all__ = ["PRESETS", "VecSetAutoencoder"]

Points = Float[Tensor, "b n 3"]
Classes = Int[Tensor, "b n"]

PRESETS: dict[str, dict[str, Any]] = {
    "tiny": {"width": 96, "latents": 40, "encoder_layers": 1, "decoder_layers": 1}
    | {"expansion": 2, "frequencies": 6},
    "small": {"width": 512, "latents": 512, "heads": 8, "decoder_layers": 8},
    "base": {"width": 1024, "latents": 1024, "heads": 16, "encoder_layers": 0}
    | {"decoder_layers": 24, "queries": "points", "checkpoint": True},
}
"""Sizes by name; any option can be changed in `VecSetAutoencoder.preset`."""


class VecSetAutoencoder(nn.Module):
    """Encodes labelled surface points as a set of latents and answers distances of all classes.

    Each point carries its class, so that walls shared by two classes stay apart. One more token
    for each class holds the mean of its points' tokens and says whether it was looked at: a class
    that was observed and has no points is absent, one that was not observed is to be completed.
    Latents begin with one of these, in turn, and attend to all tokens by torch's own attention;
    there is no dropout and no need of flash-attn.

    | preset, for 10 classes | width | latents | layers | parameters |
    |---|---|---|---|---|
    | ``"tiny"``: a CPU | 96 | 40 × 32 | 1 + 1 | 0.4 M |
    | ``"small"``: a GPU of 12 GB | 512 | 512 × 32 | 2 + 8 | 51 M |
    | ``"base"``: the size of VecSetX | 1024 | 1024 × 32 | 0 + 24 | 437 M |

    Args:
        classes: how many classes there are.
        width: of the tokens.
        latents: how many vectors the set has.
        heads: of the attention; they divide the width.
        latent_channels: numbers in each latent.
        encoder_layers: blocks of self-attention in front of the bottleneck.
        decoder_layers: blocks of self-attention behind it.
        queries: what latents begin as: ``"learned"`` vectors and the token of a class, or some of
            the ``"points"``, the caller's ``anchors`` (by farthest point sampling).
        bottleneck: ``"none"``; ``"kl"``, Gaussians with `Latent.kl`; ``"normalised"``, every
            latent with mean 0 and variance 1 over its channels, which suits `LatentFlow`.
        head: ``"outputs"``: one query gives all classes; ``"query"``: one query for each class,
            which knows its class from the start and costs ``classes`` times as much.
        frequencies: octaves of the Fourier embedding of points, see `PointEmbedding`.
        expansion: of the width inside the GEGLU.
        checkpoint: compute the self-attention again for the gradient instead of storing it.

    Raises:
        ValueError: an option is unknown or out of range.

    Example:
        >>> _ = torch.manual_seed(0)
        >>> net = VecSetAutoencoder.preset("tiny", classes=3)
        >>> points, classes = torch.rand(2, 50, 3) * 2 - 1, torch.randint(3, (2, 50))
        >>> latent = net.encode(points, classes)
        >>> latent.mean.shape
        torch.Size([2, 40, 32])
        >>> net.decode(latent.mean, torch.zeros(2, 7, 3)).shape
        torch.Size([2, 7, 3])

    Reference:
        Zhang et al., "3DShape2VecSet", SIGGRAPH 2023, and VecSetX. There one shape, one output,
        flash-attn without second derivatives and a decoder without residual; here many classes,
        a mask of what was observed, and an eikonal term that reaches every weight.
    """

    def __init__(
        self,
        *,
        classes: int,
        width: int = 128,
        latents: int = 64,
        heads: int = 4,
        latent_channels: int = 32,
        encoder_layers: int = 2,
        decoder_layers: int = 2,
        queries: Literal["learned", "points"] = "learned",
        bottleneck: Literal["none", "kl", "normalised"] = "none",
        head: Literal["outputs", "query"] = "outputs",
        frequencies: int = 8,
        expansion: int = 4,
        checkpoint: bool = False,
    ) -> None:
        super().__init__()
        sizes = (classes, width, latents, heads, latent_channels, expansion)
        layers = (encoder_layers, decoder_layers, frequencies)
        if min(sizes) < 1 or min(layers) < 0:
            msg = "classes, width, latents, heads, latent_channels and expansion must be at least "
            msg += f"1, layers and frequencies at least 0, got {sizes} and {layers}"
            raise ValueError(msg)
        if width % heads:
            msg = f"heads must divide the width {width}, got {heads}"
            raise ValueError(msg)
        if (bottleneck, latent_channels) == ("normalised", 1):
            msg = "a normalised bottleneck needs 2 latent_channels or more, got 1"
            raise ValueError(msg)
        one_of("queries", queries, ("learned", "points"))
        one_of("bottleneck", bottleneck, ("none", "kl", "normalised"))
        one_of("head", head, ("outputs", "query"))
        self.classes, self.latents, self.latent_channels = classes, latents, latent_channels
        self.queries, self.bottleneck = queries, bottleneck
        self.tokens = PointTokens(width, classes=classes, frequencies=frequencies)
        self.start = nn.Parameter(0.3 * torch.randn(latents if queries == "learned" else 1, width))
        self.collect = Block(width, heads=heads, expansion=expansion, cross=True)
        stack = partial(Stack, heads=heads, expansion=expansion, checkpoint=checkpoint)
        self.encoder = stack(encoder_layers, width)
        self.norm = nn.LayerNorm(width)
        self.squeeze = nn.Linear(width, latent_channels * (1 + (bottleneck == "kl")))
        self.unsqueeze = nn.Linear(latent_channels, width)
        self.decoder = stack(decoder_layers, width)
        attention = {"heads": heads, "expansion": expansion, "frequencies": frequencies}
        self.field = FieldHead(width, classes=classes, each=head == "query", **attention)

    @classmethod
    def preset(
        cls, name: Literal["tiny", "small", "base"], *, classes: int, **changes: Any
    ) -> "VecSetAutoencoder":
        """Build a net of a known size.

        Args:
            name: ``"tiny"``, ``"small"`` or ``"base"``.
            classes: how many classes there are.
            changes: other options, over those of the preset.

        Raises:
            ValueError: the name is unknown.
        """
        one_of("name", name, tuple(PRESETS))
        return cls(classes=classes, **{**PRESETS[name], **changes})

    def encode(
        self,
        points: Points,
        classes: Classes,
        *,
        valid: Bool[Tensor, "b n"] | None = None,
        presence: Bool[Tensor, "b k"] | None = None,
        anchors: Int[Tensor, "b m"] | None = None,
    ) -> Latent:
        """Encode points on the surfaces of the observed classes.

        Padded points and points of unobserved classes have no influence, whatever they hold: to
        drop a class it is enough to clear its ``presence``. The order of points is irrelevant.

        Args:
            points: ``(b, n, 3)`` in [-1, 1].
            classes: index of each point's class, ``(b, n)``, in [0, classes).
            valid: ``(b, n)``, False for padding; all True if None.
            presence: ``(b, classes)``, True where a class was observed, be it present or absent;
                all True if None.
            anchors: indices of ``latents`` points, ``(b, latents)``, for ``queries="points"``;
                choose them among the observed points: the others all begin as one vector.

        Raises:
            ValueError: a shape does not fit, or anchors are missing or given to learned queries.
        """
        b, n = (*points.shape, 1)[:2]
        _fit(points=(points, (b, n, 3)), classes=(classes, (b, n)), valid=(valid, (b, n)))
        _fit(presence=(presence, (b, self.classes)), anchors=(anchors, (b, self.latents)))
        if (anchors is None) == (self.queries == "points"):
            got = "none" if anchors is None else "some"
            msg = f"anchors go with queries='points' alone, got {got} with {self.queries!r}"
            raise ValueError(msg)
        if valid is None:
            valid = torch.ones_like(classes, dtype=torch.bool)
        if presence is None:
            presence = valid.new_ones(b, self.classes)
        tokens, keep, known = self.tokens(points, classes, valid=valid, presence=presence)
        context = torch.cat([tokens, known], 1)
        seen = torch.cat([keep, torch.ones_like(presence)], 1)
        if anchors is None:  # each latent begins with what is known of one class
            h = (
                self.start
                + known[:, torch.arange(self.latents, device=known.device) % self.classes]
            )
        else:
            index = anchors.long()
            begun = tokens.gather(1, index.unsqueeze(-1).expand(-1, -1, tokens.shape[-1]))
            h = torch.where(keep.gather(1, index).unsqueeze(-1), begun, self.start)
        h = self.encoder(self.collect(h, context, keep=seen))
        mean: Tensor = self.squeeze(self.norm(h))
        if self.bottleneck == "kl":
            mean, logvar = mean.chunk(2, -1)
            return Latent(mean, logvar.clamp(-30, 20))
        if self.bottleneck == "normalised":
            mean = F.layer_norm(mean, mean.shape[-1:])
        return Latent(mean)

    def expand(self, latent: Float[Tensor, "b m c"]) -> Float[Tensor, "b m w"]:
        """Prepare latents for `read`: the part of the decoder that does not see the queries.

        Args:
            latent: ``(b, latents, latent_channels)``: a `Latent`'s mean or sample.

        Raises:
            ValueError: wrong number of channels.
        """
        if latent.ndim != 3 or latent.shape[-1] != self.latent_channels:
            msg = f"latent must be (b, m, {self.latent_channels}), got {tuple(latent.shape)}"
            raise ValueError(msg)
        out: Tensor = self.decoder(self.unsqueeze(latent))
        return out

    def read(
        self, features: Float[Tensor, "b m w"], queries: Float[Tensor, "b q 3"]
    ) -> Float[Tensor, "b q k"]:
        """Signed distances at points, from `expand`'s features.

        Where the queries ask for a gradient the attention is written out, so that derivatives of
        any order, by queries and features, are right; it then needs memory for
        ``heads · q · latents`` numbers a sample.

        Args:
            features: of `expand`.
            queries: ``(b, q, 3)`` in [-1, 1].

        Returns:
            ``(b, q, classes)``, in the unit of the cube, negative inside; float32 at least.
        """
        out: Tensor = self.field(features, queries)
        return out

    def decode(
        self,
        latent: Float[Tensor, "b m c"],
        queries: Float[Tensor, "b q 3"],
        *,
        chunk: int | None = None,
    ) -> Float[Tensor, "b q k"]:
        """Signed distances of all classes, observed or not, at points.

        Args:
            latent: ``(b, latents, latent_channels)``: a mean or a sample, or what a prior drew.
            queries: ``(b, q, 3)`` in [-1, 1].
            chunk: queries at once; fewer need less memory and give the same result.

        Returns:
            ``(b, q, classes)``, in the unit of the cube, negative inside.

        Raises:
            ValueError: wrong number of channels, or a chunk below 1.
        """
        if chunk is not None and chunk < 1:
            msg = f"chunk must be at least 1, got {chunk}"
            raise ValueError(msg)
        features = self.expand(latent)
        parts = queries.split(chunk, 1) if chunk else (queries,)
        return torch.cat([self.read(features, part) for part in parts], 1)

    def forward(
        self,
        points: Points,
        classes: Classes,
        queries: Float[Tensor, "b q 3"],
        *,
        valid: Bool[Tensor, "b n"] | None = None,
        presence: Bool[Tensor, "b k"] | None = None,
        anchors: Int[Tensor, "b m"] | None = None,
        generator: torch.Generator | None = None,
    ) -> tuple[Float[Tensor, "b q k"], Latent]:
        """Encode and decode; the latents are drawn in training and are the mean in evaluation.

        Args:
            points: as in `encode`, like ``classes``, ``valid``, ``presence`` and ``anchors``.
            classes: see ``points``.
            queries: as in `decode`.
            valid: see ``points``.
            presence: see ``points``.
            anchors: see ``points``.
            generator: for the draw of a KL bottleneck, on the device of the points.

        Returns:
            Distances ``(b, q, classes)`` and the latents, for their `Latent.kl`.
        """
        latent = self.encode(points, classes, valid=valid, presence=presence, anchors=anchors)
        code = latent.sample(generator) if self.training else latent.mean
        return self.decode(code, queries), latent


def _fit(**wanted: tuple[Tensor | None, tuple[int, ...]]) -> None:
    """Raise ``ValueError`` unless the tensors that are given have the shapes that are wanted."""
    for name, (tensor, shape) in wanted.items():
        if tensor is not None and tensor.shape != shape:
            msg = f"{name} must be {shape}, got {tuple(tensor.shape)}"
            raise ValueError(msg)
