"""The task as its users meet it: commands, phases, restarts, bad input."""

import json
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch

from libimg.train import cli
from tasks import heart as task

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")
TINY = """
run: {{folder: {folder}, name: tiny, progress: false}}
phase: 2
classes: {{shell: 3, core: 5, side: 20}}
data:
  folder: {folder}/cases
  test: 1
  validation: 1
  inputs: 48
  queries: 64
  batch: 2
  one: core
  new: [side]
  lacks: [core]
  drop: {{fewest: 1, most: 1}}
  sampling: {{surface: 64, near: 64, volume: 128, grid: 12, half_mm: 40, band_mm: 12}}
network: {{flow_width: 16, flow_layers: 1}}
steps: 3
flow_steps: 2
check_every: 2
stride: 2
"""


def command(*words: str, default: Path = task.DEFAULT) -> None:
    """Run the task's command line in this process."""
    commands: dict[str, Any] = {"train": task.train, "prepare": task.prepare}
    commands |= {"eval": task.evaluate, "infer": task.infer, "fit": task.reconstruct}
    cli(commands, default=default, positional=True, args=words)


def save(path: Path, seed: int, *, less: int = 0) -> Path:
    """A ball in a shell, and a ball beside them."""
    rng = np.random.default_rng(seed)
    grid = np.stack(np.meshgrid(*[np.arange(24.0)] * 3, indexing="ij"), -1)
    centre = 10 + rng.uniform(-1, 1, 3)
    far = np.linalg.norm(grid - centre, axis=-1)
    labels = np.zeros(far.shape, np.int16)
    labels[np.linalg.norm(grid - centre - [0, 8, 0], axis=-1) < 4] = 20
    labels[far < 6] = 3
    labels[far < 3.5] = 5
    labels[labels == less] = 0
    affine = np.diag([-2.0, 2, 2, 1])
    image = nib.Nifti1Image(labels, affine)
    image.set_sform(affine, code=1)
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(image, path)
    return path


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A configuration and, beside it, the run it has made."""
    folder = tmp_path_factory.mktemp("run")
    for seed in range(5):
        save(folder / "labels" / f"{seed}.nii.gz", seed)
    sampling = '{"surface":64,"near":64,"volume":128,"grid":12,"half_mm":40,"band_mm":12}'
    table = '{"shell":3,"core":5,"side":20}'
    words = ["prepare", str(folder / "labels"), "--output", str(folder / "cases")]
    command(*words, "--classes", table, "--sampling", sampling, "--workers", "1")
    config = folder / "tiny.yaml"
    config.write_text(TINY.format(folder=folder))
    command(default=config)
    return config


@pytest.fixture
def best(tiny: Path) -> Path:
    return tiny.parent / "tiny" / "best.pt"


def weights(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = torch.load(path, weights_only=True)["parts"]
    return {f"{p}.{n}": v for p in ("net", "flow", "shape") for n, v in found[p].items()}


def test_a_run_leaves_everything_behind(tiny: Path) -> None:
    run = tiny.parent / "tiny"
    names = {path.name for path in run.iterdir()}
    assert {"config.yaml", "metrics.jsonl", "metrics.json", "panel.png"} <= names
    assert {"best.pt", "last.pt"} <= names
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [2, 3, 4, 5]
    assert {"loss", "val/error"} <= set(lines[0])
    found = json.loads((run / "metrics.json").read_text())["groups"]["test"]
    assert {"network", "mean shape", "nearest case", "linear model"} == set(found["table"])
    assert found["samples"]["completed"]["spread_mm"] >= 0
    assert "mean shape" in found["verdict"]


class Killed(Exception):
    pass


@pytest.mark.parametrize("last", [1, 3])
def test_a_killed_run_reaches_the_same_weights(
    last: int, tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ["train", "--cfg", str(tiny), "--cfg.run.name", f"killed{last}"]
    real, calls = task.completion.held_error, []

    def validate(*args: Any, **kwargs: Any) -> float:
        calls.append(1)
        if len(calls) > last:
            raise Killed
        return real(*args, **kwargs)

    monkeypatch.setattr(task.completion, "held_error", validate)
    with pytest.raises(Killed):
        command(*words)
    monkeypatch.setattr(task.completion, "held_error", real)
    monkeypatch.setattr(task, "report", lambda folder: None)
    command(*words)
    straight, again = (weights(tiny.parent / n / "last.pt") for n in ("tiny", f"killed{last}"))
    assert all(torch.equal(value, again[name]) for name, value in straight.items())


def test_eval_scores_again(tiny: Path) -> None:
    run = tiny.parent / "tiny"
    before = json.loads((run / "metrics.json").read_text())
    (run / "metrics.json").unlink()
    command("eval", str(run))
    assert json.loads((run / "metrics.json").read_text()) == before


def test_infer_completes_files_and_lists_the_bad_ones(
    tmp_path: Path, best: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save(tmp_path / "in" / "part.nii.gz", 9, less=20)
    words = ["infer", str(tmp_path / "in"), "--output", str(tmp_path / "out")]
    words += ["--model", str(best), "--spacing_mm", "4"]
    command(*words)
    names = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert names == ["part.nii.gz", "part.ply"]
    assert "from shell, core" in capsys.readouterr().out
    command(*words, "--samples", "2", "--suffix", ".vtp")
    names = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert names[2:] == [f"part_sample{i}{s}" for i in (0, 1) for s in (".nii.gz", ".vtp")]
    (tmp_path / "in" / "bad.nii.gz").write_bytes(b"no")
    affine = np.diag([2.0, 2, 2, 1])
    nib.save(nib.Nifti1Image(np.full((9, 9, 9), 3, np.int16), affine), tmp_path / "in" / "full.nii")
    with pytest.raises(SystemExit, match="2 files failed"):
        command(*words)
    told = capsys.readouterr().out
    assert "bad.nii.gz" in told
    assert "full.nii: shell has no surface inside the volume" in told


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["infer", "a.nii.gz", "--output", "."], "would be written over a.nii.gz"),
        (["infer", ".", "--output", "."], "would be written over a.nii.gz"),
        (["fit", "a.nii.gz", "--output", "."], "would be written over a.nii.gz"),
        (["infer", "a.nii.gz", "--output", "out", "--suffix", ".xyz"], "suffix must be one of"),
        (["infer", "a.nii.gz", "--output", "out", "--samples", "-1"], "samples must be 0 or more"),
        (["fit", "a.nii.gz", "--output", "out", "--steps", "-1"], "steps must be 0 or more"),
        (["eval", "no", "--samples", "0"], "samples must be 2 or more"),
        (["eval", "no", "--stride", "-1"], "stride must be 0 or more"),
        (["prepare", ".", "--output", "out", "--workers", "0"], "workers must be 1 or more"),
        (["prepare", ".", "--output", "out", "--classes", '{"a": 40000}'], "from 1 to 32767"),
    ],
)
def test_bad_words_are_refused_before_a_model_is_read(
    words: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = save(tmp_path / "a.nii.gz", 9)
    before = path.read_bytes()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit, match=message):
        command(*words, *(["--model", "none.pt"] * (words[0] in ("infer", "fit"))))
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["a.nii.gz"]


@pytest.mark.parametrize("spacing", ["0", "-1", ".nan", ".inf"])
@pytest.mark.parametrize("name", ["infer", "fit"])
def test_bad_spacings_are_refused(name: str, spacing: str, tmp_path: Path, best: Path) -> None:
    words = [name, str(save(tmp_path / "a.nii.gz", 9)), "--output", str(tmp_path / "out")]
    with pytest.raises(SystemExit, match="spacing_mm must be above 0"):
        command(*words, "--model", str(best), "--spacing_mm", spacing)
    assert not (tmp_path / "out").exists()


def test_sampling_without_points_is_refused(tmp_path: Path) -> None:
    save(tmp_path / "a.nii.gz", 9)
    for name in ("grid", "surface"):
        words = ["prepare", str(tmp_path), "--output", str(tmp_path / "out")]
        with pytest.raises(SystemExit, match=rf"sampling\.{name} must be .* above 0, got 0"):
            command(*words, f"--sampling.{name}", "0")
    assert not (tmp_path / "out").exists()


def test_fit_reports_every_class(
    tmp_path: Path, best: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = save(tmp_path / "a.nii.gz", 9)
    words = ["fit", str(path), "--output", str(tmp_path / "out"), "--model", str(best)]
    command(*words, "--steps", "3", "--spacing_mm", "4")
    table = capsys.readouterr().out
    assert all(word in table for word in ("shell", "core", "side", "mean", "fitted", "encoder"))


@pytest.mark.parametrize("phase", [0, 1, 3, 4])
def test_every_phase_runs(
    phase: int, tiny: Path, best: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["train", "--cfg", str(tiny), "--cfg.run.name", f"phase{phase}"]
    words += ["--cfg.phase", str(phase), "--cfg.steps", "2", "--cfg.flow_steps", "0"]
    if phase > 2:
        with pytest.raises(SystemExit, match="go on from a trained network"):
            command(*words)
        words += ["--cfg.start", str(best)]
    command(*words)
    metrics = json.loads((tiny.parent / f"phase{phase}" / "metrics.json").read_text())
    tables = {group: set(found["table"]) for group, found in metrics["groups"].items()}
    if phase == 3:
        assert set(tables) == {"first data set", "second data set, seen as the first"}
        assert "before" in tables["first data set"]
    else:
        assert "mean shape" in tables["test"]
        assert ("before" in tables["test"]) == (phase == 4)
        told = capsys.readouterr().out
        assert "observed classes:" in told
        assert "completed classes:" not in told
        assert ("shell" in told) == (phase != 0)


def test_a_kl_bottleneck_draws_too(tiny: Path) -> None:
    words = ["train", "--cfg", str(tiny), "--cfg.run.name", "kl", "--cfg.flow_steps", "0"]
    command(*words, "--cfg.network.bottleneck", "kl", "--cfg.weights.eikonal", "0.01")
    metrics = json.loads((tiny.parent / "kl" / "metrics.json").read_text())
    assert metrics["groups"]["test"]["samples"]["completed"]["spread_mm"] >= 0


def test_hearts_are_built_where_there_is_no_folder(tmp_path: Path) -> None:
    data = task.HeartData(hearts=1, spacing_mm=8.0, workers=1, sampling=TEN)
    how = {"classes": task.HEART_CLASSES, "seed": 0}
    (path,) = task.completion.prepared(data, tmp_path, **how)
    stamp = path.stat().st_mtime_ns
    assert task.completion.prepared(data, tmp_path, **how) == [path]
    assert path.stat().st_mtime_ns == stamp
    case = task.completion.load_case(path)
    assert int(case.present.sum()) >= 8


TEN = task.Sampling(surface=32, near=32, volume=64, grid=8)


def test_failed_preparation_is_told(tmp_path: Path) -> None:
    (tmp_path / "bad.nii.gz").write_bytes(b"no")
    with pytest.raises(SystemExit, match="1 files could not be prepared"):
        command("prepare", str(tmp_path), "--output", str(tmp_path / "out"), "--workers", "1")


@pytest.mark.parametrize("name", ["default", "small", "base"])
def test_the_configurations_are_valid(name: str) -> None:
    cfg = task.load_config(task.Config, Path(task.DEFAULT).parent / f"{name}.yaml")
    assert cfg.network.preset == {"default": "tiny"}.get(name, name)


def test_misspelt_settings_are_refused(tiny: Path) -> None:
    with pytest.raises(SystemExit):
        command("train", "--cfg", str(tiny), "--cfg.stepz", "2")
    with pytest.raises(SystemExit, match=r"cfg\.classes"):
        command("train", "--cfg", str(tiny), "--cfg.classes", '{"LV": 1}', "--cfg.run.name", "x")
