"""SSIM under masks, and what it refuses."""

from collections.abc import Callable, Iterator

import jaxtyping
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.testing import assert_close

from libimg._ops import ssim as core
from libimg.losses import structural as losses
from libimg.metrics import structural as metrics
from tests.reference import ssim as oracle
from tests.reference.ssim import SHAPES, pair, path  # noqa: F401

seeds = st.integers(0, 2**31)


@pytest.fixture
def unchecked() -> Iterator[None]:
    """Call functions as users do, without the type checks that tests add."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


# masks


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.usefixtures("path")
def test_mask_of_ones_changes_nothing(shape: tuple[int, ...]) -> None:
    x, y = pair(shape)
    ones = torch.ones(shape[0], 1, *shape[2:], dtype=torch.bool)
    for index in (losses.ssim, metrics.ssim):
        without = index(x, y, data_range=1.0)
        assert_close(index(x, y, data_range=1.0, mask=ones), without, rtol=0, atol=1e-6)
    options = {"data_range": 1.0, "window": 3, "weights": (0.5, 0.5)}
    without = losses.ms_ssim(x, y, **options)
    assert_close(losses.ms_ssim(x, y, mask=ones, **options), without, rtol=0, atol=1e-6)


@given(seed=seeds, per_channel=st.booleans())
def test_mask_weighs_the_window_centres(seed: int, per_channel: bool) -> None:
    x, y = pair((2, 3, 17, 14), seed, torch.float64)
    mask = torch.rand(2, 3 if per_channel else 1, 17, 14, dtype=torch.float64)
    similarity = oracle.ssim_map(x, y, lo=0, span=1)
    weight = mask[:, :, 5:-5, 5:-5].expand_as(similarity)
    expected = (similarity * weight).flatten(1).sum(1) / weight.flatten(1).sum(1)
    assert_close(metrics.ssim(x, y, data_range=1.0, mask=mask), expected)
    assert_close(losses.ssim(x, y, data_range=1.0, mask=mask), 1 - expected)


def test_far_voxels_do_not_reach_into_a_mask() -> None:
    x, y = pair((1, 1, 20, 40))
    mask = torch.zeros(1, 1, 20, 40)
    mask[..., :10] = 1
    expected = losses.ssim(x, y, data_range=1.0, mask=mask)
    near, far = x.clone(), x.clone()
    far[..., 15:] = 0  # the last window is centred at 9 and ends at 14
    near[..., 14:] = 0
    assert torch.equal(losses.ssim(far, y, data_range=1.0, mask=mask), expected)
    assert not torch.equal(losses.ssim(near, y, data_range=1.0, mask=mask), expected)


@pytest.mark.parametrize("where", ["nowhere", "border"])
def test_empty_mask(where: str) -> None:
    x, y = pair((2, 1, 30, 30))
    x.requires_grad_()
    mask = torch.ones(2, 1, 30, 30)
    mask[0] = 0
    if where == "border":  # no window is centred there
        mask[0, :, :5] = 1
    for loss, metric, options in (
        (losses.ssim, metrics.ssim, {}),
        (losses.ms_ssim, metrics.ms_ssim, {"window": 11, "weights": (0.5, 0.5)}),
    ):
        options = {"data_range": 1.0, "mask": mask, **options}
        value = loss(x, y, **options)
        (slope,) = torch.autograd.grad(value.sum(), x)
        assert value[0] == 0
        assert value[1] > 0
        assert slope[0].abs().max() == 0
        assert slope[1].abs().max() > 0
        assert slope.isfinite().all()
        assert metric(x, y, **options).isnan().tolist() == [True, False]


def test_mask_is_halved_along_with_the_scales() -> None:
    x, y = pair((1, 1, 64, 64), dtype=torch.float64)
    mask = torch.zeros(1, 1, 64, 64)
    mask[..., 16:40, 24:48] = 1
    other = x.clone()
    other[..., 58:] = 0.5  # window 5 at the second scale: two coarse voxels around the mask
    options = {"data_range": 1.0, "window": 5, "weights": (0.4, 0.6), "mask": mask}
    assert torch.equal(losses.ms_ssim(other, y, **options), losses.ms_ssim(x, y, **options))
    structure = oracle.terms(x, y, lo=0, span=1, window=5)[1][..., 14:38, 22:46].mean()
    fine = oracle.ssim_map(oracle.halve(x), oracle.halve(y), lo=0, span=1, window=5)
    expected = structure**0.4 * fine[..., 6:18, 10:22].mean() ** 0.6
    assert_close(metrics.ms_ssim(x, y, **options), expected.view(1))


def test_opposite_structure_gives_zero_and_no_infinite_slope() -> None:
    x, _ = pair((1, 1, 32, 32))
    x.requires_grad_()
    value = metrics.ms_ssim(x, 1 - x.detach(), data_range=1.0, weights=(0.5, 0.5))
    (slope,) = torch.autograd.grad(value.sum(), x)
    assert value.tolist() == [0.0]
    assert slope.abs().max() == 0


# refusals


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"target": torch.zeros(1, 1, 20, 21)}, r"pred \(1, 1, 20, 20\), target \(1, 1, 20, 21\)"),
        ({"window": 10}, "window must be odd"),
        ({"window": 21}, "needs 21 voxels along every axis, got 20"),
        ({"sigma": 0.0}, "sigma must be above 0"),
        ({"data_range": 0.0}, "data_range must be above 0"),
        ({"mask": torch.ones(1, 1, 20, 19)}, r"mask must be .* got \(1, 1, 20, 19\)"),
        ({"mask": torch.ones(1, 2, 20, 20)}, r"mask must be .* got \(1, 2, 20, 20\)"),
    ],
)
@pytest.mark.parametrize("index", [losses.ssim, metrics.ssim, losses.ms_ssim, metrics.ms_ssim])
@pytest.mark.usefixtures("unchecked")
def test_bad_arguments_are_named(index: Callable, change: dict, words: str) -> None:
    given = {"pred": torch.zeros(1, 1, 20, 20), "target": torch.zeros(1, 1, 20, 20)}
    given |= {"data_range": 1.0} | change
    if index in (losses.ms_ssim, metrics.ms_ssim):
        given["weights"] = (1.0,)
    pred, target = given.pop("pred"), given.pop("target")
    with pytest.raises(ValueError, match=words):
        index(pred, target, **given)


@pytest.mark.usefixtures("unchecked")
def test_other_bad_input() -> None:
    x = torch.zeros(1, 1, 40, 40)
    with pytest.raises(ValueError, match="5 scales needs 176 voxels along every axis, got 40"):
        losses.ms_ssim(x, x, data_range=1.0)
    for weights, words in (((), "weights must hold"), ((0.5, -0.5), r"weights\[1\] must be above")):
        with pytest.raises(ValueError, match=words):
            losses.ms_ssim(x, x, data_range=1.0, weights=weights)
    with pytest.raises(ValueError, match="2 or 3 spatial axes"):
        losses.ssim(x[0], x[0], data_range=1.0)
    with pytest.raises(ValueError, match=r"floating point, got torch\.int64"):
        core.ssim_map(x.long(), x.long(), data_range=1.0)
