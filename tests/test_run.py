"""Runs in one process: exact resume, settings, measures, precision, shares of a batch."""

import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from lightning_fabric.plugins.precision import MixedPrecision
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from libimg.train import Ema, Run, RunConfig, module_hash
from libimg.train.run import _flat

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


def start(folder: Path, settings: dict[str, Any] | None = None, **options: Any) -> Run:
    config = RunConfig(folder=str(folder), accelerator="cpu", progress=False, **options)
    return Run(config, settings={"rate": 0.5} if settings is None else settings)


class Killed(BaseException):
    """Nothing after this line happens."""


def train(folder: Path, *, die_at: int = -1) -> dict[str, str]:
    """Train two small networks for 8 steps, saved every 3, with everything that holds a state."""
    run = start(folder, seed=5)
    maker = nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Dropout(0.5), nn.Conv2d(4, 1, 1)
    )
    judge = nn.Sequential(spectral_norm(nn.Conv2d(1, 4, 3)), nn.ReLU(), nn.Conv2d(4, 1, 1))
    average = Ema(maker, decay=0.5)
    for name, network in (("G", maker), ("D", judge), ("average", average)):
        run.module(name, network)
    make = run.optimizer("G", torch.optim.Adam(maker.parameters()))
    assess = run.optimizer("D", torch.optim.Adam(judge.parameters()))
    run.resume()
    for step in run.steps(8):
        make.param_groups[0]["lr"] = 0.01 / (1 + step)
        x = run.share({"x": torch.rand(4, 1, 9, 9, generator=run.generator(step))})["x"]
        y = maker(x)
        real = x[..., 1:-1, 1:-1].clone().requires_grad_()
        logits = judge(real)
        (slope,) = torch.autograd.grad(logits.sum(), real, create_graph=True)
        loss = (judge(y.detach()) - logits).mean() + slope.square().sum() / len(x)
        run.update(assess, loss)
        run.log(step + 1, {"loss": loss.item()})
        if step == die_at:
            raise Killed
        run.update(make, (y - real).abs().mean() - 0.1 * judge(y).mean())
        average.update(maker)
        if (step + 1) % 3 == 0:
            run.save("last.pt", step=step + 1)
    run.close()
    return {
        name: module_hash(part) for name, part in run.parts.items() if isinstance(part, nn.Module)
    } | {"log": (run.folder / "metrics.jsonl").read_text()}


@pytest.mark.parametrize("die_at", [1, 4, 7])
def test_interrupted_anywhere_a_run_ends_with_the_same_bits(tmp_path: Path, die_at: int) -> None:
    """Dropout, batch norm, spectral norm, averages, learning rates and log lines included."""
    whole = train(tmp_path / "whole")
    with pytest.raises(Killed):
        train(tmp_path / "pieces", die_at=die_at)
    torch.rand(7)  # what another process would not have
    assert train(tmp_path / "pieces") == whole
    assert len(whole["log"].splitlines()) == 8


def test_a_learning_rate_set_after_a_restart_counts(tmp_path: Path) -> None:
    """Loading replaces an optimiser's groups; the one that `optimizer` returned must see it."""
    for rate in (0.5, 0.0):
        run = start(tmp_path)
        net = run.module("net", nn.Linear(2, 1))
        opt = run.optimizer("net", torch.optim.Adam(net.parameters(), lr=0.1))
        assert run.resume() == (0 if rate else 1)
        opt.param_groups[0]["lr"] = rate
        before = module_hash(net)
        run.update(opt, net(torch.ones(1, 2)).sum())
        assert (module_hash(net) != before) == (rate > 0)
        run.save("last.pt", step=1)
        run.close()


@pytest.mark.parametrize("key", ["name", "folder", "accelerator", "devices", "progress"])
def test_settings_that_do_not_touch_the_weights_may_change(tmp_path: Path, key: str) -> None:
    first = start(tmp_path, {"run": {key: "old", "seed": 0}})
    first.save("last.pt", step=3)
    second = start(tmp_path, {"run": {key: "new", "seed": 0}})
    assert second.resume() == 3
    second.close()


@pytest.mark.parametrize(
    ("old", "new", "shown"),
    [
        ({"run": {"seed": 0}}, {"run": {"seed": 1}}, r"run\.seed: 0 there, 1 now"),
        ({"net": {"width": 4}}, {"net": {}}, r"net\.width: 4 there, None now"),
        ({}, {"phases": [{"epochs": 2}]}, r"phases: None there, \[{'epochs': 2}\] now"),
        ({"name": "a"}, {"name": "b"}, "name: a there, b now"),  # only run.name is free
        (dict.fromkeys("abcde", 0), dict.fromkeys("abcde", 1), "5 differ: a: 0 there, 1 now; b"),
    ],
)
def test_other_settings_are_refused_by_name(
    tmp_path: Path, old: dict[str, Any], new: dict[str, Any], shown: str
) -> None:
    run = start(tmp_path, old)
    run.save("last.pt", step=3)
    config = (run.folder / "config.yaml").exists()
    with pytest.raises(ValueError, match=shown) as error:
        start(tmp_path, new).resume()
    assert str(run.folder / "last.pt") in str(error.value)
    assert "run.name" in str(error.value)
    assert (run.folder / "config.yaml").exists() == config  # nothing was written


def test_tuples_and_paths_in_settings_survive_the_file(tmp_path: Path) -> None:
    settings = {"shape": (1, (2, 3)), "where": Path("a/b"), "limit": math.inf, "deep": {"x": None}}
    start(tmp_path, settings).save("last.pt", step=2)
    again = start(tmp_path, settings)
    assert again.resume() == 2
    again.close()


def test_flat_names() -> None:
    assert _flat({"a": {"b": {"c": 1}, "d": [1]}, "e": None}) == {"a.b.c": 1, "a.d": [1], "e": None}


def two_groups(run: Run, kind: type[torch.optim.Optimizer], **options: Any) -> tuple[Any, Any, Any]:
    torch.manual_seed(1)
    first, second = nn.Linear(3, 2), nn.Linear(2, 1)
    groups = [
        {"params": list(first.parameters()), "name": "first"},
        {"params": list(second.parameters()), "name": "second"},
    ]
    return first, second, run.optimizer("both", kind(groups, **options))


def flat(tensors: Any) -> Tensor:
    return torch.cat([t.detach().flatten() for t in tensors])


@pytest.mark.parametrize("clip", [0.0, 0.3, 1e6])
def test_measures_against_hand_computation(tmp_path: Path, clip: float) -> None:
    run = start(tmp_path, clip=clip)
    first, second, opt = two_groups(run, torch.optim.SGD, lr=0.1)
    nets = {"first": first, "second": second}
    before = {name: flat(net.parameters()) for name, net in nets.items()}
    x = torch.arange(12.0).view(4, 3)
    loss = second(first(x).tanh()).square().sum()
    weights = [*first.parameters(), *second.parameters()]
    gradients = torch.autograd.grad(loss, weights, retain_graph=True)
    by_name = {"first": flat(gradients[:2]), "second": flat(gradients[2:])}
    total = flat(gradients).norm()
    share = min(1.0, clip / float(total)) if clip else 1.0
    measured = run.update(opt, loss, measure=True)
    assert set(measured) == {
        f"{m}/{n}" for m in ("gradient_norm", "update_to_weight") for n in nets
    }
    for name, gradient in by_name.items():
        torch.testing.assert_close(
            flat(nets[name].parameters()), before[name] - 0.1 * share * gradient
        )
        assert measured[f"gradient_norm/{name}"] == pytest.approx(float(gradient.norm()), rel=1e-4)
        moved = 0.1 * share * gradient.norm() / before[name].norm()
        assert measured[f"update_to_weight/{name}"] == pytest.approx(float(moved), rel=1e-3)


def test_what_was_frozen_does_not_move_and_is_not_measured(tmp_path: Path) -> None:
    """Not even by weight decay or by the momentum of an earlier phase."""
    run = start(tmp_path)
    first, second, opt = two_groups(run, torch.optim.AdamW, lr=0.1, weight_decay=0.5)
    x = torch.ones(2, 3)
    run.update(opt, second(first(x)).sum())
    first.requires_grad_(False)
    before = module_hash(first), module_hash(second)
    measured = run.update(opt, second(first(x)).sum(), measure=True)
    assert set(measured) == {"gradient_norm/second", "update_to_weight/second"}
    assert module_hash(first) == before[0]
    assert module_hash(second) != before[1]


def test_measuring_changes_nothing(tmp_path: Path) -> None:
    hashes = []
    for measure in (False, True):
        run = start(tmp_path, clip=0.1)
        first, second, opt = two_groups(run, torch.optim.Adam, lr=0.1)
        for _ in range(3):
            loss = second(first(torch.ones(2, 3))).sum()
            assert bool(run.update(opt, loss, measure=measure)) == measure
        hashes.append((module_hash(first), module_hash(second)))
    assert hashes[0] == hashes[1]


@pytest.mark.parametrize("clip", [0.0, 1.0])
def test_a_gradient_that_is_not_finite_stops_the_run(tmp_path: Path, clip: float) -> None:
    run = start(tmp_path, clip=clip)
    first, _, opt = two_groups(run, torch.optim.SGD, lr=0.1)
    before = module_hash(first)
    with pytest.raises(RuntimeError, match="non-finite"):
        run.update(opt, (first(torch.ones(1, 3)) * math.nan).sum())
    assert module_hash(first) == before


@pytest.mark.filterwarnings("ignore:You passed `Fabric")
def test_float16_skips_a_step_that_overflows_and_goes_on(tmp_path: Path) -> None:
    """The first scale of 16-bit training is meant to be too large; the scaler halves it."""
    run = start(tmp_path, precision="16-mixed")
    run.fabric._strategy.precision = MixedPrecision("16-mixed", "cpu")  # as on a GPU
    scaler = run.fabric._strategy.precision.scaler
    first, _, opt = two_groups(run, torch.optim.SGD, lr=0.1)
    before, scale = module_hash(first), scaler.get_scale()
    measured = run.update(opt, (first(torch.ones(1, 3)) * 1e36).sum(), measure=True)
    assert module_hash(first) == before
    assert scaler.get_scale() == scale / 2
    assert measured["update_to_weight/first"] == 0
    run.update(opt, first(torch.ones(1, 3)).sum())
    assert module_hash(first) != before
    assert flat(first.parameters()).isfinite().all()


def test_bfloat16_trains_float32_weights(tmp_path: Path) -> None:
    run = start(tmp_path, precision="bf16-mixed")
    torch.manual_seed(0)
    net = run.module("net", nn.Sequential(nn.Conv2d(1, 8, 3, 1, 1), nn.ReLU(), nn.Conv2d(8, 1, 1)))
    opt = run.optimizer("net", torch.optim.Adam(net.parameters(), lr=0.02))
    values = []
    for step in range(30):
        x = torch.rand(4, 1, 8, 8, generator=run.generator(step))
        with run.autocast():
            y = net(x)
        assert y.dtype == torch.bfloat16
        loss = (y.float() - 2 * x).square().mean()
        run.update(opt, loss)
        values.append(loss.item())
    assert values[-1] < 0.5 * values[0]
    assert all(w.dtype == torch.float32 for w in net.parameters())
    assert run.device == torch.device("cpu")


@given(world=st.integers(1, 5), each=st.integers(1, 3), extra=st.integers(0, 4))
def test_shares_make_up_the_batch(
    world: int, each: int, extra: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    run: Any = Run.__new__(Run)
    x = torch.arange(world * each + extra)[:, None]
    shares = []
    for rank in range(world):
        run.fabric = SimpleNamespace(world_size=world, global_rank=rank, device="cpu")
        if len(x) % world:
            with pytest.raises(
                ValueError, match=f"x: a batch of {len(x)} cannot be shared by {world}"
            ):
                run.share({"x": x})
        else:
            shares.append(run.share({"x": x, "y": -x}))
    if shares:
        assert torch.equal(torch.cat([s["x"] for s in shares]), x)
        assert all(torch.equal(s["y"], -s["x"]) for s in shares)


def test_the_mean_of_gradients_fills_every_weight(tmp_path: Path) -> None:
    """Two processes are played by a message that adds the other one's gradients."""
    run = start(tmp_path, clip=0.0)
    first, second, _ = two_groups(run, torch.optim.SGD, lr=0.1)
    weights = [*first.parameters(), *second.parameters()]
    x = torch.rand(4, 3, generator=run.generator(0))

    def gradients(part: Tensor) -> Tensor:
        loss = second(first(part).tanh()).square().flatten(1).sum(1).mean()
        return flat(torch.autograd.grad(loss, weights))

    other = gradients(x[2:])
    run.fabric = SimpleNamespace(  # type: ignore[assignment]
        world_size=2, all_reduce=lambda mine, reduce_op: (mine + other) / 2
    )
    second(first(x[:2]).tanh()).square().flatten(1).sum(1).mean().backward()
    run._average([w for w in weights if w.grad is not None])
    torch.testing.assert_close(flat([w.grad for w in weights]), gradients(x))


def test_random_numbers_are_those_of_the_step(tmp_path: Path) -> None:
    run = start(tmp_path, seed=3)
    torch.rand(5)
    first = torch.rand(4, generator=run.generator(7))
    assert torch.equal(first, torch.rand(4, generator=start(tmp_path, seed=3).generator(7)))
    assert not torch.equal(first, torch.rand(4, generator=run.generator(7, stream="noise")))


def test_files_are_written_by_the_main_process_only(tmp_path: Path) -> None:
    run = start(tmp_path)
    run.fabric = SimpleNamespace(is_global_zero=False)  # type: ignore[assignment]
    run.resume()
    run.log(1, {"loss": 0.0})
    run.save("last.pt", step=1)
    run.close()
    assert not run.folder.exists()


def test_the_progress_bar_can_be_seen_and_switched_off(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for shown in (True, False):
        run = Run(RunConfig(folder=str(tmp_path), accelerator="cpu", progress=shown), settings={})
        assert list(run.steps(3)) == [0, 1, 2]
        assert ("3/3" in capsys.readouterr().err) == shown
