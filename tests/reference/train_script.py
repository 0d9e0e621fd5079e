"""A small GAN with spectral norm and R1, as a script: train_script.py FOLDER NAME [--slow] [--devices=2]."""

import sys
import time
from pathlib import Path

import torch
from torch import nn

from libimg.gan import PatchDiscriminator, frozen, r1_penalty
from libimg.losses import gan_discriminator, gan_generator, l1
from libimg.train import Run, RunConfig


def main(folder: str, name: str, *options: str) -> None:
    """Train for 20 steps, with a checkpoint every 4."""
    devices = 2 if "--devices=2" in options else 1
    config = RunConfig(
        folder=folder, name=name, accelerator="cpu", devices=devices, progress=False, clip=1.0
    )
    run = Run(config, settings={"run": {"seed": 0}})
    torch.manual_seed(0)
    g = run.module(
        "G", nn.Sequential(nn.Conv2d(1, 4, 3, 1, 1), nn.GroupNorm(2, 4), nn.Conv2d(4, 1, 1))
    )
    d = run.module("D", PatchDiscriminator(2, in_channels=1, width=4, layers=1, spectral=True))
    opt_g = run.optimizer("og", torch.optim.Adam(g.parameters(), lr=1e-3))
    opt_d = run.optimizer("od", torch.optim.Adam(d.parameters(), lr=1e-3))
    run.resume()
    for step in run.steps(20):
        batch = run.share({"x": torch.randn(4, 1, 16, 16, generator=run.generator(step))})
        x, target = batch["x"], batch["x"].roll(1, -1)
        y = g(x)
        loss = gan_discriminator(d(target), d(y.detach()), mode="lsgan").mean()
        run.update(opt_d, loss + r1_penalty(d, target, gamma=1.0).mean())
        with frozen(d):
            adversarial = gan_generator(d(y), mode="lsgan").mean()
        run.update(opt_g, l1(y, target).mean() + 0.1 * adversarial)
        if (step + 1) % 4 == 0:
            run.log(step + 1, {"loss": loss.item()})
            run.save("last.pt", step=step + 1)
        if "--slow" in options:
            time.sleep(0.5)
    run.close()
    if run.main:
        (Path(folder) / name / "done").touch()


if __name__ == "__main__":
    main(*sys.argv[1:])
