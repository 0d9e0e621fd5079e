import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from libimg._ops.reduce import masked_mean
from tests.strategies import images, mask_like


def oracle(x: Tensor, mask: Tensor) -> list[float]:
    """Sum of weight times value over sum of weight, voxel by voxel."""
    means = []
    for sample, weight in zip(x.double(), mask.double().expand_as(x), strict=True):
        pairs = list(zip(weight.flatten().tolist(), sample.flatten().tolist(), strict=True))
        total = math.fsum(w for w, _ in pairs)
        means.append(math.fsum(w * v for w, v in pairs if w) / total if total else 0.0)
    return means


@given(x=images())
def test_without_mask_it_is_the_mean(x: Tensor) -> None:
    expected = torch.stack([sample.mean() for sample in x])
    torch.testing.assert_close(masked_mean(x), expected)
    torch.testing.assert_close(masked_mean(x, torch.ones_like(x[:, :1])), expected)


@given(data=st.data(), x=images())
def test_agrees_with_the_definition(data: st.DataObject, x: Tensor) -> None:
    mask = data.draw(mask_like(x, empty=True))
    torch.testing.assert_close(
        masked_mean(x, mask), torch.tensor(oracle(x, mask), dtype=torch.float64)
    )


@given(data=st.data(), x=images())
def test_batched_equals_one_by_one(data: st.DataObject, x: Tensor) -> None:
    mask = data.draw(mask_like(x))
    alone = [masked_mean(x[i : i + 1], mask[i : i + 1]) for i in range(len(x))]
    torch.testing.assert_close(masked_mean(x, mask), torch.cat(alone))


@given(data=st.data(), x=images())
def test_one_channel_mask_covers_all_channels(data: st.DataObject, x: Tensor) -> None:
    mask = data.draw(mask_like(x))[:, :1]
    torch.testing.assert_close(masked_mean(x, mask), masked_mean(x, mask.expand_as(x)))


@given(data=st.data(), x=images(), scale=st.floats(0.01, 100))
def test_only_relative_weights_count(data: st.DataObject, x: Tensor, scale: float) -> None:
    mask = data.draw(mask_like(x, soft=True))
    torch.testing.assert_close(masked_mean(x, mask * scale), masked_mean(x, mask))


@pytest.mark.parametrize("kind", [torch.bool, torch.uint8, torch.int64, torch.float16])
def test_any_dtype_of_mask(kind: torch.dtype, generator: torch.Generator) -> None:
    x = torch.rand(2, 2, 5, 5, generator=generator)
    mask = torch.rand(2, 1, 5, 5, generator=generator) > 0.5
    torch.testing.assert_close(masked_mean(x, mask.to(kind)), masked_mean(x, mask))
    assert masked_mean(x, mask.to(kind)).dtype == torch.float32


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_one_percent_weighs_like_the_whole(generator: torch.Generator) -> None:
    """MONAI's `MaskedLoss` divides by the volume: one percent of it counts a hundredth."""
    from monai.losses import MaskedLoss

    content = torch.rand(1, 1, 10, 10, generator=generator)
    full = torch.zeros(1, 1, 100, 100)
    mask = torch.zeros(1, 1, 100, 100)
    full[..., 40:50, 20:30], mask[..., 40:50, 20:30] = content, 1
    alone = masked_mean(content.square())
    torch.testing.assert_close(masked_mean(full.square(), mask), alone)
    theirs = MaskedLoss(torch.nn.MSELoss)(full, torch.zeros_like(full), mask)
    torch.testing.assert_close(theirs, alone[0] / 100)


def test_empty_mask_gives_zero_and_no_gradient() -> None:
    x = torch.full((2, 1, 3, 3), 5.0, requires_grad=True)
    weight = torch.zeros(2, 1, 3, 3)
    weight[1] = 1
    weight.requires_grad_()
    mean = masked_mean(x, weight)
    assert mean.tolist() == [0.0, 5.0]
    mean.sum().backward()
    assert x.grad is not None
    assert weight.grad is not None
    assert torch.equal(x.grad[0], torch.zeros(1, 3, 3))
    torch.testing.assert_close(x.grad[1], torch.full((1, 3, 3), 1 / 9))
    assert weight.grad.isfinite().all()


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("soft", [False, True])
def test_bad_values_outside_reach_nothing(
    bad: float, soft: bool, generator: torch.Generator
) -> None:
    clean = torch.rand(2, 2, 4, 4, generator=generator)
    inside = torch.rand(2, 1, 4, 4, generator=generator) > 0.5
    spoilt = torch.where(inside, clean, bad).requires_grad_()
    clean.requires_grad_()
    mask = inside * 0.3 if soft else inside
    masked_mean(clean, mask).sum().backward()
    mean = masked_mean(spoilt, mask)
    mean.sum().backward()
    assert torch.equal(mean, masked_mean(clean, mask))
    assert spoilt.grad is not None
    assert clean.grad is not None
    assert torch.equal(spoilt.grad, clean.grad)


def test_bad_values_inside_are_not_hidden() -> None:
    x = torch.ones(1, 1, 2, 2)
    x[0, 0, 0, 0] = math.nan
    assert masked_mean(x, x.isnan()).isnan().all()


@settings(max_examples=5)
@given(data=st.data())
def test_gradients(data: st.DataObject) -> None:
    x = data.draw(images()).requires_grad_()
    mask = data.draw(mask_like(x.detach(), soft=True))
    assert torch.autograd.gradcheck(masked_mean, (x, mask))
    weights = (mask + 0.1).requires_grad_()
    assert torch.autograd.gradcheck(masked_mean, (x, weights))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("masked", [False, True])
def test_half_precision_is_summed_in_float32(dtype: torch.dtype, masked: bool) -> None:
    """4096 values of 100 overflow float16, and bfloat16 counts no further than 256."""
    x = torch.full((1, 1, 64, 64), 100.0, dtype=dtype)
    mean = masked_mean(x, torch.ones_like(x) if masked else None)
    assert mean.dtype == torch.float32
    assert mean.tolist() == [100.0]


def test_arguments_are_not_written_to(generator: torch.Generator) -> None:
    x = torch.rand(1, 2, 3, 3, generator=generator)
    mask = torch.rand(1, 1, 3, 3, generator=generator)
    before = x.clone(), mask.clone()
    masked_mean(x, mask)
    assert torch.equal(x, before[0])
    assert torch.equal(mask, before[1])


@pytest.mark.usefixtures("unchecked")
def test_masks_that_do_not_fit_are_refused() -> None:
    for shape in ((1, 1, 2, 2), (1, 2, 3, 3), (2, 1, 3, 3)):
        with pytest.raises(RuntimeError, match="expand"):
            masked_mean(torch.ones(1, 1, 3, 3), torch.ones(shape))
