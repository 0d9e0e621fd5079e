import inspect
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage.metrics import peak_signal_noise_ratio

from libimg.metrics import bias, mae, psnr
from libimg.ranges import BYTE, HU_FULL

SHAPES = [(2, 1, 6, 7), (3, 2, 4, 5), (2, 1, 3, 4, 5)]


def images(
    shape: tuple[int, ...], seed: int = 0, dtype: torch.dtype = torch.float64
) -> torch.Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


@pytest.mark.parametrize("shape", SHAPES)
@settings(max_examples=10)
@given(seed=st.integers(0, 99), weighted=st.booleans())
def test_agree_with_the_definition(shape: tuple[int, ...], seed: int, weighted: bool) -> None:
    pred, target = images(shape, seed), images(shape, seed + 1)
    mask = images((shape[0], 1, *shape[2:]), seed + 2)
    mask = mask if weighted else mask > 0.4
    values = zip(
        psnr(pred, target, data_range=3.0, mask=mask),
        mae(pred, target, mask=mask),
        bias(pred, target, mask=mask),
        strict=True,
    )
    for i, (p, m, b) in enumerate(values):
        weight = np.broadcast_to(mask[i].double().numpy(), shape[1:])
        error = pred[i].numpy() - target[i].numpy()
        mse = (weight * error**2).sum() / weight.sum()
        assert p.item() == pytest.approx(10 * math.log10(9 / mse))
        assert m.item() == pytest.approx((weight * abs(error)).sum() / weight.sum())
        assert b.item() == pytest.approx((weight * error).sum() / weight.sum())


def test_psnr_agrees_with_scikit_image() -> None:
    pred, target = images((2, 3, 9, 8)) * 255, images((2, 3, 9, 8), 1) * 255
    expected = [
        peak_signal_noise_ratio(t.numpy(), p.numpy(), data_range=255)
        for p, t in zip(pred, target, strict=True)
    ]
    assert psnr(pred, target, data_range=255.0).tolist() == pytest.approx(expected)
    assert torch.equal(psnr(pred, target, data_range=BYTE), psnr(pred, target, data_range=255.0))


@given(scale=st.floats(0.01, 1000), shift=st.floats(-100, 100))
def test_unit_does_not_change_psnr(scale: float, shift: float) -> None:
    pred, target = images((1, 1, 5, 5)), images((1, 1, 5, 5), 1)
    moved = psnr(pred * scale + shift, target * scale + shift, data_range=scale)
    assert moved.item() == pytest.approx(psnr(pred, target, data_range=1.0).item(), abs=1e-6)


def test_equal_images() -> None:
    x = images((2, 1, 4, 4))
    assert psnr(x, x, data_range=1.0).tolist() == [math.inf, math.inf]
    assert mae(x, x).tolist() == bias(x, x).tolist() == [0, 0]


@given(offset=st.floats(-50, 50))
def test_bias_has_a_sign_and_swaps(offset: float) -> None:
    x = images((2, 1, 4, 4))
    assert bias(x + offset, x).tolist() == pytest.approx([offset] * 2)
    assert bias(x, x + offset).tolist() == pytest.approx([-offset] * 2)
    assert mae(x + offset, x).tolist() == pytest.approx([abs(offset)] * 2)


def test_empty_mask_is_nan_for_its_sample_only() -> None:
    pred, target = images((2, 1, 4, 4)), images((2, 1, 4, 4), 1)
    mask = torch.ones(2, 1, 4, 4, dtype=torch.bool)
    mask[0] = False
    for value in (
        psnr(pred, target, data_range=1.0, mask=mask),
        mae(pred, target, mask=mask),
        bias(pred, target, mask=mask),
    ):
        assert value.isnan().tolist() == [True, False]


def test_outside_of_the_mask_does_not_count() -> None:
    pred, target = images((1, 1, 4, 4)), images((1, 1, 4, 4), 1)
    mask = torch.zeros(1, 1, 4, 4)
    mask[..., :2, :] = 1
    dirty = pred.clone()
    dirty[..., 2:, :] = math.nan
    for metric in (mae, bias):
        assert torch.equal(metric(dirty, target, mask=mask), metric(pred, target, mask=mask))
    assert psnr(dirty, target, data_range=1.0, mask=mask).isfinite().all()


def test_batched_equals_one_by_one() -> None:
    pred, target = images((3, 2, 4, 5)), images((3, 2, 4, 5), 1)
    alone = [psnr(p[None], t[None], data_range=1.0) for p, t in zip(pred, target, strict=True)]
    assert torch.allclose(psnr(pred, target, data_range=1.0), torch.cat(alone))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_half_precision_is_computed_in_float32(dtype: torch.dtype) -> None:
    target = images((1, 1, 8, 8)).to(dtype)
    pred = (images((1, 1, 8, 8), 1) * 300).to(dtype)  # its square is beyond float16
    value = psnr(pred, target, data_range=HU_FULL)
    assert value.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    expected = psnr(pred.double(), target.double(), data_range=HU_FULL)
    assert value.item() == pytest.approx(expected.item(), rel=1e-4)
    assert mae(pred, target).item() == pytest.approx(
        mae(pred.double(), target.double()).item(), rel=1e-4
    )


@pytest.mark.parametrize("data_range", [0.0, -1.0])
def test_refuses_a_range_without_width(data_range: float) -> None:
    x = images((1, 1, 4, 4))
    with pytest.raises(ValueError, match="data_range must be above 0"):
        psnr(x, x, data_range=data_range)


def test_refuses_different_shapes() -> None:
    x, y = images((2, 1, 4, 4)), images((2, 1, 4, 1))  # would broadcast in silence
    for metric, options in ((psnr, {"data_range": 1.0}), (mae, {}), (bias, {})):
        with pytest.raises(ValueError, match=r"expected one shape, got pred \(2, 1, 4, 4\)"):
            inspect.unwrap(metric)(x, y, **options)
