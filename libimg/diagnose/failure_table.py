"""Where restoration fails over a set: gain by kind and strength, rate of images made worse."""

import math
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from libimg.diagnose.failures import CaseFailures, Crop, decibels, worst_first
from libimg.diagnose.kinds import KINDS

__all__ = ["Cell", "FailureReport", "failure_report"]


@dataclass(frozen=True)
class Cell:
    """Gain in one kind of pixel, one bin of sigma and one of quality.

    Args:
        kind: one of `KINDS`, or ``"all"``.
        sigma: the bin, such as ``"[0, 10)"``, or ``"none"``.
        quality: the same.
        images: cases with such a pixel.
        worse: those whose error in this cell grew.
        pixels: number of pixels.
        gain: PSNR gain in dB of their pooled error; NaN without pixels.

    Example:
        >>> Cell("flat", "[0, 10)", "none", images=4, worse=1, pixels=400, gain=2.0).worse_rate
        0.25
    """

    kind: str
    sigma: str
    quality: str
    images: int
    worse: int
    pixels: int
    gain: float

    @property
    def worse_rate(self) -> float:
        """Share of the images whose error grew here; NaN without images."""
        return self.worse / self.images if self.images else math.nan


@dataclass(frozen=True)
class FailureReport:
    """Result of `failure_report`.

    Args:
        images: number of cases.
        worse: names of those whose prediction is worse than their input, in the given order.
        cells: every kind and every pair of bins that a case falls in; ``"all"`` last in each.
        crops: the worst of all cases, the worst first.

    Example:
        >>> FailureReport(images=200, worse=("a",), cells=(), crops=()).worse_rate
        0.005
    """

    images: int
    worse: tuple[str, ...]
    cells: tuple[Cell, ...]
    crops: tuple[Crop, ...]

    @property
    def worse_rate(self) -> float:
        """Share of the images whose prediction is worse than their input."""
        return len(self.worse) / self.images

    def rows(self) -> dict[str, dict[str, float]]:
        """Gain in dB of each kind, and the rate of worse images, for `markdown_table`."""
        table: dict[str, dict[str, float]] = {}
        for cell in self.cells:
            row = table.setdefault(f"sigma {cell.sigma}, quality {cell.quality}", {})
            row[cell.kind] = cell.gain
            if cell.kind == "all":
                row["worse"] = cell.worse_rate
        return table


def failure_report(
    cases: Iterable[CaseFailures],
    *,
    sigma_edges: Sequence[float] = (0, 10, 20, 35, 75),
    quality_edges: Sequence[float] = (1, 20, 40, 65, 90, 100),
    worst: int = 12,
) -> FailureReport:
    """Add cases up to a gain for every kind of pixel, bin of sigma and bin of quality.

    Errors are pooled over the pixels of a cell before the PSNR is taken, so that no image with
    three pixels of a kind decides. No noise and no JPEG have a bin of their own, ``"none"``.

    Args:
        cases: what `case_failures` returned, one an image and degradation.
        sigma_edges: rising; a bin holds its lower end, the last one also its upper end.
        quality_edges: the same.
        worst: how many crops to keep, those of least gain, at most two of one case.

    Returns:
        The report. Draw its crops with `libimg.figures.panel`, cutting each image by
        ``crop.window``.

    Raises:
        ValueError: there is no case, two have one name, one lies outside the edges, or the edges
            do not rise.

    Example:
        >>> import torch
        >>> from libimg.diagnose.failures import case_failures
        >>> x = torch.zeros(1, 8, 8)
        >>> report = failure_report(
        ...     case_failures(
        ...         x, x + 0.1, x + after, name=f"{after}", sigma=15, quality=None, data_range=1.0
        ...     )
        ...     for after in (0.01, 0.2)
        ... )
        >>> report.worse_rate, report.worse, report.crops[0].name
        (0.5, ('0.2',), '0.2')
        >>> [(c.kind, c.sigma, c.quality, c.worse, round(c.gain, 2)) for c in report.cells[::3]]
        [('flat', '[10, 20)', 'none', 1, -3.02), ('all', '[10, 20)', 'none', 1, -3.02)]
    """
    cases = list(cases)
    if not cases:
        msg = "cases: expected at least one, got none"
        raise ValueError(msg)
    names = Counter(case.name for case in cases)
    if len(names) < len(cases):
        msg = f"cases: expected one name each, got {[n for n, k in names.items() if k > 1]} again"
        raise ValueError(msg)
    for what, edges in (("sigma_edges", sigma_edges), ("quality_edges", quality_edges)):
        if len(edges) < 2 or any(low >= high for low, high in pairwise(edges)):
            msg = f"{what} must be at least two rising numbers, got {tuple(edges)}"
            raise ValueError(msg)
    bins: dict[tuple[int, int], list[CaseFailures]] = {}
    for case in cases:
        noise = _bin(case.sigma or None, sigma_edges, f"{case.name}: sigma")
        loss = _bin(case.quality, quality_edges, f"{case.name}: quality")
        bins.setdefault((noise, -loss if loss >= 0 else -len(quality_edges)), []).append(case)
    cells = []
    for (noise, loss), some in sorted(bins.items(), key=lambda item: item[0]):  # light first
        names_of = _label(noise, sigma_edges), _label(-loss, quality_edges)
        for i, kind in enumerate((*KINDS, "all")):
            part = slice(i, i + 1) if i < len(KINDS) else slice(None)
            cells.append(_cell(some, part, kind, *names_of))
    crops = worst_first(crop for case in cases for crop in case.crops[:2])
    return FailureReport(
        images=len(cases),
        worse=tuple(case.name for case in cases if case.worse),
        cells=tuple(cells),
        crops=tuple(crops[:worst]),
    )


def _cell(cases: list[CaseFailures], part: slice, kind: str, sigma: str, quality: str) -> Cell:
    seen = [case for case in cases if sum(case.pixels[part])]
    before = [sum(case.degraded_error[part]) for case in seen]
    after = [sum(case.restored_error[part]) for case in seen]
    return Cell(
        kind=kind,
        sigma=sigma,
        quality=quality,
        images=len(seen),
        worse=sum(b > a for a, b in zip(before, after, strict=True)),
        pixels=sum(sum(case.pixels[part]) for case in seen),
        gain=decibels(sum(before), sum(after)) if seen else math.nan,
    )


def _bin(value: float | None, edges: Sequence[float], what: str) -> int:
    """Index of the bin that ``value`` falls in; -1 for None."""
    if value is None:
        return -1
    if not edges[0] <= value <= edges[-1]:
        msg = f"{what} {value:g} lies outside the edges {tuple(edges)}"
        raise ValueError(msg)
    return min(bisect_right(edges, value), len(edges) - 1) - 1


def _label(index: int, edges: Sequence[float]) -> str:
    if not 0 <= index < len(edges) - 1:
        return "none"
    end = "]" if index == len(edges) - 2 else ")"
    return f"[{edges[index]:g}, {edges[index + 1]:g}{end}"
