"""Shape aliases: written in signatures, checked in tests, free at run time.

``*spatial`` is array order everywhere: ``h w`` for images, ``d h w`` for volumes.
"""

from jaxtyping import Float, Shaped
from torch import Tensor

__all__ = ["Flow", "Image", "Mask", "PerSample"]

Image = Float[Tensor, "b c *spatial"]
"""Image ``(b, c, h, w)`` or volume ``(b, c, d, h, w)``, floating point."""

Mask = Shaped[Tensor, "b #c *spatial"]
"""Mask or weight, boolean or non-negative, one channel or as many as the image."""

Flow = Float[Tensor, "b n *spatial"]
"""Displacement in voxels; channel ``i`` moves along spatial axis ``i``."""

PerSample = Float[Tensor, " b"]
"""One value for each sample of the batch; the caller writes ``.mean()``."""
