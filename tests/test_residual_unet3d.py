"""Residual 3-D U-Net: identity, sizes, foreign weights, its formula, half precision, inference."""

import copy
import inspect
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from libimg.nets.conv3d import Conv3d, ConvTranspose3d, SumGroupNorm
from libimg.nets.residual_unet3d import ResidualUNet3D, load_3dunet_weights, prepare_inference
from tests.reference.unet3d import residual_unet3d

WIDTHS = (4, 8, 16)


def noise(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def small(**options: object) -> ResidualUNet3D:
    torch.manual_seed(0)
    return ResidualUNet3D(**{"channels": WIDTHS, "groups": 4, "identity": False, **options})


def trained(**options: object) -> ResidualUNet3D:
    """Weights as far from their start as training brings them, the zero of the head included."""
    net = small(**options)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter += 0.1 * torch.randn(parameter.shape, generator=generator)
    return net


def foreign(*, bias: bool, seed: int = 0, inside: int = 1, outside: int = 1) -> dict:
    """State of a ResidualUNet3D of that project, by its own names, in float64."""
    shapes: dict[str, tuple[int, ...]] = {}

    def block(name: str, a: int, b: int) -> None:
        if a != b:
            shapes[f"{name}.conv1.weight"], shapes[f"{name}.conv1.bias"] = (b, a, 1, 1, 1), (b,)
        for part in ("conv2", "conv3"):
            shapes[f"{name}.{part}.groupnorm.weight"] = (b,)
            shapes[f"{name}.{part}.groupnorm.bias"] = (b,)
            shapes[f"{name}.{part}.conv.weight"] = (b, b, 3, 3, 3)

    for i, b in enumerate(WIDTHS):
        block(f"encoders.{i}.basic_module", (inside, *WIDTHS)[i], b)
    for i, (a, b) in enumerate(((16, 8), (8, 4))):
        name = f"decoders.{i}.upsampling.upsample.conv_transposed"
        shapes[f"{name}.weight"] = (a, b, 3, 3, 3)
        if bias:
            shapes[f"{name}.bias"] = (b,)
        block(f"decoders.{i}.basic_module", b, b)
    shapes["final_conv.weight"] = (outside, WIDTHS[0], 1, 1, 1)
    shapes["final_conv.bias"] = (outside,)
    state = {}
    for i, (name, shape) in enumerate(shapes.items()):
        scale = 0.2 if len(shape) > 1 else 1.0
        state[name] = noise(*shape, seed=100 * seed + i, dtype=torch.float64) * scale
    return state


# The network


def test_documented_sizes() -> None:
    for channels, expected in (((32, 64, 128, 256), 7_069_185), ((16, 32, 64), 431_937)):
        with torch.device("meta"):
            net = ResidualUNet3D(channels=channels)
        assert sum(parameter.numel() for parameter in net.parameters()) == expected


@pytest.mark.parametrize("levels", [2, 3, 5, 6])
@settings(max_examples=4)
@given(size=st.tuples(st.sampled_from((1, 5, 8)), st.integers(1, 21), st.integers(1, 21)))
def test_starts_as_the_identity_at_any_size_and_depth(
    levels: int, size: tuple[int, int, int]
) -> None:
    x = 100 * noise(2, 1, *size)
    net = small(channels=(4,) * levels, identity=True)
    assert torch.equal(net(x), x)
    out = small(channels=(4,) * levels, out_channels=3)(x)
    assert out.shape == (2, 3, *size)
    assert out.isfinite().all()


def test_one_input_channel_spreads_over_the_identity() -> None:
    x = noise(1, 1, 4, 5, 6)
    assert torch.equal(small(identity=True, out_channels=3)(x), x.expand(1, 3, 4, 5, 6))


def test_identity_adds_the_input_to_the_same_output_and_nothing_follows() -> None:
    plain, net = trained(), trained(identity=True)
    net.load_state_dict(plain.state_dict())
    x = noise(1, 1, 8, 9, 7)
    assert torch.allclose(net(x), plain(x) + x, atol=1e-6)
    assert net(x).min() < 0 < net(x).max()


def test_gradient_reaches_every_parameter() -> None:
    net = trained(identity=True)
    net(noise(2, 1, 8, 9, 11)).square().mean().backward()
    for name, parameter in net.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().max() > 0, name


def test_batched_equals_one_by_one_and_the_dtype_stays() -> None:
    net, x = trained(), noise(3, 1, 8, 7, 10)
    x[1] *= 100
    alone = torch.cat([net(one[None]) for one in x])
    assert torch.allclose(net(x), alone, rtol=1e-4, atol=1e-5)
    for dtype in (torch.float64, torch.bfloat16):
        assert net.to(dtype)(x.to(dtype)).dtype == dtype


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"channels": (8,)}, "two or more channels"),
        ({"channels": (8, 12)}, r"8 groups divide, got \(8, 12\)"),
        ({"channels": (8, 0)}, "expected two or more"),
        ({"in_channels": 0}, "from 0 to 1"),
        ({"groups": 0}, "0 groups"),
        ({"in_channels": 2, "out_channels": 3}, "identity needs in_channels .* got 2 and 3"),
    ],
)
def test_refuses_bad_options(wrong: dict[str, object], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        ResidualUNet3D(**wrong)


def test_refuses_other_channels() -> None:
    with pytest.raises(ValueError, match=r"x must have 1 channels, got shape \(1, 2, 4, 4, 4\)"):
        small()(noise(1, 2, 4, 4, 4))


# The other project's weights


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("size", [(8, 12, 16), (9, 13, 10)])
def test_equals_the_formula_of_pytorch_3dunet(bias: bool, size: tuple[int, ...]) -> None:
    state = foreign(bias=bias, inside=2, outside=3)
    net = load_3dunet_weights(small(in_channels=2, out_channels=3).double(), state)
    x = noise(2, 2, *size, dtype=torch.float64)
    weights = {name: value.numpy() for name, value in state.items()}
    expected = [residual_unet3d(one.numpy(), weights, levels=3, groups=4) for one in x]
    np.testing.assert_allclose(net(x).detach().numpy(), np.stack(expected), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("prefix", ["", "module.", "backbone.", "module.unet."])
def test_weights_load_from_files_and_wrappers(prefix: str, tmp_path: Path) -> None:
    state = {prefix + name: value for name, value in foreign(bias=True, seed=1).items()}
    x = noise(1, 1, 8, 6, 5)
    expected = load_3dunet_weights(small(), state)(x)
    torch.save({"num_epochs": 3, "model_state_dict": state}, tmp_path / "best.pytorch")
    net = small()
    assert load_3dunet_weights(net, tmp_path / "best.pytorch") is net
    assert torch.equal(net(x), expected)
    assert not torch.equal(small()(x), expected)


def test_weights_are_named_where_they_go() -> None:
    state = foreign(bias=False)
    net = load_3dunet_weights(small().double(), state)
    own = net.state_dict()
    for theirs, ours in (
        ("encoders.1.basic_module.conv1.weight", "encoder.1.project.weight"),
        ("encoders.2.basic_module.conv2.groupnorm.bias", "encoder.2.norm1.bias"),
        ("decoders.0.basic_module.conv3.conv.weight", "decoder.0.conv2.weight"),
        ("decoders.1.upsampling.upsample.conv_transposed.weight", "up.1.weight"),
        ("final_conv.bias", "head.bias"),
    ):
        assert torch.equal(own[ours], state[theirs])
    assert not own["up.0.bias"].any()


def test_foreign_shapes_and_names_are_refused(tmp_path: Path) -> None:
    net = small()
    before = copy.deepcopy(net.state_dict())
    state = foreign(bias=True)
    wrong = state | {"encoders.1.basic_module.conv2.conv.weight": torch.zeros(8, 8, 1, 3, 3)}
    said = r"checkpoint: encoder\.1\.conv1\.weight has shape \(8, 8, 1, 3, 3\), expected \(8, 8, 3"
    with pytest.raises(ValueError, match=said):
        load_3dunet_weights(net, wrong)
    lacking = {name: value for name, value in state.items() if not name.startswith("final")}
    path = tmp_path / "half.pytorch"
    torch.save(lacking, path)
    with pytest.raises(ValueError, match=r"half\.pytorch: 2 weights are missing \['head\.bias"):
        load_3dunet_weights(net, path)
    with pytest.raises(ValueError, match=r"1 not known \['odd\.weight'\]"):
        load_3dunet_weights(net, state | {"odd.weight": torch.zeros(1)})
    with pytest.raises(FileNotFoundError, match="none"):
        load_3dunet_weights(net, tmp_path / "none.pytorch")
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())


# Inference


@pytest.mark.parametrize("identity", [True, False])
def test_prepared_network_gives_the_same(identity: bool) -> None:
    net, x = trained(identity=identity), noise(2, 1, 8, 11, 13)
    before, expected = copy.deepcopy(net.state_dict()), net(x).detach()
    exact = prepare_inference(net, dtype=torch.float32, compiled=False)
    assert torch.allclose(exact(x), expected, atol=1e-4)
    fast = prepare_inference(net, compiled=False)
    out = fast(x)
    assert out.dtype == torch.float32
    assert not out.requires_grad
    assert not fast.training
    assert (out - expected).abs().max() < 0.05 * expected.abs().max()
    assert not torch.equal(out, exact(x))
    assert net.identity is identity
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    assert all(p.requires_grad for p in net.parameters())


def test_prepared_identity_keeps_counts_that_half_precision_cannot_hold() -> None:
    counts = torch.arange(1.0, 8 * 6 * 5 + 1).reshape(1, 1, 8, 6, 5) + 256
    fast = prepare_inference(small(identity=True), compiled=False)
    assert torch.equal(fast(counts), counts)
    assert not torch.equal(counts.bfloat16().float(), counts)


def test_any_network_of_volumes_can_be_prepared() -> None:
    net, x = nn.Conv3d(1, 2, 1), noise(1, 1, 2, 3, 4)
    out = prepare_inference(net, dtype=torch.float32, compiled=False)(x)
    assert torch.allclose(out, net(x), atol=1e-6)


@pytest.mark.slow
@pytest.mark.usefixtures("unchecked")
def test_compiled_network_gives_the_same() -> None:
    net, x = trained(channels=(8, 16), identity=True), noise(1, 1, 8, 10, 12)
    expected = net(x).detach()
    out = prepare_inference(net)(x)
    assert out.dtype == torch.float32
    assert (out - expected).abs().max() < 0.05 * expected.abs().max()


@pytest.mark.usefixtures("unchecked")
def test_compiles_into_one_graph() -> None:
    net, x = trained(), noise(1, 1, 8, 6, 9)
    forward = inspect.unwrap(ResidualUNet3D.forward)
    compiled = torch.compile(forward, fullgraph=True, backend="eager")
    with torch.no_grad():
        assert torch.allclose(compiled(net, x), net(x), atol=1e-5)


# Half precision on the CPU

LAYERS = {
    "conv": lambda a, b: Conv3d(a, b, 3, padding=1),
    "bare": lambda a, b: Conv3d(a, b, 3, padding=1, bias=False),
    "one": lambda a, b: Conv3d(a, b, 1),
    "grouped": lambda a, b: Conv3d(a, b, 3, padding=1, groups=a if b % a == 0 else 1),
    "strided": lambda a, b: Conv3d(a, b, 3, padding=2, stride=(1, 2, 1), dilation=2),
    "up": lambda a, b: ConvTranspose3d(a, b, 3, stride=2, padding=1, output_padding=(1, 0, 1)),
}


def gradients(layer: nn.Module, x: torch.Tensor, *, half: bool) -> dict[str, torch.Tensor]:
    layer.zero_grad()
    x = x.clone().requires_grad_()
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=half):
        out = layer(x)
    assert out.dtype == (torch.bfloat16 if half else torch.float32)
    (out.float() * noise(*out.shape, seed=5).bfloat16().float()).sum().backward()
    found = {name: p.grad.clone() for name, p in layer.named_parameters()}
    return found | {"x": x.grad, "out": out.detach().float()}


@pytest.mark.parametrize("kind", list(LAYERS))
@pytest.mark.parametrize(("a", "b"), [(1, 16), (16, 1), (16, 16), (4, 8), (1, 1)])
@pytest.mark.parametrize("depth", [1, 2, 3])
def test_gradients_in_half_precision(kind: str, a: int, b: int, depth: int) -> None:
    torch.manual_seed(0)
    layer = LAYERS[kind](a, b)
    x = noise(2, a, depth, 9, 10)
    exact, half = gradients(layer, x, half=False), gradients(layer, x, half=True)
    for name, value in exact.items():
        assert half[name].dtype == torch.float32, name
        error = (half[name] - value).norm() / value.norm()
        assert error < 0.01, (name, float(error))


@pytest.mark.parametrize("kind", list(LAYERS))
@pytest.mark.parametrize(("a", "b"), [(1, 16), (16, 1), (4, 8)])
def test_gradients_of_weights_are_those_of_float32(kind: str, a: int, b: int) -> None:
    """Not rounded to half precision: on every processor the sums are not in torch's own layer."""
    torch.manual_seed(0)
    layer = LAYERS[kind](a, b)
    x = noise(2, a, 2, 9, 10).bfloat16().float()
    exact, half = gradients(layer, x, half=False), gradients(layer, x, half=True)
    for name, _ in layer.named_parameters():
        assert torch.allclose(half[name], exact[name], rtol=1e-4, atol=1e-4), name


@pytest.mark.parametrize("channels", [1, 3, 12, 16])
def test_one_slice_of_few_channels_in_half_precision(channels: int) -> None:
    """Without gradients too; torch's own layer gives noise here on some processors."""
    torch.manual_seed(0)
    layer, x = Conv3d(channels, 8, 3, padding=1), noise(2, channels, 1, 9, 10)
    with torch.no_grad():
        expected = layer(x)
        low = copy.deepcopy(layer).bfloat16()(x.bfloat16())
        with torch.autocast("cpu", dtype=torch.bfloat16):
            cast = layer(x)
    for out in (low, cast):
        assert out.dtype == torch.bfloat16
        assert (out.float() - expected).norm() < 0.01 * expected.norm()


def test_gradients_of_a_layer_held_in_half_precision() -> None:
    torch.manual_seed(0)
    layer = Conv3d(4, 8, 3, padding=1)
    low = copy.deepcopy(layer).bfloat16()
    x = noise(1, 4, 2, 6, 6).bfloat16()
    low(x).float().square().sum().backward()
    layer.load_state_dict({name: value.float() for name, value in low.state_dict().items()})
    layer(x.float()).square().sum().backward()
    for ours, theirs in zip(low.parameters(), layer.parameters(), strict=True):
        assert ours.grad.dtype == torch.bfloat16
        assert (ours.grad.float() - theirs.grad).norm() < 0.02 * theirs.grad.norm()


@pytest.mark.parametrize("frozen", ["weight", "bias"])
def test_a_frozen_parameter_takes_no_gradient_and_the_other_does(frozen: str) -> None:
    torch.manual_seed(0)
    layer, x = Conv3d(3, 4, 3, padding=1), noise(1, 3, 2, 4, 4)
    getattr(layer, frozen).requires_grad_(False)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        layer(x).float().sum().backward()
    other = layer.bias if frozen == "weight" else layer.weight
    assert getattr(layer, frozen).grad is None
    assert other.grad is not None
    assert other.grad.abs().max() > 0


def test_float64_stays_float64_where_half_precision_is_allowed() -> None:
    layer, x = Conv3d(2, 3, 1).double(), noise(1, 2, 2, 3, 3, dtype=torch.float64)
    plain = F.conv3d(x, layer.weight, layer.bias)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out = layer(x)
    assert out.dtype == torch.float64
    assert torch.equal(out, plain)


def test_layers_are_those_of_torch_in_float32() -> None:
    torch.manual_seed(0)
    x = noise(2, 4, 3, 5, 6)
    ours, theirs = Conv3d(4, 6, 3, padding=1), nn.Conv3d(4, 6, 3, padding=1)
    theirs.load_state_dict(ours.state_dict())
    assert torch.equal(ours(x), theirs(x))
    up, plain = ConvTranspose3d(4, 6, 3, stride=2, padding=1), nn.ConvTranspose3d(4, 6, 3, 2, 1)
    plain.load_state_dict(up.state_dict())
    assert torch.equal(up(x), plain(x))
    expected = F.conv_transpose3d(x, up.weight, up.bias, (1, 2, 2), 1)
    assert torch.equal(up(x, stride=(1, 2, 2)), expected)
    assert up(x, stride=(1, 2, 1)).shape == (2, 6, 3, 9, 6)


def test_gradcheck_in_float64() -> None:
    torch.manual_seed(0)
    net = ResidualUNet3D(channels=(2, 3), groups=1, identity=False).double()
    with torch.no_grad():
        for parameter in net.parameters():
            parameter += 0.1
    x = noise(1, 1, 2, 3, 3, dtype=torch.float64).requires_grad_()
    assert torch.autograd.gradcheck(net, (x,))


def test_a_training_step_in_half_precision_is_that_in_single() -> None:
    net, x = trained(identity=True), noise(2, 1, 8, 12, 14)
    steps = []
    for half in (False, True):
        net.zero_grad()
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=half):
            loss = (net(x).float() - 2 * x).square().mean()
        loss.backward()
        steps.append(torch.cat([p.grad.flatten() for p in net.parameters()]))
    assert F.cosine_similarity(steps[0], steps[1], dim=0) > 0.995
    assert float(steps[1].norm() / steps[0].norm()) == pytest.approx(1, abs=0.03)


@settings(max_examples=15)
@given(st.integers(1, 4), st.integers(1, 3), st.integers(0, 100), st.booleans())
def test_norm_by_sums_is_the_group_norm(groups: int, each: int, seed: int, half: bool) -> None:
    c = groups * each
    norm = SumGroupNorm(groups, c)
    with torch.no_grad():
        norm.weight.copy_(noise(c, seed=seed))
        norm.bias.copy_(noise(c, seed=seed + 1))
    x = 3 * noise(2, c, 2, 5, 4, seed=seed + 2) + 1
    expected = F.group_norm(x, groups, norm.weight, norm.bias)
    assert torch.equal(norm(x), expected)
    assert torch.allclose(norm.by_sums(x), expected, atol=2e-5)
    if half:
        low = norm.by_sums(x.bfloat16())
        assert low.dtype == torch.bfloat16
        assert torch.allclose(low.float(), expected, rtol=0.02, atol=0.03)
    last = x.to(memory_format=torch.channels_last_3d)
    out = norm.by_sums(last)
    assert torch.allclose(out, expected, atol=2e-5)
