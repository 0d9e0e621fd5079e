"""Content hashes of an evaluation set, so that only comparable numbers are compared."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from jaxtyping import Shaped
from torch import Tensor

from libimg.data.splits import check_splits

__all__ = [
    "Manifest",
    "compare_metrics",
    "file_hash",
    "manifest",
    "read_manifest",
    "same_manifest",
    "tensor_hash",
    "write_manifest",
]

VERSION = 1


def tensor_hash(x: Shaped[Tensor, "..."]) -> str:
    """SHA-256 of a tensor's type, shape and values.

    Example:
        >>> import torch
        >>> tensor_hash(torch.zeros(2)) == tensor_hash(torch.zeros(2, 1))
        False
    """
    array = x.detach().cpu().contiguous().numpy()
    digest = hashlib.sha256(f"{array.dtype} {array.shape}".encode())
    digest.update(array.tobytes())
    return digest.hexdigest()


def file_hash(path: Path) -> str:
    """SHA-256 of a file's bytes.

    Args:
        path: an existing file of any size; it is read in pieces.

    Raises:
        FileNotFoundError: there is no such file.
    """
    digest = hashlib.sha256()
    with Path(path).open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def manifest(files: Mapping[str, Path | Sequence[Path]]) -> dict[str, str]:
    """Hash files by case name.

    Args:
        files: case name to its file, or to its files in a fixed order, such as photograph and
            X-ray; a case of several files is the hash of their hashes.

    Returns:
        Case name to SHA-256, sorted by name.

    Raises:
        FileNotFoundError: a file is missing; all missing ones are listed.
        ValueError: a case has no file.
    """
    paths = {name: _paths(files[name]) for name in sorted(files)}
    empty = [name for name, parts in paths.items() if not parts]
    if empty:
        msg = f"no file for {', '.join(empty)}"
        raise ValueError(msg)
    missing = [str(path) for parts in paths.values() for path in parts if not path.is_file()]
    if missing:
        msg = f"no such file: {', '.join(missing)}"
        raise FileNotFoundError(msg)
    return {name: _joint([file_hash(path) for path in parts]) for name, parts in paths.items()}


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """What a job is measured on: the contents of its cases, their splits and the fixed list.

    Args:
        hashes: case name to content hash, as from `manifest`.
        splits: split to case names, as from `split_cases`; a case may be in none.
        fixed: cases of every table and picture, as from `fixed_list`.

    Raises:
        ValueError: a name without a hash, a name twice in one list, or two splits that share a
            case by name or content.

    Example:
        >>> Manifest(hashes={"p1": "aa", "p2": "bb"}, splits={"test": ("p1",)}, fixed=("p1",))
        Manifest(hashes={'p1': 'aa', 'p2': 'bb'}, splits={'test': ('p1',)}, fixed=('p1',))
    """

    hashes: Mapping[str, str]
    splits: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    fixed: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for part, names in (*self.splits.items(), ("the fixed list", self.fixed)):
            unknown = [name for name in names if name not in self.hashes]
            if unknown or len(set(names)) < len(names):
                what = f"without a hash: {', '.join(unknown[:5])}" if unknown else "twice"
                msg = f"{part} has cases {what}"
                raise ValueError(msg)
        check_splits({s: {n: self.hashes[n] for n in names} for s, names in self.splits.items()})


def write_manifest(path: Path, manifest: Manifest) -> Path:
    """Write a manifest as JSON with a version and a checksum; see `read_manifest`.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> chosen = Manifest(hashes={"p1": "aa", "p2": "bb"}, fixed=("p2",))
        >>> with TemporaryDirectory() as folder:
        ...     path = write_manifest(Path(folder) / "cases.json", chosen)
        ...     read_manifest(path) == chosen
        True
    """
    content = {"version": VERSION, **asdict(manifest)}
    text = json.dumps({**content, "checksum": _checksum(content)}, indent=1)
    path = Path(path)
    path.write_text(text + "\n", encoding="utf-8")
    return path


def read_manifest(path: Path) -> Manifest:
    """Read what `write_manifest` wrote.

    Args:
        path: JSON file. To change one, write it anew: an evaluation set is not edited by hand.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is damaged, was edited or has another version; the path is named.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder:
        ...     path = write_manifest(Path(folder) / "cases.json", Manifest(hashes={"p1": "aa"}))
        ...     read_manifest(path).hashes
        {'p1': 'aa'}
    """
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
    except ValueError as error:
        msg = f"{path} is damaged, no JSON: {error}"
        raise ValueError(msg) from error
    version = content.get("version") if isinstance(content, dict) else None
    if version != VERSION:
        msg = f"{path} is no manifest of version {VERSION}, got version {version}"
        raise ValueError(msg)
    checksum = content.pop("checksum", None)
    if checksum != _checksum(content):
        msg = f"{path} was edited or is damaged: its checksum does not fit; write it anew"
        raise ValueError(msg)
    splits = {split: tuple(names) for split, names in content["splits"].items()}
    return Manifest(hashes=content["hashes"], splits=splits, fixed=tuple(content["fixed"]))


def same_manifest(a: Mapping[str, str], b: Mapping[str, str]) -> None:
    """Raise unless two manifests name the same contents.

    Raises:
        ValueError: they differ; the first differences are listed.

    Example:
        >>> same_manifest({"p1": "aa"}, {"p1": "bb"})
        Traceback (most recent call last):
        ValueError: not the same evaluation set: p1 has other contents
    """
    differences = [f"{name} is only in the first" for name in a if name not in b]
    differences += [f"{name} is only in the second" for name in b if name not in a]
    differences += [f"{name} has other contents" for name in a if name in b and a[name] != b[name]]
    if differences:
        rest = f" and {len(differences) - 5} more" if len(differences) > 5 else ""
        msg = f"not the same evaluation set: {'; '.join(differences[:5])}{rest}"
        raise ValueError(msg)


def compare_metrics(
    first: Path, second: Path, *, row: str, metric: str
) -> dict[str, tuple[float, float]]:
    """Pair the values of two runs case by case.

    Args:
        first: ``metrics.json`` of a run.
        second: that of another.
        row: name of the row in both.
        metric: name of the metric.

    Returns:
        Case to (value in the first, value in the second).

    Raises:
        ValueError: a file is no ``metrics.json``, or the runs were scored on different contents,
            in different ranges or on different cases.
        KeyError: a file lacks the row, or a case the metric.
    """
    a, b = (_metrics(Path(path)) for path in (first, second))
    same_manifest(a["manifest"], b["manifest"])
    if a["range"] != b["range"]:
        msg = f"{first} has the range {a['range']} and {second} {b['range']}"
        raise ValueError(msg)
    ours, theirs = (_values(c, p, row, metric) for c, p in ((a, first), (b, second)))
    if ours.keys() != theirs.keys():
        odd = ", ".join(sorted(ours.keys() ^ theirs.keys())[:5])
        msg = f"{row} is scored on different cases in {first} and {second}: {odd}"
        raise ValueError(msg)
    return {case: (value, theirs[case]) for case, value in ours.items()}


def _metrics(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        msg = f"{path} is no JSON: {error}"
        raise ValueError(msg) from error
    needed = ("manifest", "range", "rows")
    lacks = [key for key in needed if not isinstance(content, dict) or key not in content]
    if lacks:
        msg = f"{path} is no metrics file of libimg: it lacks {', '.join(lacks)}"
        raise ValueError(msg)
    return dict(content)


def _values(content: dict[str, Any], path: Path, row: str, metric: str) -> dict[str, float]:
    rows = content["rows"]
    if row not in rows:
        msg = f"{path} has no row {row!r}, only {', '.join(rows)}"
        raise KeyError(msg)
    cases: dict[str, dict[str, float]] = rows[row]["cases"]
    for case, values in cases.items():
        if metric not in values:
            msg = f"{path} has no {metric!r} of {case} in row {row!r}, only {', '.join(values)}"
            raise KeyError(msg)
    return {case: values[metric] for case, values in cases.items()}


def _paths(files: Path | Sequence[Path]) -> list[Path]:
    return [Path(p) for p in ([files] if isinstance(files, (str, Path)) else files)]


def _joint(hashes: Sequence[str]) -> str:
    """One file is its own hash, several are the hash of theirs in order."""
    return hashes[0] if len(hashes) == 1 else hashlib.sha256(" ".join(hashes).encode()).hexdigest()


def _checksum(content: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
