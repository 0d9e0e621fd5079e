"""Noise, then 8 bit, then JPEG: drawn once as a record, applied from it as often as wanted."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from libimg import _check
from libimg.degradations.jpeg import (
    SUBSAMPLINGS,
    Subsampling,
    check_phase,
    check_quality,
    jpeg,
    to_bytes,
)
from libimg.degradations.noise import check_sigma, gaussian_noise

__all__ = ["Degradation", "DegradationParams"]


@dataclass(frozen=True, kw_only=True)
class DegradationParams:
    """Everything that one degradation of one image did.

    Args:
        sigma: standard deviation of the noise in levels of 255; 0 is none.
        quality: of the JPEG, 1 to 100; None is no JPEG.
        subsampling: chroma layout.
        phase: rows and columns, 0 to 7, that the 8 × 8 grid starts above and left of the image.
        seed: of the noise.
        clip: clip to [0, 1] and round to 8 bit; needed for JPEG.

    Raises:
        ValueError: a value is out of its range, or JPEG is asked for without ``clip``.

    Example:
        >>> params = DegradationParams(sigma=25, quality=40)
        >>> params == DegradationParams.from_dict(params.to_dict())
        True
    """

    sigma: float = 0.0
    quality: int | None = None
    subsampling: Subsampling = "4:2:0"
    phase: tuple[int, int] = (0, 0)
    seed: int = 0
    clip: bool = True

    def __post_init__(self) -> None:
        check_sigma(self.sigma)
        check_phase(self.phase)
        _check.one_of("subsampling", self.subsampling, SUBSAMPLINGS)
        if self.quality is not None:
            check_quality(self.quality)
        _check_clip(self.clip, self.quality)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, ready for JSON."""
        return {**asdict(self), "phase": list(self.phase)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "DegradationParams":
        """Build the record that `to_dict` gave; an unknown name raises ``TypeError``."""
        phase = values.get("phase", (0, 0))
        return cls(**{**values, "phase": tuple(phase)})


@dataclass(frozen=True, kw_only=True)
class Degradation:
    """What noise and JPEG to draw; the configuration of a training or evaluation.

    Args:
        sigma_range: of the noise, in levels of 255, drawn uniformly.
        quality_range: of the JPEG, whole numbers drawn uniformly, both ends included; None is no
            JPEG.
        subsampling: chroma layout, or several to draw from.
        random_phase: draw the place of the 8 × 8 grid, 0 to 7 on both axes; otherwise it starts
            at the image's corner, and a network learns to expect it there.
        noise_share: share of the images that get noise.
        jpeg_share: share of the images that get JPEG.
        clip: clip and round to 8 bit after the noise. Without (and then without JPEG) the noise
            is that of the denoising papers.
        unclipped_share: share of the images without JPEG that are not clipped all the same, to
            train one network for photographs and for the papers' noise.

    Raises:
        ValueError: a range is reversed or out of bounds, or JPEG is asked for without ``clip``.

    Example:
        >>> degradation = Degradation(sigma_range=(5, 50), quality_range=(10, 95))
        >>> generator = torch.Generator().manual_seed(0)
        >>> params = degradation.sample(generator)
        >>> image = torch.rand(3, 40, 48, generator=generator)
        >>> degraded = degradation.apply(image, params)
        >>> bool((degraded == degradation.apply(image, params)).all())
        True

    Reference:
        Random grid as in KAIR and FBCNN (Jiang et al., 2021). Unlike BasicSR's and KAIR's, a
        degradation is a record that can be logged and replayed bit for bit (one version of torch
        and libjpeg, one kind of processor).
    """

    sigma_range: tuple[float, float] = (0.0, 50.0)
    quality_range: tuple[int, int] | None = (10, 95)
    subsampling: Subsampling | tuple[Subsampling, ...] = "4:2:0"
    random_phase: bool = True
    noise_share: float = 1.0
    jpeg_share: float = 1.0
    clip: bool = True
    unclipped_share: float = 0.0

    def __post_init__(self) -> None:
        check_sigma(*self.sigma_range)
        _ordered("sigma_range", self.sigma_range)
        if self.quality_range is not None:
            check_quality(*self.quality_range)
            _ordered("quality_range", self.quality_range)
        for layout in self._layouts or ("none",):
            _check.one_of("subsampling", layout, SUBSAMPLINGS)
        for name in ("noise_share", "jpeg_share", "unclipped_share"):
            if not 0 <= getattr(self, name) <= 1:
                msg = f"{name} must be from 0 to 1, got {getattr(self, name)}"
                raise ValueError(msg)
        _check_clip(self.clip, self.quality_range)

    @property
    def _layouts(self) -> tuple[Subsampling, ...]:
        return (self.subsampling,) if isinstance(self.subsampling, str) else self.subsampling

    def sample(self, generator: torch.Generator) -> DegradationParams:
        """Draw a record. Nine numbers are drawn whatever the settings."""
        # one call: the cost of a call is most of the cost
        draws = torch.rand(9, generator=generator, device=generator.device, dtype=torch.float64)
        sigma, quality, layout, dy, dx, noisy, coded, seed, raw = draws.tolist()
        low, high = self.sigma_range
        level = None
        if self.quality_range is not None and coded < self.jpeg_share:
            first, last = self.quality_range
            level = first + int(quality * (last - first + 1))
        return DegradationParams(
            sigma=low + sigma * (high - low) if noisy < self.noise_share else 0.0,
            quality=level,
            subsampling=self._layouts[int(layout * len(self._layouts))],
            phase=(int(dy * 8), int(dx * 8)) if self.random_phase else (0, 0),
            seed=int(seed * 2**53),
            clip=self.clip and (level is not None or raw >= self.unclipped_share),
        )

    @staticmethod
    def apply(
        x: Float[Tensor, "*batch c h w"], params: DegradationParams | Sequence[DegradationParams]
    ) -> Float[Tensor, "*batch c h w"]:
        """Degrade as the record says; the same record gives the same bits.

        Args:
            x: images in [0, 1], ``(c, h, w)`` or ``(b, c, h, w)``, gray or RGB.
            params: a record, or for a batch one for each image. A batch under one record shares
                all but the noise.

        Returns:
            Images with the shape, dtype and device of ``x``: whole 255ths in [0, 1], or with
            ``clip=False`` the unlimited sum.

        Raises:
            ValueError: the records are not one for each image, or a shape is wrong.
        """
        if isinstance(params, DegradationParams):
            return _apply(x, params)
        if x.ndim != 4 or len(params) != len(x):
            msg = f"params: expected one for each image of {tuple(x.shape)}, got {len(params)}"
            raise ValueError(msg)
        return torch.stack([_apply(image, p) for image, p in zip(x, params, strict=True)])


def _apply(x: Tensor, params: DegradationParams) -> Tensor:
    if params.sigma > 0:
        generator = torch.Generator().manual_seed(params.seed)
        x = gaussian_noise(x, params.sigma, generator=generator)
    if params.quality is not None:
        return jpeg(x, params.quality, subsampling=params.subsampling, phase=params.phase)
    if not params.clip:
        return x if params.sigma > 0 else x.clone()
    wide = torch.promote_types(x.dtype, torch.float32)
    return to_bytes(x).to(x.device, wide).div_(255).to(x.dtype)


def _check_clip(clip: bool, quality: object) -> None:
    if not clip and quality is not None:
        msg = "clip=False is for noise alone: before JPEG the image is clipped and rounded to "
        msg += f"8 bit, got quality {quality}"
        raise ValueError(msg)


def _ordered(name: str, values: tuple[float, float]) -> None:
    if values[0] > values[1]:
        msg = f"{name} must be (low, high), got {values}"
        raise ValueError(msg)
