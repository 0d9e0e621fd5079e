"""Time `libimg.registration.warp` beside grid_sample, MONAI, voxelmorph's formula and kornia.

    python benchmarks/warp.py [--threads 2] [--repeats 7]

``grid_sample`` is given its grid ready-made; all the others start from a flow in voxels, as ours
does. ``ratio`` is the time divided by ours. ``differs`` is the largest difference from
``grid_sample`` in float64, over all voxels that sample inside the image (paddings differ outside).
"""

import argparse
import warnings
from collections.abc import Callable
from functools import partial

import torch
from report import interleave, save, table
from torch import Tensor
from torch.nn import functional as F

from libimg.registration import warp

SIZES = {"3D": (1, 1, 96, 160, 160), "2D": (2, 1, 512, 512)}
Warp = Callable[[Tensor, Tensor], Tensor]


def identity(size: tuple[int, ...], like: Tensor) -> Tensor:
    """Positions in voxels, ``(1, n, *size)``."""
    axes = [torch.arange(n, dtype=like.dtype, device=like.device) for n in size]
    return torch.stack(torch.meshgrid(*axes, indexing="ij")).unsqueeze(0)


def normalised(place: Tensor) -> Tensor:
    """Positions in voxels to the grid of ``grid_sample``: last axis first, ``[-1, 1]``."""
    size = place.new_tensor([n - 1 for n in place.shape[2:]]).view(1, -1, *[1] * (place.ndim - 2))
    return (2 * (place / size - 0.5)).movedim(1, -1).flip(-1)


def smooth_flow(shape: tuple[int, ...], *, device: torch.device) -> Tensor:
    """A flow of some voxels that changes over sixteen, as a network predicts it."""
    b, _, *size = shape
    coarse = torch.randn(b, len(size), *[n // 16 for n in size], device=device)
    mode = "bilinear" if len(size) == 2 else "trilinear"
    return 3 * F.interpolate(coarse, size=size, mode=mode, align_corners=True)


def cases(moving: Tensor, flow: Tensor) -> dict[str, tuple[Warp, Tensor]]:
    """Every implementation, with its second argument: a flow, or a grid where that is taken."""
    place = identity(tuple(moving.shape[2:]), moving)
    grid = normalised(place + flow).contiguous()
    options = {"padding_mode": "border", "align_corners": True}
    found: dict[str, tuple[Warp, Tensor]] = {
        "libimg": (warp, flow),
        "grid_sample, grid given": (lambda x, g: F.grid_sample(x, g, **options), grid),
        "voxelmorph's formula": (
            lambda x, u: F.grid_sample(x, normalised(place + u), align_corners=True),
            flow,
        ),
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from monai.networks.blocks import Warp as MonaiWarp

        found["monai Warp"] = (MonaiWarp(mode="bilinear", padding_mode="border"), flow)
        if flow.shape[1] == 2:
            from kornia.geometry import remap

            def kornia(x: Tensor, u: Tensor) -> Tensor:
                y, x_ = (place + u).unbind(1)
                return remap(x, x_, y, padding_mode="border", align_corners=True)

            found["kornia remap"] = (kornia, flow)
    return found


def forward_backward(function: Warp, moving: Tensor, second: Tensor) -> None:
    """One step of training: gradients to the image and to the flow (or the grid)."""
    x, u = moving.detach().requires_grad_(), second.detach().requires_grad_()
    function(x, u).sum().backward()


def measure(device: torch.device, repeats: int) -> list[dict[str, object]]:
    """Time all implementations at all sizes."""
    rows: list[dict[str, object]] = []
    for name, shape in SIZES.items():
        torch.manual_seed(0)
        moving, flow = torch.randn(shape, device=device), smooth_flow(shape, device=device)
        every = cases(moving, flow)
        place = identity(shape[2:], flow.double()) + flow.double()
        truth = F.grid_sample(
            moving.double(), normalised(place), padding_mode="border", align_corners=True
        )
        ends = place.new_tensor([n - 1 for n in shape[2:]]).view(1, -1, *[1] * (place.ndim - 2))
        inside = ((place > 0) & (place < ends)).all(1, keepdim=True)
        once = interleave(
            {case: partial(run, moving, second) for case, (run, second) in every.items()}, repeats
        )
        both = interleave(
            {
                case: partial(forward_backward, run, moving, second)
                for case, (run, second) in every.items()
            },
            repeats,
        )
        for case, (function, second) in every.items():
            differs = ((function(moving, second) - truth) * inside).abs().max().item()
            rows.append(
                {
                    "size": f"{name} {'x'.join(map(str, shape))}",
                    "device": device.type,
                    "case": case,
                    "forward ms": once[case],
                    "ratio": once[case] / once["libimg"],
                    "forward+backward ms": both[case],
                    "ratio of both": both[case] / both["libimg"],
                    "differs": differs,
                }
            )
    return rows


def main() -> None:
    """Run on the CPU, and on the accelerator where there is one."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=7)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    rows = measure(torch.device("cpu"), options.repeats)
    if torch.cuda.is_available():
        rows += measure(torch.device("cuda"), options.repeats)
    print(table(rows))
    print(save("warp", rows, repeats=options.repeats))


if __name__ == "__main__":
    main()
