"""The graph of a paired translation: G, then G2, then R, then the losses and D."""

from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from libimg import gan, losses
from libimg._types import Image
from libimg.ranges import SIGNED
from libimg.registration import warp
from libimg.translation.networks import DiscriminatorConfig

__all__ = [
    "Losses",
    "discriminator_loss",
    "generate",
    "generator_terms",
    "losses_of",
    "middle",
    "region_weight",
    "register",
    "weighted_sum",
]

Networks = Mapping[str, nn.Module]
Batch = Mapping[str, Tensor]


@dataclass(frozen=True, kw_only=True)
class Losses:
    """What the loss terms need beside their weights.

    Args:
        scales: factors of the pooled pyramid on which L1 and SSIM are averaged.
        mode: the GAN loss.
        conditional: D also sees the input.
        perceptual: a perceptual distance, if that term has a weight.
    """

    scales: tuple[int, ...] = (1,)
    mode: Literal["lsgan", "hinge", "vanilla"] = "lsgan"
    conditional: bool = False
    perceptual: Callable[..., Tensor] | None = field(default=None, compare=False)

    def seen(self, batch: Batch, picture: Tensor) -> Tensor:
        """Return what D looks at: the picture, behind the input if D is conditional."""
        return torch.cat([middle(batch["input"]), picture], 1) if self.conditional else picture


def losses_of(
    discriminator: DiscriminatorConfig,
    *weights: Mapping[str, Any],
    scales: tuple[int, ...] = (1,),
    perceptual: str = "lpips-alex",
    perceptual_weights: str = "",
) -> Losses:
    """Collect what the loss terms need; a perceptual backbone is loaded only if it has a weight.

    Args:
        discriminator: settings of D; its GAN loss, and whether it sees the input.
        weights: term to weight, of each phase.
        scales: factors of the pooled pyramid on which L1 and SSIM are averaged.
        perceptual: backbone of the perceptual distance.
        perceptual_weights: its weights on disk, where they cannot be downloaded.

    Example:
        >>> from libimg.translation import DiscriminatorConfig
        >>> losses_of(DiscriminatorConfig(mode="hinge"), {"l1": 1.0}).mode
        'hinge'
    """
    distance = None
    if any(part.get("perceptual") for part in weights):
        path = Path(perceptual_weights) if perceptual_weights else None
        distance = losses.PerceptualLoss(perceptual, value_range=SIGNED, weights_path=path)
    return Losses(
        scales=scales,
        mode=discriminator.mode,
        conditional=discriminator.conditional,
        perceptual=distance,
    )


def middle(x: Image) -> Float[Tensor, "b 1 *spatial"]:
    """Return the middle channel: the slice that its neighbours surround."""
    centre = x.shape[1] // 2
    return x[:, centre : centre + 1]


def generate(networks: Networks, x: Image) -> Float[Tensor, "b 1 *spatial"]:
    """Translate: G, then G2 where it takes part.

    Args:
        networks: ``G`` and perhaps ``G2``.
        x: ``(b, c, *spatial)`` in [-1, 1], the input in its middle channel.

    Returns:
        ``(b, 1, *spatial)``, in the geometry of the input.
    """
    y: Tensor = networks["G"](x)
    if "G2" in networks:
        y = networks["G2"](middle(x), y)
    return y


def register(networks: Networks, y: Image, target: Image) -> dict[str, Tensor]:
    """Move the generated image onto the target where R takes part.

    R sees the picture and sends it no gradient: G learns through the warp alone, and cannot make
    pictures that please R.

    Args:
        networks: perhaps with ``R``.
        y: generated image ``(b, 1, *spatial)``.
        target: ``(b, 1, *spatial)``.

    Returns:
        ``y``, ``moved`` and, with R, ``flow`` (voxels, ``moved(p) = y(p + flow(p))``).
    """
    if "R" not in networks:
        return {"y": y, "moved": y}
    flow: Tensor = networks["R"](y.detach(), target)
    return {"y": y, "flow": flow, "moved": warp(y, flow)}


def region_weight(
    batch: Batch, weights: Mapping[str, float], flow: Tensor | None = None
) -> Tensor | None:
    """Weight of each voxel of the loss: 1, more in the lung (moved along) and in the vessels.

    Args:
        batch: masks ``lung`` (geometry of the input) and ``vessel`` (of the target), where they
            have a weight; perhaps ``mask``, 0 where there is no picture, such as padding.
        weights: ``lung`` and ``vessel``, 1 if missing.
        flow: what R found.

    Returns:
        ``(b, 1, *spatial)``, or None where every voxel counts the same.
    """
    lung, vessel = weights.get("lung", 1.0), weights.get("vessel", 1.0)
    mask = batch.get("mask")
    if lung == vessel == 1:
        return mask
    inside = batch["lung"] if flow is None else warp(batch["lung"], flow.detach())
    weight = 1 + (lung - 1) * inside + (vessel - 1) * batch["vessel"]
    return weight if mask is None else weight * mask


def generator_terms(
    networks: Networks,
    out: Mapping[str, Tensor],
    batch: Batch,
    weights: Mapping[str, float],
    *,
    how: Losses,
) -> dict[str, Tensor]:
    """Compute each loss of G, G2 and R that has a weight, unweighted.

    Args:
        networks: those that take part.
        out: what `register` returned.
        batch: ``input``, ``target``, and what `region_weight` needs.
        weights: by name of the term.
        how: see `Losses`.

    Returns:
        Scalars by name: the mean over the batch.
    """
    moved, target, y = out["moved"], batch["target"], out["y"]
    mask = region_weight(batch, weights, out.get("flow"))
    ssim = partial(losses.ssim, data_range=SIGNED)
    pyramid = partial(losses.multi_scale, scales=how.scales)
    terms: dict[str, Callable[[], Tensor]] = {
        "l1": lambda: pyramid(losses.l1)(moved, target, mask=mask),
        "ssim": lambda: pyramid(ssim)(moved, target, mask=mask),
        "gradient": lambda: losses.gradient_difference(moved, target, mask=mask),
    }
    if how.perceptual is not None:
        inside = {"mask": batch["mask"]} if "mask" in batch else {}
        perceptual = partial(how.perceptual, **inside)
        terms["perceptual"] = lambda: perceptual(moved, target)
    if "flow" in out:
        terms["smooth"] = lambda: losses.flow_smoothness(out["flow"])
    if "D" in networks:
        judge: Any = networks["D"]
        seen = partial(how.seen, batch)
        terms["adversarial"] = lambda: losses.gan_generator(judge(seen(y)), mode=how.mode)
        terms["feature"] = lambda: losses.feature_matching(
            judge.features(seen(y)), judge.features(seen(target))
        )
    with gan.frozen(networks["D"]) if "D" in networks else nullcontext():
        return {name: term().mean() for name, term in terms.items() if weights.get(name)}


def weighted_sum(
    terms: Mapping[str, Tensor], weights: Mapping[str, float], *, only: str = "", without: str = ""
) -> Tensor:
    """Add the terms up, each with its weight.

    Args:
        terms: scalars by name.
        weights: by name.
        only: take the one term of this name.
        without: leave the terms of these names out, separated by spaces.
    """
    names = [n for n in terms if (not only or n == only) and n not in without.split()]
    return sum((weights[n] * terms[n] for n in names), torch.zeros(()))


def discriminator_loss(
    networks: Networks,
    y: Image,
    batch: Batch,
    weights: Mapping[str, float],
    *,
    how: Losses,
    r1_every: int = 0,
) -> dict[str, Tensor]:
    """Compute D's loss on the target and on the generated image, which gets no gradient.

    Args:
        networks: with ``D``.
        y: generated image, not moved: a moved one is blurred by the warp, which D would spot.
        batch: ``input`` and ``target``.
        weights: ``r1``, the γ of the penalty; 0 or missing switches it off.
        how: see `Losses`.
        r1_every: interval that this step stands for; 0 leaves the penalty out at this step.

    Returns:
        ``adversarial`` and perhaps ``r1``, scalars.
    """
    judge = networks["D"]
    real, fake = how.seen(batch, batch["target"]), how.seen(batch, y.detach())
    terms = {
        "adversarial": losses.gan_discriminator(judge(real), judge(fake), mode=how.mode).mean()
    }
    if weights.get("r1") and r1_every:
        gamma = weights["r1"]
        terms["r1"] = gan.r1_penalty(judge, real, gamma=gamma, interval=r1_every).mean()
    return terms
