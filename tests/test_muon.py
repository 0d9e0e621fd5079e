"""Muon: singular values near one, torch's own for matrices, Adam for the rest, exact resume."""

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from libimg.train import Muon, orthogonalise


def net() -> nn.Sequential:
    torch.manual_seed(0)
    layers = (nn.Conv2d(1, 6, 3), nn.SiLU(), nn.Conv2d(6, 6, 3), nn.SiLU(), nn.Conv2d(6, 1, 3))
    return nn.Sequential(*layers)


def train(
    model: nn.Module, optimizer: torch.optim.Optimizer, steps: int, seed: int = 0
) -> list[float]:
    generator = torch.Generator().manual_seed(seed)
    losses = []
    for _ in range(steps):
        x = torch.randn(4, 1, 12, 12, generator=generator)
        loss = (model(x) - x[..., 3:-3, 3:-3]).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    return losses


@settings(max_examples=25)
@given(
    rows=st.integers(1, 12),
    columns=st.integers(1, 12),
    scale=st.sampled_from((1e-3, 1.0, 1e4)),
    seed=st.integers(0, 99),
)
def test_singular_values_come_near_one(rows: int, columns: int, scale: float, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    spread = torch.rand(min(rows, columns), generator=generator, dtype=torch.float64) + 0.5
    u, _ = torch.linalg.qr(torch.randn(rows, len(spread), generator=generator, dtype=torch.float64))
    v, _ = torch.linalg.qr(
        torch.randn(columns, len(spread), generator=generator, dtype=torch.float64)
    )
    out = orthogonalise(scale * (u * spread) @ v.T)
    values = torch.linalg.svdvals(out)
    assert values.min() > 0.6
    assert values.max() < 1.3
    torch.testing.assert_close((u.T @ out @ v).diagonal(), (u.T @ out @ v).sum(1))  # same vectors
    torch.testing.assert_close(orthogonalise((scale * (u * spread) @ v.T).T), out.T)


def test_zero_stays_zero_and_batches_are_their_matrices() -> None:
    assert torch.equal(orthogonalise(torch.zeros(3, 4)), torch.zeros(3, 4))
    batch = torch.randn(3, 5, 4, dtype=torch.float64)
    together = orthogonalise(batch)
    for one, out in zip(batch, together, strict=True):
        torch.testing.assert_close(orthogonalise(one), out)


def test_matrices_take_the_steps_of_torch() -> None:
    theirs_of = getattr(torch.optim, "Muon", None)
    if theirs_of is None:
        pytest.skip("torch.optim.Muon is there from torch 2.9 on")
    torch.manual_seed(0)
    ours, x = nn.Linear(16, 24, bias=False), torch.randn(8, 16)
    theirs = copy.deepcopy(ours)
    first = Muon(ours, lr=0.01, weight_decay=0.1)
    second = theirs_of(
        theirs.parameters(), lr=0.01, weight_decay=0.1, adjust_lr_fn="match_rms_adamw"
    )
    before = ours.weight.detach().clone()
    for _ in range(5):
        for model, optimizer in ((ours, first), (theirs, second)):
            optimizer.zero_grad()
            model(x).square().sum().backward()
            optimizer.step()
    moved = (theirs.weight - before).norm()
    assert (ours.weight - theirs.weight).norm() < 0.15 * moved  # theirs computes in bfloat16


def test_convolutions_take_the_steps_of_the_formula() -> None:
    model = net().double()
    weight = model[2].weight
    optimizer = Muon(model, lr=0.01, adam=("0.", "4."), momentum=0.9, weight_decay=0.1)
    wanted, kept = weight.detach().clone().flatten(1), torch.zeros(6, 54, dtype=torch.float64)
    for seed in range(3):
        generator = torch.Generator().manual_seed(seed)
        x = torch.randn(2, 1, 9, 9, generator=generator, dtype=torch.float64)
        optimizer.zero_grad()
        model(x).square().sum().backward()
        assert weight.grad is not None
        slope = weight.grad.flatten(1)
        kept = 0.9 * kept + 0.1 * slope
        ahead = orthogonalise(0.1 * slope + 0.9 * kept)
        wanted = wanted * (1 - 0.01 * 0.1) - 0.01 * 0.2 * 54**0.5 * ahead
        optimizer.step()
    torch.testing.assert_close(weight.detach().flatten(1), wanted)


def test_biases_and_named_layers_take_the_steps_of_adam() -> None:
    ours, theirs = net(), net()
    mine = Muon(ours, lr=0.01, adam=("",), betas=(0.9, 0.99), weight_decay=0.01)
    adam = torch.optim.AdamW(theirs.parameters(), lr=0.01, betas=(0.9, 0.99), weight_decay=0.01)
    assert [group["kind"] for group in mine.param_groups] == ["adam"]
    train(ours, mine, 5)
    train(theirs, adam, 5)
    for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-6)


def test_weights_are_shared_out_by_name_and_shape() -> None:
    model = net()
    optimizer = Muon(model, lr=0.01, adam=("0.", "4."))
    kinds = {group["kind"]: len(group["params"]) for group in optimizer.param_groups}
    assert kinds == {"muon": 1, "adam": 5}
    before = model[2].weight.detach().clone()
    train(model, optimizer, 1)
    step = (model[2].weight.detach() - before).flatten(1)
    wanted = 0.01 * 0.2 * 54**0.5
    values = torch.linalg.svdvals(step / wanted)
    assert 0.5 < values.min() <= values.max() < 1.3


def test_it_learns_and_goes_on_where_it_stopped() -> None:
    whole, part = net(), net()
    first, second = (Muon(m, lr=0.02, adam=("0.", "4.")) for m in (whole, part))
    losses = train(whole, first, 20) + train(whole, first, 20, seed=1)
    assert sum(losses[-5:]) < 0.5 * sum(losses[:5])
    train(part, second, 20)
    resumed = net()
    resumed.load_state_dict(part.state_dict())
    third = Muon(resumed, lr=0.02, adam=("0.", "4."))
    third.load_state_dict(copy.deepcopy(second.state_dict()))
    train(resumed, third, 20, seed=1)
    for a, b in zip(whole.parameters(), resumed.parameters(), strict=True):
        assert torch.equal(a, b)


def test_closures_and_frozen_weights() -> None:
    model = nn.Linear(2, 3)
    model.bias.requires_grad_(False)
    optimizer = Muon(model, lr=0.1)
    assert [len(group["params"]) for group in optimizer.param_groups] == [1]

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        loss = model(torch.ones(1, 2)).square().sum()
        loss.backward()
        return loss

    assert optimizer.step(closure) > 0
    optimizer.zero_grad()
    before = model.weight.detach().clone()
    optimizer.step()
    assert torch.equal(model.weight, before)


def test_bad_options_are_refused() -> None:
    for options in ({"lr": -1}, {"lr": 1, "momentum": 1}, {"lr": 1, "weight_decay": -1}):
        with pytest.raises(ValueError, match="expected lr and weight_decay"):
            Muon(net(), **options)
    with pytest.raises(ValueError, match="no parameter begins with 'head'"):
        Muon(net(), lr=0.1, adam=("head",))
