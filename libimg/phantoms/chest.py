"""A procedural chest: the same patient without and with contrast, in two breathing positions."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from libimg.phantoms.fields import correlated_noise
from libimg.phantoms.motion import breathing
from libimg.phantoms.patient import draw_patient
from libimg.phantoms.render import LABELS, render

__all__ = ["LABELS", "ChestCase", "chest"]

FIELD_MM = (264.0, 340.0, 340.0)
MOTION_MM = (14.0, 6.0, 3.0)
MOTION_LIMIT_MM = 25.0
FEWEST = 8


@dataclass(frozen=True)
class ChestCase:
    """One patient. Axes: head to foot, front to back, patient's right to left.

    Attributes:
        ncct: without contrast, noisy, HU.
        cta: with contrast, noisy, HU, at its own breathing position.
        ncct_clean: truth of ``ncct``.
        cta_clean: truth of ``cta``.
        cta_aligned: truth with contrast in the geometry of ``ncct``, no noise.
        flow: voxels; ``cta_clean(p) = cta_aligned(p + flow(p))``, so that
            `libimg.registration.warp` of ``cta_aligned`` gives ``cta_clean``.
        labels: tissue in the geometry of ``ncct``, see `LABELS`.
        spacing_mm: voxel size along each axis.
    """

    ncct: Float[Tensor, "d h w"]
    cta: Float[Tensor, "d h w"]
    ncct_clean: Float[Tensor, "d h w"]
    cta_clean: Float[Tensor, "d h w"]
    cta_aligned: Float[Tensor, "d h w"]
    flow: Float[Tensor, "3 d h w"]
    labels: UInt8[Tensor, "d h w"]
    spacing_mm: tuple[float, float, float]


def chest(
    *,
    shape: tuple[int, int, int] = (96, 160, 160),
    spacing_mm: tuple[float, float, float] | None = None,
    motion_voxels: float | tuple[float, float, float] | None = None,
    noise_hu: float = 13.0,
    generator: torch.Generator,
) -> ChestCase:
    """Make one chest with and without contrast.

    Args:
        shape: ``(d, h, w)``, at least 8 voxels along each axis.
        spacing_mm: voxel size; None spreads a field of 264 × 340 × 340 mm over the grid.
        motion_voxels: largest displacement along each axis; each case reaches 60 to 100 % of it.
            None stands for 14, 6 and 3 mm; 0 for an aligned pair.
        noise_hu: standard deviation of the noise, drawn for both scans independently.
        generator: the only source of randomness; on the CPU.

    Returns:
        The case; all tensors float32 except ``labels``.

    Raises:
        ValueError: ``shape`` or ``spacing_mm`` are no sizes, ``noise_hu`` is negative, or the
            motion is negative or above 25 mm.

    Example:
        >>> case = chest(shape=(24, 48, 48), generator=torch.Generator().manual_seed(0))
        >>> case.ncct.shape, case.flow.shape
        (torch.Size([24, 48, 48]), torch.Size([3, 24, 48, 48]))
    """
    if len(shape) != 3 or min(shape) < FEWEST:
        msg = f"shape must be three sizes of at least {FEWEST} voxels, got {shape}"
        raise ValueError(msg)
    if not noise_hu >= 0:
        msg = f"noise_hu must be 0 or more, got {noise_hu}"
        raise ValueError(msg)
    if spacing_mm is None:
        spacing_mm = (FIELD_MM[0] / shape[0], FIELD_MM[1] / shape[1], FIELD_MM[2] / shape[2])
    if len(spacing_mm) != 3 or not min(spacing_mm) > 0:
        msg = f"spacing_mm must be three sizes above 0, got {spacing_mm}"
        raise ValueError(msg)
    amplitude = _amplitude(motion_voxels, spacing_mm)
    patient = draw_patient(generator)
    axes = [(torch.arange(n) - (n - 1) / 2) * s for n, s in zip(shape, spacing_mm, strict=True)]
    at = torch.stack(torch.meshgrid(*axes, indexing="ij"))
    shift = breathing(axes, amplitude_mm=amplitude, generator=generator)
    ncct, gain, labels = render(patient, at, spacing_mm=spacing_mm)
    if any(amplitude):
        moved, moved_gain, _ = render(patient, at + shift, spacing_mm=spacing_mm)
        cta = moved + moved_gain
    else:
        cta = ncct + gain
    noise = [correlated_noise(shape, sd=noise_hu, generator=generator) for _ in range(2)]
    return ChestCase(
        ncct=(ncct + noise[0]).clamp(min=-1024),
        cta=(cta + noise[1]).clamp(min=-1024),
        ncct_clean=ncct,
        cta_clean=cta,
        cta_aligned=ncct + gain,
        flow=shift / torch.tensor(spacing_mm).view(3, 1, 1, 1),
        labels=labels,
        spacing_mm=spacing_mm,
    )


def _amplitude(
    motion: float | tuple[float, float, float] | None, spacing: tuple[float, float, float]
) -> tuple[float, float, float]:
    """Motion in mm."""
    if motion is None:
        return MOTION_MM
    z, y, x = (motion,) * 3 if isinstance(motion, int | float) else motion
    mm = (z * spacing[0], y * spacing[1], x * spacing[2])
    if not (min(mm) >= 0 and max(mm) <= MOTION_LIMIT_MM):
        msg = f"motion_voxels must be between 0 and {MOTION_LIMIT_MM:g} mm, got {motion} = {mm} mm"
        raise ValueError(msg)
    return mm
