"""The diagnosis as its users meet it: on a run, on half a run, on no run."""

import json
import shutil
from pathlib import Path

import pytest
import torch
import yaml

from libimg import translation
from libimg.train import cli
from tasks import ncct2cta

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")
TINY = """
run: {{folder: {folder}, name: {name}, progress: false}}
data: {{train_cases: 2, val_cases: 1, shape: [12, 32, 32], size: [32, 32], batch: 2, motion: [0, 1, 1]}}
networks:
  generator: {{channels: [4, 8]}}
  discriminator: {{enabled: {judge}, conditional: true, width: 4, layers: 1, r1_every: 2}}
  registration: {{enabled: {register}}}
epoch_steps: 2
phases:
  - {{name: G, epochs: 1, train: [G], weights: {{l1: 1, ssim: 0.2}}}}
  - name: all
    epochs: 1
    train: [G, R, D]
    weights: {{l1: 1, smooth: 0.1, adversarial: {{start: 1.0e-5, end: 1.0e-4, epochs: 2}}}}
"""


def command(*words: str) -> None:
    commands = {"train": ncct2cta.train, "diagnose": ncct2cta.diagnosis}
    cli(commands, default=ncct2cta.DEFAULT, args=words)


def trained(folder: Path, name: str, *, judge: bool = True, register: bool = True) -> Path:
    """Train a tiny run and return its folder."""
    config = folder / f"{name}.yaml"
    config.write_text(
        TINY.format(folder=folder, name=name, judge=str(judge), register=str(register))
    )
    command("train", "--cfg", str(config))
    return folder / name


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return trained(tmp_path_factory.mktemp("run"), "tiny")


def diagnose(run: Path, *words: str) -> None:
    command("diagnose", "--run", str(run), "--patches", "4", "--steps", "2", *words)


def test_a_run_is_diagnosed(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = torch.load(run / "last.pt", weights_only=True)["parts"]["D"]
    diagnose(run)
    text = capsys.readouterr().out
    assert "| gradient/ratio_body" in text
    assert "Verdict: " in text
    assert text.strip() == (run / "diagnosis.md").read_text().strip()
    result = json.loads((run / "diagnosis.json").read_text())
    assert result["verdict"] in text
    numbers = result["numbers"]
    assert numbers["wiring/real"] == pytest.approx(0, abs=1e-6)
    assert numbers["wiring/fake"] == 0.0
    assert numbers["range/window_error"] == 0.0
    assert numbers["gradient/reaches"] == 1.0
    assert 0 < numbers["gradient/ratio_body"] < 0.02  # 1e-4 is decoration
    assert numbers["lr/D"] > 0
    causes = [finding["cause"] for finding in result["findings"]]
    assert "adversarial weight too small" in causes
    after = torch.load(run / "last.pt", weights_only=True)["parts"]["D"]
    assert all(torch.equal(before[key], after[key]) for key in before)


def test_the_next_experiment_is_a_configuration_that_trains(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    diagnose(run)
    report = capsys.readouterr().out
    (line,) = [line for line in report.splitlines() if line.startswith("python tasks/")]
    words = line.split()[2:]
    assert words[:2] == ["train", "--cfg"]
    changed = ncct2cta.load_config(ncct2cta.Config, Path(words[2]))
    assert changed.run.name.startswith("tiny-")
    assert changed != ncct2cta.load_config(ncct2cta.Config, run / "config.yaml")
    command(*words, "--cfg.epoch_steps", "1")
    assert (run.parent / changed.run.name / "last.pt").exists()


def test_the_same_run_gives_the_same_numbers(run: Path) -> None:
    numbers = []
    for _ in range(2):
        diagnose(run)
        numbers.append(json.loads((run / "diagnosis.json").read_text())["numbers"])
    assert numbers[0] == numbers[1]


def test_without_a_judge_and_without_registration(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    alone = trained(tmp_path, "alone", judge=False, register=False)
    capsys.readouterr()
    diagnose(alone)
    text = capsys.readouterr().out
    assert "D is off" in text
    assert "R is off" in text
    assert "| D/auc" not in text
    assert "| identity/psnr" in text


def test_a_run_that_was_killed_before_d_took_part(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    half = tmp_path / "half"
    half.mkdir()
    content = torch.load(run / "last.pt", weights_only=True)
    torch.save(content | {"step": 2}, half / "last.pt")
    first, second = (run / "metrics.jsonl").read_text().splitlines()
    (half / "metrics.jsonl").write_text(f"{first}\n{second[: len(second) // 2]}")
    diagnose(half)
    assert "no part of the phase" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda run: shutil.rmtree(run), "metrics.jsonl: no such log"),
        (lambda run: (run / "metrics.jsonl").write_text(""), "no validation was reached"),
        (lambda run: (run / "metrics.jsonl").write_text("{\n{}\n"), "line 1 of 2 is damaged"),
        (lambda run: (run / "last.pt").unlink(), "last.pt: no such checkpoint"),
        (lambda run: (run / "last.pt").write_bytes(b"no"), "last.pt: not a readable checkpoint"),
    ],
)
def test_bad_runs_are_refused_by_name(run: Path, tmp_path: Path, spoil, words: str) -> None:  # type: ignore[no-untyped-def]
    other = tmp_path / "other"
    shutil.copytree(run, other)
    spoil(other)
    with pytest.raises(SystemExit, match=words):
        diagnose(other)


def test_each_remedy_changes_one_thing_and_stays_valid() -> None:
    settings = yaml.safe_load(ncct2cta.DEFAULT.read_text())
    settings = {"rates": {"D": 0.0}, **settings}
    settings["networks"]["registration"] = {"enabled": False}
    from libimg.diagnose import BLUR_CAUSES

    for name in dict.fromkeys(cause.name for cause in BLUR_CAUSES):
        changed = translation.next_experiment(settings, name, {"gradient/ratio_body": 0.01})
        if name in ("wrong data range", "detached gradient", "D judges the warped picture"):
            assert changed is None
            continue
        assert changed is not None
        cfg = ncct2cta.load_config(ncct2cta.Config, changed)
        assert cfg.run.name != settings["run"]["name"]
        assert changed["run"].pop("name")
        changed["run"]["name"] = settings["run"]["name"]
        assert changed != settings, name


def test_the_adversarial_weight_follows_from_the_ratio() -> None:
    settings = {
        "run": {"name": "a"},
        "phases": [
            {"weights": {"l1": 1}},
            {"weights": {"adversarial": 0.01}},
            {"weights": {"adversarial": {"start": 0.0, "end": 0.02, "epochs": 9}}},
        ],
    }
    numbers = {"gradient/ratio_body": 0.03}
    changed = translation.next_experiment(settings, "adversarial weight too small", numbers)
    assert changed is not None
    assert [p["weights"] for p in changed["phases"]] == [
        {"l1": 1},
        {"adversarial": pytest.approx(0.1)},
        {"adversarial": {"start": 0.0, "end": pytest.approx(0.2), "epochs": 9}},
    ]
    assert settings["phases"][1]["weights"] == {"adversarial": 0.01}
