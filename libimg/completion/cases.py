"""A heart as a training sample: points, distances, a coarse field, its labels and their frame."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor

from libimg.completion.labels import check_classes
from libimg.shapes import Frame

__all__ = ["Case", "Sampling", "class_mask", "cube_points", "load_case", "write_case"]

VERSION = 1
ARRAYS = ("surface", "near", "near_mm", "volume", "volume_mm", "grid", "labels")


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """How many points a case keeps, and in which units.

    Args:
        surface: points on each class.
        near: points near each class, with the distances to all classes.
        volume: points in space: half in the heart's box, half in the whole cube.
        sigmas_mm: standard deviations of the points near a class, in turn.
        grid: voxels along each side of the cube for the coarse fields of the baselines.
        band_mm: distances are kept up to this.
        half_mm: half the side of the cube that becomes [-1, 1]: one scale for all cases.
        margin_mm: kept around the heart's box.

    Raises:
        ValueError: a number of points or voxels is not whole and above 0, or a length is not
            finite and above 0.

    Example:
        >>> Sampling(grid=32).half_mm
        100.0
    """

    surface: int = 4096
    near: int = 4096
    volume: int = 32768
    sigmas_mm: tuple[float, ...] = (1.0, 5.0)
    grid: int = 48
    band_mm: float = 20.0
    half_mm: float = 100.0
    margin_mm: float = 10.0

    def __post_init__(self) -> None:
        for name in ("surface", "near", "volume", "grid"):
            count = getattr(self, name)
            if not isinstance(count, int) or count < 1:
                msg = f"sampling.{name} must be a whole number above 0, got {count}"
                raise ValueError(msg)
        lengths = {f"sigmas_mm[{i}]": sigma for i, sigma in enumerate(self.sigmas_mm)}
        lengths |= {name: getattr(self, name) for name in ("band_mm", "half_mm", "margin_mm")}
        for name, length in lengths.items():
            if not 0 < length < math.inf:
                msg = f"sampling.{name} must be a finite length above 0, got {length}"
                raise ValueError(msg)
        if not self.sigmas_mm:
            msg = "sampling.sigmas_mm must name at least one standard deviation, got none"
            raise ValueError(msg)


@dataclass(frozen=True)
class Case:
    """One case; coordinates are those of the unit cube of its frame, distances millimetres.

    ``k`` classes, in the order of ``classes``. What is not labelled is NaN: nothing may read it.

    Attributes:
        name: of the file it came from.
        classes: name to label of all classes that there are.
        frame: of ``labels``; its centre is the middle of the box of all labels.
        labelled: classes that the data set annotates; one without a voxel is absent.
        present: labelled classes that have a voxel.
        known: classes whose truth is in ``labels``: labelled, or there all the same.
        surface: ``(k, s, 3)`` points on each class.
        near: ``(k, m, 3)`` points near each class.
        near_mm: ``(k, m, k)`` their distances to every class.
        volume: ``(v, 3)`` points in space.
        volume_mm: ``(v, k)`` their distances.
        grid: ``(k, g, g, g)`` distances at the voxels of the cube, axes (z, y, x), or None.
        labels: ``(d, h, w)`` index of the class plus 1, 0 for background, cropped; or None.
        sampling: how it was drawn.
        source: ``file``, ``sha256``, ``seed`` and ``notes``.

    Example:
        >>> from libimg.completion import phantom_case
        >>> case = phantom_case().restrict(["LV", "RV"])
        >>> int(case.labelled.sum()), int(case.known.sum())
        (2, 10)
    """

    name: str
    classes: dict[str, int]
    frame: Frame
    labelled: Bool[Tensor, " k"]
    present: Bool[Tensor, " k"]
    known: Bool[Tensor, " k"]
    surface: Float[Tensor, "k s 3"]
    near: Float[Tensor, "k m 3"]
    near_mm: Float[Tensor, "k m k"]
    volume: Float[Tensor, "v 3"]
    volume_mm: Float[Tensor, "v k"]
    grid: Float[Tensor, "k g g g"] | None
    labels: UInt8[Tensor, "d h w"] | None
    sampling: Sampling
    source: dict[str, Any]

    def restrict(self, names: Sequence[str]) -> "Case":
        """Return the case as a data set with other labels would have it.

        Args:
            names: classes that the other data set annotates; further ones count as unlabelled.

        Raises:
            ValueError: a name is no class of the case.
        """
        keep = class_mask(names, self.classes)
        return replace(self, labelled=self.labelled & keep, present=self.present & keep)


def class_mask(names: Sequence[str], classes: Mapping[str, int]) -> Bool[Tensor, " k"]:
    """Mark the named classes; an unknown name raises ``ValueError``.

    Example:
        >>> class_mask(["LV"], {"LA": 2, "LV": 3})
        tensor([False,  True])
    """
    unknown = [name for name in names if name not in classes]
    if unknown:
        msg = f"unknown classes {unknown}, expected some of {list(classes)}"
        raise ValueError(msg)
    return torch.tensor([name in names for name in classes])


def cube_points(size: int) -> Float[Tensor, "n 3"]:
    """Centres (x, y, z) of the voxels of the unit cube, x fastest.

    Example:
        >>> cube_points(2)[:2]
        tensor([[-0.5000, -0.5000, -0.5000],
                [ 0.5000, -0.5000, -0.5000]])
    """
    line = (torch.arange(size) + 0.5) * (2 / size) - 1
    z, y, x = torch.meshgrid(line, line, line, indexing="ij")
    return torch.stack([x, y, z], -1).reshape(-1, 3)


def write_case(path: Path, case: Case) -> None:
    """Write a case with all its arrays as HDF5, all at once or not at all.

    Distances and the grid become float16 (1/64 mm at 20 mm), labels are compressed.

    Args:
        path: file to write; its folder is made.
        case: with grid and labels.

    Example:
        >>> import tempfile
        >>> from libimg.completion import phantom_case
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     write_case(Path(folder) / "a.h5", phantom_case())
        ...     [path.name for path in Path(folder).iterdir()]
        ['a.h5']
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.part")
    about = {
        "version": VERSION,
        "name": case.name,
        "classes": case.classes,
        "frame": case.frame.to_dict(),
        "sampling": asdict(case.sampling),
        "source": case.source,
    }
    try:
        with h5py.File(part, "w") as file:
            for name in ARRAYS:
                values = getattr(case, name).numpy()
                half = name in ("near_mm", "volume_mm", "grid")
                squeeze = {"compression": "gzip", "compression_opts": 4, "shuffle": True}
                packed: Any = squeeze if name in ("labels", "grid") else {}
                file.create_dataset(name, data=values.astype("f2") if half else values, **packed)
            for name in ("labelled", "present", "known"):
                file.create_dataset(name, data=getattr(case, name).numpy())
            file.attrs["about"] = json.dumps(about)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def load_case(path: Path, *, volumes: bool = True) -> Case:
    """Read a prepared case.

    Args:
        path: file of `write_case`.
        volumes: also read the coarse fields and the labels; training needs neither.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is none of these, of another version, or has classes or sampling that
            are refused today.

    Example:
        >>> import tempfile
        >>> from libimg.completion import phantom_case
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     write_case(Path(folder) / "a.h5", phantom_case())
        ...     case = load_case(Path(folder) / "a.h5", volumes=False)
        >>> case.name, case.grid is None
        ('heart_0', True)
    """
    if not path.is_file():
        msg = f"{path}: no such prepared case"
        raise FileNotFoundError(msg)
    try:
        with h5py.File(path, "r") as file:
            about = json.loads(file.attrs["about"])
            wanted = [*ARRAYS, "labelled", "present", "known"]
            read = {n: file[n][()] for n in wanted if volumes or n not in ("grid", "labels")}
    except (OSError, KeyError, ValueError) as error:
        msg = f"{path}: not a prepared case ({error})"
        raise ValueError(msg) from error
    if about.get("version") != VERSION:
        msg = f"{path}: prepared in version {about.get('version')}, expected {VERSION}: do it again"
        raise ValueError(msg)
    arrays: Any = {
        n: torch.from_numpy(v.astype("f4") if v.dtype == np.float16 else v) for n, v in read.items()
    }
    plan = about["sampling"]
    try:
        check_classes(about["classes"])
        sampling = Sampling(**{**plan, "sigmas_mm": tuple(plan["sigmas_mm"])})
    except ValueError as error:
        msg = f"{path}: {error}"
        raise ValueError(msg) from error
    frame = Frame.from_dict(about["frame"])
    same: Any = {"name": about["name"], "classes": about["classes"], "source": about["source"]}
    none: Any = {} if volumes else {"grid": None, "labels": None}
    return Case(frame=frame, sampling=sampling, **same, **arrays, **none)
