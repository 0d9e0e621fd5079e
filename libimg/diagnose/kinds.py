"""Flat, edge or texture: what a pixel of an image is."""

import math

import torch
import torch.nn.functional as F
from jaxtyping import UInt8
from torch import Tensor

from libimg import _check
from libimg._ops.gradients import sobel
from libimg._ops.windows import correlate, gaussian
from libimg._types import Image
from libimg.ranges import ValueRange

__all__ = ["KINDS", "pixel_kinds"]

KINDS = ("flat", "edge", "texture")
"""Names of the classes that `pixel_kinds` numbers 0, 1, 2."""


def pixel_kinds(
    image: Image,
    *,
    data_range: float | ValueRange,
    flat_below: float = 0.02,
    edge_above: float = 0.6,
    sigma: float = 1.5,
) -> UInt8[Tensor, "b h w"]:
    """Class every pixel of a clean image as flat (0), edge (1) or texture (2).

    The structure tensor is the mean, over the channels and a Gaussian window, of the outer
    product of the Sobel gradient. Its trace is the squared gradient magnitude; its eigenvalues
    give the coherence ``(λ1 - λ2) / (λ1 + λ2)``, 1 where all gradients share one direction.
    Flat is a magnitude below ``flat_below``; of the rest, edge is a coherence of at least
    ``edge_above``, and texture is what remains, corners and fine detail included.

    Args:
        image: ``(b, c, h, w)``, clean, at least 3 pixels a side. Pixels at the border take the
            gradient of the nearest one inside.
        data_range: width of the value range, or the range itself.
        flat_below: gradient magnitude as a share of the range, per pixel; 0.02 is 5 of 255.
        edge_above: coherence, in [0, 1]; 2 % of the pixels of gray white noise reach 0.6.
        sigma: standard deviation of the window, in pixels.

    Returns:
        ``(b, h, w)``, indices into `KINDS`.

    Raises:
        ValueError: the image is too small or ``data_range`` is not above 0.

    Example:
        >>> x = torch.zeros(1, 1, 24, 24)
        >>> x[..., 12:] = 1.0
        >>> pixel_kinds(x, data_range=1.0)[0, 12, 4:20]
        tensor([0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0], dtype=torch.uint8)

    Reference:
        Förstner and Gülch, 1987; for colour Di Zenzo, A Note on the Gradient of a Multi-image,
        1986.
    """
    _check.spatial("image", image, (2,))
    span = data_range.span if isinstance(data_range, ValueRange) else float(data_range)
    _check.positive(data_range=span)
    if min(image.shape[2:]) < 3:
        msg = f"image must be at least 3 pixels a side, got shape {tuple(image.shape)}"
        raise ValueError(msg)
    radius = math.ceil(3 * sigma)
    down, right = (
        d / span
        for d in sobel(image.float() if image.dtype in (torch.float16, torch.bfloat16) else image)
    )
    products = [
        (a * b).mean(1, keepdim=True) for a, b in ((down, down), (right, right), (down, right))
    ]
    around = F.pad(torch.cat(products, 1), [radius + 1] * 4, mode="replicate")
    vertical, horizontal, mixed = correlate(around, gaussian(2 * radius + 1, sigma)).unbind(1)
    trace = vertical + horizontal
    spread = torch.hypot(vertical - horizontal, 2 * mixed)
    kinds = torch.where(spread >= edge_above * trace, 1, 2)
    return torch.where(trace < flat_below**2, 0, kinds).to(torch.uint8)
