"""SSIM and MS-SSIM: the definition, its gradient, and properties."""

from collections.abc import Callable, Iterator

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.testing import assert_close

from libimg._ops import ssim as core
from libimg.losses import structural as losses
from libimg.metrics import structural as metrics
from libimg.ranges import HU_FULL, SIGNED, UNIT, ValueRange
from tests.reference import ssim as oracle
from tests.reference.ssim import SHAPES, pair, path  # noqa: F401

shapes = st.sampled_from([*SHAPES, (1, 1, 11, 40), (2, 1, 11, 11, 11)])
seeds = st.integers(0, 2**31)


@pytest.fixture
def threads() -> Iterator[Callable[[int], None]]:
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


# the definition


@given(
    shape=shapes, seed=seeds, window=st.sampled_from([1, 3, 5, 7, 9, 11]), sigma=st.floats(0.3, 4)
)
def test_map_follows_the_definition(
    shape: tuple[int, ...], seed: int, window: int, sigma: float
) -> None:
    options = {"window": window, "sigma": sigma}
    for dtype, limit in ((torch.float32, 6e-5), (torch.float64, 1e-11)):
        x, y = pair(shape, seed, dtype)
        expected = oracle.ssim_map(x, y, lo=0, span=1, **options)
        got = core.ssim_map(x, y, data_range=1.0, **options)
        assert got.dtype == dtype
        assert_close(got.double(), expected, rtol=0, atol=limit)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("wanted", [(True, False), (False, True), (True, True)])
@pytest.mark.parametrize("luminance", [True, False])
@pytest.mark.usefixtures("path")
def test_gradient_is_that_of_the_definition(
    shape: tuple[int, ...], wanted: tuple[bool, bool], luminance: bool
) -> None:
    bounds = ValueRange(-200.0, 300.0, "HU")
    x, y = (UNIT.to(z, bounds).requires_grad_(w) for z, w in zip(pair(shape), wanted, strict=True))
    weight = torch.rand(2).tolist()
    inputs = [z for z in (x, y) if z.requires_grad]

    def weighted(values: Tensor) -> Tensor:  # neither constant nor symmetric
        ramp = torch.linspace(weight[0], 1, values[0, 0].numel(), dtype=values.dtype)
        return (values * ramp.view(values.shape[2:])).mean()

    light, structure = oracle.terms(x, y, lo=-200, span=500)
    expected = torch.autograd.grad(weighted(light * structure if luminance else structure), inputs)
    got = core.ssim_map(x, y, data_range=bounds, luminance=luminance)
    for a, b in zip(torch.autograd.grad(weighted(got), inputs), expected, strict=True):
        assert_close(a, b, rtol=0, atol=2e-5 * float(b.abs().max()))


@pytest.mark.parametrize("shape", [(1, 2, 6, 7), (1, 1, 5, 6, 5)])
def test_gradcheck(shape: tuple[int, ...]) -> None:
    x, y = (z.requires_grad_() for z in pair(shape, dtype=torch.float64))
    assert torch.autograd.gradcheck(
        lambda x, y: losses.ssim(x, y, data_range=SIGNED, window=5, sigma=1.0), (x, y)
    )
    assert torch.autograd.gradcheck(
        lambda x, y: losses.ms_ssim(x, y, data_range=1.0, window=1, weights=(0.3, 0.7)), (x, y)
    )


@pytest.mark.parametrize("wanted", [(True, False), (False, True), (True, True)])
def test_second_derivative(wanted: tuple[bool, bool]) -> None:
    images = pair((1, 1, 4, 4), dtype=torch.float64)
    x, y = (z.requires_grad_(w) for z, w in zip(images, wanted, strict=True))
    assert torch.autograd.gradgradcheck(
        lambda x, y: losses.ssim(x, y, data_range=1.0, window=3), (x, y)
    )


def test_second_derivative_of_the_loops() -> None:
    slopes = []
    for dtype in (torch.float32, torch.float64):
        x, y = pair(SHAPES[0], dtype=dtype)
        x.requires_grad_()
        loss = losses.ssim(x, y, data_range=1.0).sum()
        (slope,) = torch.autograd.grad(loss, x, create_graph=True)
        slopes.append(torch.autograd.grad(slope.square().sum(), x)[0])
    assert_close(slopes[0].double(), slopes[1], rtol=0, atol=1e-4 * float(slopes[1].abs().max()))


@pytest.mark.parametrize("shape", [(1, 1, 46, 45), (2, 2, 23, 24, 22)])
@pytest.mark.usefixtures("path")
def test_scales_follow_the_definition(shape: tuple[int, ...]) -> None:
    x, y = pair(shape)
    x.requires_grad_()
    weights = (0.2, 0.3, 0.5)
    options = {"window": 5, "sigma": 1.0}
    expected = oracle.ms_ssim(x, y, weights=weights, lo=0, span=1, **options)
    got = metrics.ms_ssim(x, y, data_range=1.0, weights=weights, **options)
    assert_close(got.double(), expected, rtol=0, atol=1e-5)
    (a,) = torch.autograd.grad(got.sum(), x)
    (b,) = torch.autograd.grad(expected.sum(), x)
    assert_close(a, b, rtol=0, atol=2e-5 * float(b.abs().max()))


def test_five_scales_are_the_default() -> None:
    x, y = pair((1, 1, 176, 180))
    expected = oracle.ms_ssim(x, y, weights=core.MS_WEIGHTS, lo=0, span=1)
    assert_close(metrics.ms_ssim(x, y, data_range=1.0).double(), expected, rtol=0, atol=1e-5)


# properties


@given(shape=shapes, seed=seeds)
def test_equal_images_score_one(shape: tuple[int, ...], seed: int) -> None:
    x, _ = pair(shape, seed)
    assert_close(metrics.ssim(x, x, data_range=1.0), torch.ones(shape[0]), rtol=0, atol=1e-6)
    assert_close(losses.ssim(x, x, data_range=1.0), torch.zeros(shape[0]), rtol=0, atol=1e-6)
    one = metrics.ms_ssim(x, x, data_range=1.0, window=5, weights=(0.5, 0.5))
    assert_close(one, torch.ones(shape[0]), rtol=0, atol=1e-6)


@given(shape=shapes, seed=seeds)
def test_symmetric_and_bounded(shape: tuple[int, ...], seed: int) -> None:
    x, y = pair(shape, seed)
    y = torch.where(
        torch.rand(shape, generator=torch.Generator().manual_seed(seed)) < 0.5, 1 - y, y
    )
    similarity = core.ssim_map(x, y, data_range=1.0)
    assert_close(similarity, core.ssim_map(y, x, data_range=1.0), rtol=0, atol=1e-6)
    assert similarity.max() <= 1 + 1e-6
    assert similarity.min() >= -1 - 1e-6


@given(shape=shapes, seed=seeds, data=st.data())
def test_flips_change_nothing(shape: tuple[int, ...], seed: int, data: st.DataObject) -> None:
    x, y = pair(shape, seed)
    axes = data.draw(st.sets(st.integers(2, len(shape) - 1), min_size=1).map(tuple))
    flipped = metrics.ssim(x.flip(axes), y.flip(axes), data_range=1.0)
    assert_close(flipped, metrics.ssim(x, y, data_range=1.0), rtol=0, atol=2e-6)


@given(seed=seeds, lo=st.floats(-2000, 2000), span=st.floats(0.5, 5000))
def test_common_linear_map_changes_nothing(seed: int, lo: float, span: float) -> None:
    x, y = pair(SHAPES[0], seed)
    bounds = ValueRange(lo, lo + span)
    got = metrics.ssim(UNIT.to(x, bounds), UNIT.to(y, bounds), data_range=bounds)
    rounding = 1e-6 * (1 + abs(lo) / span)  # of the values themselves
    assert_close(got, metrics.ssim(x, y, data_range=UNIT), rtol=0, atol=20 * rounding)


def test_a_number_is_a_range_from_zero() -> None:
    x, y = (255 * z for z in pair(SHAPES[0]))
    byte = metrics.ssim(x, y, data_range=ValueRange(0.0, 255.0))
    assert torch.equal(metrics.ssim(x, y, data_range=255.0), byte)
    assert (metrics.ssim(x, y, data_range=510.0) - byte).abs().min() > 1e-4


def test_small_contrast_on_a_bright_ground_keeps_its_digits() -> None:
    x, y = (2900 + 20 * z for z in pair((1, 1, 24, 24)))
    expected = oracle.ssim_map(x, y, lo=-1024, span=4095)
    assert_close(
        core.ssim_map(x, y, data_range=HU_FULL).double(), expected, rtol=0, atol=1e-3
    )  # variance 2e-6 beside C2 = 9e-4


@pytest.mark.usefixtures("path")
@pytest.mark.parametrize("shape", SHAPES)
def test_batch_equals_one_by_one(shape: tuple[int, ...]) -> None:
    x, y = pair((3, *shape[1:]))
    for index in (losses.ssim, metrics.ssim):
        each = [index(x[i : i + 1], y[i : i + 1], data_range=1.0) for i in range(3)]
        assert_close(index(x, y, data_range=1.0), torch.cat(each), rtol=0, atol=1e-6)


@pytest.mark.parametrize("shape", [(5, 1, 70, 64), (2, 1, 20, 50, 48)])
def test_threads_change_no_bit(shape: tuple[int, ...], threads: Callable[[int], None]) -> None:
    x, y = pair(shape)
    x.requires_grad_()
    results = []
    for count in (1, 2, 3):
        threads(count)
        similarity = core.ssim_map(x, y, data_range=1.0)
        results.append((similarity.detach(), *torch.autograd.grad(similarity.square().sum(), x)))
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], other, strict=True))


@pytest.mark.usefixtures("path")
def test_layout_and_arguments_do_not_matter() -> None:
    x, y = pair((2, 3, 16, 20))
    before = x.clone(), y.clone()
    expected = metrics.ssim(x, y, data_range=1.0)
    wide = torch.zeros(2, 3, 16, 40)
    wide[..., ::2] = x
    other = y.contiguous(memory_format=torch.channels_last)
    assert torch.equal(metrics.ssim(wide[..., ::2], other, data_range=1.0), expected)
    assert torch.equal(x, before[0])
    assert torch.equal(y, before[1])


def test_no_gradient_no_graph() -> None:
    x, y = pair(SHAPES[0])
    with torch.no_grad():
        value = losses.ssim(x.requires_grad_(), y, data_range=1.0)
    assert not value.requires_grad
