"""The task as its users meet it: commands, files, restarts, bad input."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch

from libimg.phantoms import chest
from libimg.train import Run, checkpoint_config, cli
from tasks import ncct2cta

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")
ROOT = Path(__file__).resolve().parents[2]
TINY = """
run: {{folder: {folder}, name: tiny, progress: false}}
data: {{train_cases: 2, val_cases: 1, shape: [12, 32, 32], size: [32, 32], batch: 2, motion: [0, 1, 1]}}
networks:
  generator: {{channels: [4, 8]}}
  discriminator: {{width: 4, layers: 1, r1_every: 2}}
epoch_steps: 2
phases:
  - {{name: G, epochs: 1, train: [G], weights: {{l1: 1, ssim: 0.2, lung: {{start: 1, end: 10, epochs: 2}}}}}}
  - {{name: all, epochs: 1, train: [G, R, D], weights: {{l1: 1, smooth: 0.1, adversarial: 0.1, r1: 10}}}}
"""


def command(*words: str, default: Path) -> None:
    """Run the task's command line in this process."""
    commands = {
        "train": ncct2cta.train,
        "eval": ncct2cta.evaluate,
        "infer": ncct2cta.infer,
        "virtual": ncct2cta.virtual,
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


def weights(path: Path) -> dict[str, Any]:
    """All weights of a checkpoint by dotted name."""
    parts = torch.load(path, weights_only=True)["parts"]
    nets = {name: parts[name] for name in ("G", "R", "D")}
    return {f"{n}.{k}": v for n, state in nets.items() for k, v in state.items()}


def volume(path: Path, data: np.ndarray, affine: np.ndarray | None = None) -> Path:
    """Write a NIfTI file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(data, np.diag([2, 2, 5, 1.0]) if affine is None else affine), path)
    return path


def thorax(seed: int = 0, shape: tuple[int, int, int] = (12, 32, 32)) -> np.ndarray:
    """A small chest as a NIfTI array (x, y, z)."""
    made = chest(shape=shape, generator=torch.Generator().manual_seed(seed))
    return made.ncct.numpy().transpose(2, 1, 0).round().astype(np.int16)


def test_a_run_leaves_everything_behind(tiny: Path) -> None:
    run = tiny.parent / "tiny"
    names = {path.name for path in run.iterdir()}
    assert {
        "config.yaml",
        "metrics.jsonl",
        "metrics.json",
        "panel.png",
        "best.pt",
        "last.pt",
    } <= names
    assert any(name.startswith("events.out.tfevents") for name in names)
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [2, 4]
    assert [line["phase"] for line in lines] == ["G", "all"]
    deciding = {
        "loss/l1",
        "weighted/adversarial",
        "gradient_ratio/body",
        "gradient_ratio/lung",
        "D/auc",
        "D/real_mean",
        "D/fake_mean",
        "lung/sharpness",
        "body/sharpness",
        "flow/mean",
        "flow/p95",
        "flow/folding",
        "lr/G",
        "lr/D",
        "update_to_weight/G",
        "update_to_weight/R",
        "update_to_weight/D",
        "vessel/bias",
        "vessel/mae",
        "saturated/output",
        "weight/adversarial",
    }
    assert deciding <= lines[1].keys()
    assert lines[0]["weight/lung"] == pytest.approx(1 + 9 * 0.5 / 2)  # half an epoch of two
    result = json.loads((run / "metrics.json").read_text())
    assert set(result["rows"]) == {"NCCT itself", "look-up table", "G"}
    assert result["range"] == {"lo": -1000.0, "hi": 600.0, "unit": "HU"}
    assert result["held_out"] is True
    assert set(result["rows"]["G"]["cases"]) == {"chest002"}
    assert "chest002/truth" in result["manifest"]
    assert "look-up table" in result["verdict"]


def test_started_again_a_finished_run_does_not_train(tiny: Path) -> None:
    before = weights(tiny.parent / "tiny" / "last.pt")
    log = (tiny.parent / "tiny" / "metrics.jsonl").read_text()
    command(default=tiny)
    assert all(torch.equal(v, before[k]) for k, v in weights(tiny.parent / "tiny/last.pt").items())
    assert (tiny.parent / "tiny" / "metrics.jsonl").read_text() == log


def test_interrupted_and_restarted_ends_with_the_same_bits(
    tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = ("--cfg.run.name", "interrupted")
    original = Run.update

    def fail_at_third_step(self: Run, *args: Any, **options: Any) -> Any:
        if self.step == 3:
            raise KeyboardInterrupt
        return original(self, *args, **options)

    monkeypatch.setattr(Run, "update", fail_at_third_step)
    with pytest.raises(KeyboardInterrupt):
        command("train", "--cfg", str(tiny), *options, default=tiny)
    monkeypatch.undo()
    command("train", "--cfg", str(tiny), *options, default=tiny)
    whole = weights(tiny.parent / "tiny" / "last.pt")
    pieces = weights(tiny.parent / "interrupted" / "last.pt")
    assert whole.keys() == pieces.keys()
    assert all(torch.equal(whole[key], pieces[key]) for key in whole)


@pytest.mark.slow
def test_two_processes_reach_the_weights_of_one(tiny: Path) -> None:
    words = ["train", "--cfg", str(tiny), "--cfg.run.name", "two", "--cfg.run.devices", "2"]
    words += ["--cfg.run.accelerator", "cpu"]
    subprocess.run(
        [sys.executable, str(ROOT / "tasks" / "ncct2cta.py"), *words],
        check=True,
        capture_output=True,
        timeout=300,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    one, two = (weights(tiny.parent / name / "last.pt") for name in ("tiny", "two"))
    for key in one:
        torch.testing.assert_close(two[key], one[key], rtol=2e-3, atol=2e-5, msg=key)


@pytest.mark.parametrize(
    "options",
    [
        ["--cfg.data.dims", "2.5d"],
        ["--cfg.data.dims", "3d", "--cfg.data.size", "[12,32,32]", "--cfg.scales", "[1]"],
        ["--cfg.ema", "0.5", "--cfg.networks.discriminator.conditional", "true"],
        ["--cfg.networks.registration.enabled", "false", "--cfg.run.precision", "bf16-mixed"],
        ["--cfg.networks.discriminator.mode", "hinge", "--cfg.networks.discriminator.scales", "2"],
    ],
)
def test_variants_train_and_evaluate(tiny: Path, options: list[str]) -> None:
    name = "v" + "".join(c for c in "".join(options) if c.isalnum())[-40:]
    command("train", "--cfg", str(tiny), "--cfg.run.name", name, *options, default=tiny)
    rows = json.loads((tiny.parent / name / "metrics.json").read_text())["rows"]
    assert np.isfinite(rows["G"]["mean"]["body/psnr"]["mean"])
    command(
        "eval",
        "--run",
        str(tiny.parent / name),
        "--checkpoint",
        "last",
        "--tta",
        "both",
        default=tiny,
    )


def test_refiner_starts_from_a_run_and_keeps_g(tiny: Path) -> None:
    text = TINY.format(folder=tiny.parent).replace("train: [G]", "train: [G2], frozen: [G, R]")
    text = text.replace("train: [G, R, D]", "train: [G2, R, D], frozen: [G]")
    text = text.replace("networks:", "networks:\n  refiner: {enabled: true, width: 4, blocks: 1}")
    text += f"initial: {tiny.parent}/tiny/best.pt\n"
    config = tiny.parent / "refiner.yaml"
    config.write_text(text)
    command("train", "--cfg", str(config), "--cfg.run.name", "refined", default=tiny)
    before, after = (weights(tiny.parent / n / "best.pt") for n in ("tiny", "refined"))
    assert all(torch.equal(before[k], after[k]) for k in before if k.startswith("G."))
    lines = (tiny.parent / "refined" / "metrics.jsonl").read_text().splitlines()
    assert len({json.loads(line)["hash/G"] for line in lines}) == 1
    result = json.loads((tiny.parent / "refined" / "metrics.json").read_text())
    assert "G + G2" in result["rows"]


def test_infer_keeps_the_geometry(tiny: Path, tmp_path: Path) -> None:
    affine = np.array([[-1.9, 0.2, 0, 30], [0.1, 2.1, 0.3, -20], [0, -0.2, 5, 7], [0, 0, 0, 1.0]])
    for seed in (0, 1):
        volume(tmp_path / "in" / f"case{seed}.nii.gz", thorax(seed, (11, 33, 29)), affine)
    best = str(tiny.parent / "tiny" / "best.pt")
    command(
        "infer",
        "--input",
        str(tmp_path / "in"),
        "--output",
        str(tmp_path / "out"),
        "--checkpoint",
        best,
        default=tiny,
    )
    command(
        "infer",
        "--input",
        str(tmp_path / "in" / "case0.nii.gz"),
        "--output",
        str(tmp_path / "one.nii.gz"),
        "--checkpoint",
        best,
        default=tiny,
    )
    source, result = (nib.load(tmp_path / f / "case1.nii.gz") for f in ("in", "out"))
    assert result.shape == source.shape
    assert result.get_data_dtype() == np.int16
    np.testing.assert_array_equal(result.affine, source.affine)
    np.testing.assert_array_equal(result.header.get_zooms(), source.header.get_zooms())
    first = np.asarray(nib.load(tmp_path / "out" / "case0.nii.gz").dataobj)
    np.testing.assert_array_equal(first, np.asarray(nib.load(tmp_path / "one.nii.gz").dataobj))
    assert first.min() < -900  # still HU


def pairs(folder: Path) -> tuple[Path, Path]:
    """Two good pairs in two folders."""
    for seed in (0, 1):
        volume(folder / "ncct" / f"c{seed}.nii.gz", thorax(seed))
        volume(folder / "cta" / f"c{seed}.nii.gz", thorax(seed) + 50)
    return folder / "ncct", folder / "cta"


def test_trains_on_files(tiny: Path, tmp_path: Path) -> None:
    ncct, cta = pairs(tmp_path)
    command(
        "train",
        "--cfg",
        str(tiny),
        "--cfg.data.ncct",
        str(ncct),
        "--cfg.data.cta",
        str(cta),
        "--cfg.run.name",
        "files",
        default=tiny,
    )
    result = json.loads((tiny.parent / "files" / "metrics.json").read_text())
    assert set(result["rows"]["G"]["cases"]) == {"c1"}


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def spoil(path: Path, value: float) -> None:
    image = nib.load(path)
    data = np.asarray(image.dataobj, dtype=np.float32)
    data[3, 4, 5] = value
    volume(path, data, image.affine)


BAD = {
    "truncated": lambda n, c: truncate(n / "c0.nii.gz"),
    "nan": lambda n, c: spoil(n / "c0.nii.gz", np.nan),
    "inf": lambda n, c: spoil(n / "c0.nii.gz", np.inf),
    "beyond-int16": lambda n, c: spoil(n / "c0.nii.gz", 40000),
    "shape": lambda n, c: volume(n / "c0.nii.gz", thorax(0, (11, 32, 32))),
    "affine": lambda n, c: volume(n / "c0.nii.gz", thorax(0), np.diag([2, 2, 4, 1.0])),
    "four-axes": lambda n, c: volume(n / "c0.nii.gz", np.stack([thorax(0)] * 2, -1)),
    "constant": lambda n, c: volume(n / "c0.nii.gz", np.zeros((32, 32, 12), np.int16)),
    "missing-partner": lambda n, c: (
        (n / "c0.nii.gz").unlink() or (n / "other.nii.gz").symlink_to(c / "c0.nii.gz")
    ),
    "no-lung": lambda n, c: volume(
        n / "c0.nii.gz", np.where(thorax(0) < -500, 30, thorax(0)).astype(np.int16)
    ),
}


@pytest.mark.parametrize("kind", BAD)
def test_bad_pairs_are_refused_by_name(
    tiny: Path, tmp_path: Path, kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    ncct, cta = pairs(tmp_path)
    BAD[kind](ncct, cta)
    with pytest.raises(SystemExit) as stop:
        command(
            "train",
            "--cfg",
            str(tiny),
            "--cfg.data.ncct",
            str(ncct),
            "--cfg.data.cta",
            str(cta),
            "--cfg.run.name",
            kind,
            default=tiny,
        )
    assert "c0" in str(stop.value)
    assert not (tiny.parent / kind).exists()


def test_other_bad_input(tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ncct, cta = pairs(tmp_path)
    best = str(tiny.parent / "tiny" / "best.pt")
    (tmp_path / "empty").mkdir()
    files = ["--cfg.data.ncct", str(ncct), "--cfg.data.cta", str(cta), "--cfg.run.name", "bad"]
    lungs = volume(tmp_path / "lung" / "c0.nii.gz", np.zeros((32, 32, 12), np.int16)).parent
    volume(lungs / "c1.nii.gz", np.ones((32, 32, 12), np.int16))
    calls = {
        "empty": ["train", "--cfg", str(tiny), *files, "--cfg.data.ncct", str(tmp_path / "empty")],
        "lung/c0.nii.gz": ["train", "--cfg", str(tiny), *files, "--cfg.data.lung", str(lungs)],
        "another architecture": [
            "train",
            "--cfg",
            str(tiny),
            *files,
            "--cfg.initial",
            best,
            "--cfg.networks.generator.channels",
            "[4, 12]",
        ],
        "no such checkpoint": [
            "infer",
            "--input",
            str(ncct),
            "--output",
            str(tmp_path / "o"),
            "--checkpoint",
            str(tmp_path / "none.pt"),
        ],
        "nothing.nii.gz": [
            "infer",
            "--input",
            str(tmp_path / "nothing.nii.gz"),
            "--output",
            str(tmp_path / "o.nii.gz"),
            "--checkpoint",
            best,
        ],
        "settings": [
            "train",
            "--cfg",
            str(tiny),
            "--cfg.run.name",
            "tiny",
            "--cfg.epoch_steps",
            "3",
        ],
    }
    for word, words in calls.items():
        with pytest.raises(SystemExit) as stop:
            command(*words, default=tiny)
        assert word in str(stop.value), word
    assert not (tmp_path / "o").exists()
    with pytest.raises(SystemExit):
        command("train", "--cfg", str(tiny), "--cfg.run.sed", "1", default=tiny)
    assert "--cfg.run.sed" in capsys.readouterr().err


def test_infer_writes_nothing_for_a_bad_file(tiny: Path, tmp_path: Path) -> None:
    path = volume(tmp_path / "in" / "a.nii.gz", thorax(0))
    truncate(path)
    with pytest.raises(SystemExit, match=r"a\.nii\.gz"):
        command(
            "infer",
            "--input",
            str(tmp_path / "in"),
            "--output",
            str(tmp_path / "out"),
            "--checkpoint",
            str(tiny.parent / "tiny" / "best.pt"),
            default=tiny,
        )
    assert not list(tmp_path.glob("out/*"))


def test_a_checkpoint_restores_its_configuration(tiny: Path) -> None:
    cfg, networks = ncct2cta.restore(tiny.parent / "tiny" / "best.pt")
    assert cfg.networks.generator.channels == (4, 8)
    assert set(networks) == {"G", "R", "D"}
    assert replace(cfg, ema=0.0) == cfg
    assert checkpoint_config(tiny.parent / "tiny" / "best.pt")["epoch_steps"] == 2


def test_shipped_configurations_are_valid() -> None:
    for path in sorted(ncct2cta.DEFAULT.parent.glob("*.yaml")):
        cfg = ncct2cta.load_config(ncct2cta.Config, path)
        assert ncct2cta.translation.plan_phases(cfg.phases, cfg.networks), path


@pytest.mark.data
def test_real_scan_through_virtual_train_and_infer(
    tiny: Path, tmp_path: Path, data_folder: Path
) -> None:
    scan = data_folder / "ct" / "cardiac_cta" / "ct_cropped.nii.gz"
    vessels = [str(scan.parent / f"{n}.nii.gz") for n in ("aorta", "brachiocephalic_trunk")]
    made = tmp_path / "pairs"
    command(
        "virtual",
        "--cta",
        str(scan),
        "--vessels",
        json.dumps(vessels),
        "--output",
        str(made),
        default=tiny,
    )
    command(
        "train",
        "--cfg",
        str(tiny),
        "--cfg.data.ncct",
        str(made / "ncct"),
        "--cfg.data.cta",
        str(made / "cta"),
        "--cfg.data.vessel",
        str(made / "vessel"),
        "--cfg.data.val_cases",
        "0",
        "--cfg.data.size",
        "[64, 64]",
        "--cfg.run.name",
        "real",
        default=tiny,
    )
    assert json.loads((tiny.parent / "real" / "metrics.json").read_text())["held_out"] is False
    out = tmp_path / "fake.nii.gz"
    command(
        "infer",
        "--input",
        str(scan),
        "--output",
        str(out),
        "--checkpoint",
        str(tiny.parent / "real" / "best.pt"),
        default=tiny,
    )
    source, result = nib.load(scan), nib.load(out)
    assert result.shape == source.shape
    np.testing.assert_array_equal(result.affine, source.affine)
    for key in ("qform_code", "sform_code", "pixdim", "xyzt_units"):
        np.testing.assert_array_equal(result.header[key], source.header[key])
