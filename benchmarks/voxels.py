"""Time the event codec, filters and files beside the known projects' formulas, and tonic.

    python benchmarks/voxels.py [--threads 1] [--repeats 5] [--events 2000000]

Million events a second, 480 x 640 pixels, 8 bins. ``times`` is libimg's rate divided by the row's.
The formulas are the published ones in their own library (numpy or torch), the window given where
the project takes it from the data. tonic is imported where it is installed. With a GPU the same
encoders run there, with CUDA tensors in hand, and many short windows in one launch.
"""

import argparse
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch
from report import interleave, save, table
from torch import Tensor

from libimg import events as ev
from libimg._extras import optional

HEIGHT, WIDTH, BINS, DURATION = 480, 640, 8, 100_000
SLOW = 50_000  # events for code that loops in Python
Cases = dict[str, tuple[Callable[[], object], int]]
Row = dict[str, object]


def stream(count: int) -> ev.Events:
    """Events of edges that move: half of them on curves, half spread as noise."""
    random = np.random.default_rng(0)
    t = np.sort(random.integers(0, DURATION, count))
    phase = random.random(count) * 2 * np.pi
    edge = random.random(count) < 0.5
    x = 320 + (150 + t / DURATION * 40) * np.cos(phase) + random.normal(0, 1, count)
    y = 240 + (150 + t / DURATION * 40) * np.sin(phase) + random.normal(0, 1, count)
    x = np.where(edge, x, random.integers(0, WIDTH, count)).astype(np.int64)
    y = np.where(edge, y, random.integers(0, HEIGHT, count)).astype(np.int64)
    return ev.Events(t, x, y, random.integers(0, 2, count), sensor=(HEIGHT, WIDTH))


def numpy_two_taps(t: np.ndarray, x: np.ndarray, y: np.ndarray, p: np.ndarray) -> np.ndarray:
    """e2vid's formula in numpy, ``np.add.at``."""
    grid = np.zeros(BINS * HEIGHT * WIDTH, np.float32)
    s = (BINS - 1) * (t - t[0]) / (t[-1] - t[0])
    left = s.astype(np.int64)
    share = s - left
    pixel = x + y * WIDTH
    for bins, weight in ((left, 1 - share), (left + 1, share)):
        ok = bins < BINS
        np.add.at(grid, pixel[ok] + bins[ok] * HEIGHT * WIDTH, (p * weight)[ok])
    return grid.reshape(BINS, HEIGHT, WIDTH)


def torch_two_taps(t: Tensor, pixel: Tensor, p: Tensor, steps: float, shift: float) -> Tensor:
    """The two taps of e2vid (steps B - 1) and openeb (steps B, shift -1/2), ``index_add_``."""
    grid = torch.zeros(BINS * HEIGHT * WIDTH, device=t.device)
    s = (steps * (t - t[0]).float() / DURATION + shift).clamp(0, BINS - 1)
    left = s.floor()
    share = s - left
    left = left.long()
    right = (left + 1).clamp(max=BINS - 1)
    grid.index_add_(0, pixel + left * HEIGHT * WIDTH, p * (1 - share))
    grid.index_add_(0, pixel + right * HEIGHT * WIDTH, p * share)
    return grid.view(BINS, HEIGHT, WIDTH)


def histogram(t: np.ndarray, x: np.ndarray, y: np.ndarray, p: np.ndarray) -> np.ndarray:
    """The nearest bin with ``np.bincount``: the plain way to count."""
    bins = t * BINS // DURATION
    flat = np.bincount((bins * HEIGHT + y) * WIDTH + x, p, minlength=BINS * HEIGHT * WIDTH)
    return flat.reshape(BINS, HEIGHT, WIDTH)


def loop_decode(voxels: np.ndarray) -> list[tuple[float, int, int, int]]:
    """E-Flare's way back: a loop over the voxels that hold events, random times, then a sort."""
    random, found = np.random.default_rng(0), []
    for b, y, x in zip(*np.nonzero(voxels), strict=True):
        n = int(voxels[b, y, x])
        for _ in range(abs(n)):
            t = (b + random.random()) * DURATION / BINS
            found.append((t, int(x), int(y), 1 if n > 0 else -1))
    return sorted(found)


def encoders(events: ev.Events) -> tuple[Cases, Cases]:
    """Bilinear in time, and the nearest bin."""
    n, window = len(events), {"bins": BINS, "start_us": 0, "duration_us": DURATION}
    t, x, y = (v.numpy().astype(np.int64) for v in (events.t_us, events.x, events.y))
    p = events.p.numpy().astype(np.float64)
    args = (events.t_us, torch.from_numpy(x + y * WIDTH), events.p.float())
    ours = partial(ev.encode_voxels, events, **window)
    taps: Cases = {
        "libimg": (partial(ours, convention="e2vid"), n),
        "libimg, metavision": (partial(ours, convention="metavision"), n),
        "openeb's formula, torch": (partial(torch_two_taps, *args, BINS, -0.5), n),
        "e2vid's formula, torch": (partial(torch_two_taps, *args, BINS - 1, 0.0), n),
        "e2vid's formula, numpy": (partial(numpy_two_taps, t, x, y, p), n),
    }
    if (tonic := _tonic()) is not None:
        rows = np.rec.fromarrays([x, y, t, (p > 0).astype(np.int64)], names="x,y,t,p")

        def theirs() -> object:
            return tonic.functional.to_voxel_grid_numpy(rows.copy(), (WIDTH, HEIGHT, 2), BINS)

        taps["tonic"] = (theirs, n)
    nearest: Cases = {
        "libimg": (ours, n),
        "libimg, split": (partial(ours, polarity="split"), n),
        "np.bincount": (partial(histogram, t, x, y, p), n),
    }
    return taps, nearest


def others(events: ev.Events, folder: Path) -> dict[str, Cases]:
    """The way back, labels, filters and files."""
    n = len(events)
    window = {"start_us": 0, "duration_us": DURATION}
    voxels = ev.encode_voxels(events, bins=BINS, **window)
    few = ev.encode_voxels(events[:: n // SLOW], bins=BINS, **window)
    path = folder / "events.h5"
    ev.write_events(path, events)
    back: Cases = {
        "libimg, even": (partial(ev.decode_voxels, voxels, **window), int(voxels.abs().sum())),
        "E-Flare's loop": (partial(loop_decode, few.numpy()), int(few.abs().sum())),
    }
    filters: Cases = {
        "libimg, background activity": (partial(ev.background_activity_filter, events), n),
        "libimg, STCF": (partial(ev.stcf, events), n),
        "libimg, time surface": (partial(ev.time_surface_filter, events), n),
        "libimg, hot pixels": (partial(ev.hot_pixels, events), n),
    }
    if (tonic := _tonic()) is not None:
        part = events[: len(events) : n // SLOW]
        t, x, y, p = (v.numpy().astype(np.int64) for v in (part.t_us, part.x, part.y, part.p))
        rows = np.rec.fromarrays([x, y, t, p > 0], names="x,y,t,p")
        clean = partial(tonic.functional.denoise_numpy, rows, filter_time=5000)
        filters["tonic, background activity"] = (clean, len(part))

    def voxels_of_file() -> Tensor:
        return ev.encode_voxels(ev.read_events(path), bins=BINS, **window)

    return {
        "decode": back,
        "keep by voxels": {"libimg": (partial(ev.transfer_labels, events, voxels, **window), n)},
        "filters": filters,
        "files": {
            "libimg, HDF5 to events": (partial(ev.read_events, path), n),
            "libimg, HDF5 to voxels": (voxels_of_file, n),
            "libimg, events to HDF5": (partial(ev.write_events, folder / "out.h5", events), n),
        },
    }


def on_gpu(count: int) -> dict[str, Cases]:
    """The same encoders on the GPU, and a thousand windows of 100 us at once."""
    events = stream(count).to("cuda")
    window = {"bins": BINS, "start_us": 0, "duration_us": DURATION}
    pixel = events.x.long() + events.y.long() * WIDTH
    args = (events.t_us, pixel, events.p.float())
    compiled = torch.compile(torch_two_taps)
    ours = partial(ev.encode_voxels, events, **window)
    many = {"bins": 1, "start_us": 0, "windows": 1000, "duration_us": DURATION // 1000}
    return {
        "bilinear, GPU": {
            "libimg": (partial(ours, convention="e2vid"), count),
            "e2vid's formula, eager": (partial(torch_two_taps, *args, BINS - 1, 0.0), count),
            "e2vid's formula, compiled": (partial(compiled, *args, BINS - 1, 0.0), count),
        },
        "nearest, GPU": {
            "libimg": (ours, count),
            "libimg, 1000 windows": (partial(ev.encode_windows, events, **many), count),
        },
    }


def _tonic() -> object | None:
    try:
        return optional("tonic", extra="tonic")
    except ImportError:
        return None


def measure(groups: dict[str, Cases], repeats: int) -> list[Row]:
    """Time the groups, each in turns."""
    rows: list[Row] = []
    for what, cases in groups.items():
        times = interleave({name: run for name, (run, _) in cases.items()}, repeats)
        rates = {name: cases[name][1] / ms / 1e3 for name, ms in times.items()}
        first = next(iter(rates.values()))
        for name, rate in rates.items():
            ratio = first / rate if len(cases) > 1 and what not in ("filters", "files") else None
            if name.startswith("tonic, background"):
                ratio = first / rate
            rows.append({"what": what, "case": name, "Mev/s": rate, "times": ratio})
    return rows


def main() -> None:
    """Run on the CPU, and on the accelerator where there is one."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--events", type=int, default=2_000_000)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    events = stream(options.events)
    taps, nearest = encoders(events)
    with tempfile.TemporaryDirectory() as folder:
        groups = {"bilinear": taps, "nearest": nearest, **others(events, Path(folder))}
        rows = measure(groups, options.repeats)
    if torch.cuda.is_available():
        rows += measure(on_gpu(100_000_000), options.repeats)
    print(table(rows))
    print(save("voxels", rows, repeats=options.repeats, events=options.events))


if __name__ == "__main__":
    main()
