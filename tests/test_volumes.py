"""NIfTI in and out: geometry to the last bit, bad files by name."""

from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from libimg import data, io

AFFINE = np.array(
    [[-0.9, 0.1, 0.2, 30], [0.1, 1.1, -0.3, -20], [0.05, 0.2, 2.5, 7], [0, 0, 0, 1.0]]
)


def save(path: Path, values: Any, affine: Any = AFFINE, **header: Any) -> Path:
    image = nib.Nifti1Image(values, affine)
    if "slope" in header:
        image.header.set_slope_inter(header["slope"], header["inter"])
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(image, path)
    return path


def scan(shape: tuple[int, int, int] = (5, 4, 3), seed: int = 0) -> Any:
    return np.random.default_rng(seed).integers(-1000, 1500, shape).astype(np.int16)


def test_axes_and_spacing(tmp_path: Path) -> None:
    values = scan()
    volume = io.read_volume(save(tmp_path / "a.nii.gz", values, np.diag([-0.5, 0.75, 2, 1])))
    assert volume.data.dtype == torch.float32
    assert volume.data.shape == (3, 4, 5)
    assert volume.data[2, 1, 4] == values[4, 1, 2]
    assert volume.spacing_mm == (2.0, 0.75, 0.5)
    assert volume.axes == ("L", "A", "S")


@settings(max_examples=15)
@given(
    seed=st.integers(0, 999),
    suffix=st.sampled_from([".nii", ".nii.gz"]),
    dtype=st.sampled_from(["int16", "float32"]),
)
def test_round_trip(tmp_path_factory: Any, seed: int, suffix: str, dtype: Any) -> None:
    rng = np.random.default_rng(seed)
    affine = np.eye(4)
    affine[:3] = rng.normal(size=(3, 4))
    folder = tmp_path_factory.mktemp("round")
    shape = tuple(rng.integers(2, 6, 3))
    volume = io.read_volume(save(folder / f"a{suffix}", scan(shape, seed), affine))
    io.write_volume(folder / f"b{suffix}", volume.data, like=volume, dtype=dtype)
    source, copy = (nib.load(folder / f"{n}{suffix}") for n in "ab")
    assert copy.get_data_dtype() == np.dtype(dtype)
    np.testing.assert_array_equal(np.asarray(copy.dataobj), np.asarray(source.dataobj))
    np.testing.assert_array_equal(copy.affine, source.affine)
    for key in (
        "pixdim",
        "qform_code",
        "sform_code",
        "srow_x",
        "srow_y",
        "srow_z",
        "quatern_b",
        "xyzt_units",
    ):
        np.testing.assert_array_equal(copy.header[key], source.header[key])


def test_slope_and_intercept_become_hu(tmp_path: Path) -> None:
    raw = np.arange(60, dtype=np.float64).reshape(5, 4, 3)
    image = nib.Nifti1Image(raw, AFFINE, dtype=np.int16)
    image.header.set_slope_inter(0.5, -1000)
    nib.save(image, tmp_path / "a.nii")
    volume = io.read_volume(tmp_path / "a.nii", hu=True)
    np.testing.assert_allclose(
        volume.data.numpy().transpose(2, 1, 0), np.asarray(nib.load(tmp_path / "a.nii").dataobj)
    )


def test_qform_and_sform_that_differ_are_both_kept(tmp_path: Path) -> None:
    image = nib.Nifti1Image(scan(), AFFINE)
    image.set_qform(np.diag([0.9, 1.1, 2.5, 1]), code=1)
    image.set_sform(AFFINE, code=2)
    nib.save(image, tmp_path / "a.nii")
    volume = io.read_volume(tmp_path / "a.nii")
    io.write_volume(tmp_path / "b.nii", volume.data, like=volume)
    a, b = (nib.load(tmp_path / f"{n}.nii").header for n in "ab")
    for key in ("qform_code", "sform_code", "quatern_d", "srow_x", "qoffset_x", "pixdim"):
        np.testing.assert_array_equal(a[key], b[key])


def test_nifti_2_stays_nifti_2(tmp_path: Path) -> None:
    nib.save(nib.Nifti2Image(scan(), AFFINE), tmp_path / "a.nii")
    volume = io.read_volume(tmp_path / "a.nii")
    io.write_volume(tmp_path / "b.nii", volume.data, like=volume)
    assert isinstance(nib.load(tmp_path / "b.nii"), nib.Nifti2Image)


def spoilt(value: float) -> Any:
    values = scan().astype(np.float32)
    values[1, 2, 1] = value
    return values


BAD: dict[str, tuple[Any, str]] = {
    "nan": (spoilt(np.nan), "1 of 60 voxels"),
    "inf": (spoilt(-np.inf), "1 of 60 voxels"),
    "high": (spoilt(32768), "int16"),
    "low": (spoilt(-40000), "int16"),
    "constant": (np.full((3, 3, 3), 7, np.int16), "every voxel is 7"),
    "four": (np.zeros((3, 3, 3, 2), np.int16), "3 axes"),
    "two": (np.zeros((3, 3), np.int16), "3 axes"),
    "complex": (np.zeros((3, 3, 3), np.complex64), "integers or floats"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_values_are_refused_by_name(name: str, tmp_path: Path) -> None:
    path = save(tmp_path / f"{name}.nii.gz", BAD[name][0])
    with pytest.raises(ValueError, match=rf"{name}\.nii\.gz.*{BAD[name][1]}"):
        io.read_volume(path, hu=True)


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
@pytest.mark.parametrize("kept", [0, 100, 0.6])
def test_truncated_files_are_refused_by_name(suffix: str, kept: float, tmp_path: Path) -> None:
    path = save(tmp_path / f"cut{suffix}", scan((20, 20, 20)))
    whole = path.read_bytes()
    path.write_bytes(whole[: int(kept * len(whole)) if kept < 1 else int(kept)])
    with pytest.raises(ValueError, match=r"cut.*not a readable NIfTI"):
        io.read_volume(path)


def test_other_bad_files(tmp_path: Path) -> None:
    (tmp_path / "text.nii").write_text("no scan")
    with pytest.raises(ValueError, match=r"text\.nii"):
        io.read_volume(tmp_path / "text.nii")
    with pytest.raises(FileNotFoundError, match=r"none\.nii"):
        io.read_volume(tmp_path / "none.nii")
    flat = save(tmp_path / "flat.nii", scan())
    content = bytearray(flat.read_bytes())
    content[296:312] = bytes(16)  # srow_y: the second axis leads nowhere
    flat.write_bytes(content)
    with pytest.raises(ValueError, match="no volume"):
        io.read_volume(flat)
    with pytest.raises(FileNotFoundError, match="no such file or folder"):
        io.list_volumes(tmp_path / "none")
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match="found none"):
        io.list_volumes(tmp_path / "empty")
    with pytest.raises(ValueError, match="expected a NIfTI"):
        io.list_volumes(save(tmp_path / "a.nii", scan()).rename(tmp_path / "a.img"))
    assert [io.case_name(p) for p in io.list_volumes(tmp_path)] == ["flat", "text"]
    mask = save(tmp_path / "mask.nii", np.zeros((3, 3, 3), np.uint8))
    assert not io.read_volume(mask, allow_constant=True).data.any()


def test_writing_is_all_or_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    volume = io.read_volume(save(tmp_path / "a.nii.gz", scan()))
    target = tmp_path / "out" / "b.nii.gz"
    bad = {
        "beyond int16": volume.data + 40000,
        "NaN": volume.data * float("nan"),
        "its grid": volume.data[1:],
    }
    for word, values in bad.items():
        with pytest.raises(ValueError, match=word):
            io.write_volume(target, values, like=volume)
    with pytest.raises(ValueError, match="name ending"):
        io.write_volume(tmp_path / "b.mha", volume.data, like=volume)
    assert not target.parent.exists()
    io.write_volume(target, volume.data, like=volume)
    before = target.read_bytes()

    def fail(image: Any, path: Path) -> None:
        path.write_bytes(b"half")
        raise OSError("disk full")

    monkeypatch.setattr("libimg.io.volumes.nib.save", fail)
    with pytest.raises(OSError, match="disk full"):
        io.write_volume(target, volume.data + 1, like=volume)
    assert target.read_bytes() == before
    assert [p.name for p in target.parent.iterdir()] == ["b.nii.gz"]


def test_int16_rounds(tmp_path: Path) -> None:
    volume = io.read_volume(save(tmp_path / "a.nii", scan()))
    io.write_volume(tmp_path / "b.nii", volume.data + 0.6, like=volume)
    assert torch.equal(io.read_volume(tmp_path / "b.nii").data, volume.data + 1)


@pytest.mark.data
def test_the_real_scan_survives(data_folder: Path, tmp_path: Path) -> None:
    path = data_folder / "ct" / "cardiac_cta" / "ct_cropped.nii.gz"
    volume = io.read_volume(path, hu=True)
    io.write_volume(tmp_path / "copy.nii.gz", volume.data, like=volume)
    a, b = nib.load(path), nib.load(tmp_path / "copy.nii.gz")
    np.testing.assert_array_equal(np.asarray(a.dataobj), np.asarray(b.dataobj))
    np.testing.assert_array_equal(a.affine, b.affine)
    assert volume.axes == ("L", "P", "S")


def test_pairs(tmp_path: Path) -> None:
    a, b = tmp_path / "ncct", tmp_path / "cta"
    for name in ("p2", "p1"):
        save(a / f"{name}.nii.gz", scan())
        save(b / f"{name}.nii", scan())
    (a / "notes.txt").write_text("ignored")
    pairs = data.pair_files(a, b, names=("ncct", "cta"))
    assert [(io.case_name(x), y.name) for x, y in pairs] == [("p1", "p1.nii"), ("p2", "p2.nii")]
    assert data.pair_files(*pairs[0]) == [pairs[0]]
    save(a / "p3.nii", scan())
    save(b / "p4.nii", scan())
    with pytest.raises(FileNotFoundError, match=r"p3\.nii has no partner.*p4\.nii has no partner"):
        data.pair_files(a, b)
    save(a / "p1.nii", scan())
    with pytest.raises(ValueError, match="already there"):
        data.pair_files(a, b)
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match="found none"):
        data.pair_files(tmp_path / "empty", b)
    with pytest.raises(FileNotFoundError, match="no such first folder"):
        data.pair_files(tmp_path / "none", b)


def test_same_geometry(tmp_path: Path) -> None:
    a = io.read_volume(save(tmp_path / "a.nii", scan()))
    data.same_geometry(a, io.read_volume(save(tmp_path / "b.nii", scan(seed=1))))
    with pytest.raises(ValueError, match=r"a\.nii.*c\.nii"):
        data.same_geometry(a, io.read_volume(save(tmp_path / "c.nii", scan((5, 4, 4)))))
    tilted = AFFINE.copy()
    tilted[0, 0] += 0.01
    with pytest.raises(ValueError, match=r"a\.nii and .*d\.nii.*mm apart"):
        data.same_geometry(a, io.read_volume(save(tmp_path / "d.nii", scan(), tilted)))
