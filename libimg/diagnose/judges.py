"""What a discriminator reacts to: blur, misalignment with its condition, or a trivial cue.

Every AUC here is taken within pairs of images of one content: the chance that the real one scores
higher than its counterpart. Over unpaired images the content, which varies far more than what is
asked for, would drown it.

A discriminator's input is ``(b, c, *spatial)`` with the picture in the last channel; the channels
before it are its condition and are never changed here.
"""

import math
from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from libimg import _check, losses
from libimg._ops.windows import correlate, gaussian
from libimg._types import Image, PerSample

__all__ = ["blur_auc", "blur_probe", "cue_probe", "image_scores", "shift_auc"]

Judge = Callable[[Tensor], Tensor | Sequence[Tensor]]


@torch.no_grad()
def image_scores(judge: Judge, x: Image) -> PerSample:
    """Mean logit of each image, over its patches and over the scales.

    Args:
        judge: returns logits ``(b, 1, *patches)``, or a list of them.
        x: what it looks at.

    Returns:
        ``(b,)``, float32.

    Example:
        >>> image_scores(lambda x: [x, 3 * x], torch.ones(2, 1, 4, 4))
        tensor([2., 2.])
    """
    logits = judge(x)
    scales = [logits] if isinstance(logits, Tensor) else list(logits)
    return torch.stack([scale.float().flatten(1).mean(1) for scale in scales]).mean(0)


def blur_auc(judge: Judge, real: Image, *, sigma: float = 1.0) -> float:
    """Tell how well a discriminator separates real images from the same images, blurred.

    Args:
        judge: see `image_scores`.
        real: its input with real pictures.
        sigma: of the Gaussian blur, in voxels.

    Returns:
        AUC within pairs. Near 0.5, this discriminator does not ask for sharp pictures.

    Example:
        >>> x = torch.rand(4, 1, 16, 16, generator=torch.Generator().manual_seed(0))
        >>> blur_auc(lambda x: x.diff(dim=-1).abs(), x), blur_auc(lambda x: 0 * x, x)
        (1.0, 0.5)
    """
    blurred = _change(real, lambda picture: _blur(picture, sigma))
    return _wins(judge, real, blurred)


def blur_probe(
    make: Callable[[], nn.Module],
    real: Image,
    held_out: Float[Tensor, "n c *spatial"],
    *,
    sigma: float = 1.0,
    steps: int = 200,
    batch: int = 8,
    rate: float = 1e-3,
    generator: torch.Generator,
) -> float:
    """Train a fresh discriminator alone on real against slightly blurred images, then test it.

    This needs no generator: it asks whether this architecture, given the best possible lesson,
    can see one voxel of blur at all.

    Args:
        make: builds a fresh discriminator.
        real: its input with real pictures, to train on.
        held_out: the same from other cases, to test on.
        sigma: of the Gaussian blur, in voxels.
        steps: training steps, LSGAN loss.
        batch: images in a step.
        rate: learning rate of Adam.
        generator: picks the batches.

    Returns:
        AUC on ``held_out``. Below 0.95 the discriminator cannot teach sharpness.

    Example:
        >>> from libimg import gan
        >>> g = torch.Generator().manual_seed(0)
        >>> x, held_out = torch.rand(2, 8, 1, 16, 16, generator=g)
        >>> def make():
        ...     torch.manual_seed(0)
        ...     return gan.PatchDiscriminator(2, in_channels=1, width=4, layers=1)
        >>> blur_probe(make, x, held_out, steps=30, rate=5e-3, generator=g) > 0.9
        True
    """
    judge = make().train()
    adam = torch.optim.Adam(judge.parameters(), lr=rate, betas=(0.5, 0.99))
    blurred = _change(real, lambda picture: _blur(picture, sigma))
    for _ in range(steps):
        chosen = torch.randint(len(real), (batch,), generator=generator).to(real.device)
        loss = losses.gan_discriminator(judge(real[chosen]), judge(blurred[chosen]), mode="lsgan")
        adam.zero_grad()
        loss.mean().backward()
        adam.step()
    return blur_auc(judge.eval(), held_out, sigma=sigma)


def shift_auc(judge: Judge, real: Image, *, shift: int = 2) -> float:
    """Tell how much a discriminator dislikes real pictures that do not lie on their condition.

    Args:
        judge: see `image_scores`.
        real: its input with real pictures.
        shift: displacement of the picture along each spatial axis, in voxels.

    Returns:
        AUC of real pairs against shifted real pairs; 0.5 without a condition. Where the training
        pairs are misaligned themselves, a value far from 0.5 pulls against the generator.

    Example:
        >>> x = torch.rand(4, 1, 16, 16, generator=torch.Generator().manual_seed(0))
        >>> pair = torch.cat([x, x], 1)
        >>> shift_auc(lambda pair: -(pair[:, 1:] - pair[:, :1]).abs(), pair)
        1.0
    """
    _check.positive(shift=shift)
    here = moved = real
    for axis in range(2, real.ndim):
        size = real.shape[axis] - shift
        here, moved = here.narrow(axis, 0, size), moved.narrow(axis, shift, size)
    shifted = torch.cat([here[:, :-1], moved[:, -1:]], 1)
    return _wins(judge, here, shifted)


def cue_probe(judge: Judge, real: Image, fake: Image, *, margin: float = 0.1) -> dict[str, float]:
    """Take trivial cues away and see whether the discriminator still separates real from fake.

    Two cues give a generator away without a look at its anatomy: plateaus, where a clipped target
    is exactly constant and a generated image is not, and levels, where the targets hold a few
    values only (rounded, 8 bit) and the generated image any value. Plateaus are taken away by
    clipping both pictures a little inside the values of the real ones; levels by rounding each
    generated value to the nearest one that occurs in the real pictures, which moves it by half a
    level at most.

    Args:
        judge: see `image_scores`.
        real: its input with real pictures.
        fake: its input with the pictures generated for the same cases.
        margin: how far inside the real values the clipping goes, as a share of half their range.

    Returns:
        ``auc`` as it is, ``without_plateaus`` and ``without_levels``, within pairs; ``plateaus``,
        the share of the real values that are the lowest or the highest of all; and ``levels``, how
        many different values there are in the real pictures.

    Example:
        >>> g = torch.Generator().manual_seed(0)
        >>> fake = torch.rand(8, 1, 8, 8, generator=g) * 2 - 1
        >>> real = (8 * fake).round() / 8  # the same pictures, in 17 levels
        >>> rounded = lambda x: -(8 * x - (8 * x).round()).abs()
        >>> found = cue_probe(rounded, real, fake)
        >>> found["auc"], found["without_levels"], found["levels"]
        (1.0, 0.5, 17.0)
    """
    known = real[:, -1:].unique()
    lo, hi = float(known[0]), float(known[-1])
    reach = margin * (hi - lo) / 2
    ends = (real[:, -1:] == lo) | (real[:, -1:] == hi)

    def clip(picture: Tensor) -> Tensor:
        return picture.clamp(lo + reach, hi - reach)

    def snap(picture: Tensor) -> Tensor:
        above = torch.searchsorted(known, picture.contiguous()).clamp(1, len(known) - 1)
        low, high = known[above - 1], known[above]
        return torch.where(picture - low < high - picture, low, high)

    snapped = _change(fake, snap) if len(known) > 1 else fake
    return {
        "auc": _wins(judge, real, fake),
        "without_plateaus": _wins(judge, _change(real, clip), _change(fake, clip)),
        "without_levels": _wins(judge, real, snapped),
        "plateaus": float(ends.float().mean()),
        "levels": float(len(known)),
    }


def _wins(judge: Judge, real: Tensor, other: Tensor) -> float:
    """Share of the pairs in which the real image scores higher; ties count one half."""
    gap = image_scores(judge, real) - image_scores(judge, other)
    return float((gap > 0).float().mean() + 0.5 * (gap == 0).float().mean())


def _change(x: Tensor, treat: Callable[[Tensor], Tensor]) -> Tensor:
    """Treat the picture and leave its condition alone."""
    return torch.cat([x[:, :-1], treat(x[:, -1:])], 1)


def _blur(x: Tensor, sigma: float) -> Tensor:
    """Gaussian blur of the same size; the border values go on."""
    reach = math.ceil(3 * sigma)
    padded = F.pad(x, [reach] * (2 * (x.ndim - 2)), mode="replicate")
    return correlate(padded, gaussian(2 * reach + 1, sigma))
