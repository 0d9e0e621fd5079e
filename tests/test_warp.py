"""Laws of warping, and of the loops that do it on the CPU."""

import inspect
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage
from torch.nn import functional as F

from libimg._ops import loops
from libimg.registration import warp
from tests.reference import warp as oracle
from tests.reference.flows import noise, positions

SIZES = st.one_of(
    st.tuples(st.integers(1, 7), st.integers(1, 7)),
    st.tuples(st.integers(1, 5), st.integers(1, 5), st.integers(1, 6)),
)
SEEDS = st.integers(0, 2**31)
PADDINGS = ("border", "zeros", "reflection")
LONG = {2: (19, 22), 3: (11, 14, 13)}


def voxelmorph(moving: torch.Tensor, flow: torch.Tensor) -> torch.Tensor:
    """The published formula: add the grid, normalise, axes last and reversed, zeros outside."""
    size = torch.tensor(moving.shape[2:], dtype=flow.dtype).view(1, -1, *[1] * (flow.ndim - 2))
    place = 2 * ((positions(moving.shape[2:], flow.dtype) + flow) / (size - 1) - 0.5)
    return F.grid_sample(moving, place.movedim(1, -1).flip(-1), align_corners=True)


@given(size=SIZES, seed=SEEDS, padding=st.sampled_from(PADDINGS), wide=st.booleans())
def test_agrees_with_the_definition(size, seed, padding, wide) -> None:
    dtype = torch.float64 if wide else torch.float32
    moving = noise(2, 2, *size, seed=seed, dtype=dtype)
    flow = 3 * noise(2, len(size), *size, seed=seed + 1, dtype=dtype)
    out = warp(moving, flow, padding=padding)
    for i in range(2):
        m, u = moving[i].double().numpy(), flow[i].double().numpy()
        np.testing.assert_allclose(
            out[i], oracle.warp(m, u, padding=padding), atol=1e-9 if wide else 2e-5
        )


@given(size=SIZES, seed=SEEDS, padding=st.sampled_from(PADDINGS))
def test_nearest_agrees_with_the_definition(size, seed, padding) -> None:
    moving = torch.randint(
        9, (1, 1, *size), generator=torch.Generator().manual_seed(seed), dtype=torch.int64
    ).double()
    flow = 2 * noise(1, len(size), *size, seed=seed + 1, dtype=torch.float64)
    out = warp(moving, flow, mode="nearest", padding=padding)
    expected = oracle.warp(moving[0].numpy(), flow[0].numpy(), padding=padding, nearest=True)
    np.testing.assert_allclose(out[0], expected, atol=1e-12)


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("padding", PADDINGS)
def test_agrees_with_scipy(dims: int, padding: str) -> None:
    size = LONG[dims]
    moving, flow = noise(1, 1, *size), 3 * noise(1, dims, *size, seed=1)
    mode = {"border": "nearest", "zeros": "grid-constant", "reflection": "mirror"}[padding]
    place = (positions(size) + flow)[0].numpy()
    expected = ndimage.map_coordinates(moving[0, 0].double().numpy(), place, order=1, mode=mode)
    np.testing.assert_allclose(warp(moving, flow, padding=padding)[0, 0], expected, atol=3e-5)


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_agrees_with_voxelmorph(dims: int, dtype: torch.dtype) -> None:
    size = LONG[dims]
    moving, flow = noise(2, 3, *size, dtype=dtype), 3 * noise(2, dims, *size, seed=1, dtype=dtype)
    out = warp(moving, flow, padding="zeros")
    torch.testing.assert_close(out, voxelmorph(moving, flow), atol=5e-5, rtol=0)


@given(size=SIZES, seed=SEEDS, padding=st.sampled_from(PADDINGS))
def test_no_flow_is_the_identity(size, seed, padding) -> None:
    moving = noise(2, 3, *size, seed=seed)
    out = warp(moving, moving.new_zeros(2, len(size), *size), padding=padding)
    torch.testing.assert_close(
        out, moving, atol=0 if len(size) == 3 and padding != "reflection" else 1e-5, rtol=0
    )


@given(dims=st.sampled_from((2, 3)), seed=SEEDS, data=st.data())
def test_a_whole_shift_slices(dims, seed, data) -> None:
    size = LONG[dims]
    shift = [data.draw(st.integers(-3, 3)) for _ in size]
    flow = torch.zeros(1, dims, *size) + torch.tensor(shift).view(1, dims, *[1] * dims)
    moving = noise(1, 2, *size, seed=seed)
    rolled = moving.roll([-s for s in shift], tuple(range(2, 2 + dims)))
    inside = (slice(None), slice(None), *[slice(3, -3)] * dims)
    torch.testing.assert_close(warp(moving, flow)[inside], rolled[inside], atol=2e-5, rtol=0)


@pytest.mark.parametrize("dims", [2, 3])
def test_a_channel_moves_along_its_own_axis(dims: int) -> None:
    size = LONG[dims]
    for axis in range(dims):
        flow = torch.zeros(1, dims, *size)
        flow[:, axis] = 0.5
        for other in range(dims):
            ramp = positions(size, torch.float32)[:, other : other + 1]
            gain = (warp(ramp, flow) - ramp)[(..., *[slice(0, -1)] * dims)]
            expected = torch.full_like(gain, 0.5 if other == axis else 0.0)
            torch.testing.assert_close(gain, expected, atol=2e-5, rtol=0)


@given(size=SIZES, seed=SEEDS, padding=st.sampled_from(PADDINGS))
def test_linear_in_the_image(size, seed, padding) -> None:
    x, y = noise(1, 1, *size, seed=seed), noise(1, 1, *size, seed=seed + 1)
    flow = 2 * noise(1, len(size), *size, seed=seed + 2)
    together = warp(2 * x - 3 * y, flow, padding=padding)
    apart = 2 * warp(x, flow, padding=padding) - 3 * warp(y, flow, padding=padding)
    torch.testing.assert_close(together, apart, atol=5e-5, rtol=0)


@given(dims=st.sampled_from((2, 3)), seed=SEEDS)
def test_a_linear_image_is_warped_exactly(dims, seed) -> None:
    size = LONG[dims]
    slope = noise(dims, seed=seed, dtype=torch.float64).view(1, dims, *[1] * dims)
    flow = noise(1, dims, *size, seed=seed + 1, dtype=torch.float64).clamp(-2, 2)
    p = positions(size)
    image, moved = (slope * p).sum(1, keepdim=True), (slope * (p + flow)).sum(1, keepdim=True)
    inside = (..., *[slice(2, -2)] * dims)
    torch.testing.assert_close(warp(image, flow)[inside], moved[inside])
    single = warp(image.float(), flow.float())
    torch.testing.assert_close(single[inside], moved[inside].float(), atol=1e-4, rtol=1e-5)


@pytest.mark.parametrize(
    ("size", "padding"),
    [
        *[(size, padding) for size in ((4, 5), (3, 4, 5)) for padding in PADDINGS],
        *[((1, 4, 5), padding) for padding in ("border", "zeros")],
    ],
)
def test_gradients_in_float64(size, padding: str) -> None:
    moving = noise(1, 2, *size, dtype=torch.float64).requires_grad_()
    flow = noise(1, len(size), *size, seed=3, dtype=torch.float64).requires_grad_()
    assert torch.autograd.gradcheck(lambda m, u: warp(m, u, padding=padding), (moving, flow))


@given(
    size=st.tuples(st.integers(1, 6), st.integers(1, 6), st.integers(1, 7)),
    seed=SEEDS,
    padding=st.sampled_from(("border", "zeros")),
    channels=st.integers(1, 3),
)
def test_compiled_gradients_agree_with_grid_sample(size, seed, padding, channels) -> None:
    moving = noise(2, channels, *size, seed=seed)
    flow = 2 * noise(2, 3, *size, seed=seed + 1)
    weight = noise(2, channels, *size, seed=seed + 2)
    grads = []
    for dtype in (torch.float32, torch.float64):
        m, u = (x.to(dtype).requires_grad_() for x in (moving, flow))
        total = (warp(m, u, padding=padding) * weight).sum()
        grads.append(torch.autograd.grad(total, (m, u)))
    for ours, theirs in zip(*grads, strict=True):
        torch.testing.assert_close(ours.double(), theirs, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("wanted", [(True, False), (False, True)])
def test_one_gradient_alone(wanted: tuple[bool, bool]) -> None:
    tensors = noise(1, 2, 3, 4, 5), noise(1, 3, 3, 4, 5, seed=1)
    both = [x.clone().requires_grad_() for x in tensors]
    full = torch.autograd.grad(warp(*both).square().sum(), both)
    one = [x.clone().requires_grad_(w) for x, w in zip(tensors, wanted, strict=True)]
    warp(*one).square().sum().backward()
    for x, w, expected in zip(one, wanted, full, strict=True):
        assert (x.grad is not None) == w
        if w:
            torch.testing.assert_close(x.grad, expected)


@given(seed=SEEDS, far=st.sampled_from((0.5, 4.0, 100.0)), threads=st.integers(2, 5))
def test_threads_do_not_change_the_result(seed, far, threads) -> None:
    moving, flow = noise(2, 1, 9, 12, 11, seed=seed), far * noise(2, 3, 9, 12, 11, seed=seed + 1)
    results = []
    for rows in (1, threads):
        ends = [9 * 12 * i // rows for i in range(rows + 1)]
        with pytest.MonkeyPatch.context() as patch:
            cut = list(pairwise(ends))
            patch.setattr(loops, "parts", lambda *_, cut=cut, **__: cut)
            m, u = moving.clone().requires_grad_(), flow.clone().requires_grad_()
            out = warp(m, u, padding="zeros")
            results.append((out, *torch.autograd.grad(out.square().sum(), (m, u))))
    for one, many in zip(*results, strict=True):
        torch.testing.assert_close(one, many, atol=1e-5, rtol=1e-5)


@given(rows=st.integers(1, 10**6), cost=st.integers(1, 10**5), most=st.integers(1, 9))
def test_parts_cover_every_row_once(rows, cost, most) -> None:
    cut = loops.parts(rows, cost=cost, most=most)
    assert len(cut) <= most
    assert cut[0][0] == 0
    assert cut[-1][1] == rows
    assert all(a < b for a, b in cut)
    assert [b for _, b in cut[:-1]] == [a for a, _ in cut[1:]]


def test_jobs_raise_what_a_thread_raised() -> None:
    done = []

    def fails() -> None:
        raise RuntimeError("in a thread")

    with pytest.raises(RuntimeError, match="in a thread"):
        loops.run([lambda: done.append(1), fails, lambda: done.append(2)])
    assert 1 in done


def test_a_tracing_compiler_sees_torch_operations(monkeypatch: pytest.MonkeyPatch) -> None:
    moving, flow = noise(1, 2, 4, 6, 5), 2 * noise(1, 3, 4, 6, 5, seed=1)
    loop = warp(moving, flow.requires_grad_())
    monkeypatch.setattr(torch.compiler, "is_compiling", lambda: True)
    traced = warp(moving, flow)
    assert loop.grad_fn is not None
    assert traced.grad_fn is not None
    assert loop.grad_fn.name() != traced.grad_fn.name()
    torch.testing.assert_close(loop, traced, atol=2e-5, rtol=0)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf"), 3e38])
@pytest.mark.parametrize("padding", ["border", "zeros"])
def test_wild_flows_stay_in_memory(value: float, padding: str) -> None:
    moving = noise(1, 1, 4, 5, 6).requires_grad_()
    flow = noise(1, 3, 4, 5, 6, seed=1)
    flow[0, :, 2, 1:3] = value
    flow.requires_grad_()
    out = warp(moving, flow, padding=padding)
    out.sum().backward()
    kept = torch.ones(4, 5, 6, dtype=torch.bool)
    kept[2, 1:3] = False
    expected = warp(moving, torch.where(kept, flow, 0.0), padding=padding)
    assert torch.equal(out[0, 0][kept], expected[0, 0][kept])
    assert moving.grad is not None
    assert bool(moving.grad.isfinite().all())


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_positions_are_single_precision_for_half_images(dims: int, dtype: torch.dtype) -> None:
    size = (3, 300) if dims == 2 else (2, 3, 300)
    moving, flow = noise(1, 1, *size).to(dtype), 2 * noise(1, dims, *size, seed=1)
    out = warp(moving, flow)
    assert out.dtype == dtype
    assert torch.equal(out, warp(moving.float(), flow).to(dtype))


def test_strided_inputs() -> None:
    moving, flow = (
        noise(1, 2, 4, 6, 5).transpose(3, 4),
        noise(1, 3, 4, 6, 5, seed=1).transpose(3, 4),
    )
    torch.testing.assert_close(warp(moving, flow), warp(moving.contiguous(), flow.contiguous()))


@pytest.mark.parametrize(
    ("moving", "flow", "options", "message"),
    [
        ((1, 1, 4, 4), (1, 2, 4, 5), {}, "must agree in batch and spatial size"),
        ((2, 1, 4, 4), (1, 2, 4, 4), {}, "must agree in batch and spatial size"),
        ((1, 1, 4, 4), (1, 3, 4, 4), {}, r"flow must be \(b, 2, h, w\)"),
        ((1, 1, 4), (1, 1, 4), {}, r"flow must be \(b, 2, h, w\)"),
        ((1, 1, 4, 4), (1, 2, 4, 4), {"mode": "cubic"}, "mode must be one of"),
        ((1, 1, 4, 4), (1, 2, 4, 4), {"padding": "wrap"}, "padding must be one of"),
    ],
)
def test_warp_refuses(moving, flow, options, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        inspect.unwrap(warp)(torch.zeros(moving), torch.zeros(flow), **options)
