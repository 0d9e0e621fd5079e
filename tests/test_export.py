"""Exported files: they answer as the network does, on any size, or they are not written."""

import json
import re
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import onnx
import onnxruntime
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

from libimg.export import export, load_exported
from libimg.nets import RestorationResNet, RestorationUNet

ROOT = Path(__file__).resolve().parents[1]
METADATA = {"sigma_range": [0.0, 50.0], "quality_range": None, "trained_on": "Fotos ü", "n": 3}
NETS = {"cnn": RestorationResNet, "unet": RestorationUNet}
KINDS = [f"{name}{suffix}" for name in NETS for suffix in (".onnx", ".pt2")]


def make(kind: str) -> nn.Module:
    """Build a small network that changes its input."""
    torch.manual_seed(0)
    small = {
        "cnn": {"width": 4, "blocks": 1, "shuffle": 4},
        "unet": {"widths": (4, 6), "blocks": 1},
    }
    net = NETS[kind](**small[kind])
    nn.init.normal_(net.tail.weight, std=0.2)
    return net.requires_grad_(False)


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("exported")
    for name in KINDS:
        parity = export(make(name.partition(".")[0]), folder / name, metadata=METADATA)
        assert list(parity) == [(37, 53), (64, 64), (90, 131), (2, 3), (1, 1)]
        assert 0 <= max(parity.values()) < 1e-5
    assert sorted(p.name for p in folder.iterdir()) == sorted(KINDS)  # one file each, no rest
    return {name: folder / name for name in KINDS}


@pytest.fixture(scope="module")
def loaded(exported: dict[str, Path]) -> dict[str, tuple[Callable[[Tensor], Tensor], nn.Module]]:
    found = {}
    for name, path in exported.items():
        model, metadata = load_exported(str(path))
        assert metadata == METADATA
        found[name] = model, make(name.partition(".")[0])
    return found


class By(nn.Module):
    """A network that is a function, with a weight so that there is something to save."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function, self.scale = function, nn.Parameter(torch.ones(()))

    def forward(self, x: Tensor) -> Tensor:
        return self.scale * self.function(x)


def refused(net: nn.Module, folder: Path, match: str, **options: object) -> None:
    """Refuse a network, and leave the older file of that name alone."""
    path = folder / "net.pt2"
    path.write_bytes(b"old")
    with pytest.raises(ValueError, match=match) as caught:
        export(net, path, metadata={}, channels=1, **options)
    assert str(path) in str(caught.value)
    assert "not written" in str(caught.value)
    assert [p.name for p in folder.iterdir()] == ["net.pt2"]
    assert path.read_bytes() == b"old"


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=8)
@given(shape=st.tuples(st.integers(1, 3), st.just(3), st.integers(1, 23), st.integers(1, 23)))
def test_the_file_answers_as_the_network(loaded: dict, kind: str, shape: tuple[int, ...]) -> None:
    model, net = loaded[kind]
    x = torch.rand(shape, generator=torch.Generator().manual_seed(shape[2]))
    torch.testing.assert_close(model(x), net(x), atol=1e-5, rtol=0)
    assert (model(x) - x).abs().max() > 1e-3


@pytest.mark.parametrize("kind", KINDS)
def test_a_large_image_and_every_kind_of_tensor(loaded: dict, kind: str) -> None:
    model, net = loaded[kind]
    large = torch.rand(1, 3, 300, 401, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(model(large), net(large), atol=1e-5, rtol=0)
    x = large[..., ::3, 5:80]
    torch.testing.assert_close(model(x), net(x), atol=1e-5, rtol=0)
    torch.testing.assert_close(model(x.double()), model(x))
    torch.testing.assert_close(model(x.half()), model(x.half().float()))
    answer = model(x.clone().requires_grad_())
    assert (answer.dtype, answer.device, answer.requires_grad) == (torch.float32, x.device, False)


@pytest.mark.parametrize("suffix", [".onnx", ".pt2"])
def test_the_same_network_gives_the_same_bytes(
    exported: dict[str, Path], tmp_path: Path, suffix: str
) -> None:
    path, other = exported[f"cnn{suffix}"], tmp_path / "new" / f"other{suffix}"
    export(make("cnn"), other, metadata=METADATA)
    if suffix == ".onnx" or torch.__version__ >= (2, 13):
        assert other.read_bytes() == path.read_bytes()
    else:  # older versions of torch put the time into the archive
        with zipfile.ZipFile(path) as one, zipfile.ZipFile(other) as two:
            assert one.namelist() == two.namelist()
            assert [one.read(n) for n in one.namelist()] == [two.read(n) for n in one.namelist()]


@pytest.mark.parametrize("kind", KINDS)
def test_no_path_of_this_machine_is_inside(exported: dict[str, Path], kind: str) -> None:
    content = exported[kind].read_bytes()
    for text in (str(ROOT), sys.prefix, str(Path.home()), "residual.py", "site-packages", 'File "'):
        assert text.encode() not in content, text


def test_the_onnx_file_is_plain(exported: dict[str, Path]) -> None:
    model = onnx.load(exported["unet.onnx"])
    onnx.checker.check_model(model, full_check=True)
    assert (model.ir_version, [(o.domain, o.version) for o in model.opset_import]) == (
        8,
        [("", 18)],
    )
    for value, name in ((model.graph.input[0], "image"), (model.graph.output[0], "restored")):
        dims = value.type.tensor_type.shape.dim
        assert value.name == name
        assert [d.dim_param or d.dim_value for d in dims] == ["batch", 3, "height", "width"]


def test_the_page_runs_without_libimg(
    exported: dict[str, Path], loaded: dict, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = (ROOT / "docs" / "api" / "export.md").read_text(encoding="utf-8")
    for suffix in (".onnx", ".pt2"):
        (tmp_path / f"net{suffix}").write_bytes(exported[f"cnn{suffix}"].read_bytes())
    monkeypatch.chdir(tmp_path)
    space: dict = {}
    for block, key in zip(
        re.findall(r"```python\n(.*?)```", page, re.DOTALL), ("cnn.onnx", "cnn.pt2"), strict=True
    ):
        assert "libimg." not in block
        exec(compile(block, "export.md", "exec"), space)
        answer = torch.as_tensor(space["restored"])
        torch.testing.assert_close(answer, loaded[key][0](torch.from_numpy(space["image"])))
    assert space["metadata"] == METADATA


def test_a_network_is_written_as_it_is_in_use(tmp_path: Path) -> None:
    net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Dropout(0.9)).double()
    net.train()(torch.rand(4, 1, 8, 8).double())
    before = {name: value.clone() for name, value in net.state_dict().items()}
    export(net, tmp_path / "net.pt2", metadata={}, channels=1, sizes=((7, 9), (8, 8)))
    assert net.training
    assert all(p.requires_grad and p.dtype == torch.float64 for p in net.parameters())
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    model, metadata = load_exported(tmp_path / "net.pt2")
    x = torch.rand(2, 1, 6, 5)
    torch.testing.assert_close(model(x), net.eval()(x.double()).float(), atol=1e-5, rtol=0)
    assert metadata == {}


def test_a_file_that_differs_is_not_written(tmp_path: Path) -> None:
    refused(By(lambda x: F.dropout(x, training=True)), tmp_path, r"differs from the network by")
    branch = By(lambda x: x if x.shape[3] % 2 else 2 * x)
    refused(
        branch, tmp_path, r"differs from the network by (0\.99\d|1) on 64x64, more than 0\.0001"
    )
    slight = By(lambda x: x if x.shape[3] % 2 else x + 1e-3)
    refused(slight, tmp_path, r"by 0\.001 on")
    assert max(
        export(slight, tmp_path / "a.pt2", metadata={}, channels=1, tolerance=2e-3).values()
    ) == pytest.approx(1e-3, rel=1e-3)
    (tmp_path / "a.pt2").unlink()
    refused(By(lambda x: x * float("nan")), tmp_path, r"by inf on 37x53")


def test_a_file_that_fails_is_not_written(tmp_path: Path) -> None:
    def shuffled(x: Tensor) -> Tensor:
        return x if x.shape[2] % 2 else F.pixel_shuffle(F.pixel_unshuffle(x, 2), 2)

    refused(By(shuffled), tmp_path, "fails on 5x6, batch 1, where", sizes=((4, 6), (5, 6)))
    cropped = By(lambda x: x[:, :, 1:] if x.shape[2] % 2 else x)
    match = re.escape("gives (1, 1, 5, 6) on 5x6, batch 1, where the network gives (1, 1, 4, 6)")
    refused(cropped, tmp_path, match, sizes=((4, 6), (5, 6)))


@pytest.mark.parametrize("kind", ["cnn.onnx", "cnn.pt2"])
def test_wrong_input_is_refused(loaded: dict, kind: str) -> None:
    model, _ = loaded[kind]
    for x in (
        torch.zeros(3, 8, 8),
        torch.zeros(1, 1, 8, 8),
        torch.zeros(1, 3, 0, 8),
        torch.zeros(1, 3, 8, 8, dtype=torch.uint8),
    ):
        shown = re.escape(
            f"expected (b, 3, h, w), floating point and not empty, got {tuple(x.shape)}"
        )
        with pytest.raises(ValueError, match=f"{kind}: {shown}, {x.dtype}"):
            model(x)


@pytest.mark.parametrize("suffix", [".onnx", ".pt2"])
@pytest.mark.parametrize("part", [0.0, 0.3, 0.99])
def test_a_damaged_file_is_refused(
    exported: dict[str, Path], tmp_path: Path, suffix: str, part: float
) -> None:
    content = exported[f"unet{suffix}"].read_bytes()
    (tmp_path / f"net{suffix}").write_bytes(content[: int(part * len(content))])
    with pytest.raises(ValueError, match=rf"net\{suffix}: (not a readable|holds no metadata)"):
        load_exported(tmp_path / f"net{suffix}")


def test_files_of_others_are_refused(exported: dict[str, Path], tmp_path: Path) -> None:
    model = onnx.load(exported["cnn.onnx"])
    model.metadata_props[0].value = '{"of": "others"}'
    onnx.save(model, tmp_path / "net.onnx")
    del model.metadata_props[:]
    onnx.save(model, tmp_path / "bare.onnx")
    torch.export.save(torch.export.export(nn.ReLU(), (torch.ones(1),)), tmp_path / "net.pt2")
    for name in ("net.onnx", "bare.onnx", "net.pt2"):
        with pytest.raises(ValueError, match=rf"{name}: holds no metadata of libimg"):
            load_exported(tmp_path / name)


def test_wrong_arguments_are_refused(tmp_path: Path) -> None:
    net = nn.Identity()
    for name in ("net.ts", "net", "net.ONNX"):
        with pytest.raises(
            ValueError, match=rf"{name}: expected a file that ends in .onnx or .pt2"
        ):
            export(net, tmp_path / name, metadata={})
        with pytest.raises(ValueError, match=rf"{name}: expected a file that ends in"):
            load_exported(tmp_path / name)
    with pytest.raises(FileNotFoundError, match=r"net\.pt2: no such file"):
        load_exported(tmp_path / "net.pt2")
    for metadata in ({"range": (0, 1)}, {"x": {1: 2}}, {"x": float("nan")}, {"x": torch.ones(1)}):
        with pytest.raises(ValueError, match="metadata must be plain JSON values"):
            export(net, tmp_path / "net.pt2", metadata=metadata)
    for options in ({"channels": 0}, {"tolerance": 0}, {"sizes": ()}):
        with pytest.raises(ValueError, match=f"{next(iter(options))} must be above 0"):
            export(net, tmp_path / "net.pt2", metadata={}, **options)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("package", ["onnxruntime", "onnxscript"])
def test_missing_packages_are_named(
    exported: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, package: str
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ImportError, match=rf'{package} .* pip install "libimg\[export\]"'):
        export(nn.Conv2d(3, 3, 1), tmp_path / "net.onnx", metadata={})
    assert not list(tmp_path.iterdir())
    if package == "onnxruntime":
        with pytest.raises(ImportError, match=r"libimg\[export\]"):
            load_exported(exported["cnn.onnx"])


def test_onnxruntime_takes_the_threads_of_torch(
    exported: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []
    session = onnxruntime.InferenceSession

    def spy(path: str, options: onnxruntime.SessionOptions, **rest: object) -> object:
        seen.append(options.intra_op_num_threads)
        return session(path, options, **rest)

    monkeypatch.setattr(onnxruntime, "InferenceSession", spy)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    load_exported(exported["cnn.onnx"])
    assert seen == [3]


def test_the_record_inside_is_json(exported: dict[str, Path]) -> None:
    session = onnxruntime.InferenceSession(
        str(exported["cnn.onnx"]), providers=["CPUExecutionProvider"]
    )
    kept = json.loads(session.get_modelmeta().custom_metadata_map["libimg"])
    assert kept == {"channels": 3, "metadata": METADATA}
