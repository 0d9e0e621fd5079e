"""Real JPEG: libjpeg through Pillow, with the place of the 8 × 8 grid explicit."""

from collections.abc import Sequence
from io import BytesIO
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float, UInt8
from PIL import Image
from torch import Tensor

from libimg import _check

__all__ = ["SUBSAMPLINGS", "Subsampling", "jpeg", "to_bytes"]

Subsampling = Literal["4:2:0", "4:2:2", "4:4:4"]
SUBSAMPLINGS = ("4:2:0", "4:2:2", "4:4:4")
"""Chroma layouts: a quarter, half or all of the colour samples are kept."""


def jpeg(
    x: Float[Tensor, "*batch c h w"],
    quality: int | Sequence[int],
    *,
    subsampling: Subsampling = "4:2:0",
    phase: tuple[int, int] = (0, 0),
) -> Float[Tensor, "*batch c h w"]:
    """Compress and decompress with libjpeg.

    Args:
        x: images in [0, 1], ``(c, h, w)`` or ``(b, c, h, w)``, one channel (gray) or three (RGB).
            They are clipped and rounded to 8 bit first. Not differentiable.
        quality: libjpeg's, 1 to 100; for a batch also one for each image.
        subsampling: chroma layout; gray has none.
        phase: rows and columns, 0 to 7, that the 8 × 8 grid starts above and left of the image.
            The image is extended there by its edge, compressed, and cut out again.

    Returns:
        Images in [0, 1], whole 255ths, with the shape, dtype and device of ``x``.

    Raises:
        ValueError: an argument is out of its range, or the qualities are not one for each image.

    Example:
        >>> x = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(0))
        >>> for quality in (10, 95):
        ...     print(round(float((jpeg(x, quality) - x).abs().mean()), 2))
        0.24
        0.18
        >>> flat = torch.full((1, 16, 16), 128 / 255)
        >>> bool((jpeg(flat, 5) == flat).all())
        True

    Reference:
        ITU-T T.81, as in libjpeg with Pillow's defaults: 4:2:0 at every quality, box-filtered
        chroma, "fancy" upsampling, accurate integer DCT.
    """
    _check.one_of("subsampling", subsampling, SUBSAMPLINGS)
    check_phase(phase)
    data = to_bytes(x)
    flat = data.reshape(-1, *data.shape[-3:])
    qualities = [quality] * len(flat) if isinstance(quality, int) else list(quality)
    if len(qualities) != len(flat):
        msg = f"quality: expected one for each of {len(flat)} images, got {len(qualities)}"
        raise ValueError(msg)
    check_quality(*qualities)
    out = torch.empty(flat.shape, dtype=_wide(x.dtype))
    for image, level, target in zip(flat, qualities, out, strict=True):
        _round_trip(image.numpy(), level, subsampling, phase, target.numpy())
    return out.view(x.shape).to(x.device, x.dtype)


def to_bytes(x: Float[Tensor, "*batch c h w"]) -> UInt8[Tensor, "*batch c h w"]:
    """Clip to [0, 1] and round to 8 bit, on the CPU.

    Args:
        x: images, ``(c, h, w)`` or ``(b, c, h, w)``, one or three channels.

    Returns:
        Levels 0 to 255; halves go to the even level.

    Raises:
        ValueError: the shape is another.

    Example:
        >>> to_bytes(torch.tensor([[[-0.2, 0.5, 1.2]]]))
        tensor([[[  0, 128, 255]]], dtype=torch.uint8)
    """
    if x.ndim not in (3, 4) or x.shape[-3] not in (1, 3) or 0 in x.shape:
        msg = "x must be (c, h, w) or (b, c, h, w), not empty, with 1 or 3 channels, "
        msg += f"got shape {tuple(x.shape)}"
        raise ValueError(msg)
    planes = x.detach().to("cpu", _wide(x.dtype)).reshape(-1, *x.shape[-2:]).numpy()
    out, level = np.empty(planes.shape, np.uint8), np.empty_like(planes[0])
    for plane, target in zip(planes, out, strict=True):  # one plane at a time stays in the cache
        np.rint(np.multiply(plane, 255, out=level), out=level)
        target[:] = np.clip(level, 0, 255, out=level)
    return torch.from_numpy(out).view(x.shape)


def check_quality(*qualities: int) -> None:
    """Raise ``ValueError`` unless every quality is a whole number from 1 to 100."""
    for quality in qualities:
        if isinstance(quality, bool) or not (isinstance(quality, int) and 1 <= quality <= 100):
            msg = f"quality must be a whole number from 1 to 100, got {quality!r}"
            raise ValueError(msg)


def check_phase(phase: Sequence[int]) -> None:
    """Raise ``ValueError`` unless ``phase`` is two whole numbers from 0 to 7."""
    if len(phase) != 2 or not all(isinstance(p, int) and 0 <= p < 8 for p in phase):
        msg = f"phase must be two whole numbers from 0 to 7, got {phase!r}"
        raise ValueError(msg)


def _wide(dtype: torch.dtype) -> torch.dtype:
    return torch.promote_types(dtype, torch.float32)


def _round_trip(
    planes: Any, quality: int, subsampling: str, phase: tuple[int, int], out: Any
) -> None:
    """Encode and decode planes of bytes ``(c, h, w)`` into planes of [0, 1]."""
    dy, dx = phase
    if dy or dx:
        planes = np.pad(planes, ((0, 0), (dy, 0), (dx, 0)), "edge")
    bands = [Image.fromarray(plane) for plane in planes]
    file = BytesIO()
    if len(bands) == 1:
        bands[0].save(file, "JPEG", quality=quality)
    else:
        Image.merge("RGB", bands).save(file, "JPEG", quality=quality, subsampling=subsampling)
    file.seek(0)
    with Image.open(file, formats=("JPEG",)) as opened:
        for band, target in zip(opened.split(), out, strict=True):
            target[:] = np.asarray(band)[dy:, dx:]
            target /= 255
