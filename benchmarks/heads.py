"""Time what photograph to X-ray needs beside its networks: letterbox, audit, landmarks, heads.

    python benchmarks/heads.py [--repeats 10]

The letterbox brings a photograph of 1520 x 1236 to 512 x 512. Beside it stand OpenCV's area
resize into a padded picture, from and to the same float tensors, and the bare antialiased resize
of torch. OpenCV takes part where it is installed.
"""

import argparse
from collections.abc import Callable

import numpy as np
import torch
from report import interleave, save, table
from torch import Tensor
from torch.nn import functional as F

from libimg import data, diagnose, nets, phantoms
from libimg._extras import optional

SIZE, TARGET = (1520, 1236), 512


def with_opencv(x: Tensor) -> Callable[[], Tensor] | None:
    """The loop of most projects: resize by area, copy into the middle of a blank picture."""
    try:
        cv2 = optional("cv2", extra="tasks")
    except ImportError as error:
        print(error)
        return None
    scale = TARGET / max(SIZE)
    height, width = (round(n * scale) for n in SIZE)

    def run() -> Tensor:
        array = x[0].permute(1, 2, 0).numpy()
        small = cv2.resize(array, (width, height), interpolation=cv2.INTER_AREA)
        blank = np.zeros((TARGET, TARGET, 3), np.float32)
        top, left = (TARGET - height) // 2, (TARGET - width) // 2
        blank[top : top + height, left : left + width] = small
        return torch.from_numpy(blank).permute(2, 0, 1)[None]

    return run


def main() -> None:
    """Measure, print and save."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=10)
    repeats = parser.parse_args().repeats
    case = phantoms.head(0, size=SIZE)
    photo, xray = case.photo[None], case.xray
    box = data.letterbox(SIZE, target=(TARGET, TARGET))
    there = box.image(photo)
    height, width = (round(n * TARGET / max(SIZE)) for n in SIZE)
    maps = torch.randn(8, 19, 128, 128, generator=torch.Generator().manual_seed(0))
    errors = [[1 + 8 / n + 0.1 * i for i in range(20)] for n in (8, 16, 32)]
    hashes = {f"{i}": (i * 0x9E3779B97F4A7C15) & (2**64 - 1) for i in range(2000)}
    groups: dict[str, dict[str, Callable[[], object]]] = {
        "letterbox, 1520 x 1236 to 512": {
            "libimg": lambda: box.image(photo),
            "torch's resize alone": lambda: F.interpolate(
                photo, (height, width), mode="bilinear", antialias=True
            ),
        },
        "back to 1520 x 1236": {"libimg": lambda: box.source_image(there)},
        "audit of one X-ray, 1520 x 1236": {"libimg": lambda: data.audit_image(xray)},
        "duplicates among 2000 hashes": {"libimg": lambda: data.duplicates(hashes)},
        "landmarks of 8 x 19 heat maps, 128 x 128": {
            "libimg": lambda: nets.soft_argmax(maps, stride=4)
        },
        "learning curve of three sizes": {
            "libimg": lambda: diagnose.learning_curve((8, 16, 32), errors, predict_at=60)
        },
        "built-in head, 380 x 309": {"libimg": lambda: phantoms.head(1, size=(380, 309))},
        "built-in head, 1520 x 1236": {"libimg": lambda: phantoms.head(1)},
    }
    plain = with_opencv(photo)
    if plain is not None:
        groups["letterbox, 1520 x 1236 to 512"]["OpenCV, area"] = plain
    rows = []
    for what, cases in groups.items():
        times = interleave(cases, repeats)
        for name, ms in times.items():
            rows.append({"what": what, "case": name, "ms": ms, "times": ms / times["libimg"]})
    print(table(rows))
    save("heads", rows)


if __name__ == "__main__":
    main()
