"""Pairs of a profile photograph and a lateral X-ray with landmarks, built in or from a folder."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from libimg import data, io, phantoms
from libimg.cephalometry.landmark_files import read_landmarks, read_spacing, write_landmarks

__all__ = [
    "HeadPair",
    "Heads",
    "fingerprints",
    "landmark_names",
    "load_pair",
    "load_pairs",
    "pair_names",
    "write_heads",
]


SMALL = 200_000  # pixels up to which a rendered head is kept
MARKED = phantoms.HeadFaults(border=0, orientation=0, exposure=0)


@dataclass(frozen=True, kw_only=True)
class Heads:
    """Where the pairs are, and how they are divided.

    Args:
        folder: with ``photo``, ``xray``, ``landmarks`` (``NAME.csv``) and perhaps ``spacing.csv``;
            empty for built-in heads.
        spacing_mm: millimetres a pixel, of the rows and of the columns, where ``spacing.csv`` does
            not say.
        count: of the built-in heads.
        first: seed of the first built-in head.
        size: height and width of the built-in heads.
        marks: what built-in heads have beside the head: ``clean`` nothing, ``marked`` the frames
            and rulers of real collections, ``faulty`` also bars, turned and badly exposed pictures.
        held_out: cases that no training sees, the fixed list of every comparison.
        train: how many of the others are used; 0 for all.
        landmarks: their names; those of the first case if empty.
        exclude: names left out, on purpose and by name; no flag leaves a case out by itself.

    Example:
        >>> Heads(count=3, held_out=1).marks
        'marked'
    """

    folder: str = ""
    spacing_mm: tuple[float, float] | None = None
    count: int = 80
    first: int = 0
    size: tuple[int, int] = (456, 371)
    marks: Literal["clean", "marked", "faulty"] = "marked"
    held_out: int = 20
    train: int = 0
    landmarks: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()


@dataclass(frozen=True)
class HeadPair:
    """One case.

    Attributes:
        name: of the case.
        photo: ``(3, h, w)`` in [0, 1].
        xray: ``(1, h, w)`` in [0, 1], bright bone.
        points: ``(n, 2)`` landmarks, row and column in pixels; NaN where one is missing.
        names: of the landmarks.
        spacing_mm: of the rows and the columns.
        notes: what was done to the files on the way in.

    Example:
        >>> dark = torch.zeros(1, 8, 8)
        >>> photo, points = dark.expand(3, 8, 8), torch.zeros(1, 2)
        >>> HeadPair("a", photo, dark, points, ("sella",), (0.1, 0.1)).name
        'a'
    """

    name: str
    photo: Float[Tensor, "3 h w"]
    xray: Float[Tensor, "1 h w"]
    points: Float[Tensor, "n 2"]
    names: tuple[str, ...]
    spacing_mm: tuple[float, float]
    notes: tuple[str, ...] = ()


def pair_names(heads: Heads) -> list[str]:
    """List the cases, without the excluded ones.

    Raises:
        FileNotFoundError: a photograph, an X-ray or a landmark file has no partner; all are listed.
        ValueError: an excluded name does not exist.

    Example:
        >>> pair_names(Heads(count=2))
        ['head-000', 'head-001']
    """
    if heads.folder:
        names = sorted(_files(heads))
    else:
        names = [f"head-{i:03d}" for i in range(heads.first, heads.first + heads.count)]
    strange = sorted(set(heads.exclude) - set(names))
    if strange:
        msg = f"exclude: no case is called {', '.join(strange)}"
        raise ValueError(msg)
    return [name for name in names if name not in heads.exclude]


def load_pair(heads: Heads, name: str) -> HeadPair:
    """Read or render one case.

    Raises:
        ValueError: a file cannot be read, the two pictures differ in size, a landmark lies outside
            the picture, or nothing says how large a pixel is; the file is named.

    Example:
        >>> pair = load_pair(Heads(size=(152, 124)), "head-003")
        >>> pair.xray.shape, len(pair.points)
        (torch.Size([1, 152, 124]), 19)
    """
    if not heads.folder:
        render = _remembered if math.prod(heads.size) <= SMALL else _rendered
        head = render(int(name.split("-")[1]), heads.size, heads.marks)
        return HeadPair(
            name,
            head.photo,
            head.xray,
            head.landmarks,
            phantoms.HEAD_LANDMARKS,
            head.spacing_mm,
        )
    photo_file, xray_file, landmark_file = _files(heads)[name]
    photo, xray = io.read_image(photo_file), io.read_image(xray_file)
    size = tuple(xray.image.shape[1:])
    if photo.image.shape[1:] != size:
        msg = f"{photo_file} has {tuple(photo.image.shape[1:])} pixels and {xray_file} {size}: "
        msg += "the two pictures of a pair must have the same size"
        raise ValueError(msg)
    names, points = read_landmarks(landmark_file, size=(size[0], size[1]))
    spacing = read_spacing(Path(heads.folder), name, default=heads.spacing_mm)
    notes = [f"photo: {note}" for note in photo.notes] + [f"xray: {note}" for note in xray.notes]
    return HeadPair(
        name,
        io.as_rgb(photo.image),
        io.as_gray(xray.image),
        points,
        names,
        spacing,
        tuple(notes),
    )


def load_pairs(heads: Heads, names: Sequence[str]) -> Iterator[HeadPair]:
    """Load cases one after the other; all must have the landmarks of the first.

    Raises:
        ValueError: a case has other landmarks.

    Example:
        >>> [pair.name for pair in load_pairs(Heads(size=(152, 124)), ["head-001", "head-004"])]
        ['head-001', 'head-004']
    """
    known = heads.landmarks
    for name in names:
        pair = load_pair(heads, name)
        known = known or pair.names
        if pair.names != known:
            odd = sorted(set(pair.names) ^ set(known)) or ["their order"]
            msg = f"{name}: other landmarks than {known[0]} to {known[-1]} ({', '.join(odd)})"
            raise ValueError(msg)
        yield pair


def write_heads(folder: str | Path, heads: Heads) -> list[str]:
    """Write built-in heads as a folder that `load_pair` reads, to see how one looks.

    Args:
        folder: for ``photo``, ``xray`` (PNG), ``landmarks`` (CSV) and ``spacing.csv``.
        heads: built-in ones.

    Returns:
        Names of the cases.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     names = write_heads(folder, Heads(count=1, size=(152, 124)))
        ...     sorted(path.name for path in Path(folder).iterdir())
        ['landmarks', 'photo', 'spacing.csv', 'xray']
    """
    folder, names, lines = Path(folder), pair_names(heads), ["case,row_mm,column_mm"]
    for pair in load_pairs(heads, names):
        io.write_image(folder / "photo" / f"{pair.name}.png", io.Picture(pair.photo))
        io.write_image(folder / "xray" / f"{pair.name}.png", io.Picture(pair.xray))
        write_landmarks(folder / "landmarks" / f"{pair.name}.csv", pair.names, pair.points)
        lines.append(f"{pair.name},{pair.spacing_mm[0]:.6g},{pair.spacing_mm[1]:.6g}")
    (folder / "spacing.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return names


def landmark_names(heads: Heads) -> tuple[str, ...]:
    """Names of the landmarks of a collection, as its first case has them.

    Example:
        >>> landmark_names(Heads())[:2]
        ('sella', 'nasion')
    """
    if heads.landmarks:
        return heads.landmarks
    return load_pair(heads, pair_names(heads)[0]).names if heads.folder else phantoms.HEAD_LANDMARKS


def fingerprints(heads: Heads, names: Sequence[str]) -> dict[str, str]:
    """Hash the contents of cases: of the files, or of the built-in pictures.

    Example:
        >>> heads = Heads(size=(152, 124))
        >>> len(fingerprints(heads, ["head-000"])["head-000"])
        64
    """
    if heads.folder:
        files = _files(heads)
        return data.manifest({name: files[name] for name in names})
    return {
        name: data.tensor_hash(torch.cat([pair.photo, pair.xray]))
        for name, pair in zip(names, load_pairs(heads, names), strict=True)
    }


def _rendered(index: int, size: tuple[int, int], marks: str) -> phantoms.Head:
    rates = {"clean": None, "marked": MARKED, "faulty": phantoms.HeadFaults()}
    return phantoms.head(index, size=size, faults=rates[marks])


_remembered = lru_cache(maxsize=256)(_rendered)  # small heads are asked for several times


def _files(heads: Heads) -> dict[str, tuple[Path, Path, Path]]:
    folder = Path(heads.folder)
    endings = (*io.IMAGE_SUFFIXES, *(suffix.upper() for suffix in io.IMAGE_SUFFIXES))
    folders = [folder / "photo", folder / "xray"]
    pictures = data.pair_files(*folders, names=("photo", "xray"), suffixes=endings)
    files = {
        photo.stem: (photo, xray, folder / "landmarks" / f"{photo.stem}.csv")
        for photo, xray in pictures
    }
    missing = [str(marks) for _, _, marks in files.values() if not marks.is_file()]
    if missing:
        msg = f"no landmark file: {', '.join(missing[:5])}"
        msg += f" and {len(missing) - 5} more" if len(missing) > 5 else ""
        raise FileNotFoundError(msg)
    return files
