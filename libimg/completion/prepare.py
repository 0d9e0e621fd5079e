"""Label maps to training cases: fields are measured, points are drawn, files are written."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import h5py
import torch
from torch import Tensor

from libimg.completion.cases import VERSION, Case, Sampling, class_mask, cube_points, write_case
from libimg.completion.labels import LabelMap, file_hash, read_labels
from libimg.shapes import (
    Frame,
    interpolate_fields,
    sample_near_surface,
    sample_surface,
    sample_volume,
    signed_distance,
)

__all__ = ["prepare_case", "prepared_alike", "sample_case"]

MISSING = float("nan")


def sample_case(
    found: LabelMap,
    *,
    labelled: Sequence[str] | None = None,
    sampling: Sampling | None = None,
    seed: int = 0,
) -> Case:
    """Draw the points of a label map and measure their distances.

    Args:
        found: of `read_labels`.
        labelled: classes that the data set annotates: one of them without a voxel is absent,
            all others are unlabelled. If None, those with a voxel.
        sampling: numbers and units.
        seed: of the points.

    Raises:
        ValueError: a name is no class, no labelled class has a voxel, or one of them has no
            surface inside the volume.

    Example:
        >>> import tempfile
        >>> from libimg.completion import build_hearts
        >>> from libimg.phantoms import HEART_CLASSES
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     (path,) = build_hearts(Path(folder), number=1, spacing_mm=8.0)
        ...     found = read_labels(path, classes=HEART_CLASSES)
        >>> few = Sampling(surface=64, near=64, volume=128, grid=16)
        >>> case = sample_case(found, labelled=["LV", "RV"], sampling=few)
        >>> case.near_mm.shape, int(case.present.sum())
        (torch.Size([10, 64, 10]), 2)
    """
    plan = sampling or Sampling()
    there = torch.tensor([found.counts[name] > 0 for name in found.classes])
    asked = there if labelled is None else class_mask(labelled, found.classes)
    present = asked & there
    if not bool(present.any()):
        msg = f"{found.path}: none of the labelled classes has a voxel"
        raise ValueError(msg)
    notes = [*found.notes]
    names = list(found.classes)
    absent = [n for n, a, p in zip(names, asked, present, strict=True) if a and not p]
    unused = [n for n, a, t in zip(names, asked, there, strict=True) if t and not a]
    notes += [f"absent: {', '.join(absent)}"] if absent else []
    notes += [f"counted as unlabelled: {', '.join(unused)}"] if unused else []
    frame = Frame.fixed(affine=found.affine, centre_mm=found.centre_mm, half_mm=plan.half_mm)
    if found.extent_mm > plan.half_mm:
        notes.append(f"reaches {found.extent_mm - plan.half_mm:.0f} mm out of the cube")
    try:
        return _draw(found, asked, present, frame, plan, seed, notes)
    except ValueError as error:
        msg = f"{found.path}: {error}"
        raise ValueError(msg) from error


def _draw(
    found: LabelMap,
    asked: Tensor,
    present: Tensor,
    frame: Frame,
    plan: Sampling,
    seed: int,
    notes: list[str],
) -> Case:
    """Measure the fields of the present classes and read them at all points."""
    k, own = len(found.classes), present.nonzero()[:, 0]
    spacing, generator = frame.spacing_mm, torch.Generator().manual_seed(seed)
    how: Any = {"spacing_mm": spacing, "band_mm": plan.band_mm}
    fields = signed_distance(found.labels, classes=[int(c) + 1 for c in own], **how)
    how = {"spacing_mm": spacing, "generator": generator}
    surface = torch.full((k, plan.surface, 3), MISSING)
    drawn = sample_surface(fields, counts=plan.surface, **how)
    if drawn.absent:
        name = list(found.classes)[int(own[drawn.absent[0]])]
        msg = f"{name} has no surface inside the volume: it fills all of "
        msg += f"{tuple(found.volume.data.shape)}, expected something beside it"
        raise ValueError(msg)
    surface[own] = frame.to_unit(drawn.points).view(len(own), plan.surface, 3)

    def wide(distances: Tensor) -> Tensor:
        """All classes in the last axis: NaN where unlabelled, the band where absent."""
        out = torch.full((distances.shape[1], k), MISSING)
        out[:, asked] = plan.band_mm
        out[:, own] = distances.T.clamp(-plan.band_mm, plan.band_mm)
        return out

    near, near_mm = torch.full((k, plan.near, 3), MISSING), torch.full((k, plan.near, k), MISSING)
    around = sample_near_surface(fields, counts=plan.near, sigmas_mm=plan.sigmas_mm, **how)
    near[own] = frame.to_unit(around.points).view(len(own), plan.near, 3)
    near_mm[own] = wide(around.distances).view(len(own), plan.near, k)
    box = sample_volume(fields, count=plan.volume // 2, **how)
    rest = 2 * torch.rand(plan.volume - plan.volume // 2, 3, generator=generator) - 1

    def read(unit: Tensor) -> Tensor:
        return interpolate_fields(fields, frame.to_mm(unit), spacing_mm=spacing)

    return Case(
        name=found.name,
        classes=dict(found.classes),
        frame=frame,
        labelled=asked,
        present=present,
        known=asked | torch.tensor([found.counts[name] > 0 for name in found.classes]),
        surface=surface,
        near=near,
        near_mm=near_mm,
        volume=torch.cat([frame.to_unit(box.points), rest]),
        volume_mm=torch.cat([wide(box.distances), wide(read(rest))]),
        grid=wide(read(cube_points(plan.grid))).T.reshape(k, *3 * (plan.grid,)),
        labels=found.labels,
        sampling=plan,
        source={"file": found.path.name, "sha256": found.sha256, "seed": seed, "notes": notes},
    )


def prepare_case(
    path: Path,
    target: Path,
    *,
    classes: Mapping[str, int],
    labelled: Sequence[str] | None = None,
    sampling: Sampling | None = None,
    seed: int = 0,
) -> Case:
    """Turn one label NIfTI into one prepared case.

    Args:
        path: ``.nii`` or ``.nii.gz`` with the labels.
        target: HDF5 file to write.
        classes: name to label.
        labelled: see `sample_case`.
        sampling: numbers and units.
        seed: of the points; the file's content is mixed in, so that no two cases share theirs.

    Returns:
        The case; ``source["notes"]`` tells what was unusual.

    Raises:
        ValueError: the file cannot be used; the message names it. See `read_labels`.

    Example:
        >>> import tempfile
        >>> from libimg.completion import build_hearts
        >>> from libimg.phantoms import HEART_CLASSES
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     (path,) = build_hearts(Path(folder), number=1, spacing_mm=8.0)
        ...     case = prepare_case(path, Path(folder) / "a.h5", classes=HEART_CLASSES)
        >>> case.source["file"]
        'heart_0_8mm_0000.nii.gz'
    """
    plan = sampling or Sampling()
    found = read_labels(path, classes=classes, margin_mm=plan.margin_mm)
    mixed = hashlib.sha256(f"{seed} {found.sha256}".encode()).digest()
    number = int.from_bytes(mixed[:7], "big")
    case = sample_case(found, labelled=labelled, sampling=plan, seed=number)
    case.source["asked"] = _asked(classes, labelled, seed)
    write_case(target, case)
    return case


def prepared_alike(
    path: Path,
    source: Path,
    *,
    classes: Mapping[str, int],
    labelled: Sequence[str] | None,
    sampling: Sampling,
    seed: int,
) -> bool:
    """Tell whether a prepared case is there, whole, and made from this file in this way."""
    try:
        with h5py.File(path, "r") as file:
            about = json.loads(file.attrs["about"])
    except (OSError, KeyError, ValueError):
        return False
    plan = json.loads(json.dumps(asdict(sampling)))
    same = about.get("version") == VERSION and about["sampling"] == plan
    same = same and about["source"].get("asked") == _asked(classes, labelled, seed)
    return bool(same and about["source"]["sha256"] == file_hash(source))


def _asked(classes: Mapping[str, int], labelled: Sequence[str] | None, seed: int) -> dict[str, Any]:
    names = None if labelled is None else list(labelled)
    return {"classes": dict(classes), "labelled": names, "seed": seed}
