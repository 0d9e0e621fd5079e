import inspect
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F

from libimg._ops.scan import selective_scan
from libimg.nets import prepare_inference
from libimg.nets.umamba import Mixer, UMamba
from tests.reference.scan import sequential


def noise(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def inputs(
    *, length: int, heads: int = 2, p: int = 3, n: int = 4, batch: int = 2, seed: int = 0,
    steps: tuple[float, float] = (1e-3, 1e1),
) -> list[Tensor]:  # fmt: skip
    """x, dt (log-uniform between ``steps``), a, b, c, d in float64."""
    draw = torch.Generator().manual_seed(seed)
    low, high = map(math.log, steps)
    uniform = torch.rand(batch, length, heads, generator=draw, dtype=torch.float64)
    rate = -torch.rand(heads, generator=draw, dtype=torch.float64) * 16
    sizes = ((batch, length, heads, p), (batch, length, n), (batch, length, n), (heads,))
    x, b, c, d = (torch.randn(size, generator=draw, dtype=torch.float64) for size in sizes)
    return [x, (low + (high - low) * uniform).exp(), rate, b, c, d]


def scan(x: Tensor, dt: Tensor, a: Tensor, b: Tensor, c: Tensor, d: Tensor | None, **how: int):
    return selective_scan(x, dt, a, b, c, d=d, **how)


@settings(max_examples=60)
@given(
    length=st.integers(1, 70),
    chunk=st.integers(1, 80),
    sizes=st.tuples(*[st.integers(1, 4)] * 4),
    steps=st.sampled_from([(1e-9, 1e-6), (1e-3, 1e-1), (1e-6, 1e3), (1e2, 1e4)]),
    seed=st.integers(0, 2**31),
    direct=st.booleans(),
)
def test_scan_is_the_recurrence(
    length: int, chunk: int, sizes: tuple[int, ...], steps: tuple[float, float], seed: int,
    direct: bool,
) -> None:  # fmt: skip
    batch, heads, p, n = sizes
    values = inputs(length=length, heads=heads, p=p, n=n, batch=batch, seed=seed, steps=steps)
    if not direct:
        values[-1] = None
    expected = sequential(*values)
    assert torch.allclose(
        scan(*values, chunk=chunk), expected, rtol=1e-9, atol=1e-12 * expected.abs().max().item()
    )


@settings(max_examples=15)
@given(length=st.integers(1, 40), chunk=st.integers(1, 16), seed=st.integers(0, 2**31))
def test_scan_gradient_is_that_of_the_recurrence(length: int, chunk: int, seed: int) -> None:
    """Also where decays underflow."""
    values = inputs(length=length, seed=seed, steps=(1e-5, 1e3))
    for value in values:
        value.requires_grad_()
    weight = noise(*values[0].shape, dtype=torch.float64)
    found = torch.autograd.grad((scan(*values, chunk=chunk) * weight).sum(), values)
    expected = torch.autograd.grad((sequential(*values) * weight).sum(), values)
    for one, other in zip(found, expected, strict=True):
        assert torch.allclose(one, other, rtol=1e-8, atol=1e-11 * other.abs().max().item())


@pytest.mark.parametrize(("length", "chunk"), [(1, 4), (5, 8), (7, 2), (9, 3), (4, 1)])
def test_scan_gradcheck(length: int, chunk: int) -> None:
    values = inputs(length=length, p=2, n=2, batch=1, steps=(1e-2, 1e0))
    for value in values:
        value.requires_grad_()
    assert torch.autograd.gradcheck(lambda *v: scan(*v, chunk=chunk), values)


def test_scan_chunk_changes_nothing() -> None:
    values = inputs(length=130)
    whole = scan(*values, chunk=200)
    for chunk in (1, 2, 3, 8, 64, 129, 130):
        assert torch.allclose(scan(*values, chunk=chunk), whole, rtol=1e-10, atol=1e-10)


def test_scan_keeps_its_digits_in_float32() -> None:
    """Long and with steps that forget everything between weak ones."""
    values = inputs(length=3000, batch=1, steps=(1e-4, 1e-3))
    values[1][:, ::97] = 1e4
    expected = sequential(*values)
    error = (scan(*(v.float() for v in values)) - expected).abs().max() / expected.abs().max()
    assert error < 2e-6


def test_scan_with_zero_steps_or_rates() -> None:
    x, dt, a, b, c, _ = inputs(length=20)
    assert scan(x, dt * 0, a, b, c, None).abs().max() == 0
    total = torch.einsum("bthp,btn->bthpn", x * dt[..., None], b).cumsum(1)
    summed = torch.einsum("bthpn,btn->bthp", total, c)
    assert torch.allclose(scan(x, dt, a * 0, b, c, None, chunk=6), summed)


def test_scan_batched_equals_one_by_one_and_future_is_unread() -> None:
    x, dt, a, b, c, d = inputs(length=33, batch=3)
    out = scan(x, dt, a, b, c, d, chunk=8)
    for i in range(3):
        one = scan(x[i : i + 1], dt[i : i + 1], a, b[i : i + 1], c[i : i + 1], d, chunk=8)
        assert torch.allclose(out[i : i + 1], one, rtol=1e-12, atol=1e-12)
    for t in (1, 8, 20):
        early = scan(x[:, :t], dt[:, :t], a, b[:, :t], c[:, :t], d, chunk=8)
        assert torch.allclose(out[:, :t], early, rtol=1e-12, atol=1e-12)


def test_scan_memory_grows_linearly() -> None:
    def stored(length: int) -> int:
        sizes: list[int] = []
        values = [v.requires_grad_() for v in inputs(length=length, batch=1)]
        with torch.autograd.graph.saved_tensors_hooks(
            lambda t: (sizes.append(t.numel()), t)[1], lambda t: t
        ):
            scan(*values, chunk=16)
        return sum(sizes)

    assert stored(4096) < 2.1 * stored(2048)


def test_scan_dtype_and_autocast() -> None:
    values = [v.bfloat16() for v in inputs(length=40)]
    out = scan(*values)
    assert out.dtype == torch.bfloat16
    expected = sequential(*values)
    assert torch.allclose(out.double(), expected, rtol=5e-3, atol=1e-2)
    single = [v.float() for v in values]
    with torch.autocast("cpu", torch.bfloat16):
        inside = scan(*single)
    assert torch.equal(inside, scan(*single))


def test_scan_of_nothing() -> None:
    assert scan(*inputs(length=0)).shape == (2, 0, 2, 3)


def test_scan_refuses_bad_input(unchecked: None) -> None:
    x, dt, a, b, c, d = inputs(length=5)
    with pytest.raises(ValueError, match="chunk must be at least 1, got 0"):
        scan(x, dt, a, b, c, d, chunk=0)
    wrong = [(dt[:, :4], a, b, c), (dt, a[:1], b, c), (dt, a, b[:1], c), (dt, a, b, c[..., :2])]
    for rest in wrong:
        with pytest.raises(ValueError, match=r"expected x \(b, l, h, p\)"):
            scan(x, *rest, d)


def small(dims: int = 3, **options: object) -> UMamba:
    torch.manual_seed(0)
    return UMamba(dims, **{"channels": (4, 6, 8), "state": 3, "head_dim": 4, **options})


def by_definition(net: Mixer, h: Tensor) -> Tensor:
    """The mixer of one sample ``(c, l)`` with loops over directions, taps and tokens."""
    inner, state = net.inner, net.state
    tokens = h.mT
    mean, var = tokens.mean(1, keepdim=True), tokens.var(1, keepdim=True, unbiased=False)
    normal = (tokens - mean) / (var + net.norm.eps).sqrt() * net.norm.weight + net.norm.bias
    z, ways, dt = (normal @ net.enter.weight.T).split((inner, inner + 2 * state, net.heads), 1)
    total = torch.zeros_like(z)
    for backward in (False, True):
        u, s = (v.flip(0) if backward else v for v in (ways, dt))
        mixed = torch.zeros_like(u) + net.near.bias
        for tap in range(4):
            mixed[tap:] = mixed[tap:] + net.near.weight[:, 0, 3 - tap] * u[: len(u) - tap]
        x, b, c = (mixed / (1 + (-mixed).exp())).split((inner, state, state), 1)
        step = (1 + (s + net.step).exp()).log()
        x = x.reshape(1, len(x), net.heads, -1)
        y = sequential(x, step[None], -net.rate.exp(), b[None], c[None], net.direct)[0].flatten(1)
        total = total + (y.flip(0) if backward else y)
    y = total * z / (1 + (-z).exp())
    y = y / (y.square().mean(1, keepdim=True) + 1e-5).sqrt() * net.gated.weight
    return h + (y @ net.leave.weight.T).mT


@settings(max_examples=10)
@given(
    size=st.lists(st.integers(1, 6), min_size=2, max_size=3),
    head_dim=st.sampled_from([1, 4, 12, 50]),
    seed=st.integers(0, 99),
)
def test_mixer_is_its_definition(size: list[int], head_dim: int, seed: int) -> None:
    torch.manual_seed(seed)
    net, h = Mixer(6, 3, head_dim).double(), noise(2, 6, *size, seed=seed, dtype=torch.float64)
    assert net.heads == max(1, 12 // head_dim)
    expected = torch.stack([by_definition(net, one.flatten(1)).unflatten(1, size) for one in h])
    assert torch.allclose(net(h), expected, rtol=1e-9, atol=1e-9)


def test_mixer_has_no_direction_and_sees_everything() -> None:
    torch.manual_seed(0)
    net, h = Mixer(6, 3, 4).double(), noise(1, 6, 5, 9, dtype=torch.float64).requires_grad_()
    out = net(h)
    assert torch.allclose(net(h.flip(2, 3)), out.flip(2, 3), rtol=1e-12, atol=1e-12)
    for row, column in ((0, 0), (4, 8), (2, 3)):
        (gradient,) = torch.autograd.grad(out[0, :, row, column].square().sum(), h, None, True)
        assert (gradient.abs().amax(1) > 0).all()


@settings(max_examples=12)
@given(size=st.lists(st.integers(1, 13), min_size=2, max_size=3), start=st.integers(0, 2))
def test_starts_as_identity_and_keeps_any_size(size: list[int], start: int) -> None:
    x = noise(1, 1, *size)
    assert torch.equal(small(len(size), scan_from=start)(x), x)
    net = small(len(size), scan_from=start, in_channels=2, out_channels=3, identity=False)
    out = net(noise(2, 2, *size))
    assert out.shape == (2, 3, *size)
    assert out.isfinite().all()


def test_event_voxels_at_any_depth() -> None:
    net, sizes = small(channels=(4, 4, 4, 4, 4, 4), identity=False), []
    for block in net.encoder:
        block.register_forward_hook(lambda _, x, h: sizes.append(tuple(h.shape[2:])))
    assert net(noise(1, 1, 8, 21, 18)).shape == (1, 1, 8, 21, 18)
    assert sizes == [(8, 21, 18), (4, 11, 9), (2, 6, 5), (1, 3, 3), (1, 2, 2), (1, 1, 1)]
    assert small(out_channels=3)(noise(1, 1, 8, 5, 5)).shape == (1, 3, 8, 5, 5)


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("start", [0, 1, 2])
def test_gradient_reaches_every_parameter(dims: int, start: int) -> None:
    net = small(dims, scan_from=start, identity=False)
    assert sum(isinstance(mixer, Mixer) for mixer in net.mixers) == 3 - start
    net(noise(2, 1, *[9] * dims)).square().mean().backward()
    for name, parameter in net.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().max() > 0, name


@pytest.mark.parametrize("dims", [2, 3])
def test_batched_equals_one_by_one(dims: int) -> None:
    net, x = small(dims, identity=False), noise(3, 1, *(8, 7, 5)[:dims])
    x[1] *= 100
    alone = torch.cat([net(one[None]) for one in x])
    assert torch.allclose(net(x), alone, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("size", [(8, 9, 12), (2, 8, 8), (17, 20)])
def test_autocast_is_close_to_float32(size: tuple[int, ...]) -> None:
    """Weight gradients included: torch's own are wrong for volumes in bfloat16."""
    net = small(len(size), channels=(8, 16), head_dim=16, identity=False)
    x = noise(2, 1, *size)
    results = []
    for enabled in (False, True):
        net.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            out = net(x)
        out.float().square().mean().backward()
        results.append([out.detach().float(), *(p.grad.clone() for p in net.parameters())])
    for wide, low in zip(*results, strict=True):
        assert (wide - low).norm() < 0.1 * wide.norm()
    assert (results[0][0] - results[1][0]).norm() < 0.02 * results[0][0].norm()
    assert not torch.equal(*(r[0] for r in results))


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_dtype_is_kept(dtype: torch.dtype) -> None:
    x = noise(1, 1, 8, 5, 6)
    net = small(identity=False)
    expected = net(x)
    out = net.to(dtype)(x.to(dtype))
    assert out.dtype == dtype
    tolerance = 1e-5 if dtype == torch.float64 else 0.1
    assert (out.float() - expected).norm() < tolerance * expected.norm()


def test_same_weights_same_result() -> None:
    x, first = noise(1, 1, 8, 9, 7), small(identity=False)
    torch.manual_seed(1)
    second = UMamba(channels=(4, 6, 8), state=3, head_dim=4, identity=False)
    assert not torch.allclose(second(x), first(x))
    second.load_state_dict(first.state_dict())
    assert torch.equal(second.eval()(x), first(x))


def test_identity_adds_the_input_to_the_same_output() -> None:
    x, plain, net = noise(1, 1, 8, 9, 7), small(identity=False), small()
    net.load_state_dict(plain.state_dict())
    assert torch.equal(net(x), x + plain(x))


def test_checkpoint_stores_less_and_changes_nothing() -> None:
    x = noise(1, 1, 8, 12, 12)
    results = []
    for checkpoint in (False, True):
        sizes: list[int] = []
        net = small(checkpoint=checkpoint, identity=False)
        with torch.autograd.graph.saved_tensors_hooks(
            lambda t, sizes=sizes: (sizes.append(t.numel()), t)[1], lambda t: t
        ):
            out = net(x)
        out.square().mean().backward()
        results.append((sum(sizes), out, [p.grad for p in net.parameters()]))
    (much, out, grads), (little, again, others) = results
    assert little < 0.8 * much
    assert torch.equal(out, again)
    assert all(torch.allclose(a, b) for a, b in zip(grads, others, strict=True))


def test_prepared_for_inference() -> None:
    net, x = small(identity=False), noise(1, 1, 8, 9, 7)
    out = prepare_inference(net, compiled=False)(x)
    assert out.dtype == torch.float32
    assert (out - net(x)).norm() < 0.1 * out.norm()
    counts = (x * 4).round()
    assert torch.equal(prepare_inference(small(), compiled=False)(counts), counts)


def test_compiles_into_one_graph(unchecked: None) -> None:
    net, x = small(identity=False), noise(1, 1, 8, 9, 7)
    compiled = torch.compile(inspect.unwrap(UMamba.forward), fullgraph=True, backend="eager")
    assert torch.allclose(compiled(net, x), net(x), rtol=1e-4, atol=1e-4)


def test_learns_and_trains_all_its_parameters() -> None:
    net = small(channels=(8, 16), head_dim=16)
    optimiser = torch.optim.Adam(net.parameters(), lr=1e-2)
    x = noise(2, 1, 8, 8, 8)
    target = F.avg_pool3d(x, 3, 1, 1)
    losses = []
    for _ in range(50):
        optimiser.zero_grad()
        loss = (net(x) - target).square().mean()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[0] == pytest.approx((x - target).square().mean().item())
    assert losses[-1] < 0.1 * losses[0]
    assert all(parameter.grad.abs().max() > 0 for parameter in net.parameters())


@pytest.mark.parametrize(
    ("channels", "flat", "volume"),
    [((16, 32, 64), 0.16e6, 0.40e6), ((32, 64, 128, 256), 2.6e6, 6.5e6)],
)
def test_documented_sizes(channels: tuple[int, ...], flat: float, volume: float) -> None:
    for dims, expected in ((2, flat), (3, volume)):
        with torch.device("meta"):
            net = UMamba(dims, channels=channels)
        count = sum(parameter.numel() for parameter in net.parameters())
        assert count == pytest.approx(expected, rel=0.03)


@pytest.mark.parametrize(
    "wrong",
    [
        {"spatial_dims": 1},
        {"channels": (8,)},
        {"channels": (8, 1)},
        {"in_channels": 0},
        {"state": 0},
        {"head_dim": 0},
        {"channels": (8, 12), "head_dim": 16},
        {"scan_from": 3},
        {"scan_from": -1},
        {"in_channels": 2},
    ],
)
def test_refuses_bad_options(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"must|expected|needs"):
        UMamba(**wrong)


@pytest.mark.parametrize("shape", [(1, 2, 8, 8, 8), (1, 1, 8), (1, 1, 8, 8)])
def test_refuses_other_axes_and_channels(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"x must be \(b, 1, \*spatial\) with 3 spatial axes"):
        small()(noise(*shape))
