"""What papers on restoration report: 8-bit rounding, luma, PSNR and PSNR-B of whole images."""

import math
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from libimg import _check
from libimg._types import Image, PerSample
from libimg.metrics.image import psnr
from libimg.ranges import BYTE, UNIT, ValueRange

__all__ = ["psnr_8bit", "psnr_b", "to_8bit", "to_y"]

Y_WEIGHTS = (65.481, 128.553, 24.966)


def to_8bit(x: Image, *, data_range: float | ValueRange) -> Image:
    """Clamp to the range and round to its 256 levels, without changing the unit.

    What a saved PNG would hold. Every metric of this package can be taken after it.

    Args:
        x: ``(b, c, *spatial)``.
        data_range: values lie in ``[0, data_range]``, or in the given range.

    Returns:
        The same shape, dtype and unit; halves round to the even level, as in numpy.

    Raises:
        ValueError: ``data_range`` is not above 0.

    Example:
        >>> to_8bit(torch.tensor([[[-0.2, 0.1, 1.3]]]), data_range=1.0) * 255
        tensor([[[  0.,  26., 255.]]])
    """
    bounds = _bounds(data_range)
    return BYTE.to(BYTE.clip(bounds.to(x, BYTE)).round(), bounds)


def to_y(x: Image, *, data_range: float | ValueRange) -> Float[Tensor, "b 1 *spatial"]:
    """Luma of ITU-R BT.601 in limited range, ``16 + 65.481 R + 128.553 G + 24.966 B`` of 255.

    Take it of both images and any metric of this package becomes its Y version, with the same
    ``data_range``. Errors shrink by 219 / 255 and more, so that Y-PSNR is 1.3 to 2 dB above RGB.

    Args:
        x: ``(b, 3, *spatial)`` red, green, blue.
        data_range: values lie in ``[0, data_range]``, or in the given range.

    Returns:
        ``(b, 1, *spatial)`` in the same unit; black is 16 / 255 of the range and white 235 / 255.

    Raises:
        ValueError: there are not 3 channels, or ``data_range`` is not above 0.

    Example:
        >>> to_y(torch.ones(1, 3, 1, 1), data_range=255.0)
        tensor([[[[16.86]]]])

    Reference:
        ITU-R BT.601. This is the float formula of BasicSR; KAIR rounds the luma as well.
    """
    if x.ndim < 3 or x.shape[1] != 3:
        msg = f"x must have 3 channels (red, green, blue), got shape {tuple(x.shape)}"
        raise ValueError(msg)
    bounds = _bounds(data_range)
    red, green, blue = bounds.to(x, UNIT).split(1, dim=1)
    luma = 16 + Y_WEIGHTS[0] * red + Y_WEIGHTS[1] * green + Y_WEIGHTS[2] * blue
    return BYTE.to(luma, bounds)


def psnr_8bit(
    pred: Image,
    target: Image,
    *,
    data_range: float | ValueRange,
    space: Literal["rgb", "y"] = "rgb",
) -> PerSample:
    """PSNR as papers on denoising print it: clamp, round to 8 bit, one value an image.

    The mean over the images of a set is what their tables show.

    Args:
        pred: ``(b, c, *spatial)``; three channels for ``space="y"``.
        target: the same shape; rounded as well, which changes nothing of a file.
        data_range: values lie in ``[0, data_range]``, or in the given range.
        space: ``"rgb"`` takes the channels jointly as they are, gray images too; ``"y"`` takes
            the luma of the rounded images, itself not rounded.

    Returns:
        ``(b,)`` in dB; infinite for images that are equal after rounding.

    Raises:
        ValueError: shapes differ, ``space`` is unknown or does not fit the channels.

    Example:
        >>> target = torch.zeros(1, 3, 4, 4)
        >>> psnr_8bit(target + 0.1, target, data_range=1.0)  # 26 levels, not 25.5
        tensor([19.83])
        >>> psnr_8bit(target - 5, target, data_range=1.0)
        tensor([inf])

    Reference:
        The protocol of KAIR, BasicSR, SwinIR and Restormer, border 0.
    """
    _check.same_shape(pred=pred, target=target)
    _check.one_of("space", space, ("rgb", "y"))
    pred, target = (to_8bit(_wide(x), data_range=data_range) for x in (pred, target))
    if space == "y":
        pred, target = (to_y(x, data_range=data_range) for x in (pred, target))
    return psnr(pred, target, data_range=data_range)


def psnr_b(
    pred: Image,
    target: Image,
    *,
    data_range: float | ValueRange,
    block: int = 8,
    phase: tuple[int, int] = (0, 0),
) -> PerSample:
    """PSNR that also counts steps across the JPEG grid: ``10·log10(range² / (MSE + BEF))``.

    The blocking effect factor BEF is ``η (D_B - D_C)`` where the mean squared step between
    neighbours on the two sides of a block border, D_B, is above that of all other neighbours,
    D_C, and 0 elsewhere; ``η = log2(block) / log2(shorter side)``.

    Args:
        pred: ``(b, 1, h, w)`` gray or luma (see `to_y`); the steps are measured here. Nothing is
            clipped or rounded: see `to_8bit`.
        target: the same shape and unit.
        data_range: width of the value range, or the range itself.
        block: side of a block in pixels, at least 2.
        phase: row and column, inside its block, of the first pixel; ``(0, 0)`` for a whole JPEG.

    Returns:
        ``(b,)`` in dB, at most `psnr`; infinite for equal images without blocks.

    Raises:
        ValueError: shapes differ, there is more than one channel, a side is not longer than
            ``block``, or ``phase`` does not lie inside a block.

    Example:
        >>> target = torch.zeros(1, 1, 16, 16)
        >>> pred = target.clone()
        >>> pred[..., :8] = 0.1
        >>> psnr_b(pred, target, data_range=1.0)
        tensor([20.58])

    Reference:
        Yim and Bovik, Quality Assessment of Deblocked Images, IEEE TIP 20, 2011, eq. 3 to 9. The
        borders are counted: torchmetrics divides by ``h·w/8 - 1``, and pools a batch; KAIR and
        FBCNN divide by ``h·(w//8 - 1)``, too few where a side is no multiple of 8.
    """
    _check.same_shape(pred=pred, target=target)
    _check.spatial("pred", pred, (2,))
    span = _bounds(data_range).span
    if pred.shape[1] != 1:
        msg = f"pred must have 1 channel (gray, or luma by to_y), got {pred.shape[1]}"
        raise ValueError(msg)
    if block < 2 or not all(0 <= p < block for p in phase):
        msg = f"block must be at least 2 and phase inside it, got {block} and {phase}"
        raise ValueError(msg)
    side = min(pred.shape[2:])
    if side <= block:
        msg = f"pred must be longer than block {block} a side, got {tuple(pred.shape)}"
        raise ValueError(msg)
    pred, target = _wide(pred), _wide(target)
    error = (pred - target).square().flatten(1).mean(1)
    across, within = _steps(pred, block, phase)
    factor = math.log2(block) / math.log2(side) * (across - within).clamp(min=0)
    return 10 * torch.log10(span**2 / (error + factor))


def _steps(x: Image, block: int, phase: tuple[int, int]) -> tuple[PerSample, PerSample]:
    """Mean squared step of neighbours across block borders, and of all the others."""
    sums: list[list[PerSample]] = [[], []]
    counts = [0, 0]
    for axis, first in zip((2, 3), phase, strict=True):
        step = x.diff(dim=axis).square()
        position = torch.arange(step.shape[axis], device=x.device)
        border = (position + 1 + first) % block == 0
        for i, part in enumerate((border, ~border)):
            chosen = step.index_select(axis, part.nonzero().flatten())
            sums[i].append(chosen.flatten(1).sum(1))
            counts[i] += chosen[0].numel()
    across, within = (sum(s, torch.zeros_like(s[0])) / n for s, n in zip(sums, counts, strict=True))
    return across, within


def _bounds(data_range: float | ValueRange) -> ValueRange:
    if isinstance(data_range, ValueRange):
        return data_range
    _check.positive(data_range=float(data_range))
    return ValueRange(0.0, float(data_range))


def _wide(x: Image) -> Image:
    """Half precision in float32."""
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x
