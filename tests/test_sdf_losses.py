"""Laws of the losses of signed distance fields."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from libimg.losses.sdf import (
    class_overlap,
    eikonal,
    field_gradient,
    finite_difference_gradient,
    sdf_l1,
    surface_l1,
)

SEEDS = st.integers(0, 2**31)
COUNTS = st.integers(1, 5)


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def torus(p: Tensor) -> Tensor:
    """Two tori, radii 0.5 and 0.1 or 0.2: distances, ``(b, q, 2)``."""
    ring = torch.stack([p[..., :2].norm(dim=-1) - 0.5, p[..., 2]], -1).norm(dim=-1)
    return torch.stack([ring - 0.1, ring - 0.2], -1)


def l1_by_definition(p, t, m, w, band, band_weight, clamp) -> float:
    """Number by number, from the definition: sum of m·w·l over sum of m·w."""
    above, below = 0.0, 0.0
    for i, j in np.ndindex(p.shape):
        if not m[i, j]:
            continue
        weight = m[i, j] * w[i, j] * (band_weight if abs(t[i, j]) < band else 1.0)
        if t[i, j] >= clamp:
            error = max(0.0, clamp - p[i, j])
        elif t[i, j] <= -clamp:
            error = max(0.0, p[i, j] + clamp)
        else:
            error = abs(p[i, j] - t[i, j])
        above, below = above + weight * error, below + weight
    return above / below if below else 0.0


@given(
    q=COUNTS, k=COUNTS, seed=SEEDS, by_point=st.booleans(), one=st.booleans(), clamped=st.booleans()
)
def test_l1_agrees_with_the_definition(q, k, seed, by_point, one, clamped) -> None:
    p, t = noise(2, q, k, seed=seed), noise(2, q, k, seed=seed + 1)
    mask = noise(2, q, k, seed=seed + 2) > -0.5
    mask = mask if by_point else mask[:, 0]
    weight = noise(2, q, 1 if one else k, seed=seed + 3).abs()
    clamp = 0.6 if clamped else None
    got = sdf_l1(p, t, mask=mask, weight=weight, band=0.4, band_weight=7.0, clamp=clamp)
    wide = mask if by_point else mask[:, None].expand(2, q, k)
    for i in range(2):
        given_ = (x[i].expand(q, k).double().numpy() for x in (p, t, wide, weight))
        expected = l1_by_definition(*given_, 0.4, 7.0, clamp or np.inf)
        assert got[i].item() == pytest.approx(expected, rel=1e-6)


@given(seed=SEEDS, scale=st.floats(0.1, 10))
def test_l1_scales_with_the_unit(seed, scale) -> None:
    p, t = noise(2, 4, 3, seed=seed), noise(2, 4, 3, seed=seed + 1)
    once = sdf_l1(p, t, band=0.5, clamp=0.8)
    torch.testing.assert_close(
        sdf_l1(scale * p, scale * t, band=0.5 * scale, clamp=0.8 * scale), scale * once
    )


@given(seed=SEEDS, k=st.integers(1, 4), missing=st.sampled_from([float("nan"), float("inf"), 3.0]))
def test_masked_classes_are_as_if_they_were_not_there(seed, k, missing) -> None:
    p, t = noise(2, 5, 4, seed=seed).requires_grad_(), noise(2, 5, 4, seed=seed + 1)
    mask = (torch.arange(4) < k).expand(2, 4)
    unlabelled = t.masked_fill(~mask[:, None], missing)
    got = sdf_l1(p, unlabelled, mask=mask, band=0.3, clamp=0.9)
    torch.testing.assert_close(got, sdf_l1(p[..., :k], t[..., :k], band=0.3, clamp=0.9))
    (slope,) = torch.autograd.grad(got.sum(), p)
    assert not slope[..., k:].any()
    assert slope[..., :k].isfinite().all()


@given(seed=SEEDS)
def test_a_weight_of_two_is_a_sample_taken_twice(seed) -> None:
    p, t = noise(1, 4, 3, seed=seed), noise(1, 4, 3, seed=seed + 1)
    weight = torch.tensor([1.0, 2.0, 0.0, 1.0]).double()[None, :, None]
    index = [0, 1, 1, 3]
    torch.testing.assert_close(sdf_l1(p, t, weight=weight), sdf_l1(p[:, index], t[:, index]))


@given(seed=SEEDS)
def test_the_clamp_is_that_of_deepsdf_where_that_has_a_slope(seed) -> None:
    p, t = noise(1, 1, 1, seed=seed).requires_grad_(), noise(1, 1, 1, seed=seed + 1)
    theirs = (p.clamp(-0.5, 0.5) - t.clamp(-0.5, 0.5)).abs().flatten()
    ours = sdf_l1(p, t, clamp=0.5)
    if p.abs().item() <= 0.5 or (p.sign() == t.sign() and t.abs().item() >= 0.5):
        torch.testing.assert_close(ours, theirs)
    elif p.sign() != t.sign():  # far on the wrong side: theirs is stuck, ours is not
        assert ours.item() > theirs.item()
        assert torch.autograd.grad(theirs.sum(), p)[0].item() == 0
        assert torch.autograd.grad(ours.sum(), p)[0].item() == p.sign().item()


def test_absent_is_not_unlabelled() -> None:
    """An absent class is pushed outside by its target; an unlabelled one is left alone."""
    p = torch.full((2, 3, 1), -0.2, requires_grad=True)
    target = torch.full((2, 3, 1), 0.5)
    loss = sdf_l1(p, target, mask=torch.tensor([[True], [False]]), clamp=0.1)
    (slope,) = torch.autograd.grad(loss.sum(), p)
    torch.testing.assert_close(slope[0], torch.full((3, 1), -1 / 3))
    assert not slope[1].any()
    assert loss.tolist() == pytest.approx([0.3, 0.0])


@given(seed=SEEDS, q=COUNTS)
def test_surface_reads_each_points_own_class(seed, q) -> None:
    field = noise(2, q, 3, seed=seed)
    classes = torch.randint(3, (2, q), generator=torch.Generator().manual_seed(seed))
    keep = noise(2, q, seed=seed + 1) > -0.5
    got = surface_l1(field, classes.masked_fill(~keep, 255), mask=keep)
    for i in range(2):
        own = [abs(field[i, j, classes[i, j]].item()) for j in range(q) if keep[i, j]]
        assert got[i].item() == pytest.approx(np.mean(own) if own else 0.0)
    one_hot = torch.nn.functional.one_hot(classes, 3).bool() & keep[..., None]
    torch.testing.assert_close(got, sdf_l1(field, torch.zeros_like(field), mask=one_hot))


@given(seed=SEEDS)
def test_eikonal_by_definition_and_under_rotation(seed) -> None:
    g, mask = noise(2, 4, 3, 3, seed=seed), noise(2, 3, seed=seed + 1) > 0
    got = eikonal(g, mask=mask)
    for i in range(2):
        picked = np.linalg.norm(g[i, :, mask[i]].numpy(), axis=-1)
        expected = ((picked - 1) ** 2).mean() if mask[i].any() else 0.0
        assert got[i].item() == pytest.approx(expected)
    turn = torch.linalg.qr(noise(3, 3, seed=seed + 2)).Q
    torch.testing.assert_close(eikonal(g @ turn), eikonal(g))
    torch.testing.assert_close(
        eikonal(torch.nn.functional.normalize(g, dim=-1)), torch.zeros(2).double()
    )


def test_a_constant_field_does_not_move_and_gives_no_nan() -> None:
    g = torch.zeros(1, 2, 1, 3, requires_grad=True)
    loss = eikonal(g)
    loss.sum().backward()
    assert loss.tolist() == [1.0]
    assert g.grad is not None
    assert not g.grad.any()


@given(seed=SEEDS)
def test_distances_have_slope_one_and_differences_converge(seed) -> None:
    points = 0.3 * noise(2, 5, 3, seed=seed)
    exact = field_gradient(torus, points, create_graph=False)
    assert exact.shape == (2, 5, 2, 3)
    assert not exact.requires_grad
    torch.testing.assert_close(eikonal(exact), torch.zeros(2).double())
    wave = lambda p: (p @ noise(3, 2, seed=seed + 1)).sin()  # noqa: E731
    exact = field_gradient(wave, points, create_graph=False)
    errors = [
        (finite_difference_gradient(wave, points, step=h) - exact).abs().max().item()
        for h in (0.02, 0.01)
    ]
    assert errors[0] < 0.02**2 * 10
    assert errors[0] / errors[1] == pytest.approx(4, rel=0.05)


def test_differences_of_quadratic_fields_are_exact_and_cost_one_call() -> None:
    calls = []
    matrix = noise(4, 3, 3)
    matrix = matrix + matrix.mT

    def field(p: Tensor) -> Tensor:
        calls.append(p.shape)
        return torch.einsum("bqi,kij,bqj->bqk", p, matrix, p)

    points = noise(2, 5, 3, seed=1)
    got = finite_difference_gradient(field, points, step=0.3)
    assert calls == [(2, 30, 3)]
    torch.testing.assert_close(got, 2 * torch.einsum("kij,bqj->bqki", matrix, points))
    torch.testing.assert_close(got, field_gradient(field, points))


def test_gradients_of_gradients() -> None:
    """The eikonal term reaches the weights and the points: checked by differences."""
    first, second = noise(3, 4).requires_grad_(), noise(4, 2, seed=1).requires_grad_()
    points = noise(1, 3, 3, seed=2).requires_grad_()

    def loss(first: Tensor, second: Tensor, points: Tensor) -> Tensor:
        return eikonal(field_gradient(lambda p: (p @ first).tanh() @ second, points))

    assert torch.autograd.gradcheck(loss, (first, second, points))
    differences = eikonal(
        finite_difference_gradient(lambda p: (p @ first).tanh() @ second, points, step=1e-4)
    )
    wanted = torch.autograd.grad(loss(first, second, points).sum(), (first, second))
    got = torch.autograd.grad(differences.sum(), (first, second))
    torch.testing.assert_close(got, wanted, rtol=1e-5, atol=1e-7)
    with torch.no_grad():  # works there too, and leaves the points as they are
        fixed = points.detach()
        field_gradient(torus, fixed)
    assert not fixed.requires_grad


@given(seed=SEEDS, k=st.integers(1, 4), margin=st.floats(0, 1))
def test_overlap_by_definition(seed, k, margin) -> None:
    field, mask = noise(2, 5, k, seed=seed), noise(2, k, seed=seed + 1) > -0.7
    got = class_overlap(field, margin=margin, mask=mask)
    for i in range(2):
        rows = [sorted(row[mask[i]].tolist()) for row in field[i]]
        depth = [max(0.0, -row[1] - margin) if len(row) > 1 else 0.0 for row in rows]
        assert got[i].item() == pytest.approx(np.mean(depth))
    torch.testing.assert_close(
        class_overlap(3 * field, margin=3 * margin), 3 * class_overlap(field, margin=margin)
    )


def test_bodies_that_touch_do_not_overlap() -> None:
    points = noise(1, 2000, 3)
    ball = points.norm(dim=-1) - 0.5
    shell = (points.norm(dim=-1) - 0.75).abs() - 0.25  # from 0.5 to 1, around the ball
    assert class_overlap(torch.stack([ball, shell], -1)).item() == 0
    assert class_overlap(torch.stack([ball - 0.05, shell], -1)).item() > 0
    assert class_overlap(torch.stack([ball - 0.05, shell], -1), margin=0.051).item() == 0


LOSSES = {
    "l1": lambda f: sdf_l1(f, noise(*f.shape, seed=9).to(f), band=0.5, clamp=0.8),
    "surface": lambda f: surface_l1(f, torch.arange(f.shape[1]).expand(f.shape[:2]) % f.shape[2]),
    "overlap": lambda f: class_overlap(f, margin=0.1),
    "eikonal": lambda f: eikonal(torch.stack([f, f + 1, f * f], -1)),
}


@pytest.mark.parametrize("name", LOSSES)
def test_laws_of_every_loss(name) -> None:
    loss, field = LOSSES[name], noise(3, 4, 3, seed=3)
    value = loss(field)
    assert value.shape == (3,)
    if name != "l1":  # whose target is drawn with the batch
        torch.testing.assert_close(torch.cat([loss(field[i : i + 1]) for i in range(3)]), value)
    assert torch.autograd.gradcheck(loss, (field[:1].clone().requires_grad_(),))
    assert loss(field.bfloat16()).dtype == torch.float32


@pytest.mark.parametrize("mask", [torch.zeros(1, 3), torch.zeros(1, 4, 3, dtype=torch.bool)])
def test_an_empty_mask_gives_zero_and_no_gradient(mask) -> None:
    field = noise(1, 4, 3).requires_grad_()
    values = [
        sdf_l1(field, torch.full_like(field, float("nan")), mask=mask, band=0.1, clamp=1.0),
        eikonal(field.unsqueeze(-1).expand(-1, -1, -1, 3), mask=mask),
        surface_l1(field, torch.zeros(1, 4, dtype=torch.long), mask=torch.zeros(1, 4)),
    ]
    if mask.ndim == 2:
        values.append(class_overlap(field, mask=mask.bool()))
    for value in values:
        assert value.tolist() == [0]
        (slope,) = torch.autograd.grad(value.sum(), field)
        assert not slope.any()


@pytest.mark.usefixtures("unchecked")
def test_refusals() -> None:
    field = torch.zeros(2, 4, 3)
    with pytest.raises(ValueError, match=r"prediction \(2, 4, 3\), target \(2, 4, 2\)"):
        sdf_l1(field, field[..., :2])
    with pytest.raises(ValueError, match=r"mask must be \(2, 3\) or \(2, 4, 3\), got \(2, 4\)"):
        sdf_l1(field, field, mask=torch.ones(2, 4))
    for options in ({"band": 0.0}, {"band_weight": -1.0}, {"clamp": 0.0}):
        with pytest.raises(ValueError, match=f"{next(iter(options))} must be above 0"):
            sdf_l1(field, field, **options)
    with pytest.raises(ValueError, match=r"classes must be \(2, 4\), got \(2, 3\)"):
        surface_l1(field, torch.zeros(2, 3, dtype=torch.long))
    with pytest.raises(ValueError, match=r"mask must be \(2, 4\), got \(2, 3\)"):
        surface_l1(field, torch.zeros(2, 4, dtype=torch.long), mask=torch.ones(2, 3))
    with pytest.raises(ValueError, match=r"gradient must be \(b, q, classes, 3\)"):
        eikonal(field)
    with pytest.raises(ValueError, match="margin must not be negative, got -1"):
        class_overlap(field, margin=-1.0)
    with pytest.raises(ValueError, match="step must be above 0"):
        finite_difference_gradient(torus, field, step=0.0)
