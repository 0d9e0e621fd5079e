"""Where restoration fails in one image: error by kind of pixel, and its worst crops."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from types import EllipsisType

import torch
from jaxtyping import Float
from torch import Tensor

from libimg import _check
from libimg.diagnose.kinds import KINDS, pixel_kinds
from libimg.ranges import ValueRange

__all__ = ["CaseFailures", "Crop", "case_failures"]


@dataclass(frozen=True)
class Crop:
    """One square of an image, with how much restoring it helped.

    Args:
        name: of its case.
        top: first row.
        left: first column.
        height: rows.
        width: columns.
        degraded_mse: mean squared error before, in squared units of the range.
        restored_mse: the same after.

    Example:
        >>> crop = Crop("a", 0, 64, 32, 32, degraded_mse=0.01, restored_mse=0.02)
        >>> round(crop.gain, 2)
        -3.01
        >>> torch.zeros(3, 128, 128)[crop.window].shape
        torch.Size([3, 32, 32])
    """

    name: str
    top: int
    left: int
    height: int
    width: int
    degraded_mse: float
    restored_mse: float

    @property
    def gain(self) -> float:
        """PSNR after minus before in dB; negative where the prediction is worse."""
        return decibels(self.degraded_mse, self.restored_mse)

    @property
    def window(self) -> tuple[EllipsisType, slice, slice]:
        """Index that cuts the crop out of ``(..., h, w)``."""
        rows = slice(self.top, self.top + self.height)
        return ..., rows, slice(self.left, self.left + self.width)


@dataclass(frozen=True)
class CaseFailures:
    """What one restored image adds to the report; made by `case_failures`.

    Args:
        name: of the image and its degradation, one for each case.
        sigma: noise, in levels of 255; 0 for none.
        quality: of the JPEG, 1 to 100; None for none.
        pixels: number of pixels of each of `KINDS`.
        degraded_error: sum over them of the squared error before, mean over channels.
        restored_error: the same after.
        crops: the worst first.

    Example:
        >>> case = CaseFailures("a", 25.0, 40, (90, 10, 0), (0.9, 0.1, 0.0), (0.09, 0.2, 0.0), ())
        >>> round(case.gain, 2), case.worse
        (5.38, False)
    """

    name: str
    sigma: float
    quality: int | None
    pixels: tuple[int, ...]
    degraded_error: tuple[float, ...]
    restored_error: tuple[float, ...]
    crops: tuple[Crop, ...]

    @property
    def gain(self) -> float:
        """PSNR of the whole image after minus before, in dB."""
        return decibels(sum(self.degraded_error), sum(self.restored_error))

    @property
    def worse(self) -> bool:
        """Whether the prediction is farther from the truth than the input was."""
        return sum(self.restored_error) > sum(self.degraded_error)


def case_failures(
    clean: Float[Tensor, "c h w"],
    degraded: Float[Tensor, "c h w"],
    restored: Float[Tensor, "c h w"],
    *,
    name: str,
    sigma: float,
    quality: int | None,
    data_range: float | ValueRange,
    crop: int = 64,
    keep: int = 4,
) -> CaseFailures:
    """Take one evaluated image apart: errors by kind of pixel, and its worst crops.

    Nothing is rounded: pass 8-bit values, as `libimg.metrics.to_8bit` makes them, to judge what
    a file would hold. Crops lie on a grid of step ``crop``; the last ones are moved inwards.

    Args:
        clean: ``(c, h, w)``, the truth; decides the kinds of its pixels by `pixel_kinds`.
        degraded: the same shape, the input of the network.
        restored: the same shape, its prediction.
        name: of the image and its degradation, one for each case.
        sigma: noise, in levels of 255; 0 for none.
        quality: of the JPEG, 1 to 100; None for none.
        data_range: width of the value range, or the range itself.
        crop: side in pixels; shorter where the image is.
        keep: how many crops, those of least gain.

    Returns:
        The record that `failure_report` adds up; a few hundred bytes.

    Raises:
        ValueError: the shapes differ, sigma or quality is impossible, an error is not finite.

    Example:
        >>> clean = torch.zeros(3, 64, 64)
        >>> restored = clean + 0.01
        >>> restored[:, 32:, :32] = 0.2
        >>> case = case_failures(
        ...     clean, clean + 0.1, restored, name="a", sigma=9, quality=None, data_range=1, crop=32
        ... )
        >>> case.worse, (case.crops[0].top, case.crops[0].left), round(case.crops[0].gain, 2)
        (True, (32, 0), -6.02)
    """
    _check.same_shape(clean=clean, degraded=degraded, restored=restored)
    _check.positive(crop=crop)
    if not (sigma >= 0 and (quality is None or 1 <= quality <= 100)):
        msg = f"{name}: expected sigma >= 0 and quality in 1 to 100 or None, got {sigma}, {quality}"
        raise ValueError(msg)
    span = data_range.span if isinstance(data_range, ValueRange) else float(data_range)
    _check.positive(data_range=span)
    truth, before, after = (x.detach().cpu().double() / span for x in (clean, degraded, restored))
    errors = [(x - truth).square().mean(0) for x in (before, after)]
    if not all(bool(error.isfinite().all()) for error in errors):
        msg = f"{name}: degraded and restored must be finite and near clean, got NaN or infinity"
        raise ValueError(msg)
    kinds = pixel_kinds(truth[None], data_range=1.0)[0].flatten().long()
    sums = [torch.zeros(len(KINDS)).double().index_add_(0, kinds, e.flatten()) for e in errors]
    height, width = min(crop, clean.shape[1]), min(crop, clean.shape[2])
    crops = []
    for top in _starts(clean.shape[1], height):
        for left in _starts(clean.shape[2], width):
            here = slice(top, top + height), slice(left, left + width)
            crops.append(
                Crop(name, top, left, height, width, *(float(e[here].mean()) for e in errors))
            )
    return CaseFailures(
        name=name,
        sigma=float(sigma),
        quality=quality,
        pixels=tuple(torch.bincount(kinds, minlength=len(KINDS)).tolist()),
        degraded_error=tuple(sums[0].tolist()),
        restored_error=tuple(sums[1].tolist()),
        crops=tuple(worst_first(crops)[:keep]),
    )


def worst_first(crops: Iterable[Crop]) -> list[Crop]:
    """Sort by gain; of equal gain, the crop with more error comes first."""
    return sorted(crops, key=lambda crop: (crop.gain, -crop.restored_mse))


def decibels(before: float, after: float) -> float:
    """Ratio of two errors in dB; 0 where there is none at all."""
    if before == after:
        return 0.0
    if min(before, after) == 0:
        return math.inf if before else -math.inf
    return 10 * math.log10(before / after)


def _starts(size: int, crop: int) -> list[int]:
    return [*range(0, size - crop, crop), size - crop]
