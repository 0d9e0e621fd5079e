"""Scores on a frozen grid of noise levels and JPEG qualities, beside the input and a blur."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from libimg import diagnose, metrics
from libimg._extras import optional
from libimg.degradations import Degradation, DegradationParams, gaussian_blur
from libimg.io import Picture, as_rgb, restored
from libimg.ranges import ValueRange
from libimg.restoration.photos import Photo

__all__ = ["Model", "degrade", "evaluate_grid", "frozen_grid", "paper_grid", "restore"]

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


def paper_grid(*, gray: bool) -> dict[str, DegradationParams]:
    """Build the cells that papers report: noise for colour, JPEG for gray photographs.

    Args:
        gray: JPEG at quality 10, 20, 30 and 40 (Classic5, LIVE1); otherwise noise of 15, 25 and
            50 levels, neither clipped nor rounded (CBSD68, Kodak24).

    Example:
        >>> list(paper_grid(gray=False))
        ['noise 15, unclipped', 'noise 25, unclipped', 'noise 50, unclipped']
    """
    if gray:
        return {f"JPEG {q}": DegradationParams(quality=q) for q in (10, 20, 30, 40)}
    noise = {s: DegradationParams(sigma=s, clip=False) for s in (15, 25, 50)}
    return {f"noise {s}, unclipped": params for s, params in noise.items()}


@torch.no_grad()
def evaluate_grid(
    photos: Sequence[Photo],
    model: Model,
    *,
    cells: Mapping[str, DegradationParams],
    progress: bool = False,
) -> dict[str, Any]:
    """Degrade every photograph by every cell, restore it and score it, rounded to 8 bits.

    Args:
        photos: clean, not seen in training.
        model: from ``(1, 3, h, w)`` in [0, 1] to the same.
        cells: of `frozen_grid` or `paper_grid`.
        progress: show a progress bar.

    Returns:
        ``rows``: cell to mean PSNR (dB, over all channels: gray photographs are degraded and
        scored gray) of the input, of a light Gaussian blur and of the model, its gain, SSIM of
        the three, and the share of photographs that came out ``worse`` than they went in;
        ``summary``: the same with bootstrap intervals and undefined cases (an infinite PSNR);
        ``cases``: cell to photograph to scores; ``worse``: that share over all; ``failures``: a
        `libimg.diagnose.FailureReport`; ``range`` and ``space`` of the scores.

    Raises:
        ValueError: two photographs have one name.

    Example:
        >>> photo = Photo("a", torch.zeros(3, 16, 16, dtype=torch.uint8))
        >>> found = evaluate_grid([photo], lambda x: x, cells=frozen_grid((25,), ()))
        >>> found["rows"]["noise 25"]["gain"], found["worse"]
        (0.0, 0.0)
    """
    names = [photo.name for photo in photos]
    if len(set(names)) < len(names):
        msg = f"photos: every photograph needs a name of its own, got {sorted(names)}"
        raise ValueError(msg)
    cases: dict[str, dict[str, dict[str, float]]] = {}
    failures = []
    jobs: Any = [(cell, number) for cell in cells for number in range(len(photos))]
    for cell, number in optional("tqdm", extra="tasks").tqdm(jobs) if progress else jobs:
        photo, params = photos[number], cells[cell]
        clean, degraded = degrade(photo, params, number=number)
        after = restore(model, degraded)
        images = {"input": degraded, "blur": gaussian_blur(degraded, BLUR), "restored": after}
        cases.setdefault(cell, {})[photo.name] = _scores(clean, images)
        about: Any = {"name": case_name(photo, cell), "data_range": RANGE}
        about |= {"sigma": params.sigma, "quality": params.quality}
        eight = (_eight_bit(x)[0] for x in (degraded, after))
        failures.append(diagnose.case_failures(clean[0], *eight, **about))
    summary = {cell: diagnose.summarise(found) for cell, found in cases.items()}
    every = [row["worse"] for found in cases.values() for row in found.values()]
    return {
        "rows": {cell: {k: v["mean"] for k, v in found.items()} for cell, found in summary.items()},
        "summary": summary,
        "cases": cases,
        "worse": sum(every) / len(every),
        "failures": diagnose.failure_report(failures),
        "range": [RANGE.lo, RANGE.hi],
        "space": "all channels, rounded to 8 bits",
    }


def case_name(photo: Photo, cell: str) -> str:
    """Name of a photograph in a cell."""
    return f"{photo.name}, {cell}"


def degrade(photo: Photo, params: DegradationParams, *, number: int = 0) -> tuple[Tensor, Tensor]:
    """Return a photograph as ``(1, c, h, w)`` in [0, 1], clean and degraded.

    Args:
        photo: gray ones are degraded gray.
        params: the record.
        number: of the photograph in its set, added to the seed, so that each has its own noise.

    Example:
        >>> photo = Photo("a", torch.full((3, 4, 4), 128, dtype=torch.uint8))
        >>> clean, degraded = degrade(photo, DegradationParams(sigma=20))
        >>> bool((clean == degraded).all())
        False
    """
    clean = photo.image[None].float() / 255
    return clean, Degradation.apply(clean, replace(params, seed=params.seed + number))


@torch.no_grad()
def restore(model: Model, degraded: Tensor) -> Tensor:
    """Restore one image as a file would be: gray goes in as RGB and comes out gray.

    Args:
        model: from ``(1, 3, h, w)`` in [0, 1] to the same.
        degraded: ``(1, c, h, w)``, c 1 or 3.

    Example:
        >>> restore(lambda x: x / 2, torch.ones(1, 1, 4, 4)).unique()
        tensor([0.5000])
    """
    answer = model(as_rgb(degraded[0])[None])[0]
    return restored(Picture(degraded[0]), answer).image[None]


def _scores(clean: Tensor, images: Mapping[str, Tensor]) -> dict[str, float]:
    row: dict[str, float] = {}
    clean = _eight_bit(clean)
    for kind, image in images.items():
        whole = _eight_bit(image)
        row[f"{kind} psnr"] = float(metrics.psnr(whole, clean, data_range=RANGE))
        row[f"{kind} ssim"] = float(metrics.ssim(whole, clean, data_range=RANGE))
    row["gain"] = row["restored psnr"] - row["input psnr"]
    row["worse"] = float(row["gain"] < 0)
    return row


def _eight_bit(image: Tensor) -> Tensor:
    return metrics.to_8bit(image.float(), data_range=RANGE)
