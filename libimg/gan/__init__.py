"""Discriminators, the penalties that tame them and the balance with the other losses."""

from libimg.gan.balance import adaptive_weight as adaptive_weight
from libimg.gan.balance import frozen as frozen
from libimg.gan.balance import gradient_ratio as gradient_ratio
from libimg.gan.discriminators import MultiScaleDiscriminator as MultiScaleDiscriminator
from libimg.gan.discriminators import PatchDiscriminator as PatchDiscriminator
from libimg.gan.penalties import r1_penalty as r1_penalty

__all__ = [
    "MultiScaleDiscriminator",
    "PatchDiscriminator",
    "adaptive_weight",
    "frozen",
    "gradient_ratio",
    "r1_penalty",
]
