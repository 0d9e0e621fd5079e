"""SSIM in other precisions, on other back ends, and beside other projects."""

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
from libimg.ranges import SIGNED
from tests.reference import ssim as oracle
from tests.reference.ssim import SHAPES, pair, path  # noqa: F401

seeds = st.integers(0, 2**31)


@pytest.fixture
def unchecked() -> Iterator[None]:
    """Call functions as users do, without the type checks that tests add."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


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
