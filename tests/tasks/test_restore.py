"""The task as its users meet it: commands, files, restarts, bad input."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from libimg.degradations import DegradationParams
from libimg.io import Picture, read_image, write_image
from libimg.restoration import degrade, load_restorer, middle, photographs
from libimg.train import cli, load_config
from tasks import restore as task

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")
CONFIGS = Path(task.DEFAULT).parent
TINY = """
run: {{folder: {folder}, name: tiny, progress: false}}
data: {{photos: {photos}, test_photos: {photos}, validation: 1, patch: 16, batch: 2, name: squares}}
network: {{name: unet, widths: [8, 16], blocks: 1}}
curriculum: 0.5
relative_from: 0.5
ssim: 0.1
steps: 4
check_every: 2
"""


def command(*words: str, default: Path = task.DEFAULT) -> None:
    """Run the task's command line in this process."""
    commands = {"train": task.train, "preview": task.preview, "eval": task.evaluate}
    commands |= {"infer": task.infer, "export": task.export, "demo": task.demo}
    cli(commands, default=default, positional=True, args=words)


def squares(seed: int, size: tuple[int, int] = (48, 56)) -> torch.Tensor:
    """Coloured squares, the least that an image has."""
    coarse = torch.rand(1, 3, 6, 7, generator=torch.Generator().manual_seed(seed))
    return torch.nn.functional.interpolate(coarse, size)[0]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A configuration and, beside it, the run it has made."""
    folder = tmp_path_factory.mktemp("run")
    for seed in range(3):
        write_image(folder / "photos" / f"{seed}.png", Picture(squares(seed)))
    config = folder / "tiny.yaml"
    config.write_text(TINY.format(folder=folder, photos=folder / "photos"))
    command(default=config)
    return config


@pytest.fixture
def best(tiny: Path) -> Path:
    """The best checkpoint of the run."""
    return tiny.parent / "tiny" / "best.pt"


def weights(path: Path) -> dict[str, Any]:
    """The weights of a checkpoint."""
    found: dict[str, Any] = torch.load(path, weights_only=True)["parts"]["net"]
    return found


def test_a_run_leaves_everything_behind(tiny: Path) -> None:
    run = tiny.parent / "tiny"
    names = {path.name for path in run.iterdir()}
    wanted = {"config.yaml", "metrics.jsonl", "metrics.json", "panel.png", "best.pt", "last.pt"}
    assert wanted | {"failures.png", "failures.md", "samples", "drawn"} <= names
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [2, 4]
    assert {"loss", "val/psnr", "val/ssim", "val/noise 25, JPEG 10/psnr"} <= set(lines[0])
    assert [p.stem for p in sorted((run / "samples").iterdir())] == ["0000002", "0000004"]
    drawn = json.loads((run / "drawn" / "0000004.json").read_text())
    assert drawn["count"] == 4
    assert sum(drawn["sigma"].values()) + drawn["no_noise"] == 4


def test_the_table_has_the_grid_and_its_baselines(tiny: Path) -> None:
    scores = json.loads((tiny.parent / "tiny" / "metrics.json").read_text())
    assert len(scores["rows"]) == 29
    assert {"input psnr", "blur psnr", "restored psnr", "gain", "worse"} <= set(
        scores["rows"]["noise 25"]
    )
    assert len(scores["cases"]["JPEG 10"]) == 3
    assert {"flat", "edge", "texture"} <= set(next(iter(scores["gain by kind of pixel"].values())))
    low, high = scores["summary"]["noise 25"]["gain"]["interval"]
    assert low <= scores["rows"]["noise 25"]["gain"] <= high


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


def test_two_runs_give_the_same_files(tiny: Path, tmp_path: Path) -> None:
    command("train", "--cfg", str(tiny), "--cfg.run.folder", str(tmp_path))
    first, second = tiny.parent / "tiny", tmp_path / "tiny"
    for name in ("metrics.jsonl", "metrics.json"):
        assert (first / name).read_bytes() == (second / name).read_bytes()
    for folder in (first, second):
        command("export", str(folder / "net.pt"), "--model", str(folder / "last.pt"))
    assert (first / "net.pt").read_bytes() == (second / "net.pt").read_bytes()


def test_a_run_begins_with_given_weights(tiny: Path, best: Path, tmp_path: Path) -> None:
    words = ("--cfg.run.folder", str(tmp_path), "--cfg.rate", "1e-12", "--cfg.steps", "1")
    command("train", "--cfg", str(tiny), "--cfg.init", str(best), *words)
    given, after = weights(best), weights(tmp_path / "tiny" / "last.pt")
    assert all((given[name] - after[name]).abs().max() < 1e-8 for name in given)
    with pytest.raises(SystemExit, match=r"noise_jpeg\.pt: holds another network"):
        command("train", "--cfg", str(tiny), "--cfg.init", "shipped", "--cfg.run.name", "other")


def test_the_shipped_network_needs_no_training(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    photo = middle(photographs(part="test")[0], size=120)
    clean, degraded = degrade(photo, DegradationParams(sigma=25, quality=80))
    write_image(tmp_path / "photo.png", Picture(degraded[0]))
    command("infer", str(tmp_path / "photo.png"))
    before, after = (
        (read_image(tmp_path / name).image - clean[0]).square().mean()
        for name in ("photo.png", "photo.restored.png")
    )
    assert after < 0.4 * before
    assert "1 restored, 0 kept, 0 failed" in capsys.readouterr().out


def test_a_folder_with_a_bad_file(
    best: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_image(tmp_path / "in" / "sub" / "a.jpg", Picture(squares(0)))
    (tmp_path / "in" / "b.png").write_text("no image")
    words = ("infer", str(tmp_path / "in"), "--model", str(best))
    for state in ("restored", "kept"):
        with pytest.raises(SystemExit, match="1 files failed"):
            command(*words)
        said = capsys.readouterr().out
        assert f"{state}: {tmp_path / 'in' / 'sub' / 'a.jpg'}" in said
        assert "b.png: cannot be read" in said
    assert (tmp_path / "in.restored" / "sub" / "a.jpg.png").is_file()


@pytest.mark.parametrize("suffix", [".onnx", ".pt2", ".pt"])
def test_an_exported_network_restores_the_same(best: Path, tmp_path: Path, suffix: str) -> None:
    model = tmp_path / f"net{suffix}"
    command("export", str(model), "--model", str(best))
    assert load_restorer(model).card == load_restorer(best).card
    write_image(tmp_path / "a.png", Picture(squares(5, (37, 53))))
    outputs = []
    for number, name in enumerate((best, model)):
        outputs.append(tmp_path / f"{number}.png")
        words = ("--output", str(outputs[-1]), "--model", str(name))
        command("infer", str(tmp_path / "a.png"), *words)
    first, second = (read_image(path).image for path in outputs)
    assert (first - second).abs().max() <= 1 / 255 + 1e-6


def test_papers_and_previews(best: Path, tiny: Path, tmp_path: Path) -> None:
    photos, out = str(tiny.parent / "photos"), str(tmp_path / "eval")
    command("eval", "--model", str(best), "--photos", photos, "--output", out, "--papers", "true")
    rows = json.loads((tmp_path / "eval" / "metrics.json").read_text())["rows"]
    assert list(rows) == [f"noise {s}, unclipped" for s in (15, 25, 50)]
    assert rows["noise 25, unclipped"]["input psnr"] == pytest.approx(20.2, abs=0.4)
    gray = tmp_path / "gray"
    write_image(gray / "a.png", Picture(squares(0)[:1]))
    command("eval", "--model", str(best), "--photos", str(gray), "--output", out, "--papers=true")
    rows = json.loads((tmp_path / "eval" / "metrics.json").read_text())["rows"]
    assert list(rows) == [f"JPEG {q}" for q in (10, 20, 30, 40)]
    picture = tmp_path / "preview.png"
    command("preview", "--cfg", str(tiny), "--output", str(picture))
    assert picture.stat().st_size > 1000


def test_an_ensemble_does_not_know_which_way_a_photograph_is_turned(
    best: Path, tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    used = []
    monkeypatch.setattr(task, "score", lambda net, *_, **__: used.append(net))
    words = ("eval", "--model", str(best), "--photos", str(tiny.parent / "photos"))
    command(*words)
    command(*words, "--ensemble", "true")
    plain, ensemble = used
    x = squares(5, size=(24, 24))[None]
    for turn in (lambda v: v.flip(2), lambda v: torch.rot90(v, 1, (2, 3))):
        torch.testing.assert_close(ensemble(turn(x)), turn(ensemble(x)))
        assert not torch.allclose(plain(turn(x)), turn(plain(x)), atol=1e-4)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("infer", "nowhere.png"), "nowhere.png: no such file"),
        (("infer", "{photos}", "--model", "none.pt"), "none.pt: no such file"),
        (("infer", "{photos}", "--model", "{photos}/0.png"), "0.png: not a restoration network"),
        (("infer", "{photos}", "--output", "{photos}/out"), "must lie outside"),
        (("export", "net.xyz"), "net.xyz"),
        (("train", "--cfg.data.photos", "nowhere"), "nowhere: no such file or folder"),
        (("train", "--cfg.data.validation", "3"), "data.validation must leave some"),
        (("train", "--cfg.data.patch", "400", "--cfg.run.name", "big"), "patch must fit"),
        (("train", "--cfg.optimizer", "sgd"), "sgd"),
    ],
)
def test_bad_input_is_one_line(
    tiny: Path,
    tmp_path: Path,
    words: tuple[str, ...],
    message: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    filled = [word.format(photos=tiny.parent / "photos") for word in words]
    if filled[0] == "train":
        filled += ["--cfg.run.folder", str(tmp_path)]
    with pytest.raises(SystemExit) as caught:
        command(*filled, default=tiny)
    said = str(caught.value.code) + capsys.readouterr().err
    assert message in said
    assert "Traceback" not in said


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.yaml")), ids=lambda p: p.stem)
def test_every_configuration_is_valid(path: Path) -> None:
    cfg = load_config(task.Config, path)
    assert sum(p.numel() for p in task.restoration.build(cfg.network).parameters()) <= 4e6
