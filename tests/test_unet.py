import inspect

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from libimg.nets import UNet
from libimg.nets.blocks import normalisation, upsampling


def noise(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def small(dims: int, **options: object) -> UNet:
    torch.manual_seed(0)
    return UNet(dims, **{"channels": (4, 6, 8), **options})


@pytest.mark.parametrize("upsample", ["resize", "transpose"])
@settings(max_examples=10)
@given(size=st.lists(st.integers(5, 13), min_size=2, max_size=3), channels=st.integers(1, 3))
def test_any_size_keeps_its_shape(upsample: str, size: list[int], channels: int) -> None:
    net = small(len(size), in_channels=2, out_channels=channels, upsample=upsample)
    out = net(noise(2, 2, *size))
    assert out.shape == (2, channels, *size)
    assert out.isfinite().all()


@settings(max_examples=8)
@given(size=st.lists(st.integers(5, 11), min_size=2, max_size=3), base=st.integers(0, 2))
def test_residual_starts_as_the_chosen_channel(size: list[int], base: int) -> None:
    x = noise(1, 3, *size)
    net = small(len(size), in_channels=3, out_channels=2, residual=True, base_channel=base)
    assert torch.equal(net(x), x[:, [base, base]])
    plain = small(len(size), in_channels=3, out_channels=2)
    assert not torch.allclose(plain(x), x[:, [base, base]])


def test_residual_adds_the_base_to_the_same_output() -> None:
    x = noise(1, 3, 9, 12)
    plain = small(2, in_channels=3)
    net = small(2, in_channels=3, residual=True, base_channel=1)
    net.load_state_dict(plain.state_dict())
    assert torch.allclose(net(x), plain(x) + x[:, 1:2])


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("norm", ["group", "instance", None])
@pytest.mark.parametrize("upsample", ["resize", "transpose"])
def test_gradient_reaches_every_parameter(dims: int, norm: str | None, upsample: str) -> None:
    net = small(dims, norm=norm, upsample=upsample)
    net(noise(1, 1, *[9] * dims)).square().mean().backward()
    for name, parameter in net.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().max() > 0, name


def test_residual_trains_all_after_one_step() -> None:
    net, x = small(2, residual=True), noise(2, 1, 8, 8)
    for _ in range(2):
        net.zero_grad()
        (net(x) - 2 * x).square().mean().backward()
        with torch.no_grad():
            for parameter in net.parameters():
                parameter -= 0.1 * parameter.grad
    assert all(parameter.grad.abs().max() > 0 for parameter in net.parameters())


@pytest.mark.parametrize("norm", ["group", "instance", None])
def test_batched_equals_one_by_one(norm: str | None) -> None:
    net, x = small(2, norm=norm), noise(3, 1, 10, 7)
    x[1] *= 100
    alone = torch.cat([net(one[None]) for one in x])
    assert torch.allclose(net(x), alone, rtol=1e-4, atol=1e-5)


def test_same_result_twice_and_in_both_modes() -> None:
    net, x = small(2), noise(1, 1, 12, 12)
    first = net(x)
    assert torch.equal(first, net(x))
    assert torch.equal(first, net.eval()(x))


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_dtype_and_memory_format_are_kept(dims: int, dtype: torch.dtype) -> None:
    x = noise(2, 1, *[9] * dims, dtype=dtype)
    assert small(dims).to(dtype)(x).dtype == dtype
    layout = torch.channels_last if dims == 2 else torch.channels_last_3d
    net, x = small(dims, out_channels=2), noise(2, 1, *[8] * dims)
    expected = net(x)
    out = net.to(memory_format=layout)(x.to(memory_format=layout))
    if dims == 2:  # torch's own 1×1×1 convolution drops the layout in 3D
        assert out.is_contiguous(memory_format=layout)
    assert torch.allclose(out, expected, atol=1e-5)


def test_details_pass_at_full_resolution() -> None:
    """A one-voxel pattern reaches the output through the top skip alone."""
    net = small(2)
    with torch.no_grad():
        for up in net.up:
            for parameter in up.parameters():
                parameter.zero_()
    x = noise(1, 1, 16, 16)
    moved = x.clone()
    moved[0, 0, 8, 8] += 5
    change = (net(moved) - net(x)).abs()[0, 0]
    assert change[8, 8] > 0


def test_resize_has_no_checkerboard_and_transpose_has() -> None:
    torch.manual_seed(0)
    constant = torch.ones(1, 4, 5, 5)
    smooth = upsampling(2, 4, 3, kind="resize")(constant)
    uneven = upsampling(2, 4, 3, kind="transpose")(constant)
    assert smooth.shape == uneven.shape == (1, 3, 10, 10)
    assert torch.allclose(smooth, smooth[..., :1, :1].expand_as(smooth))
    assert uneven.std((2, 3)).min() > 1e-2


def test_group_norm_divides_any_width() -> None:
    for channels in range(1, 40):
        norm = normalisation("group", channels)
        assert isinstance(norm, nn.GroupNorm)
        assert norm.num_groups == next(n for n in (8, 4, 2, 1) if channels % n == 0)
    assert normalisation("instance", 6).num_groups == 6
    assert isinstance(normalisation(None, 6), nn.Identity)


@pytest.mark.parametrize(
    ("channels", "flat", "volume"),
    [
        ((8, 16, 32, 64), 0.11e6, 0.33e6),
        ((16, 32, 64, 128), 0.45e6, 1.3e6),
        ((32, 64, 128, 256), 1.8e6, 5.3e6),
        ((64, 128, 256, 512, 1024), 29e6, 85e6),
        ((96, 192, 384, 768, 1408), 61e6, 179e6),
    ],
)
def test_documented_sizes(channels: tuple[int, ...], flat: float, volume: float) -> None:
    for dims, expected in ((2, flat), (3, volume)):
        with torch.device("meta"):
            net = UNet(dims, channels=channels)
        count = sum(parameter.numel() for parameter in net.parameters())
        assert count == pytest.approx(expected, rel=0.03)
    with torch.device("meta"):
        brief = UNet(2, channels=(96, 192, 384, 768, 1408))
    assert sum(p.numel() for p in brief.parameters()) == pytest.approx(61e6, rel=0.02)


def test_compiles_into_one_graph() -> None:
    net, x = small(2, residual=True), noise(1, 1, 9, 11)
    forward = inspect.unwrap(UNet.forward)  # as at run time: annotations are not enforced
    compiled = torch.compile(forward, fullgraph=True, backend="eager")
    assert torch.allclose(compiled(net, x), net(x))


def test_learns_a_shift_of_grey_values() -> None:
    net = small(2, residual=True)
    optimiser = torch.optim.Adam(net.parameters(), lr=1e-2)
    x = noise(4, 1, 8, 8)
    start = (net(x) - (x + 1)).abs().mean().item()
    for _ in range(60):
        optimiser.zero_grad()
        loss = (net(x) - (x + 1)).abs().mean()
        loss.backward()
        optimiser.step()
    assert start == pytest.approx(1)
    assert loss.item() < 0.2


@pytest.mark.parametrize(
    "wrong",
    [
        {"spatial_dims": 1},
        {"norm": "batch"},
        {"upsample": "cubic"},
        {"channels": (8,)},
        {"channels": (8, 0)},
        {"in_channels": 0},
        {"in_channels": 2, "base_channel": 2},
        {"base_channel": -1},
    ],
)
def test_refuses_bad_options(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"must be|expected"):
        inspect.unwrap(UNet.__init__)(UNet.__new__(UNet), **{"spatial_dims": 2, **wrong})


@pytest.mark.parametrize("shape", [(1, 2, 8, 8), (1, 1, 8), (1, 1, 8, 8, 8)])
def test_refuses_other_axes_and_channels(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"x must be \(b, 1, \*spatial\) with 2 spatial axes"):
        small(2)(noise(*shape))


def test_refuses_an_axis_shorter_than_the_ladder() -> None:
    assert small(2)(noise(1, 1, 5, 4)).shape == (1, 1, 5, 4)
    for size in ((8, 3), (4, 4)):
        with pytest.raises(ValueError, match=r"at least 4 voxels, .* 3 levels, got \(\d, \d\)"):
            small(2)(noise(1, 1, *size))
