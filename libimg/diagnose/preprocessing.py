"""What the preprocessing alone costs: the truth, through the transform and back."""

import math
from dataclasses import dataclass

from libimg import metrics
from libimg._types import Image, Mask, PerSample
from libimg.data.letterbox import Letterbox
from libimg.ranges import ValueRange

__all__ = ["PreprocessingLoss", "preprocessing_loss"]


@dataclass(frozen=True, eq=False)
class PreprocessingLoss:
    """Result of `preprocessing_loss`.

    Args:
        psnr: of the round trip, dB, ``(b,)``: what a perfect model would get in the source.
        ssim: the same, ``(b,)``.
        sharpness: share of the top-octave power that is left, ``(b,)``; 1 if none is lost.
        kept: share of the picture that the transform shows at all, in [0, 1].
        pixels_per_mm: in the target, down the rows and across the columns.
        anisotropy: height of a target pixel over its width; 1 is square.
        direction_error_deg: largest error of the direction of a line that is measured in the
            target as if its pixels were square.
        angle_error_deg: largest error of the angle between two such lines.
        text: the same in a few sentences.

    Example:
        >>> import torch
        >>> from libimg.data.letterbox import letterbox
        >>> box = letterbox((1520, 1236), target=(512, 512), keep_aspect=False)
        >>> x = torch.rand(1, 1, 1520, 1236, generator=torch.Generator().manual_seed(0))
        >>> loss = preprocessing_loss(x, box, data_range=1.0, source_spacing_mm=(0.1, 0.1))
        >>> round(loss.anisotropy, 2), round(loss.direction_error_deg, 1)
        (1.23, 5.9)
    """

    psnr: PerSample
    ssim: PerSample
    sharpness: PerSample
    kept: float
    pixels_per_mm: tuple[float, float]
    anisotropy: float
    direction_error_deg: float
    angle_error_deg: float
    text: str


def preprocessing_loss(
    truth: Image,
    transform: Letterbox,
    *,
    data_range: float | ValueRange,
    source_spacing_mm: tuple[float, float],
    mask: Mask | None = None,
) -> PreprocessingLoss:
    """Send true pictures through a transform and back, and measure what is lost on the way.

    Of a line at the angle θ, pixels that are ``r`` times as high as wide show the angle
    ``atan(tan θ / r)``; the largest error is ``asin(|r - 1| / (r + 1))``, at ``tan θ = √r``. Two
    lines can err in opposite directions, so an angle errs by up to twice that.

    Args:
        truth: ``(b, c, h, w)`` of the transform's source size.
        transform: the preprocessing; with ``keep_aspect=False`` it squashes.
        data_range: of the pictures, as for `libimg.metrics.psnr`; a range also gives the value of
            the padding, its lower end.
        source_spacing_mm: height and width of a source pixel.
        mask: ``(b, 1 or c, h, w)``, where to count in the source; what the transform does not show
            never counts.

    Returns:
        Numbers and text.

    Raises:
        ValueError: the sizes do not match, or a spacing is not above 0.

    Example:
        >>> import torch
        >>> from libimg.data.letterbox import letterbox
        >>> box = letterbox((64, 48), target=(48, 48), keep_aspect=False)
        >>> x = torch.rand(1, 1, 64, 48, generator=torch.Generator().manual_seed(0))
        >>> print(preprocessing_loss(x, box, data_range=1.0, source_spacing_mm=(0.1, 0.1)).text)
        The transform alone, there and back: PSNR 15.0 dB, SSIM 0.695, 34 % of the top-octave
        power; 100 % of the picture is kept. Target pixels: 7.5 a mm down, 10 across, height over
        width 1.333; read as if square, a direction is up to 8.2° wrong and an angle up to 16.4°.
    """
    fill = data_range.lo if isinstance(data_range, ValueRange) else 0.0
    back = transform.source_image(transform.image(truth, fill=fill), fill=fill)
    shown = transform.source_mask().to(truth.device)
    kept = float(shown.float().mean())
    inside = shown.expand_as(truth[:, :1]) if mask is None else shown & (mask != 0)
    row, column = transform.spacing_mm(source_spacing_mm)
    ratio = row / column
    direction = math.degrees(math.asin(abs(ratio - 1) / (ratio + 1)))
    scores = {
        "psnr": metrics.psnr(back, truth, data_range=data_range, mask=inside),
        "ssim": metrics.ssim(back, truth, data_range=data_range, mask=inside),
        "sharpness": metrics.sharpness_ratio(back, truth, mask=inside),
    }
    means = {name: float(values.double().mean()) for name, values in scores.items()}
    text = (
        f"The transform alone, there and back: PSNR {means['psnr']:.1f} dB, SSIM "
        f"{means['ssim']:.3f}, {100 * means['sharpness']:.0f} % of the top-octave power; "
        f"{100 * kept:.0f} % of the picture is kept. Target pixels: {1 / row:.3g} a mm down, "
        f"{1 / column:.3g} across, height over width {ratio:.3f}; read as if square, a direction "
        f"is up to {direction:.1f}° wrong and an angle up to {2 * direction:.1f}°."
    )
    return PreprocessingLoss(
        **scores,
        kept=kept,
        pixels_per_mm=(1 / row, 1 / column),
        anisotropy=ratio,
        direction_error_deg=direction,
        angle_error_deg=2 * direction,
        text=text,
    )
