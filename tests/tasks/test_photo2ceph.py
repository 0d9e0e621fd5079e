"""The task as its users meet it: commands, files, restarts, bad input."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from PIL import Image

from libimg.cephalometry import (
    Frame,
    Heads,
    box_of,
    divide,
    load_pair,
    pair_names,
    read_landmarks,
    write_heads,
)
from libimg.io import Picture, read_image, write_image
from libimg.train import cli, load_config
from tasks import photo2ceph as task

CONFIGS = Path(task.DEFAULT).parent
SIZE = (152, 124)
TINY = """
run: {{folder: {folder}, name: tiny, progress: false, accelerator: cpu}}
data: {{count: 8, held_out: 3, size: [152, 124]}}
frame: {{size: [32, 32]}}
judge_frame: {{size: [40, 40]}}
networks:
  registration: {{enabled: false}}
  generator: {{channels: [4, 8, 8], residual: false}}
  discriminator: {{width: 4, layers: 1}}
weights: {{l1: 100, gradient: 10, adversarial: 1}}
steps: 4
check_every: 2
batch: 2
detector: {{channels: [4, 8], steps: 4, batch: 2}}
"""


def command(*words: str, default: Path = task.DEFAULT) -> None:
    """Run the task's command line in this process."""
    cli(task.COMMANDS, default=default, args=words)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A configuration and, beside it, the run it has made."""
    folder = tmp_path_factory.mktemp("run")
    config = folder / "tiny.yaml"
    config.write_text(TINY.format(folder=folder))
    command(default=config)
    return config


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built-in heads as files."""
    folder = tmp_path_factory.mktemp("heads")
    write_heads(folder, Heads(count=4, size=SIZE))
    return folder


def test_a_run_leaves_what_the_design_promises(tiny: Path) -> None:
    folder = tiny.parent / "tiny"
    names = {path.name for path in folder.iterdir()}
    assert {
        "config.yaml",
        "metrics.jsonl",
        "metrics.json",
        "panel.png",
        "best.pt",
        "last.pt",
    } <= names
    result = json.loads((folder / "metrics.json").read_text())
    assert set(result["rows"]) >= {
        "real",
        "real, through the frame",
        "mean X-ray",
        "mean position",
        "direct, photo to landmarks",
        "G",
    }
    assert len(result["manifest"]) == 3
    assert result["range"] == {"lo": -1.0, "hi": 1.0, "unit": ""}
    assert set(result["rows"]["G"]["cases"]) == set(result["manifest"])
    assert result["rows"]["real"]["mean"]["delta_mre"]["mean"] == 0
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == [2, 4]


def test_the_judge_is_shared_and_never_sees_a_held_out_case(tiny: Path) -> None:
    cfg = load_config(task.Config, tiny)
    before = sorted(path.name for path in tiny.parent.glob("judge-*"))
    other = replace(cfg, weights={"l1": 100.0}, data=replace(cfg.data, train=3))
    task.run_named(other, "other")
    assert sorted(path.name for path in tiny.parent.glob("judge-*")) == before
    assert len(before) == 1
    settings = yaml.safe_load((tiny.parent / before[0] / "config.yaml").read_text())
    split = divide(cfg.data)
    assert not set(settings["cases"]) & set(split.held_out)
    assert set(settings["cases"]) == set(split.train)


def test_a_killed_run_reaches_the_same_weights(tiny: Path, tmp_path: Path) -> None:
    cfg = load_config(task.Config, tiny)
    whole = replace(cfg, run=replace(cfg.run, folder=str(tmp_path), name="whole"))
    task.fit(whole)

    class Killed(Exception):
        pass

    class Stops(task.Best):
        def beats(self, score: float, phase: str) -> bool:
            raise Killed

    broken = replace(whole, run=replace(whole.run, name="broken"))
    with pytest.MonkeyPatch.context() as patch:
        original = task.Run.save

        def save(run: Any, name: str, *, step: int) -> None:
            original(run, name, step=step)
            if name == "last.pt" and step == 2 and run.folder.name == "broken":
                raise Killed

        patch.setattr(task.Run, "save", save)
        with pytest.raises(Killed):
            task.fit(broken)
    task.fit(broken)
    a, b = (
        torch.load(tmp_path / name / "last.pt", weights_only=False)["parts"]["G"]
        for name in ("whole", "broken")
    )
    assert all(torch.equal(a[key], b[key]) for key in a)


def test_infer_writes_pictures_of_the_photograph_s_size(tiny: Path, tmp_path: Path) -> None:
    pair = load_pair(Heads(size=SIZE), "head-005")
    write_image(tmp_path / "in" / "a.png", Picture(pair.photo))
    turned = Picture(pair.photo.transpose(1, 2).flip(1))
    write_image(tmp_path / "in" / "gray.png", Picture(pair.photo[:1]))
    write_image(tmp_path / "in" / "wide.png", turned)
    best = str(tiny.parent / "tiny" / "best.pt")
    command(
        "infer",
        "--input",
        str(tmp_path / "in"),
        "--output",
        str(tmp_path / "out"),
        "--checkpoint",
        best,
    )
    for name, size in (("a", SIZE), ("gray", SIZE), ("wide", SIZE[::-1])):
        picture = read_image(tmp_path / "out" / f"{name}.png").image
        assert picture.shape == (1, *size)
        names, points = read_landmarks(tmp_path / "out" / f"{name}.csv", size=size)
        assert len(names) == len(points) == 19


def test_diagnose_measures_every_cause(tiny: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command("diagnose", "--run", str(tiny.parent / "tiny"))
    text = capsys.readouterr().out
    for cause in ("sample size", "smooth losses", "frame (letterbox)"):
        assert cause in text
    record = json.loads((tiny.parent / "tiny" / "diagnosis.json").read_text())
    assert {cause["name"] for cause in record["causes"]} >= {"sample size", "smooth losses"}
    assert all(
        cause["interval"][0] <= cause["mm"] <= cause["interval"][1] for cause in record["causes"]
    )


def test_the_grid_compares_weights_with_equal_seeds(
    tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = tmp_path / "grid.yaml"
    settings.write_text(TINY.format(folder=tmp_path))
    command("grid", "--settings", str(settings), "--l1", "[100, 60]")
    text = capsys.readouterr().out
    assert "L1 x 100" in text
    assert "L1 x 60" in text
    runs = [tmp_path / f"tiny-l1-{weight}" / "config.yaml" for weight in (100, 60)]
    configs = [yaml.safe_load(path.read_text()) for path in runs]
    assert [config["weights"]["l1"] for config in configs] == [100.0, 60.0]
    assert configs[0]["run"]["seed"] == configs[1]["run"]["seed"]


def test_infer_needs_no_data(tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    photo = load_pair(Heads(size=SIZE), "head-006").photo
    write_image(tmp_path / "a.png", Picture(photo))
    monkeypatch.setattr("libimg.cephalometry.pairs.load_pair", None)
    best = str(tiny.parent / "tiny" / "best.pt")
    where = str(tmp_path / "out")
    command("infer", "--input", str(tmp_path / "a.png"), "--output", where, "--checkpoint", best)
    assert (tmp_path / "out" / "a.csv").is_file()


def test_the_story_is_one_command(tiny: Path, tmp_path: Path) -> None:
    text = TINY.format(folder=tmp_path).replace(
        "frame: {size: [32, 32]}", "frame: {size: [32, 32], keep_aspect: false, region: null}", 1
    )
    config = tmp_path / "story.yaml"
    config.write_text(text)
    command("story", "--settings", str(config), "--sizes", "[2,3,4]")
    report = (tmp_path / "story.md").read_text()
    for word in (
        "sample size",
        "smooth losses",
        "square squash",
        "Gate 1",
        "panel.png",
        "Data or method",
    ):
        assert word in report
    page = (tmp_path / "story.html").read_text()
    assert page.count("data:image/png;base64") == 3


@pytest.mark.parametrize("name", ["default", "story", "small", "full"])
def test_configurations_are_valid(name: str) -> None:
    load_config(task.Config, CONFIGS / f"{name}.yaml")


def test_files_give_what_the_built_in_heads_give(files: Path) -> None:
    there, here = (Heads(folder=str(files)), Heads(count=4, size=SIZE))
    assert pair_names(there) == pair_names(here)
    read, made = load_pair(there, "head-002"), load_pair(here, "head-002")
    torch.testing.assert_close(read.photo, made.photo, atol=0.51 / 255, rtol=0)
    torch.testing.assert_close(read.points, made.points, atol=0.006, rtol=0)
    assert read.names == made.names
    assert read.spacing_mm == pytest.approx(made.spacing_mm, rel=1e-5)


def broken(files: Path, folder: Path) -> Path:
    """A copy of the files to spoil."""
    shutil.copytree(files, folder / "spoilt")
    return folder / "spoilt"


def test_bad_files_are_refused_by_name(files: Path, tmp_path: Path) -> None:
    spoilt = broken(files, tmp_path)
    heads = Heads(folder=str(spoilt), held_out=1)
    photo = spoilt / "photo" / "head-001.png"
    whole = photo.read_bytes()
    photo.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match=r"head-001.png: cannot be read as an image"):
        load_pair(heads, "head-001")
    write_image(photo, Picture(torch.zeros(3, 100, 90)))
    with pytest.raises(
        ValueError, match=r"head-001.png has \(100, 90\) pixels and .*the same size"
    ):
        load_pair(heads, "head-001")
    photo.unlink()
    with pytest.raises(FileNotFoundError, match=r"head-001.png has no partner"):
        pair_names(heads)
    photo.write_bytes(whole)
    marks = spoilt / "landmarks" / "head-002.csv"
    text = marks.read_text()
    marks.unlink()
    with pytest.raises(FileNotFoundError, match=r"no landmark file: .*head-002.csv"):
        pair_names(heads)
    marks.write_text(text.replace("\n", "\nghost,5000,3\n", 1))
    with pytest.raises(ValueError, match=r"head-002.csv, line 2: ghost at x 5000"):
        load_pair(heads, "head-002")
    marks.write_text(text)
    with pytest.raises(ValueError, match="exclude: no case is called nobody"):
        pair_names(replace(heads, exclude=("nobody",)))
    assert "head-000" not in pair_names(replace(heads, exclude=("head-000",)))
    (spoilt / "spacing.csv").unlink()
    with pytest.raises(ValueError, match="nothing says how many millimetres a pixel has"):
        load_pair(heads, "head-000")


def test_a_case_under_two_names_is_refused(files: Path, tmp_path: Path) -> None:
    spoilt = broken(files, tmp_path)
    for part, suffix in (("photo", "png"), ("xray", "png"), ("landmarks", "csv")):
        for name in ("head-000", "head-001", "head-002", "head-003"):
            shutil.copy(spoilt / part / f"{name}.{suffix}", spoilt / part / f"copy-{name}.{suffix}")
    heads = Heads(folder=str(spoilt), held_out=3, spacing_mm=(1.0, 1.0))
    with pytest.raises(ValueError, match="same content"):
        divide(heads)


@pytest.mark.parametrize("kind", ["cmyk", "deep", "turned"])
def test_pictures_of_every_kind_are_read(files: Path, tmp_path: Path, kind: str) -> None:
    spoilt = broken(files, tmp_path)
    path = spoilt / "photo" / "head-000.png"
    heads = Heads(folder=str(spoilt))
    plain = load_pair(heads, "head-000")
    with Image.open(path) as opened:
        image = opened.copy()
    if kind == "cmyk":
        path.unlink()
        image.convert("CMYK").save(path.with_suffix(".jpg"), quality=95)
    elif kind == "deep":
        deep = Picture(plain.xray, bits=16)
        write_image(spoilt / "xray" / "head-000.png", deep)
    else:
        exif = Image.Exif()
        exif[0x0112] = 6
        path.unlink()
        image.transpose(Image.Transpose.ROTATE_90).save(
            path.with_suffix(".jpg"), quality=95, exif=exif
        )
    pair = load_pair(heads, "head-000")
    assert pair.photo.shape == plain.photo.shape
    assert (pair.photo - plain.photo).abs().mean() < 0.03
    said = {"cmyk": "CMYK", "deep": "16 bits", "turned": "orientation"}[kind]
    assert any(said in note for note in pair.notes)


def test_too_few_cases_are_refused() -> None:
    with pytest.raises(ValueError, match="held_out must leave some of the 4 cases"):
        divide(Heads(count=4, held_out=4, size=SIZE))
    with pytest.raises(ValueError, match="train: 9 cases asked for, 3 are there"):
        divide(Heads(count=4, held_out=1, train=9, size=SIZE))


def test_real_files_go_through_audit_letterbox_and_infer(
    tiny: Path, data_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    xray = data_folder / "xray" / "B1893L12.jpg"
    photo = next(iter(sorted((data_folder / "restoration" / "CBSD68").glob("*"))), None)
    if not xray.is_file() or photo is None:
        pytest.skip(f"no real X-ray and photograph below {data_folder}")
    folder = tmp_path / "real"
    folder.mkdir()
    for path in (xray, photo):
        shutil.copy(path, folder)
    command("audit", "--folder", str(folder), "--output", str(tmp_path / "audit"))
    table = json.loads((tmp_path / "audit" / "audit.json").read_text())
    assert set(table["cases"]) == {xray.name, photo.name}
    flags = {flag["kind"]: flag for flag in table["cases"][xray.name][""]}
    assert flags["orientation"]["fault"]  # it is stored turned by 90 degrees
    assert "border" not in flags
    size = read_image(xray).image.shape[1:]
    box = box_of(Frame(size=(256, 256), region=None), size)
    points = torch.tensor([[10.0, 20.0], [4000.0, 3000.0]])
    torch.testing.assert_close(box.source_points(box.points(points)), points, atol=0.05, rtol=0)
    best = str(tiny.parent / "tiny" / "best.pt")
    out = str(tmp_path / "out")
    command("infer", "--input", str(folder), "--output", out, "--checkpoint", best)
    for path in (xray, photo):
        made = read_image(tmp_path / "out" / f"{path.stem}.png").image
        assert made.shape[1:] == read_image(path).image.shape[1:]
    capsys.readouterr()


def test_audit_says_what_stands_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command("audit", "--count", "6", "--output", str(tmp_path))
    text = capsys.readouterr().out
    assert "6 cases. A flag is a question, and drops nothing by itself." in text
    assert "device_frame" in text
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "a.png").write_bytes(b"no image")
    command("audit", "--folder", str(tmp_path / "broken"), "--output", str(tmp_path))
    assert "cannot be read" in capsys.readouterr().out
