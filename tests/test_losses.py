"""Pixel, gradient and multi-scale losses: laws, oracles, bad input."""

import math
from functools import partial
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F

from libimg import losses, metrics
from libimg.ranges import ValueRange

PIXEL: dict[str, Any] = {
    "l1": losses.l1,
    "mse": losses.mse,
    "charbonnier": losses.charbonnier,
    "huber": partial(losses.huber, delta=0.5),
    "psnr": partial(losses.psnr, data_range=2.0),
}
ALL = PIXEL | {
    "gradient": losses.gradient_difference,
    "sobel": partial(losses.gradient_difference, operator="sobel"),
    "pyramid": losses.multi_scale(losses.l1, (1, 2)),
}
spaces = st.sampled_from([(5, 6), (4, 5, 4)])


def pair(space: tuple[int, ...], seed: int, batch: int = 2) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(2, batch, 2, *space, generator=generator, dtype=torch.float64)
    return x[0], x[1]


@pytest.mark.parametrize("name", ALL)
@given(space=spaces, seed=st.integers(0, 99))
def test_laws(name: str, space: tuple[int, ...], seed: int) -> None:
    loss = ALL[name]
    x, y = pair(space, seed)
    value = loss(x, y)
    assert value.shape == (2,)
    assert (value > 0).all()
    assert not loss(x, x).any()
    torch.testing.assert_close(loss(y, x), value)
    torch.testing.assert_close(loss(x[:1], y[:1]), value[:1])
    torch.testing.assert_close(loss(x, y, mask=torch.ones_like(x)), value)
    torch.testing.assert_close(
        loss(x.flip(-1), y.flip(-1))[:1] if space[-1] % 2 == 0 else value[:1], value[:1]
    )


@pytest.mark.parametrize("name", ALL)
def test_only_the_mask_counts(name: str) -> None:
    x, y = pair((8, 8), 0)
    mask = torch.zeros(2, 1, 8, 8)
    mask[..., :4, :] = 1
    spoilt = y.clone()
    spoilt[..., 4:, :] = float("nan")
    torch.testing.assert_close(ALL[name](x, spoilt, mask=mask), ALL[name](x, y, mask=mask))
    assert not ALL[name](x, y, mask=torch.zeros_like(mask)).any()


@pytest.mark.parametrize("name", ALL)
def test_gradcheck(name: str) -> None:
    x, y = pair((4, 4), 3)
    assert torch.autograd.gradcheck(lambda v: ALL[name](v, y), x.requires_grad_())


@pytest.mark.parametrize("name", ALL)
@pytest.mark.usefixtures("unchecked")
def test_shapes_must_agree(name: str) -> None:
    with pytest.raises(ValueError, match="one shape"):
        ALL[name](torch.zeros(1, 1, 4, 4), torch.zeros(1, 1, 4, 5))


@given(st.integers(0, 99))
def test_pixel_losses_agree_with_torch(seed: int) -> None:
    x, y = pair((4, 5), seed)
    for ours, theirs in (
        (losses.l1, F.l1_loss),
        (losses.mse, F.mse_loss),
        (partial(losses.huber, delta=0.7), partial(F.huber_loss, delta=0.7)),
    ):
        torch.testing.assert_close(ours(x, y).mean(), theirs(x, y))


@given(st.integers(0, 99), st.floats(0.1, 300))
def test_psnr_is_what_the_metric_lacks(seed: int, span: float) -> None:
    x, y = pair((4, 5), seed)
    y = x + 0.01 * y * span
    for data_range in (span, ValueRange(-span, 0)):
        lacking = losses.psnr(x, y, data_range=data_range)
        metric = metrics.psnr(x, y, data_range=span)
        floor = 10 * math.log10(12 * 255**2)
        expected = 10 * torch.log10(1 + 10 ** ((floor - metric) / 10))
        torch.testing.assert_close(lacking, expected, atol=1e-3, rtol=1e-3)
    for bad in ({"data_range": 0.0}, {"data_range": 1.0, "floor": 0.0}):
        with pytest.raises(ValueError, match="must be"):
            losses.psnr(x, y, **bad)


def test_psnr_weighs_small_errors_as_much_as_large_ones() -> None:
    y = torch.zeros(2, 1, 4, 4, dtype=torch.float64)
    x = (torch.tensor([0.1, 0.01]).view(2, 1, 1, 1) + y).requires_grad_()
    losses.psnr(x, y, data_range=1.0).sum().backward()
    torch.testing.assert_close(x.grad[0] * 0.1, x.grad[1] * 0.01, rtol=0.02, atol=0)


@given(st.floats(0.01, 2), st.floats(-5, 5))
def test_charbonnier_oracle(epsilon: float, d: float) -> None:
    x = torch.full((1, 1, 1, 1), d, dtype=torch.float64)
    want = (d**2 + epsilon**2) ** 0.5 - epsilon
    got = losses.charbonnier(x, torch.zeros_like(x), epsilon=epsilon).item()
    assert got == pytest.approx(want, abs=1e-12)


@pytest.mark.parametrize("operator", ["difference", "sobel"])
@pytest.mark.parametrize("dims", [2, 3])
def test_a_ramp_has_its_slope(operator: Any, dims: int) -> None:
    slopes = [0.5, -2.0, 3.0][:dims]
    grid = torch.meshgrid(*[torch.arange(6.0)] * dims, indexing="ij")
    ramp = sum(s * g for s, g in zip(slopes, grid, strict=True))[None, None]
    value = losses.gradient_difference(ramp, torch.zeros_like(ramp), operator=operator)
    assert value.item() == pytest.approx(sum(map(abs, slopes)) / dims)


def test_gradient_ignores_a_constant_and_sees_blur() -> None:
    x, _ = pair((8, 8), 1)
    assert losses.gradient_difference(x, x + 7).max() < 1e-12
    assert losses.gradient_difference(F.avg_pool2d(x, 3, 1, 1), x).min() > 0.1


def test_pyramid_is_the_mean_over_scales() -> None:
    x, y = pair((8, 8), 2)
    scales = [losses.l1(F.avg_pool2d(x, f), F.avg_pool2d(y, f)) for f in (1, 2, 4)]
    torch.testing.assert_close(losses.multi_scale(losses.l1)(x, y), torch.stack(scales).mean(0))
    constant = torch.full((1, 1, 8, 8), 3.0)
    torch.testing.assert_close(
        losses.multi_scale(losses.l1)(constant, constant + 2), torch.tensor([2.0])
    )


def test_pyramid_refuses() -> None:
    with pytest.raises(ValueError, match="factors of at least 1"):
        losses.multi_scale(losses.l1, ())
    with pytest.raises(ValueError, match="too small"):
        losses.multi_scale(losses.l1, (8,))(torch.zeros(1, 1, 4, 9), torch.zeros(1, 1, 4, 9))


@pytest.mark.usefixtures("unchecked")
def test_parameters_are_checked() -> None:
    x = torch.zeros(1, 1, 2, 2)
    with pytest.raises(ValueError, match="epsilon"):
        losses.charbonnier(x, x, epsilon=0)
    with pytest.raises(ValueError, match="delta"):
        losses.huber(x, x, delta=-1)
    with pytest.raises(ValueError, match="operator"):
        losses.gradient_difference(x, x, operator="prewitt")  # type: ignore[arg-type]
