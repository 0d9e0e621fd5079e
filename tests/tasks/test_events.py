"""The task as its users meet it: commands, files, restarts, bad input."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import pytest
import torch
import yaml

from libimg.denoising import CLEAN, NOISY
from libimg.events import EventFile, Events, read_events, write_events
from libimg.train import checkpoint_config, cli, load_config
from tasks import events as task

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")
CONFIGS = Path(task.DEFAULT).parent
TINY = """
run: {{folder: {folder}, name: tiny, progress: false}}
data:
  scenes: 3
  val_files: 1
  sensor: [40, 48]
  length_us: 40000
  crop: [16, 16]
  batch: 2
network: {{channels: [4, 8]}}
steps: 4
check_every: 2
tta: true
"""


def command(*words: str, default: Path) -> None:
    """Run the task's command line in this process."""
    commands = {
        "train": task.train,
        "test": task.evaluate,
        "inference": task.inference,
        "baseline": task.baseline,
        "prepare": task.prepare,
        "decode": task.decode,
        "real": task.real,
    }
    cli(commands, default=default, args=words)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A configuration and, beside it, the run it has made."""
    folder = tmp_path_factory.mktemp("run")
    config = folder / "tiny.yaml"
    config.write_text(TINY.format(folder=folder))
    command(default=config)
    return config


@pytest.fixture
def noisy(tiny: Path) -> Path:
    """A noisy scene of the run."""
    return sorted((tiny.parent / "scenes" / NOISY).glob("*.h5"))[-1]


def weights(path: Path) -> dict[str, Any]:
    """The weights of a checkpoint."""
    found: dict[str, Any] = torch.load(path, weights_only=True)["parts"]["net"]
    return found


def test_a_run_leaves_everything_behind(tiny: Path) -> None:
    run = tiny.parent / "tiny"
    names = {path.name for path in run.iterdir()}
    wanted = ("config.yaml", "metrics.jsonl", "metrics.json", "panel.png", "best.pt", "last.pt")
    assert set(wanted) <= names
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [2, 4]
    assert {"loss", "val/mse", "val/tp_f1"} <= set(lines[0])


def test_the_table_has_every_row_and_its_controls(tiny: Path) -> None:
    scores = json.loads((tiny.parent / "tiny" / "metrics.json").read_text())
    rows = scores["rows"]
    filters = {"background activity", "STCF", "time surface", "hot pixels"}
    assert set(rows) == {"raw", "codec only", "network", "network, decoded"} | filters
    assert scores["positive"] == "signal"
    assert rows["raw"]["recall"]["mean"] == rows["raw"]["retention"]["mean"] == 1
    assert rows["codec only"]["mse"]["mean"] == pytest.approx(rows["raw"]["mse"]["mean"])
    assert {"mesr", "mesr_random", "mesr_oracle", "auc", "snr"} <= set(rows["network"])
    assert rows["network"]["mesr_oracle"]["mean"] == rows["raw"]["mesr_oracle"]["mean"]


def test_a_killed_run_goes_on_to_the_same_weights(tiny: Path, tmp_path: Path) -> None:
    cfg = load_config(task.Config, yaml.safe_load(tiny.read_text()))
    cfg = replace(cfg, run=replace(cfg.run, folder=str(tmp_path)))

    class Killed(Exception):
        """Stands for the signal."""

    validate, calls = task.validate, []

    def stop(*args: Any) -> dict[str, float]:
        calls.append(1)
        if len(calls) == 2:
            raise Killed
        return validate(*args)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(task, "validate", stop)
        with pytest.raises(Killed):
            task.fit(cfg)
    assert torch.load(tmp_path / "tiny" / "last.pt", weights_only=True)["step"] == 2
    task.fit(cfg)
    whole, resumed = (weights(f / "tiny" / "last.pt") for f in (tiny.parent, tmp_path))
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)


def test_inference_keeps_original_events(tiny: Path, noisy: Path, tmp_path: Path) -> None:
    run, target = tiny.parent / "tiny", tmp_path / "clean.h5"
    words = ("--input_file", str(noisy), "--output_file", str(target))
    command("inference", *words, "--checkpoint", str(run / "best.pt"), default=tiny)
    before, after = read_events(noisy), read_events(target)
    assert 0 < len(after) <= len(before)
    assert after.sensor == before.sensor == (40, 48)
    rows = [
        set(zip(*(getattr(e, k).tolist() for k in "xyp"), e.t_us.tolist(), strict=True))
        for e in (before, after)
    ]
    assert rows[1] <= rows[0]
    with EventFile(target) as file:
        assert file.start_us == 0


def test_baseline_is_the_codec(tiny: Path, noisy: Path, tmp_path: Path) -> None:
    target = tmp_path / "codec.h5"
    command("baseline", "--input_file", str(noisy), "--output_file", str(target), default=tiny)
    assert int(read_events(target).p.sum()) == int(read_events(noisy).p.sum())


@pytest.mark.parametrize(
    ("polarity", "name"), [("sum", "umamba"), ("split", "residual_unet3d"), ("split", "umamba")]
)
def test_networks_take_both_polarities(
    tiny: Path, tmp_path: Path, polarity: Any, name: Any
) -> None:
    cfg = load_config(task.Config, yaml.safe_load(tiny.read_text()))
    cfg = replace(cfg, run=replace(cfg.run, folder=str(tmp_path)), steps=1)
    codec = replace(cfg.data.codec, polarity=polarity)
    cfg = replace(cfg, data=replace(cfg.data, codec=codec, swap=True, scenes=2))
    task.train(replace(cfg, network=task.NetworkConfig(name=name, channels=(4, 8))))
    state = weights(tmp_path / "tiny" / "last.pt")
    assert state["encoder.0.project.weight"].shape[1] == (2 if polarity == "split" else 1)
    assert any(key.startswith("mixers") for key in state) == (name == "umamba")


def test_prepare_and_decode(tiny: Path, tmp_path: Path) -> None:
    prepared = tmp_path / "prepared"
    config = tmp_path / "prepare.yaml"
    data = {"scenes": 2, "val_files": 1, "sensor": [64, 64], "length_us": 40000}
    config.write_text(yaml.safe_dump({"output": str(prepared), "cfg": {"data": data}}))
    command("prepare", "--config", str(config), default=tiny)
    files = sorted((prepared / "val").glob("*.h5"))
    assert len(files) == 2
    (tmp_path / "predictions").mkdir()
    for path in files:
        with (
            h5py.File(path) as file,
            h5py.File(tmp_path / "predictions" / f"{path.stem}_predictions.h5", "w") as out,
        ):
            out["predictions"] = file["raw"][...][None]
    words = ("--predictions", str(tmp_path / "predictions"), "--prepared", str(prepared / "val"))
    command("decode", *words, "--output", str(tmp_path / "back"), default=tiny)
    [back] = (tmp_path / "back").glob("*.h5")
    source = prepared / "scenes" / NOISY / back.name
    assert int(read_events(back).p.sum()) == int(read_events(source).p.sum())


def test_real_noise_over_real_signal(tiny: Path, tmp_path: Path) -> None:
    generator = torch.Generator().manual_seed(0)

    def made(name: str, count: int, size: tuple[int, int]) -> None:
        t = torch.randint(0, 60_000, (count,), generator=generator).sort().values
        x = torch.randint(0, size[1], (count,), generator=generator)
        y = (
            x * size[0] // size[1]
            if "noise" not in name
            else torch.randint(0, size[0], (count,), generator=generator)
        )
        p = torch.randint(0, 2, (count,), generator=generator)
        write_events(tmp_path / "in" / name, Events(t, x, y, p, sensor=size))

    for name in ("a.h5", "b.h5", "c.h5"):
        made(name, 4000, (40, 48))
    made("noise.h5", 3000, (64, 64))
    settings = yaml.safe_load(tiny.read_text())
    settings["run"]["folder"] = str(tmp_path / "out")
    config = tmp_path / "real.yaml"
    config.write_text(yaml.safe_dump({"noise": "noise.h5", "tests": ["a.h5"], "cfg": settings}))
    command("real", "--config", str(config), "--recordings", str(tmp_path / "in"), default=tiny)
    rows = json.loads((tmp_path / "out" / "real.json").read_text())
    assert rows["a: raw"]["auc"] == 0.5
    assert {"a: network", "a: STCF", "a: time surface", "a: background activity"} <= set(rows)
    assert all(0 <= row["auc"] <= 1 and 0 < row["best_f1"] <= 1 for row in rows.values())


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.yaml")), ids=lambda p: p.stem)
def test_every_configuration_is_accepted(path: Path) -> None:
    settings = yaml.safe_load(path.read_text())
    if path.stem in ("default", "full"):
        load_config(task.Config, settings)
    elif "cfg" in settings:
        load_config(task.Config, settings["cfg"])
    else:
        assert settings


def test_bad_input_is_named(tiny: Path, noisy: Path, tmp_path: Path) -> None:
    run, out = tiny.parent / "tiny", str(tmp_path / "out.h5")
    broken = tmp_path / "broken.h5"
    broken.write_bytes(noisy.read_bytes()[:200])
    for name in ("missing.h5", "broken.h5"):
        with pytest.raises((OSError, ValueError), match=name):
            task.inference(str(tmp_path / name), out, checkpoint=str(run / "best.pt"))
    with pytest.raises(FileNotFoundError, match=r"none\.pt"):
        task.inference(str(noisy), out, checkpoint=str(tmp_path / "none.pt"))
    cfg = load_config(task.Config, checkpoint_config(run / "best.pt"))
    with pytest.raises(ValueError, match="come in pairs"):
        task.fit(replace(cfg, data=replace(cfg.data, noisy="a"), run=replace(cfg.run, name="x")))
    for name in (NOISY, CLEAN):
        (tmp_path / name).mkdir()
        (tmp_path / name / "one.h5").write_bytes(broken.read_bytes())
    bad = replace(cfg.data, noisy=str(tmp_path / NOISY), clean=str(tmp_path / CLEAN), val_files=0)
    with pytest.raises((OSError, ValueError), match=r"one\.h5"):
        task.fit(replace(cfg, data=bad, run=replace(cfg.run, name="y")))
