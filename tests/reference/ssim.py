"""SSIM from its definition: weighted mean, variance and covariance of every single window."""

import pytest
import torch
from torch import Tensor

from libimg._ops import ssim as core

SHAPES = [(2, 3, 17, 14), (1, 2, 12, 13, 15)]


def pair(shape: tuple[int, ...], seed: int = 0, dtype: torch.dtype = torch.float32) -> list[Tensor]:
    """An image in [0, 1] and a distorted copy."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.rand(shape, generator=generator, dtype=torch.float64)
    y = (0.7 * x + 0.3 * torch.rand(shape, generator=generator, dtype=torch.float64)).clamp(0, 1)
    return [x.to(dtype), y.to(dtype)]


@pytest.fixture(params=["loops", "torch"])
def path(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run a float32 test through the compiled loops and through torch operations."""
    if request.param == "torch":
        monkeypatch.setattr(core, "_loops_for", lambda x: None)


def gaussian(size: int, sigma: float, axes: int) -> Tensor:
    """Window of ``axes`` dimensions that sums to one, in float64."""
    distance = torch.arange(size, dtype=torch.float64) - size // 2
    line = torch.exp(-(distance**2) / (2 * sigma**2))
    window = torch.ones((), dtype=torch.float64)
    for _ in range(axes):
        window = window.unsqueeze(-1) * line
    return window / window.sum()


def terms(
    x: Tensor, y: Tensor, *, lo: float, span: float, window: int = 11, sigma: float = 1.5
) -> tuple[Tensor, Tensor]:
    """Luminance and contrast-structure maps of ``(b, c, *spatial)``, in float64."""
    axes = x.ndim - 2
    weight = gaussian(window, sigma, axes)
    over = tuple(range(-axes, 0))

    def patches(image: Tensor) -> Tensor:
        image = (image.double() - lo) / span
        for axis in range(2, 2 + axes):
            image = image.unfold(axis, window, 1)
        return image

    def mean(values: Tensor) -> Tensor:
        return (values * weight).sum(over, keepdim=True)

    p, q = patches(x), patches(y)
    mx, my = mean(p), mean(q)
    vx, vy, cov = mean((p - mx) ** 2), mean((q - my) ** 2), mean((p - mx) * (q - my))
    light = (2 * mx * my + 0.01**2) / (mx**2 + my**2 + 0.01**2)
    structure = (2 * cov + 0.03**2) / (vx + vy + 0.03**2)
    return light.flatten(2 + axes).squeeze(-1), structure.flatten(2 + axes).squeeze(-1)


def ssim_map(x: Tensor, y: Tensor, **options: float) -> Tensor:
    """Luminance times contrast and structure at every place where the window fits."""
    light, structure = terms(x, y, **options)
    return light * structure


def halve(x: Tensor) -> Tensor:
    """Mean of two neighbours along each spatial axis; an odd last one is left out."""
    for axis in range(2, x.ndim):
        n = x.shape[axis] // 2 * 2
        even = torch.arange(0, n, 2)
        x = (x.index_select(axis, even) + x.index_select(axis, even + 1)) / 2
    return x


def ms_ssim(x: Tensor, y: Tensor, *, weights: tuple[float, ...], **options: float) -> Tensor:
    """Product over the scales; the luminance enters at the last one."""
    x, y = x.double(), y.double()
    index = torch.ones(x.shape[0], dtype=torch.float64)
    for scale, weight in enumerate(weights):
        light, structure = terms(x, y, **options)
        last = scale == len(weights) - 1
        mean = (light * structure if last else structure).flatten(1).mean(1)
        index = index * mean.clamp(min=0) ** weight
        x, y = halve(x), halve(y)
    return index
