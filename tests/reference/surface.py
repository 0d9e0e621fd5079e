"""Surfaces, point sets and correlations from their definitions, in float64; readers of mesh files."""

import base64
import itertools
import math
import struct
from pathlib import Path
from xml.etree import ElementTree

import numpy as np


def surface_voxels(mask: np.ndarray, spacing: tuple[float, ...]) -> np.ndarray:
    """Centres of voxels that have a face neighbour outside the mask, in mm."""
    found = []
    for place in np.argwhere(mask):
        for axis, step in itertools.product(range(mask.ndim), (-1, 1)):
            other = place.copy()
            other[axis] += step
            inside = all(0 <= o < size for o, size in zip(other, mask.shape, strict=True))
            if not inside or not mask[tuple(other)]:
                found.append(place * np.asarray(spacing))
                break
    return np.array(found, dtype=np.float64).reshape(-1, mask.ndim)


def directed(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Distance from each of a to the nearest of b, all pairs."""
    return np.sqrt(((a[:, None].astype(np.float64) - b[None]) ** 2).sum(-1)).min(1)


def hausdorff(a: np.ndarray, b: np.ndarray, spacing: tuple[float, ...], percentile: float) -> float:
    a, b = (surface_voxels(x, spacing) for x in (a, b))
    return max(np.percentile(directed(a, b), percentile), np.percentile(directed(b, a), percentile))


def average(a: np.ndarray, b: np.ndarray, spacing: tuple[float, ...]) -> float:
    a, b = (surface_voxels(x, spacing) for x in (a, b))
    return float(np.concatenate([directed(a, b), directed(b, a)]).mean())


def dice(a: np.ndarray, b: np.ndarray, spacing: tuple[float, ...], tolerance: float) -> float:
    a, b = (surface_voxels(x, spacing) for x in (a, b))
    return float((np.concatenate([directed(a, b), directed(b, a)]) <= tolerance).mean())


def chamfer(a: np.ndarray, b: np.ndarray, power: int) -> float:
    """Sum of both directions."""
    return float((directed(a, b) ** power).mean() + (directed(b, a) ** power).mean())


def f_score(a: np.ndarray, b: np.ndarray, threshold: float) -> float:
    precision = float((directed(a, b) <= threshold).mean())
    recall = float((directed(b, a) <= threshold).mean())
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def ranks(values: list[float]) -> list[float]:
    """One plus the number of smaller values; ties share their mean rank."""
    return [1 + sum(w < v for w in values) + (sum(w == v for w in values) - 1) / 2 for v in values]


def correlation(x: list[float], y: list[float]) -> float:
    mx, my = math.fsum(x) / len(x), math.fsum(y) / len(y)
    xy = math.fsum((u - mx) * (v - my) for u, v in zip(x, y, strict=True))
    xx, yy = math.fsum((u - mx) ** 2 for u in x), math.fsum((v - my) ** 2 for v in y)
    return xy / math.sqrt(xx * yy) if xx * yy else math.nan


def directed_edges(faces: np.ndarray) -> list[tuple[int, int]]:
    return [(int(f[i - 1]), int(f[i])) for f in faces for i in range(3)]


def is_closed(faces: np.ndarray) -> bool:
    """Every edge is run through once in each direction: no hole, no flipped face."""
    edges = directed_edges(faces)
    return len(set(edges)) == len(edges) and {(b, a) for a, b in edges} == set(edges)


def volume(vertices: np.ndarray, faces: np.ndarray) -> float:
    """Enclosed volume, positive if the normals point outward."""
    a, b, c = vertices.astype(np.float64)[faces].transpose(1, 0, 2)
    return float((a * np.cross(b, c)).sum() / 6)


Read = tuple[np.ndarray, np.ndarray, dict[str, object]]


def read_ply(path: Path) -> Read:
    head, _, body = path.read_bytes().partition(b"end_header\n")
    lines = head.decode().splitlines()
    n, m = (int(x.split()[2]) for x in lines if x.startswith("element"))
    vertices = np.frombuffer(body, "<f4", 3 * n).reshape(n, 3)
    rows = list(struct.iter_unpack("<B3ii", body[12 * n :]))
    assert len(rows) == m
    assert {row[0] for row in rows} <= {3}
    comments = [x[8:] for x in lines if x.startswith("comment ")]
    faces = np.array([row[1:4] for row in rows], dtype=np.int64).reshape(-1, 3)
    return vertices, faces, {"comments": comments, "structure": [row[4] for row in rows]}


def read_obj(path: Path) -> Read:
    lines = [line.split() for line in path.read_text(encoding="utf-8").splitlines()]
    vertices = np.array([x[1:] for x in lines if x[0] == "v"], dtype=np.float64).reshape(-1, 3)
    faces = np.array([x[1:] for x in lines if x[0] == "f"], dtype=np.int64).reshape(-1, 3) - 1
    return (
        vertices.astype(np.float32),
        faces,
        {
            "comments": [" ".join(x[1:]) for x in lines if x[0] == "#"],
            "names": [" ".join(x[1:]) for x in lines if x[0] == "o"],
        },
    )


def read_stl(path: Path) -> Read:
    """Every face has its own three vertices."""
    raw = path.read_bytes()
    count = struct.unpack("<I", raw[80:84])[0]
    rows = list(struct.iter_unpack("<12fH", raw[84:]))
    assert len(rows) == count
    values = np.array([row[:12] for row in rows], dtype=np.float32).reshape(count, 4, 3)
    vertices = values[:, 1:].reshape(-1, 3)
    head = raw[:80].decode().strip()
    return vertices, np.arange(3 * count).reshape(-1, 3), {"normals": values[:, 0], "header": head}


def read_vtp(path: Path) -> Read:
    root = ElementTree.parse(path).getroot()
    assert root.attrib["header_type"] == "UInt64"
    arrays: dict[str, object] = {}
    for element in [*root.iter("DataArray"), *root.iter("Array")]:
        text, name = element.text or "", element.attrib["Name"]
        if element.attrib["type"] == "String":
            arrays[name] = bytes(map(int, text.split())).decode().split("\0")[:-1]
            continue
        raw = base64.b64decode(text)
        assert struct.unpack("<Q", raw[:8])[0] == len(raw) - 8
        kind = {"Float32": "<f4", "Int32": "<i4"}[element.attrib["type"]]
        arrays[name] = np.frombuffer(raw[8:], kind)
    faces = np.asarray(arrays["connectivity"]).reshape(-1, 3)
    assert np.array_equal(np.asarray(arrays["offsets"]), np.arange(1, len(faces) + 1) * 3)
    return np.asarray(arrays["Points"]).reshape(-1, 3), faces, arrays
