"""Schedules, checkpoints, averages, logs, configuration, and runs that resume exactly."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from libimg import train

SCRIPT = Path(__file__).parent / "reference" / "train_script.py"
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


def phases(*epochs: int) -> list[train.Phase]:
    return [train.Phase(name=str(i), epochs=n, train=("G",)) for i, n in enumerate(epochs)]


@given(st.lists(st.integers(0, 4), min_size=1, max_size=4), st.floats(0, 20))
def test_phase_at(epochs: list[int], epoch: float) -> None:
    phase, share = train.phase_at(phases(*epochs), epoch)
    assert 0 <= share <= 1
    before = sum(epochs[: int(phase.name)])
    if epoch < sum(epochs):
        assert before <= epoch < before + phase.epochs
        assert share == pytest.approx((epoch - before) / phase.epochs)
    else:
        assert (phase.name, share) == (str(len(epochs) - 1), 1.0)


def test_phases_are_checked() -> None:
    with pytest.raises(ValueError, match="at least one"):
        train.phase_at([], 0)
    with pytest.raises(ValueError, match="cannot both"):
        train.Phase(name="x", epochs=1, train=("G",), frozen=("G",))
    with pytest.raises(ValueError, match="at least 0"):
        train.Phase(name="x", epochs=-1, train=("G",))
    assert train.Phase(name="x", epochs=1, train=("G",), frozen=("R",)).networks == {"G", "R"}


@given(st.floats(-5, 5), st.floats(-5, 5), st.floats(0, 10), st.floats(0, 20))
def test_ramps(start: float, end: float, epochs: float, epoch: float) -> None:
    value = train.value_at(train.Ramp(start=start, end=end, epochs=epochs), epoch)
    assert min(start, end) - 1e-9 <= value <= max(start, end) + 1e-9
    if epoch >= epochs:
        assert value == pytest.approx(end)


@given(st.floats(0, 0.5), st.floats(0, 1))
def test_cosine(warmup: float, final: float) -> None:
    values = [train.cosine(i / 50, warmup=warmup, final=final) for i in range(51)]
    assert values[-1] == pytest.approx(final)
    assert max(values) <= 1 + 1e-9
    falling = [v for i, v in enumerate(values) if i / 50 >= warmup]
    assert falling == sorted(falling, reverse=True)


def test_checkpoint_round_trip(tmp_path: Path) -> None:
    net, opt = nn.Linear(3, 2), None
    opt = torch.optim.Adam(net.parameters())
    net(torch.ones(1, 3)).sum().backward()
    opt.step()
    path = tmp_path / "a" / "last.pt"
    train.save_checkpoint(path, {"net": net, "opt": opt}, step=7, config={"x": [1, {"y": "z"}]})
    other = nn.Linear(3, 2)
    adam = torch.optim.Adam(other.parameters())
    assert train.load_checkpoint(path, {"net": other, "opt": adam}) == 7
    assert train.module_hash(other) == train.module_hash(net)
    assert adam.state_dict()["state"][0]["step"] == 1
    assert train.checkpoint_config(path) == {"x": [1, {"y": "z"}]}
    assert [p.name for p in path.parent.iterdir()] == ["last.pt"]
    state = torch.get_rng_state()
    train.save_checkpoint(path, {}, step=7, config={})
    torch.rand(3)
    train.load_checkpoint(path, {}, rng=True)
    assert torch.equal(torch.get_rng_state(), state)


class Broken:
    """A part that cannot be saved."""

    def state_dict(self) -> Any:
        raise RuntimeError("no state")

    def load_state_dict(self, state_dict: Any) -> None:
        """Nothing."""


def test_a_failed_save_leaves_the_old_checkpoint(tmp_path: Path, monkeypatch: Any) -> None:
    path = tmp_path / "last.pt"
    net = nn.Linear(1, 1)
    train.save_checkpoint(path, {"net": net}, step=1, config={})
    before = path.read_bytes()
    with pytest.raises(RuntimeError, match="no state"):
        train.save_checkpoint(path, {"net": Broken()}, step=2, config={})

    def half(content: Any, target: Path) -> None:
        target.write_bytes(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(torch, "save", half)
    with pytest.raises(OSError, match="disk full"):
        train.save_checkpoint(path, {"net": net}, step=2, config={})
    assert path.read_bytes() == before


def test_bad_checkpoints_are_named(tmp_path: Path) -> None:
    path = tmp_path / "net.pt"
    train.save_checkpoint(path, {"G": nn.Linear(3, 2)}, step=1, config={})
    with pytest.raises(
        ValueError, match=r"net\.pt: G has another architecture.*weight is \(2, 3\)"
    ):
        train.load_checkpoint(path, {"G": nn.Linear(4, 2)})
    with pytest.raises(ValueError, match=r"net\.pt: G has another.*0\.weight is missing"):
        train.load_checkpoint(path, {"G": nn.Sequential(nn.Linear(3, 2))})
    with pytest.raises(ValueError, match=r"net\.pt: holds \['G'\], but not \['D'\]"):
        train.load_checkpoint(path, {"D": nn.Linear(3, 2)})
    with pytest.raises(ValueError, match="none of"):
        train.load_shared(path, {"D": nn.Linear(3, 2)})
    assert train.load_shared(path, {"G": nn.Linear(3, 2), "D": nn.Linear(1, 1)}) == ["G"]
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(ValueError, match=r"net\.pt: not a readable"):
        train.load_checkpoint(path, {})
    torch.save({"a": 1}, path)
    with pytest.raises(ValueError, match=r"net\.pt: not a checkpoint of libimg"):
        train.load_checkpoint(path, {})
    with pytest.raises(FileNotFoundError, match=r"none\.pt"):
        train.load_checkpoint(tmp_path / "none.pt", {})


def test_module_hash_sees_one_bit() -> None:
    net = nn.BatchNorm1d(3)
    before = train.module_hash(net)
    with torch.no_grad():
        net.running_mean[1] += 1e-7
    assert train.module_hash(net) != before


def test_best_starts_again_in_a_new_phase() -> None:
    best = train.Best()
    scores = [(3.0, "a"), (float("nan"), "a"), (2.0, "a"), (2.0, "a"), (9.0, "b"), (8.0, "b")]
    assert [best.beats(s, p) for s, p in scores] == [True, False, True, False, True, True]
    copy = train.Best()
    copy.load_state_dict(best.state_dict())
    assert not copy.beats(8.5, "b")


def test_ema() -> None:
    net = nn.BatchNorm1d(1)
    ema = train.Ema(net, decay=0.75)
    with torch.no_grad():
        net.weight.fill_(5.0)
        net.running_mean.fill_(3.0)
    ema.update(net)
    assert ema.module.weight.item() == pytest.approx(0.75 * 1 + 0.25 * 5)
    assert ema.module.running_mean.item() == 3.0
    assert not ema.train().module.training
    assert not any(w.requires_grad for w in ema.parameters())
    torch.testing.assert_close(ema(torch.ones(2, 1)), ema.module(torch.ones(2, 1)))
    with pytest.raises(ValueError, match="decay"):
        train.Ema(net, decay=1.0)


def test_log_drops_what_came_after_the_checkpoint(tmp_path: Path) -> None:
    log = train.Log(tmp_path)
    for step in (10, 20, 30):
        log.write(step, {"a": step / 7, "bad": float("nan"), "name": "G"})
    log.close()
    path = tmp_path / "metrics.jsonl"
    path.write_text(path.read_text() + '{"step": 40, "a"')  # killed in the middle of a line
    train.Log(tmp_path, step=20).close()
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert [line["step"] for line in lines] == [10, 20]
    assert lines[0]["bad"] == "nan"
    assert list(tmp_path.glob("events.out.tfevents*"))


def test_write_json_is_whole_and_valid(tmp_path: Path) -> None:
    train.write_json(tmp_path / "x.json", {"a": (1, float("inf")), "p": Path("q")})
    assert json.loads((tmp_path / "x.json").read_text()) == {"a": [1, "inf"], "p": "q"}


@dataclass(frozen=True, kw_only=True)
class Config:
    """A configuration."""

    run: train.RunConfig = field(default_factory=train.RunConfig)
    phases: tuple[train.Phase, ...] = ()
    rate: float = 0.5


def test_load_config(tmp_path: Path) -> None:
    settings = {
        "run": {"seed": 3},
        "phases": [
            {
                "name": "a",
                "epochs": 2,
                "train": ["G"],
                "weights": {"l1": 1, "x": {"start": 0, "end": 1, "epochs": 5}},
            }
        ],
    }
    cfg = train.load_config(Config, settings)
    assert cfg.run.seed == 3
    assert cfg.phases[0].weights["x"] == train.Ramp(start=0, end=1, epochs=5)
    with pytest.raises(ValueError, match="rat"):
        train.load_config(Config, {"rat": 1})
    path = tmp_path / "c.yaml"
    path.write_text("rate: fast\n")
    with pytest.raises(ValueError, match=r"c\.yaml"):
        train.load_config(Config, path)


def run(folder: Path, **options: Any) -> train.Run:
    config = train.RunConfig(folder=str(folder), accelerator="cpu", progress=False, **options)
    return train.Run(config, settings={"run": {"seed": config.seed}, "x": {"y": 1}})


def test_update_measures_and_clips(tmp_path: Path) -> None:
    r = run(tmp_path, clip=0.1)
    net, frozen = nn.Linear(2, 1, bias=False), nn.Linear(2, 1)
    groups = [
        {"params": list(net.parameters()), "name": "net"},
        {"params": list(frozen.parameters()), "name": "frozen"},
    ]
    opt = r.optimizer("o", torch.optim.SGD(groups, lr=1.0))
    before = net.weight.detach().clone()
    x = torch.tensor([[3.0, 4.0]])
    measured = r.update(opt, net(x).sum(), measure=True)
    assert measured == pytest.approx(
        {"gradient_norm/net": 5.0, "update_to_weight/net": 0.1 / float(before.norm())}, rel=1e-3
    )
    torch.testing.assert_close(net.weight.detach(), before - 0.1 * x / 5)
    assert r.update(opt, net(x).sum()) == {}


def test_generator_depends_on_seed_step_and_stream_alone(tmp_path: Path) -> None:
    draws = {
        (seed, step, stream): torch.rand(
            1, generator=run(tmp_path, seed=seed).generator(step, stream=stream)
        ).item()
        for seed in (0, 1)
        for step in (0, 1)
        for stream in ("a", "b")
    }
    assert len(set(draws.values())) == 8
    again = torch.rand(1, generator=run(tmp_path, seed=1).generator(1, stream="b")).item()
    assert again == draws[1, 1, "b"]


def test_a_folder_with_other_settings_is_refused(tmp_path: Path) -> None:
    r = run(tmp_path)
    assert r.resume() == 0
    r.save("last.pt", step=4)
    r.close()
    again = run(tmp_path)
    assert again.resume() == 4
    again.close()
    assert (tmp_path / "default" / "config.yaml").read_text() == "run:\n  seed: 0\nx:\n  y: 1\n"
    other = train.Run(again.config, settings={"run": {"seed": 0, "name": "new"}, "x": {"y": 2}})
    with pytest.raises(ValueError, match=r"x\.y: 1 there, 2 now"):
        other.resume()


def test_steps_go_on_where_the_run_stopped(tmp_path: Path) -> None:
    r = run(tmp_path)
    r.step = 3
    assert list(r.steps(6)) == [3, 4, 5]
    assert list(r.steps(6)) == []


def script(folder: Path, name: str, *words: str) -> subprocess.Popen[bytes]:
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(SCRIPT), str(folder), name, *words]
    return subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


def finish(process: subprocess.Popen[bytes]) -> None:
    out, _ = process.communicate(timeout=200)
    assert process.returncode == 0, out.decode()[-2000:]


@pytest.mark.slow
def test_killed_and_two_processes(tmp_path: Path) -> None:
    """Straight, killed by SIGKILL and restarted, and on two processes: the same weights."""
    straight, killed = script(tmp_path, "straight"), script(tmp_path, "killed", "--slow")
    log = tmp_path / "killed" / "metrics.jsonl"
    for _ in range(600):
        if killed.poll() is not None or (log.exists() and log.read_text().count("\n") >= 2):
            break
        time.sleep(0.1)
    killed.send_signal(signal.SIGKILL)
    killed.communicate()
    assert not (tmp_path / "killed" / "done").exists()
    finish(straight)
    finish(script(tmp_path, "killed"))
    finish(script(tmp_path, "two", "--devices=2"))
    load = lambda name: torch.load(tmp_path / name / "last.pt", weights_only=True)["parts"]  # noqa: E731
    one, again, two = (load(name) for name in ("straight", "killed", "two"))
    for part in ("G", "D"):
        for key, value in one[part].items():
            assert torch.equal(value, again[part][key]), key
            torch.testing.assert_close(value, two[part][key], rtol=1e-4, atol=1e-6)
    steps = [json.loads(line)["step"] for line in log.read_text().splitlines()]
    assert steps == [4, 8, 12, 16, 20]


def test_an_optimiser_of_other_weights_is_refused_before_anything_is_loaded(tmp_path: Path) -> None:
    path = tmp_path / "net.pt"
    net = nn.Linear(3, 2)
    train.save_checkpoint(
        path, {"net": net, "opt": torch.optim.Adam(net.parameters())}, step=1, config={}
    )
    other = nn.Linear(3, 2)
    before = train.module_hash(other)
    parts = {"net": other, "opt": torch.optim.Adam([other.weight])}
    with pytest.raises(ValueError, match=r"net\.pt: opt has groups of \[2\] weights in the file"):
        train.load_checkpoint(path, parts)
    train.save_checkpoint(path, {"net": net, "opt": net}, step=1, config={})
    with pytest.raises(ValueError, match=r"net\.pt: opt has groups of \[\] weights in the file"):
        train.load_checkpoint(path, parts)
    assert train.module_hash(other) == before


@given(st.floats(0, 0.999), st.integers(1, 5))
def test_the_average_comes_nearer_by_its_decay_and_tied_weights_move_once(
    decay: float, updates: int
) -> None:
    net = nn.Sequential(nn.Linear(2, 2, bias=False), nn.Linear(2, 2, bias=False)).double()
    net[1].weight = net[0].weight
    ema = train.Ema(net, decay=decay)
    start = ema.module[0].weight.clone()
    with torch.no_grad():
        net[0].weight.add_(1)
    for _ in range(updates):
        ema.update(net)
    torch.testing.assert_close(ema.module[1].weight, start + 1 - decay**updates)


def test_the_average_copies_every_buffer() -> None:
    net = nn.Sequential(nn.utils.parametrizations.spectral_norm(nn.Linear(3, 3)), nn.BatchNorm1d(3))
    net.register_buffer("scratch", torch.zeros(1), persistent=False)
    ema = train.Ema(net, decay=0.5)
    net(torch.randn(8, 3, generator=torch.Generator().manual_seed(0)))
    net.scratch.fill_(3)
    before = train.module_hash(net)
    ema.update(net)
    assert train.module_hash(net) == before
    ours, theirs = (dict(module.named_buffers()) for module in (ema.module, net))
    assert ours["1.num_batches_tracked"] == 1
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


@given(st.integers(0, 10**6), st.integers(0, 7))
def test_module_hash_sees_every_bit(where: int, bit: int) -> None:
    net = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))
    before = train.module_hash(net)
    tensors = list(net.state_dict().values())
    raw = tensors[where % len(tensors)].reshape(-1).view(torch.uint8)
    raw[where % len(raw)] ^= 1 << bit
    assert train.module_hash(net) != before
    raw[where % len(raw)] ^= 1 << bit
    assert train.module_hash(net) == before


def test_module_hash_sees_names_shapes_and_dtypes() -> None:
    zero = torch.zeros(4)
    kinds = [{"a": zero}, {"b": zero}, {"a": zero.view(2, 2)}, {"a": zero.int()}, {"a": -zero}]
    kinds += [{"a": zero, "b": zero[:0]}, {"a": torch.tensor(False)}, {"a": zero.bfloat16()}]
    hashes = set()
    for buffers in kinds:
        module = nn.Module()
        for name, value in buffers.items():
            module.register_buffer(name, value)
        hashes.add(train.module_hash(module))
    assert len(hashes) == len(kinds)


def test_the_log_goes_on_after_a_line_cut_off_by_a_kill(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    for line in ('{"step": 3, "lo', "", "null", "[1]", "{}", '{"step": "x"}'):
        path.write_text('{"step": 1}\n{"step": 2}\n' + line)
        log = train.Log(tmp_path, step=2)
        log.write(3, {"loss": 0.5, "skipped": None})
        log.close()
        lines = [json.loads(text) for text in path.read_text().splitlines()]
        assert lines == [{"step": 1}, {"step": 2}, {"step": 3, "loss": 0.5, "skipped": None}]


def test_a_failed_rewrite_leaves_the_old_log(tmp_path: Path, monkeypatch: Any) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 1}\n{"step": 9}\n')

    def fail(*_: Any) -> None:
        raise OSError("killed")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError, match="killed"):
        train.Log(tmp_path, step=1)
    assert path.read_text() == '{"step": 1}\n{"step": 9}\n'


def test_tensorboard_gets_the_numbers(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    log = train.Log(tmp_path)
    for step in (1, 2):
        log.write(step, {"loss": 0.5 * step, "hits": 3, "phase": "G", "done": True})
    log.close()
    events = EventAccumulator(str(tmp_path))
    events.Reload()
    assert set(events.Tags()["scalars"]) == {"loss", "hits"}
    assert [(e.step, e.value) for e in events.Scalars("loss")] == [(1, 0.5), (2, 1.0)]


def test_without_tensorboard_the_log_says_what_to_install(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    with pytest.raises(ImportError, match=r'pip install "libimg\[tasks\]"'):
        train.Log(tmp_path)


@pytest.mark.parametrize("warmup", [1.0, 1.5, -0.1, float("nan")])
def test_a_warmup_without_end_is_refused(warmup: float) -> None:
    with pytest.raises(ValueError, match="warmup must be in"):
        train.cosine(1.0, warmup=warmup)


@given(st.floats(0.01, 0.9), st.floats(0, 1))
def test_warmup_starts_low_and_meets_the_cosine(warmup: float, final: float) -> None:
    assert train.cosine(0.0, warmup=warmup) == 0.01
    almost = train.cosine(warmup * (1 - 1e-9), warmup=warmup, final=final)
    assert almost == pytest.approx(train.cosine(warmup, warmup=warmup, final=final), abs=1e-6)
    middle = train.cosine((1 + warmup) / 2, warmup=warmup, final=final)
    assert middle == pytest.approx((1 + final) / 2)
