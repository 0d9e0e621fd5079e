"""Denoise a long event file in bounded memory.

    python benchmarks/long_file.py [--events 100000000] [--channels 16 32 64] [--threads 2]

Writes a file of that many events at 480 x 640 (half on moving curves, half noise; 50 Mev/s), and
takes it through voxels, network, voxels and events into another file. Prints and saves the time
and the largest resident memory of the process, beside what it was before a file was opened.
"""

import argparse
import resource
import tempfile
import time
from pathlib import Path

import torch
from report import save, table
from voxels import stream

from libimg.denoising import Codec, restore_file
from libimg.events import EventFile, EventWriter
from libimg.nets import ResidualUNet3D, prepare_inference

PIECE, PIECE_US = 5_000_000, 100_000  # events and microseconds written at once


def memory() -> float:
    """Largest resident memory of this process so far, in GB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6


def make(path: Path, count: int) -> None:
    """Write the file, piece by piece."""
    piece = stream(PIECE)
    with EventWriter(path, sensor=piece.sensor, start_us=0) as writer:
        for number in range(-(-count // PIECE)):
            left = min(PIECE, count - number * PIECE)
            writer.append(piece[:left].shift(number * PIECE_US))


def main() -> None:
    """Write, restore, report."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--events", type=int, default=100_000_000)
    parser.add_argument("--channels", type=int, nargs="+", default=(16, 32, 64))
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    net = prepare_inference(ResidualUNet3D(channels=options.channels), compiled=False)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    rows: list[dict[str, object]] = []
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder) / "noisy.h5", Path(folder) / "clean.h5"
        make(source, options.events)
        size = source.stat().st_size / 1e9
        rows.append({"what": "before", "GB in memory": memory()})
        for what, model in (("codec alone", lambda v: v), ("network", net.to(device))):
            start = time.perf_counter()
            counts = restore_file(source, target, model, codec=Codec(), device=device)
            seconds = time.perf_counter() - start
            with EventFile(target) as file:
                assert (counts["events"], counts["kept"]) == (options.events, len(file))
            rows.append(
                {
                    "what": what,
                    "events": counts["events"],
                    "kept": counts["kept"],
                    "segments": counts["segments"],
                    "file GB": size,
                    "s": seconds,
                    "GB in memory": memory(),
                }
            )
    print(table(rows))
    print(save("long_file", rows))


if __name__ == "__main__":
    main()
