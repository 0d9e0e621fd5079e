"""Landmark detectors: the judge, which sees real X-rays only, and the way from photographs."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from libimg import losses, nets
from libimg.cephalometry.frames import Framed, draw_framed, within
from libimg.train import Run, cosine

__all__ = ["Detector", "build_detector", "fit_detector", "points_of"]


@dataclass(frozen=True, kw_only=True)
class Detector:
    """A landmark detector and its training.

    Args:
        channels: features of each level of its U-Net.
        stride: pixels that a cell of the heat maps covers along each side.
        sigma: of the heat maps' target, in pixels.
        steps: of training.
        batch: pictures in a step.
        rate: peak learning rate.
        jitter: largest shift as a share of the frame, and largest change of scale.
        noise: largest sigma of the noise added to a picture, in [-1, 1].

    Example:
        >>> Detector(steps=50).stride
        4
    """

    channels: tuple[int, ...] = (32, 64, 128)
    stride: int = 4
    sigma: float = 3.0
    steps: int = 300
    batch: int = 4
    rate: float = 2e-3
    jitter: float = 0.06
    noise: float = 0.1


def build_detector(config: Detector, *, inputs: int, landmarks: int, seed: int) -> nn.Module:
    """Build a detector; equal seeds give equal weights.

    Args:
        config: its settings.
        inputs: channels of the pictures, 1 for X-rays and 3 for photographs.
        landmarks: their number.
        seed: of the weights.

    Example:
        >>> net = build_detector(Detector(channels=(8, 8)), inputs=1, landmarks=19, seed=0)
        >>> net(torch.zeros(1, 1, 64, 64)).shape
        torch.Size([1, 19, 16, 16])
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return nets.LandmarkUNet(
            landmarks,
            in_channels=inputs,
            channels=config.channels,
            stride=config.stride,
        )


def fit_detector(
    run: Run,
    pairs: Sequence[Framed],
    *,
    config: Detector,
    source: Literal["input", "target"],
) -> nn.Module:
    """Train a detector, or read it where the run's folder holds it already.

    Args:
        run: holds its folder, seed and device.
        pairs: to train on.
        config: its settings.
        source: ``target`` shows it X-rays, ``input`` photographs.

    Returns:
        The network, for `points_of`.

    Example:
        >>> import tempfile
        >>> from libimg.cephalometry import Frame, Framed
        >>> from libimg.train import RunConfig
        >>> dark = torch.zeros(1, 32, 32)
        >>> pair = Framed(dark.expand(3, 32, 32), dark, dark + 1, torch.ones(2, 2), (1.0, 1.0))
        >>> detector = Detector(channels=(4, 8), steps=1, batch=1)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     config = RunConfig(folder=folder, accelerator="cpu", progress=False)
        ...     run = Run(config, settings={})
        ...     net = fit_detector(run, [pair], config=detector, source="target")
        >>> points_of(net, stride=4)(dark[None]).shape
        torch.Size([1, 2, 2])
    """
    first = pairs[0]
    inputs = len(first.xray if source == "target" else first.photo)
    seed = run.config.seed
    net = build_detector(config, inputs=inputs, landmarks=len(first.points), seed=seed)
    net = run.module("net", net)
    adam = torch.optim.AdamW(net.parameters(), lr=config.rate, weight_decay=1e-3)
    optimizer = run.optimizer("net", adam)
    run.resume()
    for step in run.steps(config.steps):
        for group in optimizer.param_groups:
            group["lr"] = config.rate * cosine(step / config.steps, warmup=0.05, final=0.0)
        generator = run.generator(step)
        drawn = draw_framed(pairs, batch=config.batch, jitter=config.jitter, generator=generator)
        level = config.noise * torch.rand(config.batch, 1, 1, 1, generator=generator)
        noise = torch.randn(drawn[source].shape, generator=generator)
        drawn |= {
            "seen": drawn[source] + level * noise,
            "points": within(drawn["points"], drawn["target"].shape[2:]),
        }
        batch = run.share({name: drawn[name] for name in ("seen", "points")})
        with run.autocast():
            maps = net(batch["seen"])
        loss = losses.heatmap_loss(
            maps.float(), batch["points"], sigma=config.sigma, stride=config.stride
        ).mean()
        last = step + 1 == config.steps
        numbers = run.update(optimizer, loss, measure=last)
        if last or (step + 1) % 100 == 0:
            run.log(step + 1, {"loss": float(loss.detach()), **numbers})
            run.save("last.pt", step=step + 1)
    run.close()
    return net.eval()


def points_of(net: nn.Module, *, stride: int) -> Callable[[Tensor], Tensor]:
    """Return the function from pictures ``(b, c, h, w)`` to points ``(b, n, 2)`` of a detector.

    Example:
        >>> net = build_detector(Detector(channels=(8, 8)), inputs=1, landmarks=19, seed=0)
        >>> points_of(net, stride=4)(torch.zeros(1, 1, 64, 64)).shape
        torch.Size([1, 19, 2])
    """

    @torch.no_grad()
    def detect(pictures: Float[Tensor, "b c h w"]) -> Float[Tensor, "b n 2"]:
        device = next(net.parameters()).device
        return nets.soft_argmax(net(pictures.to(device)), stride=stride).to(pictures.device)

    return detect
