"""Time the online degradation beside OpenCV and kornia, and compare their JPEG with libjpeg's.

    python benchmarks/degradations.py [--repeats 20] [--size 256] [--quality 50] [--sigma 25]

Images a second on one core, from a clean float patch to the degraded float patch; ``times`` is
libimg's rate divided by the row's. The loops with OpenCV are the plain ones of restoration
projects: noise of numpy, clip and round, ``cv2.imencode``, ``cv2.imdecode``. Then PSNR to the
clean photograph: libjpeg's (Pillow), and how far above it each differentiable JPEG is. OpenCV and
kornia take part where they are installed.
"""

import argparse
from collections.abc import Callable
from functools import partial
from types import ModuleType

import numpy as np
import torch
from report import interleave, save, table
from torch import Tensor

from libimg import degradations as dg
from libimg._extras import optional

PHOTOGRAPHS = ("astronaut", "chelsea", "coffee", "rocket")
QUALITIES = (5, 10, 15, 20, 30, 40, 50, 60, 70, 80, 90, 95, 100)
Cases = dict[str, tuple[Callable[[], object], int]]
Row = dict[str, object]


def photographs(size: int) -> Tensor:
    """Centre crops of the photographs that scikit-image carries."""
    data = optional("skimage.data", extra="tasks")
    crops = []
    for name in PHOTOGRAPHS:
        pixels = getattr(data, name)()
        y, x = (pixels.shape[0] - size) // 2, (pixels.shape[1] - size) // 2
        crops.append(torch.from_numpy(pixels[y : y + size, x : x + size].copy()))
    return torch.stack(crops).permute(0, 3, 1, 2).float().contiguous() / 255


def installed(module: str) -> ModuleType | None:
    """Import a peer, or None where it is not installed."""
    try:
        found: ModuleType = optional(module, extra="bench")
    except ImportError:
        return None
    return found


def opencv(image: Tensor, cv2: ModuleType, draw: Callable[[], np.ndarray], quality: int) -> Tensor:
    """The plain loop: noise, clip and round, encode, decode; RGB in and out."""
    pixels = image.permute(1, 2, 0).numpy() * 255
    levels = np.clip(np.round(pixels + draw()), 0, 255).astype(np.uint8)
    levels = cv2.cvtColor(levels, cv2.COLOR_RGB2BGR)
    _, code = cv2.imencode(".jpg", levels, [cv2.IMWRITE_JPEG_QUALITY, quality])
    back = cv2.cvtColor(cv2.imdecode(code, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)
    return torch.from_numpy(back.transpose(2, 0, 1).astype(np.float32) / 255)


def throughput(size: int, sigma: float, quality: int) -> dict[str, Cases]:
    """The whole degradation and the JPEG alone."""
    batch = photographs(size)
    count, many = len(batch), [*batch] * 4
    config = dg.Degradation(sigma_range=(sigma, sigma), quality_range=(quality, quality))
    generator = torch.Generator().manual_seed(0)
    levels, shape = torch.full((count,), quality), (size, size, 3)

    def ours() -> list[Tensor]:
        return [config.apply(image, config.sample(generator)) for image in many]

    def ours_differentiable() -> Tensor:
        noisy = dg.gaussian_noise(batch, sigma, generator=generator)
        return dg.differentiable_jpeg(noisy, quality=levels)

    def one_by_one(code: Callable[[Tensor], Tensor]) -> tuple[Callable[[], object], int]:
        return (lambda: [code(image) for image in many], len(many))

    whole: Cases = {
        "libimg": (ours, len(many)),
        "libimg, differentiable": (ours_differentiable, count),
    }
    alone: Cases = {
        "libimg": one_by_one(partial(dg.jpeg, quality=quality)),
        "libimg, differentiable": (
            partial(dg.differentiable_jpeg, batch, quality=levels),
            count,
        ),
    }
    if (cv2 := installed("cv2")) is not None:
        cv2.setNumThreads(1)
        old, new = np.random.RandomState(0), np.random.default_rng(0)

        def fast() -> np.ndarray:
            return new.standard_normal(shape, np.float32) * np.float32(sigma)

        def slow() -> np.ndarray:
            return old.normal(0, sigma, shape)

        loop = partial(partial, opencv, cv2=cv2, quality=quality)
        whole["OpenCV, np.random.normal"] = one_by_one(loop(draw=slow))
        whole["OpenCV, default_rng float32"] = one_by_one(loop(draw=fast))
        alone["OpenCV"] = one_by_one(loop(draw=lambda: np.float32(0)))
    if (kornia := installed("kornia.enhance")) is not None:
        codec, q = kornia.jpeg_codec_differentiable, levels.float()

        def theirs() -> Tensor:
            noisy = (batch + torch.randn_like(batch) * (sigma / 255)).clamp(0, 1)
            return codec((noisy * 255).round() / 255, q)

        whole["kornia, differentiable"] = (theirs, count)
        alone["kornia, differentiable"] = (partial(codec, batch, q), count)
    return {"noise + JPEG": whole, "JPEG": alone}


def measure(groups: dict[str, Cases], repeats: int) -> list[Row]:
    """Time the groups, each in turns."""
    rows: list[Row] = []
    for what, cases in groups.items():
        times = interleave({name: run for name, (run, _) in cases.items()}, repeats)
        rates = {name: 1e3 * cases[name][1] / ms for name, ms in times.items()}
        first = rates["libimg"]
        for name, rate in rates.items():
            rows.append({"what": what, "case": name, "images/s": rate, "times": first / rate})
    return rows


def psnr(a: Tensor, b: Tensor) -> Tensor:
    """Decibels for each image, values in [0, 1]."""
    return -10 * (a - b).square().mean((1, 2, 3)).log10()


def agreement(size: int) -> list[Row]:
    """PSNR to the clean photographs above libjpeg's, mean and the largest difference."""
    clean, rows = photographs(size), []
    kornia = installed("kornia.enhance")
    for quality in QUALITIES:
        true = psnr(dg.jpeg(clean, quality), clean)
        levels = torch.full((len(clean),), quality)
        row: Row = {"quality": quality, "libjpeg dB": float(true.mean())}
        outs = {"libimg": dg.differentiable_jpeg(clean, quality=levels)}
        if kornia is not None:
            outs["kornia"] = kornia.jpeg_codec_differentiable(clean, levels.float())
        for name, out in outs.items():
            above = psnr(out, clean) - true
            row[f"{name} - libjpeg"] = f"{float(above.mean()):+.3f}"
            row[f"{name}, largest"] = f"{float(above.abs().max()):.3f}"
        rows.append(row)
    return rows


def main() -> None:
    """Run on one core of the CPU."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=20)
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--quality", type=int, default=50)
    parser.add_argument("--sigma", type=float, default=25)
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows = measure(throughput(options.size, options.sigma, options.quality), options.repeats)
    print(table(rows), end="\n\n")
    gaps = agreement(options.size)
    print(table(gaps))
    print(save("degradations", rows, agreement=gaps, **vars(options)))


if __name__ == "__main__":
    main()
