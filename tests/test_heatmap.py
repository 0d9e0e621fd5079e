import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F

from libimg._ops.heatmaps import cell_centres
from libimg.losses import heatmap_loss
from libimg.nets import LandmarkUNet, heatmap_target, peak_probability, soft_argmax

NAN = float("nan")
STRIDES = st.sampled_from([1, 2, 4])


def inside(seed: int, n: int, size: tuple[int, int]) -> Tensor:
    """Points anywhere in the image, outer halves of the border pixels included."""
    draws = torch.rand(2, n, 2, generator=torch.Generator().manual_seed(seed))
    return draws * torch.tensor(size) - 0.5


def noise(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def oracle(point: list[float], cells: tuple[int, int], sigma: float, stride: int) -> Tensor:
    """The Gaussian at the middle of the pixels of each cell, divided by its sum, in float64."""
    out = torch.zeros(cells, dtype=torch.float64)
    for i, j in itertools.product(*map(range, cells)):
        pixels = [[stride * n + k for k in range(stride)] for n in (i, j)]
        middle = [sum(p) / stride for p in pixels]
        out[i, j] = math.exp(-(math.dist(middle, point) ** 2) / (2 * sigma**2))
    return out / out.sum()


# --- target ------------------------------------------------------------------------------------


@settings(max_examples=10)
@given(
    stride=STRIDES,
    size=st.tuples(st.integers(5, 13), st.integers(5, 13)),
    sigma=st.floats(0.8, 5),
    seed=st.integers(0, 99),
)
def test_target_is_the_definition(
    stride: int, size: tuple[int, int], sigma: float, seed: int
) -> None:
    points = inside(seed, 3, size).double()
    maps = heatmap_target(points, size=size, sigma=sigma, stride=stride)
    cells = tuple(math.ceil(n / stride) for n in size)
    assert maps.shape == (2, 3, *cells)
    for k, n in itertools.product(range(2), range(3)):
        want = oracle(points[k, n].tolist(), cells, sigma, stride)
        torch.testing.assert_close(maps[k, n], want, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("stride", [1, 2, 4])
def test_cells_lie_in_the_middle_of_their_pixels(stride: int) -> None:
    """Shrinking a ramp of pixel coordinates by area gives the coordinates of the cells."""
    ramp = torch.arange(16.0)[None, None]
    want = F.avg_pool1d(ramp, stride)[0, 0]
    assert torch.equal(cell_centres(16 // stride, stride=stride, like=ramp), want)
    # so a point there is a map symmetric about the one cell, and read back exactly
    middle = want[2].expand(1, 1, 2)
    maps = heatmap_target(middle, size=(5 * stride,) * 2, sigma=stride, stride=stride)
    assert maps.flatten().argmax() == 12
    torch.testing.assert_close(maps, maps.flip(2, 3))
    torch.testing.assert_close(soft_argmax(maps.log(), stride=stride), middle)


def test_target_far_outside_and_missing() -> None:
    points = torch.tensor([[[1e4, -1e4], [NAN, 2.0], [3.0, NAN], [2.0, 1.0]]])
    maps = heatmap_target(points, size=(6, 7), sigma=1.0)
    assert maps.isfinite().all()
    torch.testing.assert_close(maps.sum((2, 3)), torch.tensor([[1.0, 0, 0, 1]]))
    assert maps[0, 0, 5, 0] > 0.99  # the nearest corner


# --- reading -----------------------------------------------------------------------------------


@given(
    stride=STRIDES,
    size=st.tuples(st.integers(20, 60), st.integers(20, 60)),
    cells=st.floats(0.6, 3),
    window=st.sampled_from([5, 9, 15]),
    seed=st.integers(0, 999),
)
def test_points_come_back_from_anywhere(
    stride: int, size: tuple[int, int], cells: float, window: int, seed: int
) -> None:
    points = inside(seed, 8, size)
    maps = heatmap_target(points, size=size, sigma=cells * stride, stride=stride)
    found = soft_argmax(maps.log(), stride=stride, window=window)
    assert (found - points).abs().max() < 0.001


def test_a_mean_would_not_do() -> None:
    """What the fit is for: at the border a windowed mean is pulled inwards by more than a pixel."""
    points = torch.tensor([[[0.0, 20.0]]])
    maps = heatmap_target(points, size=(40, 40), sigma=2.0)
    near = maps[0, 0, :5].sum(1)
    assert (near * torch.arange(5.0)).sum() / near.sum() > 1
    assert (soft_argmax(maps.log()) - points).abs().max() < 1e-4


@given(seed=st.integers(0, 999), shift=st.floats(-30, 30))
def test_far_noise_has_no_say(seed: int, shift: float) -> None:
    points = torch.tensor([[[11.3, 14.8]]])
    logits = heatmap_target(points, size=(40, 40), sigma=1.5).log().clamp(min=-8)
    noisy = noise(1, 1, 40, 40, seed=seed)
    noisy[..., 6:18, 9:21] = 0
    found = soft_argmax(logits + noisy + shift)
    torch.testing.assert_close(found, soft_argmax(logits), rtol=0, atol=1e-3)
    assert (found - points).abs().max() < 0.05


@given(
    seed=st.integers(0, 999),
    size=st.tuples(st.integers(1, 12), st.integers(1, 12)),
    scale=st.sampled_from([0.0, 0.01, 1.0, 30.0, 1e4]),
    stride=STRIDES,
)
def test_any_map_gives_a_point_in_the_image(
    seed: int, size: tuple[int, int], scale: float, stride: int
) -> None:
    found = soft_argmax(noise(2, 3, *size, seed=seed) * scale, stride=stride)
    assert (found >= -0.5).all()
    assert (found <= torch.tensor(size) * stride - 0.5).all()


def test_a_plateau_gives_its_middle() -> None:
    logits = torch.full((1, 1, 20, 20), -1e3)
    logits[..., 5:8, 9:14] = 0
    logits[..., 6, 11] = 1e-6  # the window is around the largest cell
    torch.testing.assert_close(
        soft_argmax(logits), torch.tensor([[[6.0, 11.0]]]), atol=1e-3, rtol=0
    )
    flat = torch.full((1, 1, 20, 20), -1e3)
    flat[..., 5, 9:14] = torch.tensor([0, -1e-6, -1e-6, -1e-6, 0])
    assert 9 <= soft_argmax(flat)[0, 0, 1] <= 13


def test_one_cell_alone_and_nothing() -> None:
    logits = torch.full((1, 3, 8, 8), -torch.inf)
    logits[0, 0, 3, 5] = logits[0, 1, 0, 7] = 0
    found = soft_argmax(logits, stride=2)
    torch.testing.assert_close(found[0, :2], torch.tensor([[6.5, 10.5], [0.5, 14.5]]))
    assert found[0, 2].isnan().all()


def test_reading_is_differentiable() -> None:
    points = torch.tensor([[[6.3, 7.6], [0.2, 11.4]]], dtype=torch.float64)
    logits = heatmap_target(points, size=(13, 14), sigma=1.5).log() + 0.05 * noise(
        1, 2, 13, 14, dtype=torch.float64
    )
    assert torch.autograd.gradcheck(soft_argmax, logits.requires_grad_())
    for hard in (torch.zeros(1, 2, 9, 9), torch.full((1, 2, 9, 9), -torch.inf)):
        hard[..., 4, 3] = 0
        (grad,) = torch.autograd.grad(soft_argmax(hard.requires_grad_()).sum(), hard)
        assert grad.isfinite().all()


def test_reading_half_precision_and_batches() -> None:
    points = inside(0, 5, (40, 40))
    logits = heatmap_target(points, size=(40, 40), sigma=1.5).log().clamp(min=-20)
    found = soft_argmax(logits)
    assert torch.equal(found[1:], soft_argmax(logits[1:]))
    half = soft_argmax(logits.bfloat16())
    assert half.dtype == peak_probability(logits.bfloat16()).dtype == torch.float32
    assert (half - found).abs().max() < 0.1
    assert soft_argmax(logits.double()).dtype == torch.float64


def test_confidence() -> None:
    points = torch.tensor([[[10.0, 12.0], [10.0, 50.0], [0.0, 0.0]]])
    maps = heatmap_target(points, size=(20, 64), sigma=1.0)
    torch.testing.assert_close(peak_probability(maps.log()), torch.ones(1, 3), rtol=0, atol=1e-4)
    mixed = (0.7 * maps[:, :1] + 0.3 * maps[:, 1:2]).log()
    torch.testing.assert_close(peak_probability(mixed), torch.tensor([[0.7]]), rtol=0, atol=1e-4)
    top = peak_probability(maps.log(), window=1)
    torch.testing.assert_close(top, maps.amax((2, 3)))


# --- loss --------------------------------------------------------------------------------------


@settings(max_examples=10)
@given(seed=st.integers(0, 999), stride=STRIDES, sigma=st.floats(0.8, 4))
def test_loss_is_the_definition(seed: int, stride: int, sigma: float) -> None:
    """Cross-entropy with the target minus the entropy of the target, mean over landmarks."""
    logits = noise(2, 3, 5, 6, seed=seed, dtype=torch.float64)
    points = inside(seed, 3, (5 * stride, 6 * stride)).double()
    want = torch.zeros(2, dtype=torch.float64)
    for k, n in itertools.product(range(2), range(3)):
        target = oracle(points[k, n].tolist(), (5, 6), sigma, stride)
        share = logits[k, n].exp() / logits[k, n].exp().sum()
        want[k] += torch.special.xlogy(target, target / share).sum() / 3
    got = heatmap_loss(logits, points, sigma=sigma, stride=stride)
    torch.testing.assert_close(got, want, rtol=1e-7, atol=1e-9)
    assert (got >= 0).all()


@given(seed=st.integers(0, 999), stride=STRIDES, shift=st.floats(-50, 50))
def test_the_target_itself_has_no_loss_and_no_gradient(
    seed: int, stride: int, shift: float
) -> None:
    points = inside(seed, 4, (24, 20))
    maps = heatmap_target(points, size=(24, 20), sigma=2.0, stride=stride)
    logits = (maps.log().clamp(min=-80) + shift).requires_grad_()
    loss = heatmap_loss(logits, points, sigma=2.0, stride=stride)
    assert loss.abs().max() < 1e-4
    (grad,) = torch.autograd.grad(loss.sum(), logits)
    assert grad.abs().max() < 1e-5


def test_missing_landmarks_are_left_out() -> None:
    logits = noise(3, 3, 8, 9).requires_grad_()
    points = inside(0, 3, (8, 9))
    points = torch.stack((points[0], points[1], points[0]))
    points[0, 1, 0] = NAN
    points[2] = NAN
    loss = heatmap_loss(logits, points, sigma=1.0)
    kept = heatmap_loss(logits[:1, [0, 2]], points[:1, [0, 2]], sigma=1.0)
    torch.testing.assert_close(loss[:1], kept)
    assert loss[2] == 0
    (grad,) = torch.autograd.grad(loss.sum(), logits)
    missing = torch.tensor([[0, 1, 0], [0, 0, 0], [1, 1, 1]], dtype=torch.bool)
    assert torch.equal(grad.abs().amax((2, 3)) == 0, missing)


def test_loss_gradcheck_and_half_precision() -> None:
    logits = noise(2, 2, 4, 5, dtype=torch.float64).requires_grad_()
    points = inside(1, 2, (8, 10)).double()
    points[1, 0] = NAN
    assert torch.autograd.gradcheck(lambda x: heatmap_loss(x, points, sigma=2.0, stride=2), logits)
    low = heatmap_loss(logits.detach().bfloat16(), points.float(), sigma=2.0, stride=2)
    assert low.dtype == torch.float32
    full = heatmap_loss(logits.detach(), points, sigma=2.0, stride=2)
    torch.testing.assert_close(low.double(), full, rtol=0.02, atol=0.02)


# --- network -----------------------------------------------------------------------------------


@pytest.mark.parametrize("stride", [1, 2, 4])
def test_network_sizes(stride: int) -> None:
    torch.manual_seed(0)
    net = LandmarkUNet(5, in_channels=3, channels=(4, 6, 8), stride=stride)
    x = noise(2, 3, 29, 34)
    out = net(x)
    assert out.shape == (2, 5, math.ceil(29 / stride), math.ceil(34 / stride))
    torch.testing.assert_close(out[1:], net(x[1:]), rtol=1e-4, atol=1e-5)
    out.square().mean().backward()
    assert all(p.grad is not None and p.grad.abs().max() > 0 for p in net.parameters())


@pytest.mark.parametrize("stride", [2, 4])
def test_a_cell_sees_its_own_pixels(stride: int) -> None:
    """A network that only passes on the mean of a cell's pixels: the map is the shrunk image."""
    net = LandmarkUNet(1, channels=(4, 6), stride=stride)
    mean = torch.nn.Conv2d(stride**2, 1, 1, bias=False)
    torch.nn.init.constant_(mean.weight, 1 / stride**2)
    mean.in_channels, mean.multiple = stride**2, 2
    net.body = mean
    point = torch.tensor([[[13.3, 9.2]]])
    image = heatmap_target(point, size=(32, 24), sigma=6.0)
    found = soft_argmax(net(image).log(), stride=stride)
    assert (found - point).abs().max() < 0.05


def test_learns_to_find_a_dot() -> None:
    generator = torch.Generator().manual_seed(0)
    torch.manual_seed(0)
    net = LandmarkUNet(1, channels=(8, 12, 16), stride=2)
    optimiser = torch.optim.Adam(net.parameters(), lr=1e-2)

    def draw(n: int) -> tuple[Tensor, Tensor]:
        points = torch.rand(n, 1, 2, generator=generator) * 28 + 1.5
        dots = heatmap_target(points, size=(32, 32), sigma=1.0)
        return 6 * dots + 0.1 * torch.randn(dots.shape, generator=generator), points

    for _ in range(60):
        image, points = draw(8)
        optimiser.zero_grad()
        heatmap_loss(net(image), points, sigma=2.0, stride=2).mean().backward()
        optimiser.step()
    image, points = draw(32)
    with torch.no_grad():
        heatmaps = net(image)
    error = (soft_argmax(heatmaps, stride=2) - points).norm(dim=-1)
    assert error.mean() < 0.5
    assert error.max() < 1
    assert peak_probability(heatmaps).mean() > 0.8
    assert heatmap_loss(heatmaps, points, sigma=2.0, stride=2).mean() < 0.3


# --- refusals ----------------------------------------------------------------------------------


def test_refusals(unchecked: None) -> None:
    points, logits = torch.zeros(1, 2, 2), torch.zeros(1, 2, 8, 8)
    with pytest.raises(ValueError, match="stride must be one of 1, 2, 4, got 3"):
        LandmarkUNet(3, stride=3)
    with pytest.raises(ValueError, match="landmarks must be above 0"):
        LandmarkUNet(0)
    net = LandmarkUNet(2, channels=(4, 4, 4))
    with pytest.raises(ValueError, match=r"x must be \(b, 1, h, w\), got shape \(1, 2, 32, 32\)"):
        net(torch.zeros(1, 2, 32, 32))
    with pytest.raises(ValueError, match="at least 8 pixels at stride 2"):
        net(torch.zeros(1, 1, 7, 32))
    with pytest.raises(ValueError, match="sigma must be above 0"):
        heatmap_target(points, size=(8, 8), sigma=0)
    with pytest.raises(ValueError, match="height must be above 0"):
        heatmap_target(points, size=(0, 8), sigma=1)
    with pytest.raises(ValueError, match="window must be odd and 3 or more, got 1"):
        soft_argmax(logits, window=1)
    with pytest.raises(ValueError, match="window must be odd and positive, got 4"):
        soft_argmax(logits, window=4)
    with pytest.raises(ValueError, match="window must be odd"):
        peak_probability(logits, window=0)
    with pytest.raises(ValueError, match="stride must be above 0"):
        soft_argmax(logits, stride=0)
    with pytest.raises(ValueError, match=r"got shapes \(1, 2, 8, 8\) and \(1, 3, 2\)"):
        heatmap_loss(logits, torch.zeros(1, 3, 2), sigma=1.0)
