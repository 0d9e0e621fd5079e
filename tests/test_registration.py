"""Laws of composition, velocities, Jacobians and resizing."""

import inspect

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F

from libimg.registration import (
    compose,
    folding_fraction,
    integrate_velocity,
    jacobian_determinant,
    resize_flow,
    warp,
)
from tests.reference.flows import affine, noise, positions, smooth

SIZES = st.one_of(
    st.tuples(st.integers(1, 7), st.integers(1, 7)),
    st.tuples(st.integers(1, 5), st.integers(1, 5), st.integers(1, 6)),
)
SEEDS = st.integers(0, 2**31)
LONG = {2: (19, 22), 3: (11, 14, 13)}


@pytest.mark.parametrize("dims", [2, 3])
def test_autocast_changes_nothing(dims: int) -> None:
    size = LONG[dims]
    moving, flow = noise(1, 1, *size), 2 * noise(1, dims, *size, seed=1)
    plain = warp(moving, flow), compose(flow, flow), integrate_velocity(flow)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        cast = warp(moving, flow), compose(flow, flow), integrate_velocity(flow)
    for a, b in zip(plain, cast, strict=True):
        assert torch.equal(a, b)


@given(size=SIZES, seed=SEEDS)
def test_a_batch_is_its_samples(size, seed) -> None:
    moving, flow = noise(3, 2, *size, seed=seed), noise(3, len(size), *size, seed=seed + 1)
    for function, args in (
        (warp, (moving, flow)),
        (compose, (flow, flow.flip(0))),
        (integrate_velocity, (flow,)),
        (jacobian_determinant, (flow,)),
        (folding_fraction, (flow,)),
    ):
        single = torch.cat([function(*(x[i : i + 1] for x in args)) for i in range(3)])
        torch.testing.assert_close(function(*args), single)


def test_arguments_are_not_written_to() -> None:
    moving, flow = noise(1, 1, 4, 5, 6), noise(1, 3, 4, 5, 6, seed=1)
    copies = moving.clone(), flow.clone()
    warp(moving, flow)
    integrate_velocity(flow)
    resize_flow(flow, size=(3, 4, 5))
    assert torch.equal(moving, copies[0])
    assert torch.equal(flow, copies[1])


@given(dims=st.sampled_from((2, 3)), seed=SEEDS)
def test_composition_of_positions_is_exact(dims, seed) -> None:
    """Warping an image of positions twice makes no interpolation error, whatever the flows."""
    size = LONG[dims]
    a, b = (
        noise(1, dims, *size, seed=seed + i, dtype=torch.float64).clamp(-1.5, 1.5) for i in (0, 1)
    )
    p = positions(size)
    inside = (..., *[slice(4, -4)] * dims)
    once = warp(p, compose(a, b))
    torch.testing.assert_close(warp(warp(p, a), b)[inside], once[inside])
    assert not torch.allclose(once[inside], warp(p, compose(b, a))[inside], atol=0.1)


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("seed", [0, 1])
def test_composition_is_warping_twice(dims: int, seed: int) -> None:
    size = (40, 44) if dims == 2 else (20, 22, 18)
    image = (positions(size) / 5).cos().sum(1, keepdim=True)
    a, b = (smooth(dims, size, seed=seed + i, scale=1.5) for i in (10, 20))
    inside = (..., *[slice(3, -3)] * dims)
    twice, once = warp(warp(image, a), b), warp(image, compose(a, b))
    moved = (twice - image)[inside].abs().mean()
    assert (twice - once)[inside].abs().mean() < 0.04 * moved


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("seed", [0, 1])
def test_the_velocity_turned_around_is_the_inverse(dims: int, seed: int) -> None:
    size = (40, 44) if dims == 2 else (24, 26, 28)
    velocity = smooth(dims, size, seed=seed, scale=2.0)
    there, back = integrate_velocity(velocity), integrate_velocity(-velocity)
    inside = (..., *[slice(4, -4)] * dims)
    left = compose(there, back)[inside].abs().mean()
    assert left < 0.02 * there[inside].abs().mean()
    assert left < 0.2 * (there + back)[inside].abs().mean()  # mere negation is no inverse


@pytest.mark.parametrize("dims", [2, 3])
def test_integration_undoes_folds(dims: int) -> None:
    velocity = smooth(dims, (24, 26, 28)[:dims], scale=10.0)
    assert folding_fraction(velocity).item() > 0.01
    assert folding_fraction(integrate_velocity(velocity)).item() == 0


@given(size=SIZES, steps=st.integers(0, 8), seed=SEEDS)
def test_a_constant_velocity_is_its_own_flow(size, steps, seed) -> None:
    value = 3 * noise(1, len(size), *[1] * len(size), seed=seed)
    velocity = value.expand(1, len(size), *size)
    torch.testing.assert_close(
        integrate_velocity(velocity, steps=steps), velocity, atol=1e-5, rtol=1e-5
    )


def test_a_linear_velocity_gives_the_exponential() -> None:
    matrix = torch.tensor([[0.0, -0.2], [0.2, 0.0]], dtype=torch.float64)
    centre = torch.tensor([20.0, 20.0], dtype=torch.float64)
    velocity = affine(matrix, -matrix @ centre, (41, 41))
    expected = affine(
        torch.linalg.matrix_exp(matrix) - torch.eye(2, dtype=torch.float64),
        -(torch.linalg.matrix_exp(matrix) - torch.eye(2, dtype=torch.float64)) @ centre,
        (41, 41),
    )
    inside = (..., slice(10, -10), slice(10, -10))
    errors = [
        (integrate_velocity(velocity, steps=steps) - expected)[inside].abs().max().item()
        for steps in (3, 5, 7)
    ]
    assert errors[2] < 0.005
    assert errors[0] > 3 * errors[1] > 9 * errors[2]  # first order in 2**-steps


@given(dims=st.sampled_from((2, 3)), seed=SEEDS)
def test_jacobian_of_an_affine_flow(dims, seed) -> None:
    matrix, shift = (
        noise(dims, dims, seed=seed, dtype=torch.float64),
        noise(dims, seed=seed, dtype=torch.float64),
    )
    det = jacobian_determinant(affine(matrix, shift, (3, 4, 5)[:dims]))
    expected = torch.linalg.det(matrix + torch.eye(dims, dtype=torch.float64))
    torch.testing.assert_close(det, expected.expand_as(det))


@given(size=SIZES.filter(lambda s: min(s) > 1), seed=SEEDS)
def test_jacobian_agrees_with_numpy(size, seed) -> None:
    flow = noise(1, len(size), *size, seed=seed, dtype=torch.float64)
    place = (positions(size) + flow)[0].numpy()
    rows = [np.stack(np.gradient(component), -1) for component in place]
    np.testing.assert_allclose(
        jacobian_determinant(flow)[0], np.linalg.det(np.stack(rows, -2)), atol=1e-9
    )


@pytest.mark.parametrize("size", [(1, 5), (1, 4, 5), (1, 1, 1)])
def test_an_axis_of_one_voxel_keeps_its_length(size: tuple[int, ...]) -> None:
    flow = noise(1, len(size), *size, dtype=torch.float64)
    rest = [axis for axis, n in enumerate(size) if n > 1]
    expected = torch.ones(1, *size, dtype=torch.float64)
    if rest:
        plane = flow[:, rest].reshape(1, len(rest), *[size[axis] for axis in rest])
        grads = np.gradient(plane[0, 0].numpy())
        if len(rest) == 1:
            expected = torch.from_numpy(1 + grads).view(1, *size)
        else:
            expected = jacobian_determinant(plane).view(1, *size)
    torch.testing.assert_close(jacobian_determinant(flow), expected)
    out = warp(noise(1, 1, *size).double(), torch.zeros_like(flow), padding="reflection")
    torch.testing.assert_close(out, noise(1, 1, *size).double())


@given(size=SIZES, seed=SEEDS)
def test_folding_is_a_share(size, seed) -> None:
    flow = 2 * noise(2, len(size), *size, seed=seed)
    mask = noise(2, 1, *size, seed=seed + 1) > 0
    share = folding_fraction(flow, mask=mask)
    folded = jacobian_determinant(flow) <= 0
    for i in range(2):
        inside = folded[i][mask[i, 0]].double()
        expected = inside.mean().item() if len(inside) else 0.0
        assert share[i].item() == pytest.approx(expected, abs=1e-6)
    assert folding_fraction(torch.zeros_like(flow)).tolist() == [0, 0]


@given(dims=st.sampled_from((2, 3)), seed=SEEDS, data=st.data())
def test_a_resized_affine_flow_is_that_flow(dims, seed, data) -> None:
    old = tuple(data.draw(st.integers(2, 7)) for _ in range(dims))
    new = tuple(data.draw(st.integers(2, 9)) for _ in range(dims))
    matrix, shift = (
        noise(dims, dims, seed=seed, dtype=torch.float64),
        noise(dims, seed=seed, dtype=torch.float64),
    )
    # new positions are q = factor * p, so u_new(q) = factor * (matrix (q / factor) + shift)
    factor = matrix.new_tensor([(n - 1) / (o - 1) for n, o in zip(new, old, strict=True)])
    expected = affine(torch.diag(factor) @ matrix @ torch.diag(1 / factor), factor * shift, new)
    torch.testing.assert_close(resize_flow(affine(matrix, shift, old), size=new), expected)


def test_halving_a_flow_halves_its_vectors() -> None:
    """MONAI 1.6's VoxelMorph: down ``2.0 * interpolate(x, 0.5)``, up ``0.5 * interpolate(x, 2)``.

    A field that moves by a quarter of its extent must do so on every grid. With the factor
    inverted, it moves by the whole extent on the small one; the way up only undoes the numbers.
    """
    flow = torch.full((1, 3, 33, 33, 33), 8.0)
    ours = resize_flow(flow, size=(17, 17, 17))
    torch.testing.assert_close(ours, torch.full_like(ours, 4.0))
    inverted = 2.0 * F.interpolate(flow, size=(17, 17, 17), mode="trilinear", align_corners=True)
    extent = [8.0 / 32, ours.max().item() / 16, inverted.max().item() / 16]
    assert extent == pytest.approx([0.25, 0.25, 1.0])
    torch.testing.assert_close(resize_flow(ours, size=(33, 33, 33)), flow)


def test_half_precision_flows_keep_their_dtype() -> None:
    flow = noise(1, 2, 5, 6).half()
    assert compose(flow, flow).dtype == torch.float16
    assert integrate_velocity(flow).dtype == torch.float16
    assert jacobian_determinant(flow).dtype == torch.float16
    assert resize_flow(flow, size=(3, 4)).dtype == torch.float16


@pytest.mark.parametrize("dims", [2, 3])
def test_a_known_shift_is_found(dims: int) -> None:
    """Gradient descent on a constant flow recovers a shift of (0.6, -0.4, 0.3)."""
    size, truth = LONG[dims], torch.tensor([0.6, -0.4, 0.3])[:dims]
    image = smooth(1, size).float()
    target = warp(image, truth.view(1, dims, *[1] * dims).expand(1, dims, *size))
    shift = torch.zeros(dims, requires_grad=True)
    optimiser = torch.optim.LBFGS([shift], max_iter=30, line_search_fn="strong_wolfe")

    def loss() -> torch.Tensor:
        optimiser.zero_grad()
        flow = shift.view(1, dims, *[1] * dims).expand(1, dims, *size)
        value = (warp(image, flow) - target).square().sum()
        value.backward()
        return value

    optimiser.step(loss)
    torch.testing.assert_close(shift.detach(), truth, atol=0.01, rtol=0)


def test_the_others_refuse() -> None:
    flow = torch.zeros(1, 2, 4, 4)
    with pytest.raises(ValueError, match="expected one shape"):
        inspect.unwrap(compose)(flow, flow[..., :3])
    with pytest.raises(ValueError, match="steps must be 0 or more, got -1"):
        integrate_velocity(flow, steps=-1)
    for function in (integrate_velocity, jacobian_determinant, folding_fraction):
        with pytest.raises(ValueError, match="must be"):
            function(torch.zeros(1, 3, 4, 4))
    for size in ((4,), (4, 0), (1, 4)):
        with pytest.raises(ValueError, match="size must have 2 lengths"):
            resize_flow(flow, size=size)
