"""CT volumes in and out of NIfTI files, geometry and HU scale kept exactly."""

import os
import zlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import nibabel as nib
import numpy as np
import torch
from jaxtyping import Float, Real
from torch import Tensor

from libimg import _check

__all__ = ["Volume", "case_name", "list_volumes", "read_volume", "write_volume"]

SUFFIXES = (".nii.gz", ".nii")
INT16 = np.iinfo(np.int16)


@dataclass(frozen=True)
class Volume:
    """A volume and where it lies.

    The file's axes (i, j, k) become (d, h, w) = (k, j, i): a slice of an axial scan is
    ``data[z]``, and nothing is flipped or resampled.

    Attributes:
        data: ``(d, h, w)`` float32, after the file's slope and intercept.
        affine: ``(4, 4)`` float64 of the file, from (i, j, k) to millimetres (RAS+).
        path: where it was read.
        header: the file's header, for writing in the same geometry.
    """

    data: Float[Tensor, "d h w"]
    affine: Any
    path: Path
    header: Any = field(repr=False)

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Voxel size along (d, h, w)."""
        i, j, k = (float(s) for s in nib.affines.voxel_sizes(self.affine))
        return k, j, i

    @property
    def axes(self) -> tuple[str, str, str]:
        """Where each axis of the file (i, j, k) leads, such as ``("L", "P", "S")``."""
        i, j, k = nib.aff2axcodes(self.affine)
        return str(i), str(j), str(k)


def case_name(path: Path) -> str:
    """Return the name of a file without folder and NIfTI suffix.

    Example:
        >>> case_name(Path("scans/p01.nii.gz"))
        'p01'
    """
    for suffix in SUFFIXES:
        if path.name.endswith(suffix):
            return path.name[: -len(suffix)]
    return path.stem


def list_volumes(path: Path) -> list[Path]:
    """List the NIfTI files of a folder by name, or the one file that is given.

    Raises:
        FileNotFoundError: there is no such file or folder, or the folder has no NIfTI file.
        ValueError: the file is no ``.nii`` or ``.nii.gz``.

    Example:
        >>> list_volumes(Path("no/such/folder"))
        Traceback (most recent call last):
        FileNotFoundError: no/such/folder: no such file or folder
    """
    if not path.exists():
        msg = f"{path}: no such file or folder"
        raise FileNotFoundError(msg)
    if path.is_file():
        if not path.name.endswith(SUFFIXES):
            msg = f"{path}: expected a NIfTI file ({' or '.join(SUFFIXES)})"
            raise ValueError(msg)
        return [path]
    files = sorted(file for file in path.iterdir() if file.name.endswith(SUFFIXES))
    if not files:
        msg = f"{path}: expected NIfTI files in this folder, found none"
        raise FileNotFoundError(msg)
    return files


def read_volume(path: Path, *, hu: bool = False, allow_constant: bool = False) -> Volume:
    """Read a NIfTI volume and refuse what would only fail later.

    Args:
        path: ``.nii`` or ``.nii.gz``.
        hu: values must fit int16, as Hounsfield units do.
        allow_constant: accept a volume with a single value, such as an empty mask.

    Returns:
        The volume, float32.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is truncated or no NIfTI, has not three axes, holds NaN or infinite
            values, is constant, exceeds int16, or its affine has no volume. The message names
            the file.
    """
    path = Path(path)
    if not path.is_file():
        msg = f"{path}: no such file"
        raise FileNotFoundError(msg)
    try:
        image: Any = nib.load(path)
        header, affine, shape = image.header, image.affine, tuple(image.shape)
        kind = header.get_data_dtype()
        values = np.asarray(image.dataobj) if len(shape) == 3 and kind.kind in "iuf" else None
    except (OSError, EOFError, ValueError, zlib.error, nib.filebasedimages.ImageFileError) as error:
        msg = f"{path}: not a readable NIfTI file ({error})"
        raise ValueError(msg) from error
    if len(shape) != 3:
        msg = f"{path}: expected a volume with 3 axes, got shape {shape}"
        raise ValueError(msg)
    if values is None:
        msg = f"{path}: expected integers or floats, got {kind}"
        raise ValueError(msg)
    _refuse(path, values, hu=hu, allow_constant=allow_constant)
    if affine is None or not np.isfinite(affine).all() or abs(np.linalg.det(affine[:3, :3])) < 1e-9:
        msg = f"{path}: the affine has no volume: {affine}"
        raise ValueError(msg)
    data = torch.from_numpy(np.ascontiguousarray(values.transpose(2, 1, 0), dtype=np.float32))
    return Volume(data, np.array(affine, dtype=np.float64), path, header.copy())


def _refuse(path: Path, values: Any, *, hu: bool, allow_constant: bool) -> None:
    """Raise for values that no scan has."""
    if 0 in values.shape:
        msg = f"{path}: the volume is empty, shape {values.shape}"
        raise ValueError(msg)
    bad = int(values.size - np.isfinite(values).sum())
    if bad:
        msg = f"{path}: {bad} of {values.size} voxels are NaN or infinite"
        raise ValueError(msg)
    low, high = float(values.min()), float(values.max())
    if low == high and not allow_constant:
        msg = f"{path}: every voxel is {low:g}"
        raise ValueError(msg)
    if hu and (low < INT16.min or high > INT16.max):
        msg = f"{path}: expected HU within int16, got {low:g} to {high:g}"
        raise ValueError(msg)


def write_volume(
    path: Path,
    data: Real[Tensor, "d h w"],
    *,
    like: Volume,
    dtype: Literal["int16", "float32"] = "int16",
) -> None:
    """Write a volume in the geometry of another, all at once or not at all.

    Affine, qform and sform with their codes, voxel size and units are those of ``like``; slope and
    intercept are 1 and 0.

    Args:
        path: ``.nii`` or ``.nii.gz``; its folder is made.
        data: ``(d, h, w)`` as `read_volume` gives it, or labels.
        like: the volume whose grid the data lies on.
        dtype: ``"int16"`` rounds; ``"float32"`` keeps fractions.

    Raises:
        ValueError: wrong suffix, another shape than ``like``, or values that are not finite or
            do not fit the type; nothing is written then.
    """
    path = Path(path)
    _check.one_of("dtype", dtype, ("int16", "float32"))
    if not path.name.endswith(SUFFIXES):
        msg = f"{path}: expected a name ending in {' or '.join(SUFFIXES)}"
        raise ValueError(msg)
    if data.shape != like.data.shape:
        msg = f"{path}: data has shape {tuple(data.shape)}, its grid {tuple(like.data.shape)}"
        raise ValueError(msg)
    values = data.detach().cpu().numpy().astype(np.float64)
    if not np.isfinite(values).all():
        msg = f"{path}: data holds NaN or infinite values"
        raise ValueError(msg)
    if dtype == "int16":
        values = np.rint(values)
        if values.min() < INT16.min or values.max() > INT16.max:
            msg = f"{path}: data reaches from {values.min():g} to {values.max():g}, beyond int16"
            raise ValueError(msg)
    header = like.header.copy()
    header.set_data_dtype(np.dtype(dtype))
    header.set_slope_inter(1, 0)
    kind: Any = nib.Nifti2Image if isinstance(header, nib.Nifti2Header) else nib.Nifti1Image
    image = kind(values.transpose(2, 1, 0).astype(dtype), like.affine, header)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".part-{path.name}")
    try:
        nib.save(image, temporary)
        os.replace(temporary, path)  # noqa: PTH105
    finally:
        temporary.unlink(missing_ok=True)
