"""What the surface of a mask is made of: voxels, or pieces of area between voxels."""

import itertools
import math
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Literal, NamedTuple

import numpy as np

__all__ = ["Elements", "Surface", "surface_elements"]

Elements = Literal["voxels", "areas"]
Corner = tuple[int, ...]
Edge = frozenset[Corner]


class Surface(NamedTuple):
    """Elements of a surface.

    Attributes:
        places_mm: ``(n, axes)`` float64, on the grid's own axes.
        sizes: ``(n,)`` float64, 1 for a voxel, else mm² (mm in two dimensions).
    """

    places_mm: Any
    sizes: Any


def surface_elements(mask: Any, spacing_mm: Sequence[float], elements: Elements) -> Surface:
    """Find the elements of a mask's surface; outside the image is outside the mask.

    ``"voxels"`` are the voxels of the mask with a face next to the outside, each counting 1.
    ``"areas"`` are the cells between 2×2×2 (2×2) voxels that are not all alike, each counting
    the area (length) of the surface in it, with corners half-way between voxels.
    """
    n = mask.ndim
    padded = np.pad(mask, 1)
    if elements == "voxels":
        inner = padded[(slice(1, -1),) * n].copy()
        for axis, step in itertools.product(range(n), (slice(None, -2), slice(2, None))):
            inner &= padded[tuple(step if k == axis else slice(1, -1) for k in range(n))]
        index = np.argwhere(mask & ~inner)
        return Surface(index * np.asarray(spacing_mm, float), np.ones(len(index)))
    code = np.zeros([size + 1 for size in mask.shape], np.uint8)
    for bit, corner in enumerate(itertools.product((0, 1), repeat=n)):
        part = padded[tuple(slice(c, c + s) for c, s in zip(corner, code.shape, strict=True))]
        code |= part.view(np.uint8) << np.uint8(bit)
    index = np.argwhere((code != 0) & (code != 2 ** (2**n) - 1))
    sizes = _sizes(tuple(float(s) for s in spacing_mm))[code[tuple(index.T)]]
    return Surface((index - 0.5) * np.asarray(spacing_mm, float), sizes)


@lru_cache(maxsize=16)
def _sizes(spacing_mm: tuple[float, ...]) -> Any:
    """Area (length) in a cell for each of the 256 (16) patterns of its corners."""
    n = len(spacing_mm)
    corners = list(itertools.product((0, 1), repeat=n))
    sizes = np.zeros(2 ** len(corners))
    for code in range(len(sizes)):
        inside = {corner for bit, corner in enumerate(corners) if code >> bit & 1}
        rare = inside if 2 * len(inside) <= len(corners) else set(corners) - inside
        links = [link for face in _faces(n) for link in _links(face, rare)]
        if n == 2:
            ends = [[np.multiply(_middle(edge), spacing_mm) for edge in link] for link in links]
            sizes[code] = sum(math.dist(*pair) for pair in ends)
        else:
            loops = [np.array([_middle(edge) for edge in loop]) for loop in _loops(links)]
            sizes[code] = sum(_area(loop, np.array(spacing_mm)) for loop in loops)
    return sizes


def _faces(n: int) -> list[list[Corner]]:
    """Corners of each face of a cell in cyclic order; a cell in two dimensions is one face."""
    ring = [(0, 0), (0, 1), (1, 1), (1, 0)]
    if n == 2:
        return [list(ring)]
    sides = itertools.product(range(3), (0, 1))
    return [[(*pair[:axis], side, *pair[axis:]) for pair in ring] for axis, side in sides]


def _links(face: list[Corner], inside: set[Corner]) -> list[tuple[Edge, Edge]]:
    """Where the surface cuts a face, as pairs of edges; diagonal corners stay apart."""
    edges = [frozenset((face[i - 1], face[i])) for i in range(4)]
    cut = [i for i in range(4) if (face[i - 1] in inside) != (face[i] in inside)]
    if len(cut) == 4:
        return [(edges[i], edges[(i + 1) % 4]) for i in range(4) if face[i] in inside]
    return [(edges[cut[0]], edges[cut[1]])] if cut else []


def _loops(links: list[tuple[Edge, Edge]]) -> list[list[Edge]]:
    """Join links into closed polygons."""
    loops = []
    while links:
        loop, links = list(links[0]), links[1:]
        while loop[-1] != loop[0]:
            link = next(link for link in links if loop[-1] in link)
            links.remove(link)
            loop.append(link[1] if link[0] == loop[-1] else link[0])
        loops.append(loop[:-1])
    return loops


def _middle(edge: Edge) -> list[float]:
    a, b = edge
    return [(u + v) / 2 for u, v in zip(a, b, strict=True)]


def _area(polygon: Any, spacing_mm: Any) -> float:
    """Area of triangles from one corner to all edges, from the one that gives most in a cube."""
    n = len(polygon)
    others = (np.arange(n)[:, None] + np.arange(1, n)) % n
    spokes = polygon[others] - polygon[:, None]
    both = []
    for size in (spacing_mm, np.ones(3)):
        doubled = np.cross(spokes[:, :-1] * size, spokes[:, 1:] * size)
        both.append(np.sqrt((doubled**2).sum(-1)).sum(1) / 2)
    return float(both[0][both[1].argmax()])
