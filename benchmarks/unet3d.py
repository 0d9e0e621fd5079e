"""Time `libimg.nets.ResidualUNet3D` beside pytorch-3dunet's network of the same shape.

    python benchmarks/unet3d.py [--threads 2] [--repeats 5] [--size 8 240 320] [--train]

Inference on the CPU, and with ``--train`` a step of training; with a GPU both at 8 x 480 x 640.
pytorch-3dunet is measured where it can be imported (``pip install`` it from its repository).
``differs`` is the largest difference from the float32 result, over the largest value.
"""

import argparse
from collections.abc import Callable
from copy import deepcopy

import torch
from report import interleave, save, table
from torch import Tensor, nn

from libimg.nets import ResidualUNet3D, load_3dunet_weights, prepare_inference

Row = dict[str, object]
LAST = torch.channels_last_3d


def peer() -> nn.Module | None:
    """Build the other project's network: 32-64-128-256, identity outside, no sigmoid."""
    try:
        from pytorch3dunet.unet3d.model import ResidualUNet3D as Theirs
    except ImportError:
        return None
    return Theirs(1, 1, final_sigmoid=False, f_maps=32, num_levels=4, is_segmentation=False).eval()


def cast(net: nn.Module, device: str) -> Callable[[Tensor], Tensor]:
    """Run a network under bfloat16 autocast."""

    def run(x: Tensor) -> Tensor:
        with torch.no_grad(), torch.autocast(device, torch.bfloat16):
            return x + net(x)

    return run


def plain(net: nn.Module) -> Callable[[Tensor], Tensor]:
    """Run a network without gradients."""

    def run(x: Tensor) -> Tensor:
        with torch.no_grad():
            return x + net(x)

    return run


def inference(size: tuple[int, ...], device: str, repeats: int) -> list[Row]:
    """Time one sample."""
    torch.manual_seed(0)
    theirs, ours = peer(), ResidualUNet3D(identity=False).to(device).eval()
    x = torch.randn(1, 1, *size, device=device).round()
    cases: dict[str, Callable[[Tensor], Tensor]] = {}
    joined = ResidualUNet3D().to(device).eval()
    if theirs is not None:
        load_3dunet_weights(ours, theirs.state_dict())
        theirs.to(device)
    joined.load_state_dict(ours.state_dict())
    cases["libimg, bf16 compiled"] = prepare_inference(joined)
    cases["libimg, bf16"] = prepare_inference(joined, compiled=False)
    cases["libimg, float32 compiled"] = prepare_inference(joined, dtype=torch.float32)
    cases["libimg, float32"] = plain(ours)
    if theirs is not None:
        cases["pytorch-3dunet, float32"] = plain(theirs)
        cases["pytorch-3dunet, channels last"] = plain(deepcopy(theirs).to(memory_format=LAST))
        cases["pytorch-3dunet, bf16 autocast"] = cast(theirs, device)
    wanted = cases["libimg, float32"](x)
    times = interleave({k: lambda run=run: run(x) for k, run in cases.items()}, repeats)
    first = next(iter(times.values()))
    return [
        {
            "what": f"inference {'x'.join(map(str, size))} {device}",
            "case": name,
            "ms": ms,
            "ratio": ms / first,
            "differs": float((cases[name](x) - wanted).abs().max() / wanted.abs().max()),
        }
        for name, ms in times.items()
    ]


def step(net: Callable[[Tensor], Tensor], weights: nn.Module, x: Tensor, low: bool) -> None:
    """One forward and backward pass and an update."""
    with torch.autocast(x.device.type, torch.bfloat16, enabled=low):
        loss = (net(x) - x).float().square().mean()
    loss.backward()
    with torch.no_grad():
        for p in weights.parameters():
            if p.grad is not None:
                p -= 1e-4 * p.grad
                p.grad = None


def training(size: tuple[int, ...], device: str, repeats: int) -> list[Row]:
    """Time one step; the other project's bfloat16 step only on a GPU, where it is right."""
    torch.manual_seed(0)
    x = torch.randn(1, 1, *size, device=device).to(memory_format=LAST)
    ours, theirs = ResidualUNet3D().to(device, memory_format=LAST), peer()
    fast = torch.compile(ours) if device == "cuda" else ours
    cases: dict[str, Callable[[], None]] = {
        "libimg, bf16": lambda: step(fast, ours, x, True),
        "libimg, float32": lambda: step(ours, ours, x, False),
    }
    if theirs is not None:
        net = theirs.to(device).train()
        y = x.contiguous()
        cases["pytorch-3dunet, float32"] = lambda: step(net, net, y, False)
        if device == "cuda":
            cases["pytorch-3dunet, bf16 autocast"] = lambda: step(net, net, y, True)
    times = interleave(cases, repeats)
    first = next(iter(times.values()))
    what = f"training step {'x'.join(map(str, size))} {device}"
    return [
        {"what": what, "case": name, "ms": ms, "ratio": ms / first} for name, ms in times.items()
    ]


def main() -> None:
    """Run on the CPU, and on the accelerator where there is one."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--size", type=int, nargs=3, default=(8, 240, 320))
    parser.add_argument("--train", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    size = tuple(options.size)
    rows = inference(size, "cpu", options.repeats)
    if options.train:
        rows += training(size, "cpu", max(1, options.repeats // 2))
    if torch.cuda.is_available():
        rows += inference((8, 480, 640), "cuda", options.repeats)
        rows += training((8, 480, 640), "cuda", options.repeats)
    print(table(rows))
    print(save("unet3d", rows, repeats=options.repeats))


if __name__ == "__main__":
    main()
