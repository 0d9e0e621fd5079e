"""Scores on a frozen grid of noise levels and JPEG qualities, beside the input and a blur."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from libimg import metrics
from libimg.degradations import Degradation, DegradationParams, gaussian_blur
from libimg.ranges import ValueRange
from libimg.restoration.photos import Photo

__all__ = ["evaluate_grid", "frozen_grid"]

Model = Callable[[Tensor], Tensor]
SIGMAS, QUALITIES = (5.0, 15.0, 25.0, 50.0), (10, 30, 50, 80, 95)
RANGE = ValueRange(0, 1, "[0, 1]")
BLUR = 0.7  # pixels; the baseline


def frozen_grid(
    sigmas: Sequence[float] = SIGMAS, qualities: Sequence[int] = QUALITIES
) -> dict[str, DegradationParams]:
    """Build the cells of the evaluation: every noise with every quality, and either alone.

    Args:
        sigmas: noise in levels of 255.
        qualities: of the JPEG.

    Returns:
        Name to record; the seed is that of the first photograph, the next one's is one more.

    Example:
        >>> list(frozen_grid((25,), (10,)))
        ['noise 25', 'JPEG 10', 'noise 25, JPEG 10']
    """
    cells = {f"noise {s:g}": DegradationParams(sigma=s) for s in sigmas}
    cells |= {f"JPEG {q}": DegradationParams(quality=q) for q in qualities}
    for s in sigmas:
        for q in qualities:
            cells[f"noise {s:g}, JPEG {q}"] = DegradationParams(sigma=s, quality=q)
    return cells


@torch.no_grad()
def evaluate_grid(
    photos: Sequence[Photo], model: Model, *, cells: dict[str, DegradationParams]
) -> dict[str, Any]:
    """Degrade every photograph by every cell, restore it and score it, rounded to 8 bits.

    Args:
        photos: clean, not seen in training.
        model: from ``(1, 3, h, w)`` in [0, 1] to the same.
        cells: of `frozen_grid`.

    Returns:
        ``rows``: cell to mean PSNR (dB, RGB) of the input, of a light Gaussian blur and of the
        model, its gain, SSIM before and after, and the share of photographs that came out
        ``worse`` than they went in; ``cases``: cell to photograph to scores; ``worse``: that
        share over all; ``range`` and ``space`` of the scores.

    Example:
        >>> photo = Photo("a", torch.zeros(3, 16, 16, dtype=torch.uint8))
        >>> found = evaluate_grid([photo], lambda x: x, cells=frozen_grid((25,), ()))
        >>> found["rows"]["noise 25"]["gain"], found["worse"]
        (0.0, 0.0)
    """
    cases: dict[str, dict[str, dict[str, float]]] = {}
    for name, params in cells.items():
        for number, photo in enumerate(photos):
            clean = photo.image[None].float() / 255
            record = DegradationParams.from_dict({**params.to_dict(), "seed": params.seed + number})
            degraded = Degradation.apply(clean, record)
            row: dict[str, float] = {}
            for kind, image in (
                ("input", degraded),
                ("blur", gaussian_blur(degraded, BLUR)),
                ("restored", model(degraded)),
            ):
                row[f"{kind} psnr"], row[f"{kind} ssim"] = _scores(image, clean)
            row["gain"] = row["restored psnr"] - row["input psnr"]
            row["worse"] = float(row["gain"] < 0)
            cases.setdefault(name, {})[photo.name] = row
    rows = {name: _means(found) for name, found in cases.items()}
    every = [row["worse"] for found in cases.values() for row in found.values()]
    worse = sum(every) / len(every)
    return {"rows": rows, "cases": cases, "worse": worse, "range": [0, 1], "space": "rgb"}


def _scores(image: Tensor, clean: Tensor) -> tuple[float, float]:
    whole = (image.clamp(0, 1) * 255).round() / 255
    psnr = metrics.psnr(whole, clean, data_range=RANGE)
    return float(psnr), float(metrics.ssim(whole, clean, data_range=RANGE))


def _means(found: dict[str, dict[str, float]]) -> dict[str, float]:
    names = next(iter(found.values()))
    return {name: sum(row[name] for row in found.values()) / len(found) for name in names}
