"""What an architecture can reach at all: a fresh generator trained to return its own input."""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor, nn

from libimg import losses, metrics
from libimg._types import Image
from libimg.ranges import ValueRange

__all__ = ["identity_probe"]


def identity_probe(
    make: Callable[[], nn.Module],
    images: Image,
    held_out: Float[Tensor, "n c *spatial"],
    *,
    data_range: float | ValueRange,
    channels: int = 1,
    steps: int = 200,
    batch: int = 4,
    rate: float = 2e-3,
    generator: torch.Generator,
) -> dict[str, float]:
    """Train a fresh generator to copy, the easiest translation there is, and see if it blurs.

    A network that cannot return its own input after a short training loses detail on the way,
    in a bottleneck or by a missing skip connection, and no loss brings it back. One that adds its
    output to the input passes at once: nothing of the input can get lost there.

    Args:
        make: builds a fresh generator.
        images: target images ``(n, 1, *spatial)`` to train on.
        held_out: the same from other cases, to test on.
        data_range: of the images, for the PSNR.
        channels: input channels of the generator; the image is repeated.
        steps: training steps, L1 loss.
        batch: images in a step.
        rate: learning rate of Adam at the start; it falls linearly to 0.
        generator: picks the batches.

    Returns:
        ``psnr`` (dB, infinite for an exact copy) and ``sharpness`` (top-octave power of the copy
        over that of the image, see `libimg.metrics.sharpness_ratio`), means over ``held_out``.

    Example:
        >>> x = torch.rand(4, 1, 16, 16, generator=torch.Generator().manual_seed(0))
        >>> g = torch.Generator().manual_seed(0)
        >>> identity_probe(nn.Identity, x, x, data_range=1.0, steps=0, generator=g)
        {'psnr': inf, 'sharpness': 1.0}
    """
    network = make().to(images.device).train()
    weights = list(network.parameters())
    adam = torch.optim.Adam(weights, lr=rate) if weights else None
    repeat = (1, channels, *[1] * (images.ndim - 2))
    for step in range(steps if adam else 0):
        assert adam is not None
        adam.param_groups[0]["lr"] = rate * (1 - step / steps)
        chosen = torch.randint(len(images), (batch,), generator=generator).to(images.device)
        x = images[chosen]
        adam.zero_grad()
        losses.l1(network(x.repeat(repeat)), x).mean().backward()
        adam.step()
    with torch.no_grad():
        copy = network.eval()(held_out.repeat(repeat))
    return {
        "psnr": float(metrics.psnr(copy, held_out, data_range=data_range).mean()),
        "sharpness": float(metrics.sharpness_ratio(copy, held_out).nanmean()),
    }
