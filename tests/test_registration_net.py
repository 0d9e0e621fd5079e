"""Laws of the registration network."""

import inspect

import pytest
import torch

from libimg._ops import grids
from libimg.nets.registration import RegistrationUNet

OPTIONS = [
    {},
    {"attention": True},
    {"velocity_steps": 3},
    {"half_resolution": True},
    {"attention": True, "velocity_steps": 3, "half_resolution": True, "channels": (6, 10)},
]


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def lively(net: RegistrationUNet) -> RegistrationUNet:
    """Give the last layer weights that move voxels."""
    torch.nn.init.normal_(net.head.weight, std=0.3)
    return net


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("size", [(33, 18), (1, 5), (16, 16), (9, 12, 7), (1, 8, 3)])
def test_any_size_and_a_start_near_the_identity(options, size: tuple[int, ...]) -> None:
    net = RegistrationUNet(len(size), **options)
    flow = net(noise(2, 1, *size), noise(2, 1, *size, seed=1))
    assert flow.shape == (2, len(size), *size)
    assert flow.dtype == torch.float32
    assert 0 < flow.abs().max() < 1e-3


@pytest.mark.parametrize(("dims", "count"), [(2, 69_906), (3, 209_731)])
def test_the_documented_number_of_parameters(dims: int, count: int) -> None:
    assert sum(p.numel() for p in RegistrationUNet(dims).parameters()) == count
    assert f"{count:,}" in (RegistrationUNet.__doc__ or "")


@pytest.mark.parametrize("options", OPTIONS)
def test_every_parameter_learns(options) -> None:
    net = lively(RegistrationUNet(2, **options))
    net(noise(1, 1, 17, 14), noise(1, 1, 17, 14, seed=1)).square().sum().backward()
    for name, parameter in net.named_parameters():
        assert parameter.grad is not None, name
        assert bool(parameter.grad.isfinite().all()), name
        assert bool(parameter.grad.any()), name


@pytest.mark.parametrize("options", OPTIONS)
def test_brightness_and_contrast_do_not_matter(options) -> None:
    net = lively(RegistrationUNet(2, **options)).double()
    a, b = noise(1, 1, 17, 14).double(), noise(1, 1, 17, 14, seed=1).double()
    flow = net(a, b)
    assert flow.abs().max() > 0.1
    torch.testing.assert_close(net(300 * a - 500, 0.01 * b + 2), flow, atol=1e-6, rtol=1e-6)


def test_constant_images_give_finite_gradients() -> None:
    net = lively(RegistrationUNet(2))
    for value in (0.0, 0.1, -1024.0):
        x = torch.full((1, 1, 9, 9), value, requires_grad=True)
        flow = net(x, noise(1, 1, 9, 9))
        flow.sum().backward()
        assert x.grad is not None
        assert bool(x.grad.isfinite().all())
        torch.testing.assert_close(flow, net(torch.zeros(1, 1, 9, 9), noise(1, 1, 9, 9)))


@pytest.mark.parametrize("options", OPTIONS)
def test_a_batch_is_its_samples(options) -> None:
    net = lively(RegistrationUNet(2, **options)).eval()
    a, b = noise(3, 1, 17, 14), noise(3, 1, 17, 14, seed=1)
    single = torch.cat([net(a[i : i + 1], b[i : i + 1]) for i in range(3)])
    torch.testing.assert_close(net(a, b), single, atol=1e-4, rtol=1e-4)


def test_a_velocity_is_integrated() -> None:
    plain, smooth = lively(RegistrationUNet(2)), RegistrationUNet(2, velocity_steps=7)
    smooth.load_state_dict(plain.state_dict())
    pair = noise(1, 1, 24, 24), noise(1, 1, 24, 24, seed=1)
    integrated = grids.integrate(plain(*pair), steps=7)
    torch.testing.assert_close(smooth(*pair), integrated, atol=1e-5, rtol=1e-5)
    assert not torch.equal(plain(*pair), integrated)


def test_several_channels() -> None:
    net = RegistrationUNet(2, in_channels=4)
    assert net(noise(1, 3, 8, 8), noise(1, 1, 8, 8)).shape == (1, 2, 8, 8)


@pytest.mark.parametrize("options", OPTIONS)
def test_flow_is_single_precision_under_autocast(options) -> None:
    net = lively(RegistrationUNet(2, **options))
    pair = noise(1, 1, 17, 14), noise(1, 1, 17, 14, seed=1)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        flow = net(*pair)
    assert flow.dtype == torch.float32
    assert not torch.equal(flow, flow.bfloat16().float())  # not rounded on the way
    torch.testing.assert_close(flow, net(*pair), atol=0.2, rtol=0.1)


@pytest.mark.parametrize("options", [{}, {"velocity_steps": 3}, {"half_resolution": True}])
def test_learns_a_smooth_shift(options) -> None:
    """Thirty steps on one pair: the motion and the difference both shrink."""
    h, w = torch.meshgrid(torch.arange(32.0), torch.arange(32.0), indexing="ij")
    image = torch.stack([torch.sin(h / 3) * torch.cos(w / 4)]).unsqueeze(0)
    bump = torch.exp(-((h - 15) ** 2 + (w - 17) ** 2) / 60)
    truth = torch.stack((1.5 * bump, -bump)).unsqueeze(0)
    fixed = grids.warp(image, truth, mode="bilinear", padding="border")
    net = RegistrationUNet(2, **options)
    optimiser = torch.optim.Adam(net.parameters(), lr=3e-3)
    losses = []
    for _ in range(40):
        flow = net(image, fixed)
        warped = grids.warp(image, flow, mode="bilinear", padding="border")
        smooth = sum(flow.diff(dim=d).square().mean() for d in (2, 3))
        loss = (warped - fixed).square().mean() + 1e-3 * smooth
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append((warped - fixed).square().mean().item())
    assert min(losses) < 0.3 * losses[0]
    inside = bump > 0.5
    error = (flow - truth)[..., inside].square().mean()
    assert error < 0.5 * truth[..., inside].square().mean()


@pytest.mark.parametrize(
    "options",
    [{"channels": (8,)}, {"in_channels": 1}, {"velocity_steps": -1}, {"channels": (8, 0)}],
)
def test_refuses_options(options) -> None:
    with pytest.raises(ValueError, match="expected in_channels >= 2"):
        RegistrationUNet(2, **options)


def test_refuses_images() -> None:
    with pytest.raises(ValueError, match="spatial_dims must be one of 2, 3, got 4"):
        RegistrationUNet(4)
    net, forward = RegistrationUNet(2), inspect.unwrap(RegistrationUNet.forward)
    good = torch.zeros(1, 1, 8, 8)
    for bad in (good[..., :7], good.expand(2, 1, 8, 8), good.expand(1, 2, 8, 8)):
        with pytest.raises(ValueError, match="moving and fixed must be"):
            forward(net, good, bad)
    with pytest.raises(ValueError, match="3 spatial axes and 2 channels"):
        RegistrationUNet(3)(good, good)
