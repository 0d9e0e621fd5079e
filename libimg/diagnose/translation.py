"""Scores of a translated image against its truth, by region and by tissue."""

from collections.abc import Mapping

from jaxtyping import Bool, Float
from torch import Tensor

from libimg import metrics
from libimg.ranges import ValueRange

__all__ = ["translation_scores"]


def translation_scores(
    fake: Float[Tensor, "*spatial"],
    truth: Float[Tensor, "*spatial"],
    *,
    value_range: ValueRange,
    regions: Mapping[str, Bool[Tensor, "*spatial"]],
    tissues: Mapping[str, Bool[Tensor, "*spatial"]],
) -> dict[str, float]:
    """Score one case: how close, how sharp, and which tissue is off by how much.

    Both images are clipped to ``value_range`` first, so that metal or air outside the window
    decides nothing. PSNR and SSIM reward blur: read them next to ``sharpness``, the share of the
    truth's top-octave power that the image has.

    Args:
        fake: ``(h, w)`` or ``(d, h, w)``, in the unit of ``value_range``.
        truth: the same shape and unit.
        value_range: the evaluation window; its span is the data range of PSNR and SSIM.
        regions: masks that get ``psnr``, ``ssim``, ``mae`` and ``sharpness``, such as body, lung.
        tissues: masks that get ``bias`` and ``mae`` in the unit of the range.

    Returns:
        ``"<region>/<metric>"`` and ``"<tissue>/<metric>"`` to value; a mask without voxels gives
        NaN.

    Example:
        >>> import torch
        >>> from libimg.ranges import UNIT
        >>> x = torch.rand(16, 16, generator=torch.Generator().manual_seed(0))
        >>> scores = translation_scores(
        ...     x, x, value_range=UNIT, regions={"all": x >= 0}, tissues={"dark": x < 0.5}
        ... )
        >>> sorted(scores)
        ['all/mae', 'all/psnr', 'all/sharpness', 'all/ssim', 'dark/bias', 'dark/mae']
        >>> scores["all/ssim"], scores["dark/mae"]
        (1.0, 0.0)
    """
    ours, theirs = value_range.clip(fake)[None, None], value_range.clip(truth)[None, None]
    scores: dict[str, float] = {}
    for name, region in regions.items():
        mask = region[None, None]
        scores[f"{name}/psnr"] = float(
            metrics.psnr(ours, theirs, data_range=value_range, mask=mask)
        )
        scores[f"{name}/ssim"] = float(
            metrics.ssim(ours, theirs, data_range=value_range, mask=mask)
        )
        scores[f"{name}/mae"] = float(metrics.mae(ours, theirs, mask=mask))
        scores[f"{name}/sharpness"] = float(metrics.sharpness_ratio(ours, theirs, mask=mask))
    for name, tissue in tissues.items():
        mask = tissue[None, None]
        scores[f"{name}/bias"] = float(metrics.bias(ours, theirs, mask=mask))
        scores[f"{name}/mae"] = float(metrics.mae(ours, theirs, mask=mask))
    return scores
