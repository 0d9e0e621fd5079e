"""Pictures of restoration: what went in, what came out, what is true, and where it fails."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from torch import Tensor

from libimg import figures, metrics
from libimg.degradations import DegradationParams
from libimg.diagnose import FailureReport
from libimg.io import as_rgb
from libimg.restoration.evaluate import RANGE, Model, case_name, degrade, restore
from libimg.restoration.photos import Photo

__all__ = ["failure_sheet", "photo_sheet"]

COLUMNS = ("degraded", "restored", "clean")


def photo_sheet(
    path: Path, photos: Sequence[Photo], model: Model, *, cells: Mapping[str, DegradationParams]
) -> Path:
    """Write degraded, restored and clean photographs as one picture, a row for each cell.

    Args:
        path: picture.
        photos: gray or RGB.
        model: see `evaluate_grid`.
        cells: what is done to each.

    Returns:
        ``path``.

    Example:
        >>> import tempfile, torch
        >>> from libimg.restoration import frozen_grid
        >>> photo = Photo("a", torch.zeros(3, 16, 16, dtype=torch.uint8))
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder) / "sheet.png"
        ...     photo_sheet(path, [photo], lambda x: x, cells=frozen_grid((25,), ())).exists()
        True
    """
    rows, labels = [], []
    for number, photo in enumerate(photos):
        for name, params in cells.items():
            clean, degraded = degrade(photo, params, number=number)
            images = (degraded, restore(model, degraded), clean)
            rows.append([_tile(image[0]) for image in images])
            before, after = (_psnr(image, clean) for image in images[:2])
            labels.append(f"{photo.name}\n{name}\n{before:.1f} → {after:.1f} dB")
    return figures.panel(path, rows, columns=COLUMNS, labels=labels)


def failure_sheet(
    path: Path,
    report: FailureReport,
    photos: Sequence[Photo],
    model: Model,
    *,
    cells: Mapping[str, DegradationParams],
) -> Path:
    """Write the crops that restoring helped least, the worst first.

    Args:
        path: picture.
        report: ``"failures"`` of `evaluate_grid` with the same photographs, model and cells.
        photos: see `evaluate_grid`.
        model: see `evaluate_grid`.
        cells: see `evaluate_grid`.

    Returns:
        ``path``.

    Example:
        >>> import tempfile, torch
        >>> from libimg.restoration import evaluate_grid, frozen_grid
        >>> photo = Photo("a", torch.zeros(3, 16, 16, dtype=torch.uint8))
        >>> given = [photo], (lambda x: x)
        >>> cells = frozen_grid((25,), ())
        >>> report = evaluate_grid(*given, cells=cells)["failures"]
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     failure_sheet(Path(folder) / "f.png", report, *given, cells=cells).name
        'f.png'
    """
    where = {case_name(p, c): (i, p, c) for i, p in enumerate(photos) for c in cells}
    rows, labels = [], []
    for crop in report.crops:
        number, photo, cell = where[crop.name]
        clean, degraded = degrade(photo, cells[cell], number=number)
        images = (degraded, restore(model, degraded), clean)
        rows.append([_tile(image[0][crop.window]) for image in images])
        labels.append(f"{photo.name}\n{cell}\n{crop.gain:+.1f} dB")
    return figures.panel(path, rows, columns=COLUMNS, labels=labels, inches=1.6)


def _tile(image: Tensor) -> figures.Tile:
    return figures.Tile(as_rgb(image), RANGE)


def _psnr(image: Tensor, clean: Tensor) -> float:
    eight = metrics.to_8bit(image.float(), data_range=RANGE)
    return float(metrics.psnr(eight, clean, data_range=RANGE))
