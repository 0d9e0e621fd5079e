"""Label maps from NIfTI files: checked, cut to the heart, numbered by class."""

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor

from libimg.io import Volume, case_name, read_volume
from libimg.shapes import Frame

__all__ = ["LabelMap", "check_classes", "read_labels"]

FEW = 20  # voxels: a class of fewer is reported
LARGEST = 32767  # label: answers are written as int16
PLAUSIBLE_MM = (20.0, 1000.0)  # longest side of a volume with a heart in it


@dataclass(frozen=True)
class LabelMap:
    """Labels cut to the box of all classes with a margin.

    Attributes:
        labels: ``(d, h, w)`` index of the class plus 1, 0 for background.
        affine: ``(4, 4)`` of ``labels``.
        centre_mm: middle of the box without margin, patient millimetres.
        extent_mm: half the longest side of that box.
        start: index of the first voxel of ``labels`` in the file's volume, (d, h, w).
        classes: name to label in the file.
        counts: name to number of voxels.
        volume: the whole volume of the file.
        path: the file.
        sha256: of the file.
        notes: what is unusual about it.

    Example:
        >>> import tempfile
        >>> from libimg.completion import build_hearts
        >>> from libimg.phantoms import HEART_CLASSES
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     (path,) = build_hearts(Path(folder), number=1, spacing_mm=8.0)
        ...     found = read_labels(path, classes=HEART_CLASSES)
        >>> found.name, min(found.counts, key=found.counts.get)
        ('heart_0_8mm_0000', 'Coronary')
    """

    labels: UInt8[Tensor, "d h w"]
    affine: Any
    centre_mm: Any
    extent_mm: float
    start: tuple[int, int, int]
    classes: dict[str, int]
    counts: dict[str, int]
    volume: Volume
    path: Path
    sha256: str
    notes: tuple[str, ...]

    @property
    def name(self) -> str:
        """Name of the file without folder and suffix."""
        return case_name(self.path)


def check_classes(classes: Mapping[str, int]) -> None:
    """Raise ``ValueError`` unless these are 1 to 255 names with labels of their own in int16.

    Example:
        >>> check_classes({"LV": 3, "LA": 40000})
        Traceback (most recent call last):
        ValueError: classes must be 1 to 255 names with different labels from 1 to 32767, got ...
    """
    table = list(classes.values())
    single = 0 < len(set(table)) == len(table) <= 255
    if not single or min(table) < 1 or max(table) > LARGEST:
        msg = "classes must be 1 to 255 names with different labels from 1 to "
        msg += f"{LARGEST}, got {dict(classes)}"
        raise ValueError(msg)


def read_labels(path: Path, *, classes: Mapping[str, int], margin_mm: float = 10.0) -> LabelMap:
    """Read a label map, refuse what cannot be used, and cut it to its classes.

    Floats that are whole numbers are accepted and noted; so are classes of a few voxels, classes
    that touch the border of the volume, which have no surface there, and a volume that is far too
    small or large for a heart.

    Args:
        path: ``.nii`` or ``.nii.gz``.
        classes: name to label, all different and from 1 to 32767, at most 255 of them.
        margin_mm: kept around the box of all classes, where the volume reaches that far.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the table of classes is bad; the file is no readable volume, holds fractions,
            labels outside the table or int16, or none of it; or its affine is missing (both codes
            0, so that left and right are not known) or sheared. The message names the file.

    Example:
        >>> import tempfile
        >>> from libimg.completion import build_hearts
        >>> from libimg.phantoms import HEART_CLASSES
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     (path,) = build_hearts(Path(folder), number=1, spacing_mm=8.0)
        ...     read_labels(path, classes={"LV": 3})
        Traceback (most recent call last):
        ValueError: ...: labels outside the table of classes: 1, 2, 4, ...
    """
    check_classes(classes)
    volume = read_volume(path, allow_constant=True)
    header = volume.header
    if "qform_code" in header and not (int(header["qform_code"]) or int(header["sform_code"])):
        msg = f"{path}: the affine is missing (qform and sform codes are 0), so that left and "
        msg += "right are not known"
        raise ValueError(msg)
    try:
        Frame.fixed(affine=volume.affine, centre_mm=(0, 0, 0))
    except ValueError as error:
        msg = f"{path}: {error}"
        raise ValueError(msg) from error
    whole = _whole(path, volume.data)
    counts = _counts(path, whole, classes)
    index = np.zeros(int(whole.max()) + 1, np.uint8)
    for own, label in enumerate(classes.values()):
        if label < len(index):
            index[label] = own + 1
    box = _box(whole)
    spacing = volume.spacing_mm
    pad = [math.ceil(margin_mm / size) for size in spacing]
    low = [max(a - p, 0) for (a, _), p in zip(box, pad, strict=True)]
    high = [min(b + 1 + p, n) for (_, b), p, n in zip(box, pad, whole.shape, strict=True)]
    cut = index[whole[tuple(slice(a, b) for a, b in zip(low, high, strict=True))]]
    if min(cut.shape) < 2:
        msg = f"{path}: the volume is less than two voxels wide, shape {whole.shape}"
        raise ValueError(msg)
    affine = volume.affine.copy()
    affine[:3, 3] += affine[:3, :3] @ low[::-1]
    middle = [(a + b) / 2 for a, b in box][::-1]
    return LabelMap(
        labels=torch.from_numpy(np.ascontiguousarray(cut)),
        affine=affine,
        centre_mm=volume.affine[:3, :3] @ middle + volume.affine[:3, 3],
        extent_mm=max((b - a + 1) * s / 2 for (a, b), s in zip(box, spacing, strict=True)),
        start=(low[0], low[1], low[2]),
        classes=dict(classes),
        counts=counts,
        volume=volume,
        path=path,
        sha256=file_hash(path),
        notes=tuple(_notes(volume, whole, counts, classes)),
    )


def file_hash(path: Path) -> str:
    """SHA-256 of a file."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _whole(path: Path, data: Tensor) -> Any:
    """Return whole numbers as int32, or refuse fractions and what is beyond int16."""
    values = data.numpy()
    odd = values != np.rint(values)
    if odd.any():
        first = float(values[odd][0])
        msg = f"{path}: labels must be whole numbers, got {first:g} in {int(odd.sum())} voxels; a "
        msg += "label map must be resampled without interpolation"
        raise ValueError(msg)
    large = np.abs(values) > LARGEST
    if large.any():
        first = float(values[large][0])
        msg = f"{path}: labels must be at most {LARGEST}, got {first:g} in "
        msg += f"{int(large.sum())} voxels"
        raise ValueError(msg)
    return values.astype(np.int32)


def _notes(
    volume: Volume, whole: Any, counts: Mapping[str, int], classes: Mapping[str, int]
) -> list[str]:
    """Tell what is unusual about a label map that can be used."""
    notes = []
    kind = volume.header.get_data_dtype()
    if kind.kind == "f":
        notes.append(f"labels are stored as {kind}")
    sides = [n * size for n, size in zip(whole.shape, volume.spacing_mm, strict=True)]
    if not PLAUSIBLE_MM[0] <= max(sides) <= PLAUSIBLE_MM[1]:
        size = max(volume.spacing_mm)
        notes.append(
            f"spacing {size:g} mm, the volume is {max(sides):g} mm long: is the header in metres "
            "or micrometres?"
        )
    faces = [whole.take(side, axis) for axis in range(3) for side in (0, -1)]
    for name, count in counts.items():
        if 0 < count < FEW:
            notes.append(f"{name} has {count} voxel{'s' * (count > 1)}")
        if any((face == classes[name]).any() for face in faces):
            notes.append(f"{name} touches the border")
    return notes


def _counts(path: Path, whole: Any, classes: Mapping[str, int]) -> dict[str, int]:
    """Count the voxels of each class; refuse labels that are no class, and an empty map."""
    names = {label: name for name, label in classes.items()}
    seen: dict[int, int] = {}
    for plane in whole:
        values, numbers = np.unique(plane, return_counts=True)
        for value, number in zip(values.tolist(), numbers.tolist(), strict=True):
            seen[value] = seen.get(value, 0) + number
    outside = sorted(seen.keys() - names.keys() - {0})
    if outside:
        shown = ", ".join(map(str, outside[:10]))
        msg = f"{path}: labels outside the table of classes: {shown}; the table is {dict(classes)}"
        raise ValueError(msg)
    if not seen.keys() - {0}:
        msg = f"{path}: the label map is empty"
        raise ValueError(msg)
    return {name: seen.get(label, 0) for name, label in classes.items()}


def _box(whole: Any) -> list[tuple[int, int]]:
    """First and last index of what is not background, along each axis."""
    mask = whole != 0
    planes = mask.any((1, 2)).nonzero()[0]
    mask = mask[planes[0] : planes[-1] + 1].any(0)
    lines = [planes, mask.any(1).nonzero()[0], mask.any(0).nonzero()[0]]
    return [(int(line[0]), int(line[-1])) for line in lines]
