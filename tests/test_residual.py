"""Restoration networks: identity at the start, any size, nothing lost on the way."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from libimg.nets import RestorationResNet, RestorationUNet
from libimg.nets.blocks import ResidualBlock

LIGHT = {"width": 8, "blocks": 2}
SMALL = {"widths": (8, 16, 24), "blocks": 1}


def make(kind: str, **options: object) -> nn.Module:
    """Build a small network whose last layer is not zero."""
    torch.manual_seed(0)
    net = (
        RestorationResNet(**{**LIGHT, **options})
        if kind == "cnn"
        else RestorationUNet(**{**SMALL, **options})
    )
    nn.init.normal_(net.tail.weight, std=0.1)
    return net


def count(net: nn.Module) -> int:
    return sum(p.numel() for p in net.parameters())


@pytest.mark.parametrize("kind", ["cnn", "unet"])
@settings(max_examples=10)
@given(height=st.integers(1, 19), width=st.integers(1, 19), channels=st.sampled_from((1, 3)))
def test_any_size_and_the_identity_at_the_start(
    kind: str, height: int, width: int, channels: int
) -> None:
    x = torch.randn(2, channels, height, width)
    net = make(kind, channels=channels)
    assert net(x).shape == x.shape
    assert not torch.equal(net(x), x)
    nn.init.zeros_(net.tail.weight)
    nn.init.zeros_(net.tail.bias)
    assert torch.equal(net(x), x)


@pytest.mark.parametrize("kind", ["cnn", "unet"])
def test_every_parameter_learns(kind: str) -> None:
    net = make(kind)
    net(torch.randn(2, 3, 15, 18)).square().mean().backward()
    for name, parameter in net.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().max() > 0, name


@pytest.mark.parametrize("kind", ["cnn", "unet"])
def test_a_batch_is_its_images(kind: str) -> None:
    net, x = make(kind).double(), torch.randn(3, 3, 13, 10, dtype=torch.float64)
    together = net(x)
    for i in range(3):
        torch.testing.assert_close(net(x[i : i + 1]), together[i : i + 1])


@pytest.mark.parametrize(("kind", "step"), [("cnn", 2), ("unet", 4)])
def test_shifting_by_a_multiple_shifts_the_inside(kind: str, step: int) -> None:
    net, x = make(kind).double(), torch.randn(1, 3, 96, 96, dtype=torch.float64)
    reach = 40
    whole, shifted = net(x), net(x[..., step:, step:])
    inner = slice(reach, -reach)
    torch.testing.assert_close(
        shifted[..., inner, inner], whole[..., step + reach : -reach, step + reach : -reach]
    )


@pytest.mark.parametrize("kind", ["cnn", "unet"])
def test_it_learns_to_take_away_noise(kind: str) -> None:
    torch.manual_seed(0)
    net = make(kind, channels=1)
    nn.init.zeros_(net.tail.weight)
    rows = torch.linspace(0, 1, 32).view(1, 1, 32, 1).expand(8, 1, 32, 32)
    adam = torch.optim.Adam(net.parameters(), lr=3e-3)
    losses = []
    for _ in range(60):
        loss = (net(rows + 0.1 * torch.randn(rows.shape)) - rows).square().mean()
        adam.zero_grad()
        loss.backward()
        adam.step()
        losses.append(float(loss.detach()))
    assert losses[0] == pytest.approx(0.01, rel=0.1)  # the noise itself
    assert sum(losses[-5:]) / 5 < 0.5 * losses[0]


def test_sizes_are_those_of_the_docstrings() -> None:
    assert count(RestorationResNet(width=48, blocks=5)) == pytest.approx(0.22e6, rel=0.03)
    assert count(RestorationResNet()) == pytest.approx(0.75e6, rel=0.03)
    assert count(RestorationUNet(widths=(24, 48, 96))) == pytest.approx(0.588e6, rel=0.03)
    assert count(RestorationUNet()) == pytest.approx(2.35e6, rel=0.03)


def test_bad_input_is_refused() -> None:
    for options in ({"width": 0}, {"blocks": 0}, {"channels": 0}, {"shuffle": 0}):
        with pytest.raises(ValueError, match="at least 1"):
            RestorationResNet(**options)
    for options in ({"widths": (8,)}, {"widths": (8, 0)}, {"blocks": 0}):
        with pytest.raises(ValueError, match="two or more widths"):
            RestorationUNet(**options)
    for bound in (0.0, -1.0, math.nan):
        with pytest.raises(ValueError, match="bound must be positive, got"):
            RestorationUNet(bound=bound)
    for kind in ("cnn", "unet"):
        with pytest.raises(ValueError, match=r"x must be \(b, 3, h, w\), got shape \(1, 4, 8, 8\)"):
            make(kind)(torch.zeros(1, 4, 8, 8))


@pytest.mark.parametrize("kind", [RestorationResNet, RestorationUNet])
def test_features_keep_their_size_at_the_start(kind: type) -> None:
    torch.manual_seed(0)
    net, sizes = kind(), []
    for module in net.modules():
        if isinstance(module, ResidualBlock):
            module.register_forward_hook(lambda m, x, y: sizes.append(float(y.detach().std())))
    net(torch.randn(1, 3, 32, 32))
    assert len(sizes) == 10
    assert 0.3 < min(sizes) <= max(sizes) < 5


@settings(max_examples=10)
@given(bound=st.floats(0.1, 10), scale=st.floats(1, 1e4))
def test_bounded_features_cannot_run_away(bound: float, scale: float) -> None:
    net, sizes = make("unet", bound=bound), []
    for module in net.modules():
        if isinstance(module, ResidualBlock):
            module.register_forward_hook(
                lambda m, x, y: sizes.append(float(y.detach().abs().max()))
            )
    x = scale * torch.randn(1, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    change = (net(x) - x).detach()
    assert max(sizes) <= bound * (1 + 1e-6)
    furthest = net.tail.weight.detach().abs().sum((1, 2, 3)).max() * bound
    assert change.abs().max() <= furthest + 1e-3 * scale  # rounding of x itself


def test_a_bound_that_nothing_reaches_changes_nothing() -> None:
    x = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    assert torch.equal(make("unet")(x), make("unet", bound=1e3)(x))
    assert not torch.allclose(make("unet")(x), make("unet", bound=0.01)(x))
