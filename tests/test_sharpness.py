import cmath
import inspect
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import binary_erosion, convolve1d, gaussian_filter

from libimg.metrics import laplacian_ratio, sharpness_ratio

BOTH = [sharpness_ratio, laplacian_ratio]


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float64)


def blurred(x: torch.Tensor, sigma: float) -> torch.Tensor:
    out = gaussian_filter(x.numpy(), [0, 0, *[sigma] * (x.ndim - 2)], mode="nearest")
    return torch.from_numpy(out)


def disc(size: int, radius: float, dims: int = 2) -> torch.Tensor:
    axes = torch.meshgrid(*[torch.arange(size) - (size - 1) / 2] * dims, indexing="ij")
    return (sum(a.square() for a in axes) < radius**2)[None, None]


def slow_power(x: np.ndarray, weight: np.ndarray) -> float:
    """The definition, by a full transform written out."""
    x = (x - (x * weight).sum() / weight.sum()) * weight
    total = 0.0
    h, w = x.shape
    rows, columns = np.mgrid[:h, :w]
    for u in range(h):
        for v in range(w):
            frequency = math.hypot(min(u, h - u) / h, min(v, w - v) / w)
            if 0.25 < frequency <= 0.5:
                wave = np.exp(-2j * cmath.pi * (u * rows / h + v * columns / w))
                total += abs((x * wave).sum()) ** 2
    return total


@pytest.mark.parametrize("size", [(12, 12), (11, 14), (13, 9)])
def test_sharpness_agrees_with_the_definition(size: tuple[int, int]) -> None:
    pred, target = noise(1, 1, *size), noise(1, 1, *size, seed=1)
    mask = torch.ones(1, 1, *size, dtype=torch.bool)
    mask[..., 0:2] = False
    weight = mask[0, 0].numpy()
    reach = [min(2, n // 4) for n in size]
    box = np.ones([2 * r + 1 for r in reach])
    weight = binary_erosion(weight, box, border_value=0).astype(float)
    for axis, r in enumerate(reach):
        hann = np.sin(np.pi * np.arange(1, 2 * r + 2) / (2 * r + 2)) ** 2
        weight = convolve1d(weight, hann / hann.sum(), axis=axis, mode="constant")
    expected = slow_power(pred[0, 0].numpy(), weight) / slow_power(target[0, 0].numpy(), weight)
    got = sharpness_ratio(pred, target, mask=mask, taper=2)
    assert got.item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("shape", [(2, 1, 8, 9), (1, 2, 5, 6, 7)])
def test_laplacian_agrees_with_the_definition(shape: tuple[int, ...]) -> None:
    pred, target = noise(*shape), noise(*shape, seed=1)
    mask = noise(shape[0], 1, *shape[2:], seed=2) > -1.5
    got = laplacian_ratio(pred, target, mask=mask)
    for i in range(shape[0]):
        variances = []
        for x in (pred[i].numpy(), target[i].numpy()):
            values = []
            for c in range(shape[1]):
                for p in np.ndindex(*shape[2:]):
                    around = []
                    for axis in range(len(p)):
                        for step in (-1, 1):
                            q = list(p)
                            q[axis] += step
                            around.append(tuple(q))
                    fits = all(
                        0 <= v < n for q in around for v, n in zip(q, shape[2:], strict=True)
                    )
                    if fits and mask[i, 0][p] and all(mask[i, 0][q] for q in around):
                        values.append(sum(x[c][q] for q in around) - len(around) * x[c][p])
            variances.append(np.var(values))
        assert got[i].item() == pytest.approx(variances[0] / variances[1])


@pytest.mark.parametrize("metric", BOTH)
@pytest.mark.parametrize("shape", [(2, 1, 24, 20), (1, 2, 12, 14, 13)])
@settings(max_examples=8)
@given(scale=st.floats(-4, 4).filter(lambda v: abs(v) > 0.01), shift=st.floats(-1000, 1000))
def test_square_law_and_invariance_to_a_constant(
    metric, shape: tuple[int, ...], scale: float, shift: float
) -> None:
    x = noise(*shape)
    assert metric(x, x).tolist() == pytest.approx([1.0] * shape[0])
    assert metric(scale * x + shift, x).tolist() == pytest.approx([scale**2] * shape[0], rel=1e-6)


@pytest.mark.parametrize("metric", BOTH)
@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("masked", [False, True])
def test_blur_lowers_and_noise_raises(metric, dims: int, masked: bool) -> None:
    size = 40 if dims == 2 else 24
    x = blurred(noise(1, 1, *[size] * dims), 0.7)
    mask = disc(size, 0.48 * size, dims) if masked else None
    levels = [metric(blurred(x, sigma), x, mask=mask).item() for sigma in (0.3, 0.5, 0.8, 1.2)]
    assert 1 > levels[0] > levels[1] > levels[2] > levels[3] > 0
    grain = 0.05 * noise(1, 1, *[size] * dims, seed=5)
    louder = [metric(x + k * grain, x, mask=mask).item() for k in (1, 3, 9)]
    assert 1 < louder[0] < louder[1] < louder[2]


@pytest.mark.parametrize("sigma", [0.5, 0.8])
def test_sharpness_follows_the_transfer_function(sigma: float) -> None:
    """On white noise the ratio is the mean of the blur's squared transfer over the band."""
    x = noise(4, 1, 128, 128)
    out = torch.fft.rfft2(x)
    fy, fx = torch.fft.fftfreq(128).double()[:, None], torch.fft.rfftfreq(128).double()
    square = fx.square() + fy.square()
    transfer = torch.exp(-2 * (math.pi * sigma) ** 2 * square)
    pred = torch.fft.irfft2(out * transfer, s=(128, 128))
    full = torch.fft.fftfreq(128).double()
    square = full.square() + full[:, None].square()
    band = (square > 0.0625) & (square <= 0.25)
    expected = torch.exp(-4 * (math.pi * sigma) ** 2 * square)[band].mean().item()
    assert sharpness_ratio(pred, x).mean().item() == pytest.approx(expected, rel=0.1)


@pytest.mark.parametrize("metric", BOTH)
@pytest.mark.parametrize("dirt", [1e6, math.nan, math.inf])
def test_outside_of_the_mask_does_not_count(metric, dirt: float) -> None:
    pred, target, mask = noise(1, 1, 32, 32), noise(1, 1, 32, 32, seed=1), disc(32, 13)
    clean = metric(pred, target, mask=mask)
    soiled = torch.where(mask, pred, dirt)
    assert torch.equal(metric(soiled, target, mask=mask), clean)
    assert clean.isfinite().all()


def test_the_edge_of_the_mask_is_not_detail() -> None:
    """A smooth slope inside a mask has far less top-octave power than faint grain.

    Cutting the same slope off at the mask's edge would make it look sharper than the grain.
    """
    size = 64
    slope = torch.linspace(0, 1, size, dtype=torch.float64).expand(1, 1, size, size).clone()
    grain = 0.01 * noise(1, 1, size, size)
    mask = disc(size, 26)
    assert sharpness_ratio(slope, grain, mask=mask).item() < 1e-2
    assert sharpness_ratio(slope, grain).item() < 1e-2
    assert sharpness_ratio(slope, grain, mask=mask, taper=0).item() > 1


def test_mask_weights_are_only_a_region() -> None:
    pred, target, mask = noise(1, 1, 32, 32), noise(1, 1, 32, 32, seed=1), disc(32, 13)
    for metric in BOTH:
        weights = mask * 0.3
        assert torch.equal(metric(pred, target, mask=weights), metric(pred, target, mask=mask))


@pytest.mark.parametrize("metric", BOTH)
def test_batched_equals_one_by_one(metric) -> None:
    pred, target = noise(3, 2, 20, 20), noise(3, 2, 20, 20, seed=1)
    mask = torch.cat([disc(20, radius) for radius in (9, 10, 12)])
    rows = zip(pred, target, mask, strict=True)
    alone = [metric(p[None], t[None], mask=m[None]) for p, t, m in rows]
    assert torch.allclose(metric(pred, target, mask=mask), torch.cat(alone))


@pytest.mark.parametrize("metric", BOTH)
def test_a_mask_too_thin_is_nan_for_its_sample_only(metric) -> None:
    x = noise(2, 1, 24, 24)
    mask = torch.ones(2, 1, 24, 24, dtype=torch.bool)
    mask[0] = False
    mask[0, ..., 5:7] = True
    assert metric(x, x, mask=mask).isnan().tolist() == [True, False]
    assert metric(x, x, mask=torch.zeros_like(mask)).isnan().all()


@pytest.mark.parametrize("metric", BOTH)
def test_half_precision_is_computed_in_float32(metric) -> None:
    pred, target = noise(1, 1, 24, 24).bfloat16(), noise(1, 1, 24, 24, seed=1).bfloat16()
    value = metric(pred, target)
    assert value.dtype == torch.float32
    assert value.item() == pytest.approx(metric(pred.double(), target.double()).item(), rel=1e-4)
    assert metric(pred.float(), target.float()).dtype == torch.float32


def test_one_thin_slice_is_taken_as_it_is() -> None:
    pred, target = noise(1, 1, 24, 24), noise(1, 1, 24, 24, seed=1)
    flat = sharpness_ratio(pred, target)
    assert sharpness_ratio(pred[:, :, None], target[:, :, None]).item() == pytest.approx(
        flat.item()
    )


def test_refusals() -> None:
    x = noise(1, 1, 8, 8)
    with pytest.raises(ValueError, match="taper must be at least 0, got -1"):
        sharpness_ratio(x, x, taper=-1)
    with pytest.raises(ValueError, match="at least 3 voxels"):
        laplacian_ratio(x[..., :2], x[..., :2])
    for metric in BOTH:
        with pytest.raises(ValueError, match="expected one shape"):
            inspect.unwrap(metric)(x, x[..., :4])
        with pytest.raises(ValueError, match="2 or 3 spatial axes"):
            metric(x[0], x[0])
