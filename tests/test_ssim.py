"""SSIM and MS-SSIM: against the definition, against known libraries, and their properties."""

import sys
from collections.abc import Callable, Iterator

import jaxtyping
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.testing import assert_close

import libimg._ops
from libimg._ops import ssim as core
from libimg._ops import windows
from libimg.losses import structural as losses
from libimg.metrics import structural as metrics
from libimg.ranges import HU_FULL, SIGNED, UNIT, ValueRange
from tests.reference import ssim as oracle

SHAPES = [(2, 3, 17, 14), (1, 2, 12, 13, 15)]
shapes = st.sampled_from([*SHAPES, (1, 1, 11, 40), (2, 1, 11, 11, 11)])
seeds = st.integers(0, 2**31)


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


@pytest.fixture
def unchecked() -> Iterator[None]:
    """Call functions as users do, without the type checks that tests add."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


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


# precision and back ends


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("index", [losses.ssim, losses.ms_ssim])
def test_half_precision_is_computed_in_float32(dtype: torch.dtype, index: Callable) -> None:
    x, y = (z.to(dtype) for z in pair((2, 1, 24, 24)))
    options = {"data_range": 1.0, "window": 5}
    if index is losses.ms_ssim:
        options["weights"] = (0.5, 0.5)
    x.requires_grad_()
    value = index(x, y, **options)
    assert value.dtype == torch.float32
    assert_close(value, index(x.float(), y.float(), **options), rtol=0, atol=1e-6)
    value.sum().backward()
    assert x.grad.dtype == dtype


@pytest.mark.usefixtures("path")
def test_autocast_changes_nothing() -> None:
    x, y = pair((1, 1, 24, 24))
    options = {"data_range": 1.0, "weights": (0.5, 0.5), "window": 5}
    expected = losses.ssim(x, y, data_range=1.0), losses.ms_ssim(x, y, **options)
    with torch.autocast("cpu", torch.bfloat16):
        got = losses.ssim(x, y, data_range=1.0), losses.ms_ssim(x, y, **options)
    assert_close(got, expected, rtol=0, atol=1e-6)


def test_mixed_precision_pair() -> None:
    x, y = pair(SHAPES[0])
    mixed = metrics.ssim(x, y.double(), data_range=1.0)
    assert mixed.dtype == torch.float64
    assert_close(mixed.float(), metrics.ssim(x, y, data_range=1.0), rtol=0, atol=1e-6)


@pytest.mark.usefixtures("unchecked")
def test_traced_as_one_graph() -> None:
    x, y = pair(SHAPES[0])
    x.requires_grad_()
    traced = torch.compile(losses.ssim, backend="aot_eager", fullgraph=True)
    got = traced(x, y, data_range=1.0)
    expected = losses.ssim(x, y, data_range=1.0)
    assert_close(got, expected, rtol=0, atol=1e-6)
    slopes = [torch.autograd.grad(value.sum(), x)[0] for value in (got, expected)]
    assert_close(slopes[0], slopes[1], rtol=0, atol=1e-7)


def test_without_numba_it_warns_and_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    x, y = pair(SHAPES[0])
    expected = metrics.ssim(x, y, data_range=1.0)
    monkeypatch.setitem(sys.modules, "libimg._ops.ssim_cpu", None)
    monkeypatch.delattr(libimg._ops, "ssim_cpu")
    core._loops.cache_clear()
    try:
        with pytest.warns(RuntimeWarning, match="numba"):
            got = metrics.ssim(x, y, data_range=1.0)
    finally:
        core._loops.cache_clear()
    assert_close(got, expected, rtol=0, atol=1e-6)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no accelerator")
@pytest.mark.parametrize("shape", SHAPES)
def test_accelerator_agrees(shape: tuple[int, ...]) -> None:
    x, y = pair(shape)
    x.requires_grad_()
    expected = losses.ssim(x, y, data_range=1.0)
    u = x.detach().cuda().requires_grad_()
    got = losses.ssim(u, y.cuda(), data_range=1.0)
    assert_close(got.cpu(), expected, rtol=0, atol=1e-6)
    slope = torch.autograd.grad(got.sum(), u)[0].cpu()
    assert_close(slope, torch.autograd.grad(expected.sum(), x)[0], rtol=0, atol=1e-7)


# known libraries


def peers(shape: tuple[int, ...]) -> dict[str, Callable[[Tensor, Tensor, float], Tensor]]:
    """Mean SSIM per sample by other projects, those that do this number of axes."""
    kornia = pytest.importorskip("kornia")
    monai = pytest.importorskip("monai.metrics.regression")
    msssim = pytest.importorskip("pytorch_msssim")
    tm = pytest.importorskip("torchmetrics.functional.image")
    piq = pytest.importorskip("piq")

    def by_torchmetrics(x: Tensor, y: Tensor, span: float) -> Tensor:
        index = tm.structural_similarity_index_measure(
            x, y, data_range=span, return_full_image=True, reduction="none"
        )
        return windows.crop(index[1], 5).flatten(1).mean(1)

    def by_kornia(x: Tensor, y: Tensor, span: float) -> Tensor:
        f = kornia.metrics.ssim if x.ndim == 4 else kornia.metrics.ssim3d
        return windows.crop(f(x, y, 11, span), 5).flatten(1).mean(1)

    def by_monai(x: Tensor, y: Tensor, span: float) -> Tensor:
        index = monai.SSIMMetric(x.ndim - 2, data_range=span)
        return torch.cat(
            [index._compute_metric(a[None], b[None]) for a, b in zip(x, y, strict=True)]
        )

    found = {
        "kornia": by_kornia,
        "monai": by_monai,
        "pytorch_msssim": lambda x, y, span: msssim.ssim(x, y, span, size_average=False),
    }
    if len(shape) == 4:
        found["torchmetrics"] = by_torchmetrics
        found["piq"] = lambda x, y, span: piq.ssim(
            x, y, data_range=span, reduction="none", downsample=False
        )
    return found


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.filterwarnings("ignore")
def test_agrees_with_other_projects_on_non_negative_images(shape: tuple[int, ...]) -> None:
    x, y = pair(shape)
    expected = metrics.ssim(x, y, data_range=1.0)
    for name, peer in peers(shape).items():
        got = peer(x, y, 1.0).flatten()
        assert_close(got, expected, rtol=0, atol=2e-5, msg=lambda m, name=name: f"{name}: {m}")


@pytest.mark.parametrize("shape", [(32, 29), (14, 13, 15)])
def test_agrees_with_scikit_image(shape: tuple[int, ...]) -> None:
    skimage = pytest.importorskip("skimage.metrics")
    x, y = (z[0, 0].numpy() for z in pair((1, 1, *shape), dtype=torch.float64))
    options = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
    _, full = skimage.structural_similarity(x, y, data_range=1.0, full=True, **options)
    inner = full[(slice(5, -5),) * x.ndim].mean()
    got = metrics.ssim(*(torch.from_numpy(z)[None, None] for z in (x, y)), data_range=1.0)
    assert np.isclose(got.item(), inner, atol=1e-10)


def test_scales_agree_with_pytorch_msssim() -> None:
    msssim = pytest.importorskip("pytorch_msssim")
    x, y = pair((2, 1, 176, 176))
    expected = msssim.ms_ssim(x, y, 1.0, size_average=False)
    assert_close(metrics.ms_ssim(x, y, data_range=1.0), expected, rtol=0, atol=1e-5)


@pytest.mark.filterwarnings("ignore")
def test_signed_images_fool_other_projects() -> None:
    """Without the shift, luminance and structure both change sign and cancel."""
    x = 0.6 + 0.4 * (2 * pair((1, 1, 32, 32))[0] - 1)
    found = peers(x.shape)
    del found["piq"]  # refuses negative values
    for name, peer in found.items():
        assert peer(x, -x, 2.0).item() > 0.9, name
    assert metrics.ssim(x, -x, data_range=SIGNED).item() < 0


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


# windows


@given(size=st.integers(0, 8).map(lambda n: 2 * n + 1), sigma=st.floats(0.1, 10))
def test_window_is_a_normalised_gaussian(size: int, sigma: float) -> None:
    taps = torch.tensor(windows.gaussian(size, sigma), dtype=torch.float64)
    assert_close(taps, oracle.gaussian(size, sigma, 1))
    assert torch.equal(taps, taps.flip(0))


@given(shape=st.sampled_from([(1, 2, 5, 7), (1, 1, 6, 5, 7)]), seed=seeds)
def test_spread_is_the_adjoint_of_correlate(shape: tuple[int, ...], seed: int) -> None:
    taps = windows.gaussian(5, 1.0)
    x, _ = pair(shape, seed, torch.float64)
    filtered = windows.correlate(x, taps)
    other = torch.rand_like(filtered)
    assert_close((filtered * other).sum(), (x * windows.spread(other, taps)).sum())
