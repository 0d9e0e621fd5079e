"""Time `libimg.shapes.signed_distance` beside scipy and the edt package, two calls per class.

    python benchmarks/sdf.py [--threads 2] [--repeats 3] [--size 160]

Ten classes as in a heart: a wall around a cavity, chambers that touch, a thin vessel around all of
them. ``times`` is the row's time divided by libimg's; ``CPU ms`` is the time of all threads
together, which a busy machine disturbs less: read its ratios with one thread. ``differs`` is the
largest difference from scipy in millimetres, voxel centre to voxel centre. The edt package is timed
where it is installed.
"""

import argparse
import math
import statistics
import time
from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from report import save, table
from scipy.ndimage import distance_transform_edt
from torch import Tensor

from libimg._extras import optional
from libimg.shapes import signed_distance

CLASSES = range(1, 11)
SPACINGS = {"1 mm": (1.0, 1.0, 1.0), "0.63 x 0.49 x 0.49 mm": (0.63, 0.49, 0.49)}
BALLS = {  # class: centre and radii, in parts of the volume; later ones lie over earlier ones
    2: ((0.55, 0.66, 0.58), (0.15, 0.12, 0.17)),
    4: ((0.46, 0.62, 0.30), (0.17, 0.15, 0.13)),
    5: ((0.40, 0.36, 0.36), (0.18, 0.16, 0.15)),
    6: ((0.74, 0.50, 0.47), (0.20, 0.06, 0.06)),
    7: ((0.76, 0.38, 0.45), (0.14, 0.06, 0.07)),
    8: ((0.64, 0.52, 0.70), (0.05, 0.07, 0.05)),
    10: ((0.60, 0.80, 0.62), (0.04, 0.09, 0.20)),
    1: ((0.38, 0.44, 0.62), (0.24, 0.19, 0.18)),
    3: ((0.40, 0.45, 0.62), (0.20, 0.13, 0.12)),
}


def heart(n: int) -> Tensor:
    """Labels ``(n, n, n)`` of ten classes."""
    place = torch.stack(torch.meshgrid(*[(torch.arange(n) + 0.5) / n] * 3, indexing="ij"), -1)
    labels = torch.zeros(n, n, n, dtype=torch.uint8)
    for label, (centre, radii) in BALLS.items():
        away = (place - torch.tensor(centre)) / torch.tensor(radii)
        labels[away.square().sum(-1) < 1] = label
    for turn in torch.linspace(0, 1.5 * math.pi, 3 * n):
        middle = (0.62 - 0.06 * turn, 0.44 + 0.2 * turn.cos(), 0.62 + 0.19 * turn.sin())
        low, high = ([max(0, int(c * n) + e) for c in middle] for e in (-1, 2))
        labels[low[0] : high[0], low[1] : high[1], low[2] : high[2]] = 9
    return labels


def scipy_twice(labels: np.ndarray, spacing: tuple[float, ...]) -> np.ndarray:
    """What people write: one transform of each side of every class."""
    fields = np.empty((len(CLASSES), *labels.shape), np.float32)
    for field, label in zip(fields, CLASSES, strict=True):
        mask = labels == label
        field[:] = distance_transform_edt(~mask, sampling=spacing)
        field -= distance_transform_edt(mask, sampling=spacing)
    return fields


def edt_twice(
    labels: np.ndarray, spacing: tuple[float, ...], transform: Callable[..., np.ndarray]
) -> np.ndarray:
    """The same with the edt package."""
    fields = np.empty((len(CLASSES), *labels.shape), np.float32)
    options = {"anisotropy": spacing, "parallel": torch.get_num_threads()}
    for field, label in zip(fields, CLASSES, strict=True):
        mask = labels == label
        field[:] = transform(~mask, **options) - transform(mask, **options)
    return fields


def interleave(
    cases: dict[str, Callable[[], object]], repeats: int
) -> dict[str, tuple[float, float]]:
    """Median milliseconds of every case, by the clock and of the processor."""
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in cases}
    for _ in range(repeats):
        for name, run in cases.items():
            clock, processor = time.perf_counter(), time.process_time()
            run()
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            spent = time.perf_counter() - clock, time.process_time() - processor
            found[name].append((1e3 * spent[0], 1e3 * spent[1]))
    medians = {}
    for name, pairs in found.items():
        clocks, processors = zip(*pairs, strict=True)
        medians[name] = statistics.median(clocks), statistics.median(processors)
    return medians


def measure(size: int, repeats: int) -> list[dict[str, object]]:
    """Time every way at both spacings."""
    rows: list[dict[str, object]] = []
    labels = heart(size)
    values = labels.numpy()
    try:
        transform = optional("edt", extra="bench").edt
    except ImportError as error:
        print(error)
        transform = None
    for name, spacing in SPACINGS.items():
        ours = partial(signed_distance, labels, classes=CLASSES, spacing_mm=spacing)
        centres = partial(ours, surface="voxels")
        cases: dict[str, Callable[[], object]] = {
            "libimg": ours,
            "libimg, band of 10 mm": partial(ours, band_mm=10.0),
            "scipy": partial(scipy_twice, values, spacing),
        }
        truth = scipy_twice(values, spacing)
        found = {
            "libimg": centres().numpy() - truth,
            "libimg, band of 10 mm": centres(band_mm=10.0).numpy() - truth.clip(-10, 10),
        }
        if transform is not None:
            cases["edt"] = partial(edt_twice, values, spacing, transform)
            found["edt"] = edt_twice(values, spacing, transform) - truth
        if torch.cuda.is_available():
            there = labels.cuda()
            cases["libimg, GPU"] = partial(
                signed_distance, there, classes=CLASSES, spacing_mm=spacing
            )
            field = signed_distance(there, classes=CLASSES, spacing_mm=spacing, surface="voxels")
            found["libimg, GPU"] = field.cpu().numpy() - truth
        times = interleave(cases, repeats)
        for case, (ms, cpu) in times.items():
            differs = float(np.abs(found[case]).max()) if case in found else 0.0
            rows.append(
                {
                    "volume": f"{len(CLASSES)} classes, {size}^3, {name}",
                    "case": case,
                    "ms": ms,
                    "times": ms / times["libimg"][0],
                    "CPU ms": cpu,
                    "CPU times": cpu / times["libimg"][1],
                    "differs": differs,
                }
            )
    return rows


def main() -> None:
    """Run, print and save."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--size", type=int, default=160)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    rows = measure(options.size, options.repeats)
    print(table(rows))
    print(save("sdf", rows, repeats=options.repeats))


if __name__ == "__main__":
    main()
