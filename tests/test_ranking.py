import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from libimg.metrics import auc
from tests.strategies import seeds


def scores(n: int, seed: int, *, levels: int) -> Tensor:
    """Scores on a few levels, so that ties are common."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(-levels, levels + 1, (n,), generator=generator).double() / 4


def brute_force(positive: Tensor, negative: Tensor) -> float:
    pairs = [(p > n) + 0.5 * (p == n) for p in positive.tolist() for n in negative.tolist()]
    return sum(pairs) / len(pairs)


@given(n=st.integers(1, 20), m=st.integers(1, 20), seed=seeds, levels=st.integers(0, 8))
def test_is_the_share_of_ordered_pairs(n: int, m: int, seed: int, levels: int) -> None:
    high, low = scores(n, seed, levels=levels), scores(m, seed + 1, levels=levels)
    assert auc(high, low) == pytest.approx(brute_force(high, low))
    assert auc(low, high) == pytest.approx(1 - auc(high, low))


@given(seed=seeds)
def test_only_the_order_counts(seed: int) -> None:
    high, low = scores(15, seed, levels=6), scores(12, seed + 1, levels=6)
    assert auc(high.exp(), low.exp()) == auc(high, low)
    shuffled = high[torch.randperm(15, generator=torch.Generator().manual_seed(seed))]
    assert auc(shuffled.view(3, 5), low.view(2, 2, 3)) == auc(high, low)


@settings(max_examples=5)
@given(seed=seeds)
def test_agrees_with_the_u_statistic_of_scipy(seed: int) -> None:
    from scipy.stats import mannwhitneyu

    high, low = scores(30, seed, levels=5), scores(20, seed + 1, levels=5)
    u = mannwhitneyu(high.numpy(), low.numpy()).statistic
    assert auc(high, low) == pytest.approx(float(u) / 600)


def test_agrees_with_torchmetrics() -> None:
    from torchmetrics.functional import auroc

    high, low = scores(30, 0, levels=5), scores(20, 1, levels=5)
    labels = torch.tensor([1] * 30 + [0] * 20)
    theirs = auroc(torch.cat([high, low]).sigmoid(), labels, task="binary")
    assert auc(high.sigmoid(), low.sigmoid()) == pytest.approx(float(theirs))


def test_known_values() -> None:
    assert auc(torch.tensor([3.0, 4.0]), torch.tensor([1.0, 2.0])) == 1
    assert auc(torch.tensor([1.0]), torch.tensor([2.0, 3.0])) == 0
    assert auc(torch.zeros(5), torch.zeros(7)) == 0.5
    assert auc(torch.tensor([math.inf]), torch.tensor([-math.inf])) == 1


def test_an_empty_class_is_undefined() -> None:
    assert math.isnan(auc(torch.zeros(0), torch.ones(3)))
    assert math.isnan(auc(torch.ones(3), torch.zeros(0)))


def test_many_values_stay_exact() -> None:
    """Pairs are counted in float64: half a million squared does not fit into float32."""
    n = 400_000
    ramp = torch.arange(n, dtype=torch.float32)
    assert auc(ramp + 0.5, ramp) == pytest.approx((n + 1) / (2 * n), rel=1e-12)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_dtype_and_graph_do_not_matter(dtype: torch.dtype) -> None:
    high = scores(9, 0, levels=4).to(dtype).requires_grad_()
    low = scores(9, 1, levels=4).to(dtype)
    value = auc(high, low)
    assert type(value) is float
    assert value == pytest.approx(brute_force(high.detach(), low))
