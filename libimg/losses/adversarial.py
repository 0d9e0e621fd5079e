"""GAN losses in their plain form, and feature matching."""

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from libimg import _check
from libimg._types import PerSample

__all__ = ["feature_matching", "gan_discriminator", "gan_generator"]

Mode = Literal["lsgan", "hinge", "vanilla"]
MODES = ("lsgan", "hinge", "vanilla")
Logits = Tensor | Sequence[Tensor]


def gan_generator(fake_logits: Logits, *, mode: Mode) -> PerSample:
    """Loss of the generator.

    | mode | loss |
    |---|---|
    | ``lsgan`` | ½ (D(f) - 1)² |
    | ``hinge`` | - D(f) |
    | ``vanilla`` | - log σ(D(f)), non-saturating |

    Args:
        fake_logits: linear logits on generated images, ``(b, 1, *patches)``; a list for several
            scales, which are averaged.
        mode: see the table.

    Returns:
        ``(b,)``: the mean over patches of each sample.

    Raises:
        ValueError: the mode is unknown or there are no logits.

    Reference:
        Mao et al. 2017 (LSGAN); Lim and Ye 2017 (hinge); Goodfellow et al. 2014. MONAI's
        ``PatchAdversarialLoss`` squashes the logits first (tanh, LeakyReLU); here they stay linear.

    Example:
        >>> gan_generator(torch.zeros(2, 1, 4, 4), mode="lsgan")
        tensor([0.50, 0.50])
    """
    _check.one_of("mode", mode, MODES)
    return _mean([_generator(logits, mode) for logits in _scales("fake_logits", fake_logits)])


def gan_discriminator(real_logits: Logits, fake_logits: Logits, *, mode: Mode) -> PerSample:
    """Loss of the discriminator: the sum of its real and its fake part.

    | mode | loss |
    |---|---|
    | ``lsgan`` | ½ [(D(r) - 1)² + D(f)²] |
    | ``hinge`` | relu(1 - D(r)) + relu(1 + D(f)) |
    | ``vanilla`` | - log σ(D(r)) - log σ(-D(f)) |

    A discriminator that has learnt nothing stands at 0.25 (``lsgan``, logits 0.5), 2 (``hinge``)
    and 1.386 = 2 log 2 (``vanilla``). These are no signs of balance.

    Args:
        real_logits: linear logits on real images, ``(b, 1, *patches)``, or a list of scales.
        fake_logits: on generated images that are detached from their generator.
        mode: see the table.

    Returns:
        ``(b,)``: the mean over patches of each sample.

    Raises:
        ValueError: the mode is unknown, or the two do not have the same number of scales.

    Reference:
        As in `gan_generator`.

    Example:
        >>> undecided = torch.full((1, 1, 2, 2), 0.5)
        >>> gan_discriminator(undecided, undecided, mode="lsgan")
        tensor([0.25])
    """
    _check.one_of("mode", mode, MODES)
    real, fake = _scales("real_logits", real_logits), _scales("fake_logits", fake_logits)
    if len(real) != len(fake):
        msg = f"real_logits has {len(real)} scales and fake_logits {len(fake)}"
        raise ValueError(msg)
    return _mean([_discriminator(r, f, mode) for r, f in zip(real, fake, strict=True)])


def feature_matching(
    fake_features: Sequence[Sequence[Tensor]] | Sequence[Tensor],
    real_features: Sequence[Sequence[Tensor]] | Sequence[Tensor],
) -> PerSample:
    """Mean absolute difference of a discriminator's features, layer by layer.

    Args:
        fake_features: feature maps ``(b, c, *spatial)`` of one discriminator, or a list of such
            lists, one for each scale. The logits may be among them.
        real_features: the same on real images; no gradient goes there.

    Returns:
        ``(b,)``: the mean over layers, then over scales. pix2pixHD sums over its layers and so
        has 4 / (layers + 1) times this for each scale; its weight of 10 is kept by the caller.

    Raises:
        ValueError: the two differ in layers or scales.

    Reference:
        Wang et al., pix2pixHD, CVPR 2018, eq. 4.

    Example:
        >>> feature_matching([torch.zeros(1, 2, 3, 3)], [torch.ones(1, 2, 3, 3)])
        tensor([1.])
    """
    if len(fake_features) != len(real_features) or not len(fake_features):
        msg = f"expected equally many features, got {len(fake_features)} and {len(real_features)}"
        raise ValueError(msg)
    distances = []
    for fake, real in zip(fake_features, real_features, strict=True):
        if isinstance(fake, Tensor) and isinstance(real, Tensor):
            distances.append((fake - real.detach()).abs().flatten(1).mean(1))
        else:
            distances.append(feature_matching(list(fake), list(real)))
    return _mean(distances)


def _scales(name: str, logits: Logits) -> list[Tensor]:
    """Logits as a list of scales."""
    scales = [logits] if isinstance(logits, Tensor) else list(logits)
    if not scales:
        msg = f"{name}: expected at least one tensor of logits, got none"
        raise ValueError(msg)
    return scales


def _mean(parts: list[Tensor]) -> Tensor:
    return torch.stack(parts).mean(0)


def _generator(fake: Tensor, mode: str) -> Tensor:
    if mode == "lsgan":
        loss = 0.5 * (fake - 1).square()
    elif mode == "hinge":
        loss = -fake
    else:
        loss = F.softplus(-fake)
    return loss.flatten(1).mean(1)


def _discriminator(real: Tensor, fake: Tensor, mode: str) -> Tensor:
    if mode == "lsgan":
        parts = 0.5 * (real - 1).square(), 0.5 * fake.square()
    elif mode == "hinge":
        parts = F.relu(1 - real), F.relu(1 + fake)
    else:
        parts = F.softplus(-real), F.softplus(fake)
    return parts[0].flatten(1).mean(1) + parts[1].flatten(1).mean(1)
