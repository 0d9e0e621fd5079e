"""Content hashes of an evaluation set, so that only comparable numbers are compared."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jaxtyping import Shaped
from torch import Tensor

__all__ = ["compare_metrics", "file_hash", "manifest", "same_manifest", "tensor_hash"]


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


def manifest(files: Mapping[str, Path]) -> dict[str, str]:
    """Hash files by case name.

    Args:
        files: case name to file.

    Returns:
        Case name to SHA-256, sorted by name.

    Raises:
        FileNotFoundError: a file is missing; all missing ones are listed.
    """
    missing = [str(path) for path in files.values() if not Path(path).is_file()]
    if missing:
        msg = f"no such file: {', '.join(missing)}"
        raise FileNotFoundError(msg)
    return {name: file_hash(files[name]) for name in sorted(files)}


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
        ValueError: the runs were scored on different contents or in different ranges.
        KeyError: a file lacks the row or the metric.
    """
    a, b = (json.loads(Path(path).read_text(encoding="utf-8")) for path in (first, second))
    same_manifest(a["manifest"], b["manifest"])
    if a["range"] != b["range"]:
        msg = f"{first} has the range {a['range']} and {second} {b['range']}"
        raise ValueError(msg)
    cases: list[dict[str, Any]] = [content["rows"][row]["cases"] for content in (a, b)]
    return {case: (cases[0][case][metric], cases[1][case][metric]) for case in cases[0]}
