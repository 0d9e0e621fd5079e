"""Patches, neighbours, batches, masks and manifests."""

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from libimg import data
from libimg.phantoms import LABELS, chest


def new(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@given(
    st.lists(st.tuples(st.integers(1, 9), st.integers(1, 9)), min_size=1, max_size=3),
    st.integers(0, 99),
)
def test_a_patch_lies_inside_or_is_padded(lengths: list[tuple[int, int]], seed: int) -> None:
    shape, size = zip(*lengths, strict=True)
    patch = data.sample_patch(shape, size=size, generator=new(seed))
    x = torch.arange(torch.tensor(shape).prod().item()).view(1, *shape)
    cut = patch.crop(x)
    assert cut.shape == (1, *size)
    inside = tuple(
        slice(s, s + min(n, full)) for s, n, full in zip(patch.start, size, shape, strict=True)
    )
    part = x[(0, *inside)]
    assert torch.equal(cut[(0, *(slice(0, n) for n in part.shape))], part)
    assert set(cut.flatten().tolist()) <= set(x.flatten().tolist())
    assert patch == data.sample_patch(shape, size=size, generator=new(seed))


def test_every_position_is_drawn() -> None:
    generator = new(0)
    starts = {data.sample_patch((5,), size=(3,), generator=generator).start for _ in range(60)}
    assert starts == {(0,), (1,), (2,)}


def test_sizes_are_checked() -> None:
    for size in ((3,), (3, 0)):
        with pytest.raises(ValueError, match="2 lengths of at least 1"):
            data.sample_patch((5, 5), size=size, generator=new(0))


@given(st.integers(1, 6), st.integers(0, 3))
def test_neighbours(depth: int, count: int) -> None:
    volume = torch.arange(depth).view(depth, 1, 1)
    for index in range(depth):
        want = [min(max(i, 0), depth - 1) for i in range(index - count, index + count + 1)]
        assert data.neighbours(volume, index, count=count).flatten().tolist() == want
    with pytest.raises(ValueError, match="index must be in"):
        data.neighbours(volume, depth, count=count)


def cases() -> list[dict[str, torch.Tensor]]:
    """Volumes whose values say where they come from; y is x + 0.5."""
    x = torch.arange(2 * 5 * 8 * 9, dtype=torch.float32).view(2, 5, 8, 9)
    return [{"x": x[i], "y": x[i] + 0.5} for i in range(2)]


@pytest.mark.parametrize(
    ("mode", "size", "channels"), [("2d", (4, 6), 1), ("2.5d", (4, 6), 3), ("3d", (3, 4, 6), 1)]
)
def test_batches_keep_volumes_together(mode: str, size: tuple[int, ...], channels: int) -> None:
    options = {"mode": mode, "size": size, "batch": 6, "neighbour_keys": ("x",)}
    batch = data.sample_batch(cases(), generator=new(1), **options)  # type: ignore[arg-type]
    assert batch["x"].shape == (6, channels, *size)
    assert batch["y"].shape == (6, 1, *size)
    middle = batch["x"][:, channels // 2 : channels // 2 + 1]
    assert torch.equal(batch["y"], middle + 0.5)
    again = data.sample_batch(cases(), generator=new(1), **options)  # type: ignore[arg-type]
    assert torch.equal(batch["x"], again["x"])
    other = data.sample_batch(cases(), generator=new(2), **options)  # type: ignore[arg-type]
    assert not torch.equal(batch["x"], other["x"])
    assert len({int(v) // 360 for v in batch["y"].flatten()}) == 2  # both cases are drawn


@pytest.mark.usefixtures("unchecked")
def test_batches_refuse() -> None:
    common = {"batch": 1, "generator": new(0)}
    with pytest.raises(ValueError, match="a size of 3 lengths"):
        data.sample_batch(cases(), mode="3d", size=(4, 4), **common)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="got 0 cases"):
        data.sample_batch([], mode="2d", size=(4, 4), **common)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="mode"):
        data.sample_batch(cases(), mode="4d", size=(4, 4), **common)  # type: ignore[arg-type]
    ragged = [{"x": torch.zeros(2, 4, 4), "y": torch.zeros(3, 4, 4)}]
    with pytest.raises(ValueError, match="one shape"):
        data.sample_batch(ragged, mode="2d", size=(4, 4), **common)  # type: ignore[arg-type]


def dice(a: torch.Tensor, b: torch.Tensor) -> float:
    return float(2 * (a & b).sum() / (a.sum() + b.sum()))


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_masks_of_a_chest_with_known_labels(seed: int) -> None:
    made = chest(shape=(32, 80, 80), generator=new(seed))
    body, lung = data.body_mask(made.ncct), data.lung_mask(made.ncct)
    assert dice(body, made.labels != LABELS["air"]) > 0.95
    true = made.labels == LABELS["lung"]
    assert (lung & true).sum() > 0.97 * true.sum()
    assert (lung & body).sum() == lung.sum()
    assert not lung[(made.labels == LABELS["air"])].any() or dice(lung, true) > 0.85


def test_a_cropped_lung_at_the_border_is_not_outside_air() -> None:
    made = chest(shape=(32, 80, 80), generator=new(0))
    true = made.labels == LABELS["lung"]
    columns = true.any(0).any(0).nonzero().flatten()
    cut = made.ncct[:, 20:60, int(columns[0]) + 8 : int(columns[-1]) - 8]
    lung = data.lung_mask(cut)
    assert (lung & true[:, 20:60, int(columns[0]) + 8 : int(columns[-1]) - 8]).sum() > 0.9 * true[
        :, 20:60, int(columns[0]) + 8 : int(columns[-1]) - 8
    ].sum()
    assert data.body_mask(cut)[lung].float().mean() > 0.99


def test_masks_refuse_what_is_no_chest() -> None:
    with pytest.raises(ValueError, match="no body"):
        data.body_mask(torch.full((6, 6, 6), -1000.0))
    with pytest.raises(ValueError, match="no lung"):
        data.lung_mask(torch.full((6, 6, 6), 40.0))
    outside = torch.full((12, 12, 12), -1000.0)
    outside[3:9, 3:9, 3:9] = 40.0
    with pytest.raises(ValueError, match="no lung"):
        data.lung_mask(outside)


@pytest.mark.data
def test_masks_of_the_real_scan(data_folder: Path) -> None:
    image = nib.load(data_folder / "ct" / "cardiac_cta" / "ct_cropped.nii.gz")
    hu = torch.from_numpy(np.asarray(image.dataobj, dtype=np.float32).transpose(2, 1, 0).copy())
    lung, body = data.lung_mask(hu), data.body_mask(hu)
    assert 0.05 < lung.float().mean() < 0.7
    assert -900 < hu[lung].median() < -700
    assert (lung & body).sum() > 0.99 * lung.sum()


@given(st.integers(0, 20))
def test_tensor_hash(seed: int) -> None:
    x = torch.randn(3, 4, generator=new(seed))
    assert data.tensor_hash(x) == data.tensor_hash(x.clone())
    other = x.clone()
    other[0, 0] += 1e-3
    assert len({data.tensor_hash(v) for v in (x, other, x.double(), x.view(4, 3))}) == 4


def test_manifest(tmp_path: Path) -> None:
    files = {name: tmp_path / f"{name}.nii" for name in "ba"}
    for name, path in files.items():
        path.write_bytes(name.encode() * 3_000_000)
    first = data.manifest(files)
    assert list(first) == ["a", "b"]
    data.same_manifest(first, data.manifest(files))
    files["a"].write_bytes(b"other")
    with pytest.raises(ValueError, match="a has other contents"):
        data.same_manifest(first, data.manifest(files))
    with pytest.raises(ValueError, match="b is only in the first"):
        data.same_manifest(first, {"a": first["a"]})
    files["b"].unlink()
    with pytest.raises(FileNotFoundError, match=r"b\.nii"):
        data.manifest(files)


def test_runs_on_different_cases_are_not_compared(tmp_path: Path) -> None:
    def write(name: str, value: float, digest: str = "aa", hi: float = 600) -> Path:
        rows = {"G": {"cases": {"p": {"psnr": value}}}}
        content = {"manifest": {"p": digest}, "range": {"lo": -1000, "hi": hi}, "rows": rows}
        path = tmp_path / name
        path.write_text(json.dumps(content))
        return path

    first = write("1.json", 30.0)
    pairs = data.compare_metrics(first, write("2.json", 31.0), row="G", metric="psnr")
    assert pairs == {"p": (30.0, 31.0)}
    with pytest.raises(ValueError, match="not the same evaluation set"):
        data.compare_metrics(first, write("3.json", 31.0, digest="bb"), row="G", metric="psnr")
    with pytest.raises(ValueError, match="range"):
        data.compare_metrics(first, write("4.json", 31.0, hi=1000), row="G", metric="psnr")
