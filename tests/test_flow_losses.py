"""Laws of the flow penalties."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from libimg.losses.flow import bending_energy, flow_smoothness
from tests.reference import warp as oracle

SEEDS = st.integers(0, 2**31)
SIZES = st.one_of(
    st.tuples(st.integers(2, 6), st.integers(2, 6)),
    st.tuples(st.integers(2, 4), st.integers(2, 4), st.integers(2, 4)),
)
PENALTIES = (
    flow_smoothness,
    lambda flow, **options: flow_smoothness(flow, penalty="l1", **options),
    bending_energy,
)


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def affine(size: tuple[int, ...], seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """An affine flow and its matrix."""
    n = len(size)
    matrix = noise(n, n, seed=seed)
    p = torch.stack(torch.meshgrid(*[torch.arange(k).double() for k in size], indexing="ij"))
    flow = torch.einsum("ij,j...->i...", matrix, p)
    return (flow + noise(n, *[1] * n, seed=seed + 1)).unsqueeze(0), matrix


@given(size=SIZES, seed=SEEDS)
def test_an_affine_flow(size, seed) -> None:
    flow, matrix = affine(size, seed)
    torch.testing.assert_close(flow_smoothness(flow)[0], matrix.square().mean())
    torch.testing.assert_close(flow_smoothness(flow, penalty="l1")[0], matrix.abs().mean())
    torch.testing.assert_close(
        bending_energy(flow)[0], torch.zeros(()).double(), atol=1e-20, rtol=0
    )


@given(size=SIZES, seed=SEEDS)
def test_smoothness_agrees_with_regan(size, seed) -> None:
    flow = noise(2, len(size), *size, seed=seed)
    sums = torch.stack([flow.diff(dim=2 + i).square().flatten(1).mean(1) for i in range(len(size))])
    torch.testing.assert_close(flow_smoothness(flow) * len(size), sums.sum(0))


@given(size=SIZES, seed=SEEDS, even=st.booleans())
def test_bending_agrees_with_the_definition(size, seed, even) -> None:
    flow = noise(1, len(size), *size, seed=seed)
    spacing = [1.0] * len(size) if even else [0.5, 2.0, 3.0][: len(size)]
    expected = oracle.bending_energy(flow[0].numpy(), spacing)
    np.testing.assert_allclose(bending_energy(flow, spacing=spacing)[0], expected, rtol=1e-9)


@given(size=SIZES, seed=SEEDS, edge=st.floats(0.1, 5))
def test_cubes_scale(size, seed, edge) -> None:
    flow, spacing = noise(1, len(size), *size, seed=seed), [edge] * len(size)
    torch.testing.assert_close(flow_smoothness(flow, spacing=spacing), flow_smoothness(flow))
    bend = bending_energy(flow, spacing=spacing)
    torch.testing.assert_close(bend * edge**2, bending_energy(flow))


def test_spacing_is_physical() -> None:
    """A shear of axis 0 along axis 1: 0.3 voxels a voxel, 3 mm by 1 mm voxels: 0.9 mm a mm."""
    flow = torch.zeros(1, 2, 5, 6, dtype=torch.float64)
    flow[:, 0] = 0.3 * torch.arange(6.0)
    assert flow_smoothness(flow, spacing=(3, 1)).item() == pytest.approx(0.9**2 / 4)
    assert flow_smoothness(flow, spacing=(1, 3)).item() == pytest.approx(0.1**2 / 4)
    assert flow_smoothness(flow, spacing=(1, 3), penalty="l1").item() == pytest.approx(0.1 / 4)


@pytest.mark.parametrize("penalty", PENALTIES)
@given(size=SIZES, seed=SEEDS)
def test_a_full_mask_changes_nothing_and_a_small_one_looks_only_inside(penalty, size, seed) -> None:
    n = len(size)
    flow = noise(2, n, *size, seed=seed)
    torch.testing.assert_close(
        penalty(flow, mask=torch.ones(2, 1, *size, dtype=torch.bool)), penalty(flow)
    )
    mask = torch.zeros(2, 1, *[k + 2 for k in size])
    mask[(..., *[slice(1, -1)] * n)] = 3.0
    wide = torch.full((2, n, *[k + 2 for k in size]), float("nan"), dtype=torch.float64)
    wide[(..., *[slice(1, -1)] * n)] = flow
    torch.testing.assert_close(penalty(wide, mask=mask), penalty(flow))


@pytest.mark.parametrize("penalty", PENALTIES)
def test_an_empty_mask_gives_zero_and_no_gradient(penalty) -> None:
    flow = noise(1, 2, 5, 5).requires_grad_()
    value = penalty(flow, mask=torch.zeros(1, 1, 5, 5))
    value.sum().backward()
    assert value.tolist() == [0]
    assert flow.grad is not None
    assert not flow.grad.any()


@pytest.mark.parametrize("penalty", PENALTIES)
def test_laws_of_every_penalty(penalty) -> None:
    flow = noise(3, 3, 4, 5, 3)
    value = penalty(flow)
    assert value.shape == (3,)
    torch.testing.assert_close(torch.cat([penalty(flow[i : i + 1]) for i in range(3)]), value)
    torch.testing.assert_close(penalty(flow + 5), value)
    assert penalty(flow.half()).dtype == torch.float32
    assert bool((value > 0).all())
    one = flow[:1, :, :, :, :].clone().requires_grad_()
    assert torch.autograd.gradcheck(penalty, (one,))


@pytest.mark.parametrize("penalty", PENALTIES)
def test_an_axis_of_one_voxel_counts_as_smooth(penalty) -> None:
    flow = noise(2, 3, 1, 5, 6)
    doubled = flow.repeat(1, 1, 4, 1, 1)  # constant along the first axis
    torch.testing.assert_close(penalty(flow), penalty(doubled))
    assert penalty(flow[..., :1, :1]).tolist() == [0, 0]


def test_bending_sees_a_checkerboard() -> None:
    """Central differences of central differences (MONAI) are all zero here."""
    flow = torch.zeros(1, 2, 8, 8)
    flow[:, 0] = torch.arange(8.0) % 2
    central = (flow[..., 2:] - flow[..., :-2]) / 2
    assert not central.any()
    assert bending_energy(flow).item() == pytest.approx(2.0)


@pytest.mark.parametrize("penalty", PENALTIES)
def test_refusals(penalty) -> None:
    with pytest.raises(ValueError, match=r"flow must be \(b, 2, h, w\)"):
        penalty(noise(1, 3, 4, 4))
    with pytest.raises(ValueError, match="spacing must have 2 values"):
        penalty(noise(1, 2, 4, 4), spacing=(1, 1, 1))
    with pytest.raises(ValueError, match=r"spacing\[1\] must be above 0, got -1"):
        penalty(noise(1, 2, 4, 4), spacing=(1, -1))
