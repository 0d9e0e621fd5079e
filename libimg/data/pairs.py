"""Pairs of files, and whether they lie on the same grid."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np

__all__ = ["pair_files", "same_geometry"]

SUFFIXES = (".nii.gz", ".nii")


@runtime_checkable
class OnGrid(Protocol):
    """What has data, an affine and a path, such as `libimg.io.Volume`."""

    @property
    def data(self) -> Any:
        """Values."""

    @property
    def affine(self) -> Any:
        """Grid to millimetres."""

    @property
    def path(self) -> Path:
        """File."""


def pair_files(
    first: Path,
    second: Path,
    *,
    names: tuple[str, str] = ("first", "second"),
    suffixes: Sequence[str] = SUFFIXES,
) -> list[tuple[Path, Path]]:
    """Pair the files of two folders by name.

    Args:
        first: folder, or a single file.
        second: the same.
        names: what the two are called in messages.
        suffixes: endings of the files that count, NIfTI by default; files that differ in nothing
            else are partners.

    Returns:
        Pairs sorted by case name.

    Raises:
        FileNotFoundError: a folder is missing or empty, or a file has no partner; all files
            without one are listed.
        ValueError: a folder holds a case twice.
    """
    folders = zip((first, second), names, strict=True)
    found = [_cases(Path(path), name, suffixes) for path, name in folders]
    if Path(first).is_file() and Path(second).is_file():
        return [(Path(first), Path(second))]
    alone = [
        f"{path} has no partner in {folder}"
        for ours, theirs, folder in ((found[0], found[1], second), (found[1], found[0], first))
        for case, path in ours.items()
        if case not in theirs
    ]
    if alone:
        raise FileNotFoundError("; ".join(alone))
    return [(found[0][case], found[1][case]) for case in sorted(found[0])]


def _cases(path: Path, name: str, suffixes: Sequence[str]) -> dict[str, Path]:
    """Files of a folder by case name."""
    if not path.exists():
        msg = f"{path}: no such {name} folder"
        raise FileNotFoundError(msg)
    files = [path] if path.is_file() else sorted(path.iterdir())
    cases: dict[str, Path] = {}
    for file in files:
        suffix = next((s for s in suffixes if file.name.endswith(s)), None)
        if suffix is None:
            continue
        case = file.name[: -len(suffix)]
        if case in cases:
            msg = f"{file}: the {name} case {case} is already there as {cases[case].name}"
            raise ValueError(msg)
        cases[case] = file
    if not cases:
        endings = ", ".join(suffixes)
        msg = f"{path}: expected files ending in {endings} in the {name} folder, found none"
        raise FileNotFoundError(msg)
    return cases


def same_geometry(a: OnGrid, b: OnGrid, *, tolerance_mm: float = 1e-3) -> None:
    """Raise unless two volumes lie on the same grid.

    Args:
        a: first volume.
        b: second volume.
        tolerance_mm: how far any voxel may lie off.

    Raises:
        ValueError: the shapes differ, or a corner lies further off; both files are named.
    """
    if a.data.shape != b.data.shape:
        msg = f"{a.path} has shape {tuple(a.data.shape)} and {b.path} {tuple(b.data.shape)}"
        raise ValueError(msg)
    d, h, w = a.data.shape
    corners = np.array([[i, j, k, 1] for i in (0, w - 1) for j in (0, h - 1) for k in (0, d - 1)])
    off = float(np.abs(corners @ (np.asarray(a.affine) - np.asarray(b.affine)).T).max())
    if off > tolerance_mm:
        msg = f"{a.path} and {b.path}: affines put a voxel {off:.3g} mm apart "
        msg += f"(allowed {tolerance_mm:g})"
        raise ValueError(msg)
