"""Means of distances are too small: levels that mend it, and a linear model that knows its error."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from libimg import completion
from libimg.completion import Baselines, Case, Centre, Completer, Drop, baselines, phantom_case
from libimg.completion.fields import LEVELS_MM, best_levels
from libimg.nets import VecSetAutoencoder


def dice(guess: Tensor, truth: Tensor) -> Tensor:
    """Of each class, by its definition."""
    a, b = (guess < 0).flatten(1), (truth < 0).flatten(1)
    return 2 * (a & b).sum(1) / (a.sum(1) + b.sum(1)).clamp(min=1)


def ball(centre: Tensor, radius: float, size: int = 20) -> Tensor:
    """Distances to a ball, (1, g, g, g), one millimetre a voxel."""
    line = torch.arange(float(size))
    places = torch.stack(torch.meshgrid(line, line, line, indexing="ij"), -1)
    return (places - centre).norm(dim=-1)[None] - radius


@pytest.fixture(scope="module")
def hearts() -> list[Case]:
    return [phantom_case(seed, spacing_mm=8.0) for seed in range(4)]


@settings(max_examples=10)
@given(seed=st.integers(0, 99), cases=st.integers(1, 3))
def test_no_level_has_a_higher_dice(seed: int, cases: int) -> None:
    source = torch.Generator().manual_seed(seed)
    truths = [4 * torch.randn(3, 5, 4, 6, generator=source) for _ in range(cases)]
    guesses = [t + 3 * torch.randn(t.shape, generator=source) + 2 for t in truths]
    found = best_levels(guesses, truths)
    low, high, number = LEVELS_MM
    mean = torch.stack(
        [
            torch.stack([dice(g - level, t) for g, t in zip(guesses, truths, strict=True)]).mean(0)
            for level in torch.linspace(low, high, number)
        ]
    )
    at = ((found - low) / (high - low) * (number - 1)).round().long()
    torch.testing.assert_close(mean.gather(0, at[None])[0], mean.amax(0))


def test_unlabelled_classes_have_no_say() -> None:
    truth = torch.cat([ball(torch.full((3,), 9.0), 6.0), torch.full((1, 20, 20, 20), torch.nan)])
    guess = torch.cat([ball(torch.full((3,), 9.0), 4.0), torch.zeros(1, 20, 20, 20)])
    assert best_levels([guess], [truth]).tolist() == [pytest.approx(2, abs=0.3), 0.0]
    with pytest.raises(ValueError, match="guesses: expected one or more"):
        best_levels([], [])


def test_the_mean_of_balls_that_move_is_mended() -> None:
    source = torch.Generator().manual_seed(0)
    fields = [ball(9.5 + 3 * torch.randn(3, generator=source), 4.0) for _ in range(12)]
    mean = torch.stack(fields).mean(0)
    level = best_levels([mean] * len(fields), fields)
    before, after = (torch.stack([dice(m, f) for f in fields]).mean() for m in (mean, mean - level))
    assert level > 0.5
    assert after > before + 0.05


@pytest.mark.parametrize("ridge", [1e-3, 0.1])
def test_what_is_left_out_is_what_a_fit_to_the_others_misses(
    ridge: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    n, k, source = 6, 3, torch.Generator().manual_seed(1)
    fields = torch.randn(n, k, 2, 2, 2, generator=source, dtype=torch.float64)
    mean = fields.mean(0)
    rest = fields - mean
    flat = rest.flatten(2).transpose(0, 1)
    gram = torch.stack([part @ part.T for part in flat]) / 8
    everything = torch.ones(n, k, dtype=torch.bool)
    centre = Centre(torch.zeros(k, 3), torch.ones(k))
    model = Baselines(mean, torch.zeros(k).double(), rest, gram, everything, centre)
    monkeypatch.setattr(baselines, "RIDGES", (ridge,))
    seen = torch.tensor([True, True, False])
    _, left = model._ridge(seen, torch.zeros(n, dtype=torch.float64))
    strength = ridge * gram[seen].sum(0).diagonal().mean()
    for i in range(n):
        others = [j for j in range(n) if j != i]
        middle = fields[others].mean(0)
        apart = fields[others] - middle
        x, new = apart[:, seen].flatten(1), (fields[i] - middle)[seen].flatten()
        inverse = torch.linalg.inv(x @ x.T / 8 + strength * torch.eye(n - 1))
        guess = middle + torch.tensordot(inverse @ (x @ new / 8), apart, 1)
        missed = torch.tensordot(left[i] / left[i, i], rest, 1)
        torch.testing.assert_close(missed, fields[i] - guess)


def test_surfaces_of_answers_move_and_those_of_draws_do_not(hearts: list[Case]) -> None:
    torch.manual_seed(0)
    model = Completer(VecSetAutoencoder.preset("tiny", classes=10), grid=16).eval()
    completion.learn_shape(model, hearts)
    asked = completion.questions(hearts, drop=Drop(fewest=2, most=4))
    first = completion.fit_levels(model, asked, inputs=64).clone()
    model.shape.mean += 3.0 / hearts[0].sampling.half_mm  # a network that answers 3 mm too small
    levels = completion.fit_levels(model, asked, inputs=64)
    assert torch.equal(levels, model.shape.levels)
    there = torch.stack([case.present for case in hearts]).any(0)
    torch.testing.assert_close(
        (levels - first)[there], torch.tensor(3.0).expand(int(there.sum())), atol=0.3, rtol=0
    )
    latent, middle = completion.encode_case(model, hearts[0], asked[0].observed, inputs=64)
    plain, moved = (
        completion.decode_fields(
            model, hearts[0], latent.mean, middle, spacing_mm=16.0, levelled=levelled
        )[0]
        for levelled in (False, True)
    )
    torch.testing.assert_close(plain - moved, levels[:, None, None, None].expand_as(plain))


def test_levels_are_part_of_a_checkpoint() -> None:
    model = Completer(VecSetAutoencoder.preset("tiny", classes=10), grid=16)
    model.shape.levels += 2
    assert torch.equal(model.shape.state_dict()["levels"], torch.full((10,), 2.0))


def test_a_heart_in_both_data_sets_is_refused(hearts: list[Case], tmp_path: Path) -> None:
    folder = tmp_path
    for number, case in enumerate(hearts):
        for name in ("a", "b"):
            completion.write_case(folder / name / f"{number}.h5", replace(case, name=f"{number}"))
    data = completion.HeartData(
        folder=str(folder / "a"),
        other=str(folder / "b"),
        test=1,
        validation=1,
        sampling=hearts[0].sampling,
    )
    paths = completion.list_cases(folder / "a")
    with pytest.raises(ValueError, match=r"b: 0 is the same label map as 0 of data\.folder"):
        completion.make_plan(3, data, paths)
    with pytest.raises(ValueError, match=r"expected more than 4 cases .* got 4"):
        completion.make_plan(3, replace(data, test=2, validation=2), [*paths, *paths])


def test_cases_without_the_labelled_class_are_named(hearts: list[Case], tmp_path: Path) -> None:
    folder = tmp_path
    for number, case in enumerate(hearts):
        kept = case.restrict(["LV"] if number else ["RV"])
        completion.write_case(folder / f"{number}.h5", replace(kept, name=f"heart {number}"))
    data = completion.HeartData(
        folder=str(folder), test=1, validation=1, sampling=hearts[0].sampling
    )
    with pytest.raises(ValueError, match=r"^heart 0: without a voxel of the labelled classes"):
        completion.make_plan(0, data, completion.list_cases(folder))


def test_a_class_that_nobody_labels_keeps_its_level(hearts: list[Case]) -> None:
    torch.manual_seed(0)
    model = Completer(VecSetAutoencoder.preset("tiny", classes=10), grid=16).eval()
    completion.learn_shape(model, hearts)
    model.shape.levels += 7
    names = list(hearts[0].classes)
    asked = completion.questions([hearts[0].restrict(names[:6])], drop=Drop(fewest=1, most=1))
    levels = completion.fit_levels(model, asked, inputs=64)
    assert levels[6:].tolist() == [7.0] * 4
    assert float(levels[:6].max()) < 7
