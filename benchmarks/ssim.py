"""SSIM forward and backward, ours beside the peers: ``python benchmarks/ssim.py --threads 2``.

Every method computes the mean SSIM of the same pair (11-tap Gaussian, valid region where the
peer has it) and the gradient by the first image. Peers that are not installed are listed.
"""

import argparse
import warnings
from collections.abc import Callable
from functools import partial

import torch
from report import interleave, save, table
from torch import Tensor

from libimg._ops import ssim as core
from libimg.losses.structural import ssim

Index = Callable[[Tensor, Tensor], Tensor]

SIZES = {
    "cpu": {"2D": (2, 3, 256, 256), "3D": (1, 1, 48, 96, 96)},
    "cuda": {"2D": (8, 3, 512, 512), "3D": (2, 1, 96, 192, 192)},
}


def ours(x: Tensor, y: Tensor) -> Tensor:
    """Compiled loops on the CPU, torch operations elsewhere."""
    return ssim(x, y, data_range=1.0).mean()


def torch_path(x: Tensor, y: Tensor) -> Tensor:
    """The path of float64 and accelerators, on any device."""
    chosen, core._loops_for = core._loops_for, lambda _: None
    try:
        return ours(x, y)
    finally:
        core._loops_for = chosen


def kornia_peer(axes: int) -> Index:
    """Mean of the map, which kornia pads to the full size."""
    from kornia.metrics import ssim, ssim3d

    index = ssim if axes == 2 else ssim3d
    return lambda x, y: 1 - index(x, y, 11, 1.0).mean()


def torchmetrics_peer(_axes: int) -> Index:
    """Plain function of torchmetrics."""
    from torchmetrics.functional.image import structural_similarity_index_measure as index

    return lambda x, y: 1 - index(x, y, data_range=1.0)


def pytorch_msssim_peer(_axes: int) -> Index:
    """Plain function of pytorch-msssim."""
    from pytorch_msssim import ssim

    return lambda x, y: 1 - ssim(x, y, 1.0)


def piq_peer(axes: int) -> Index:
    """Plain function of piq, without its down-sampling."""
    from piq import ssim

    if axes == 3:
        msg = "2D only"
        raise NotImplementedError(msg)
    return lambda x, y: 1 - ssim(x, y, data_range=1.0, downsample=False)


def monai_peer(axes: int) -> Index:
    """Loss of MONAI."""
    from monai.losses import SSIMLoss

    return SSIMLoss(spatial_dims=axes, data_range=1.0)


PEERS = {
    "kornia": kornia_peer,
    "torchmetrics": torchmetrics_peer,
    "pytorch-msssim": pytorch_msssim_peer,
    "piq": piq_peer,
    "monai": monai_peer,
}


def step(index: Index, x: Tensor, y: Tensor) -> Tensor:
    """One forward and backward pass; returns the gradient."""
    return torch.autograd.grad(index(x, y), x)[0]


def main() -> None:
    """Time all methods on all sizes, print the table and write the JSON file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--compile", action="store_true", help="add torch.compile (slow to start)")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.backends.cudnn.allow_tf32 = False  # or the peers lose their digits
    warnings.simplefilter("ignore")
    rows: list[dict[str, object]] = []
    missing: dict[str, str] = {}
    for device in ("cpu", *(["cuda"] if torch.cuda.is_available() else [])):
        for name, shape in SIZES[device].items():
            methods: dict[str, Index] = {"libimg": ours}
            if device == "cpu":
                methods["libimg (torch operations)"] = torch_path
            if options.compile:
                methods["libimg (torch.compile)"] = torch.compile(ours)
            for peer, build in PEERS.items():
                try:
                    methods[peer] = build(len(shape) - 2)
                except (ImportError, NotImplementedError) as error:
                    missing[f"{peer} {name}"] = str(error)
            x, y = (torch.rand(shape, device=device) for _ in range(2))
            x.requires_grad_()
            cases = {key: partial(step, index, x, y) for key, index in methods.items()}
            times = interleave(cases, options.repeats)
            size = "x".join(map(str, shape))
            rows += [
                {"case": f"{name} {size} {device}", "method": key, "ms": ms,
                 "times libimg": ms / times["libimg"]}
                for key, ms in times.items()
            ]  # fmt: skip
    print(table(rows))
    for peer, reason in missing.items():
        print(f"missing: {peer} ({reason})")
    save("ssim", rows, missing=missing, repeats=options.repeats)


if __name__ == "__main__":
    main()
