"""Hearts as pictures: meshes with shading and depth, and a sheet of input, completed and truth."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from libimg._extras import optional
from libimg.completion.cases import Case
from libimg.shapes import Mesh, extract_mesh, signed_distance

__all__ = ["COLOURS", "heart_sheet", "label_meshes", "render_meshes"]

COLOURS: dict[str, tuple[float, float, float]] = {
    "Myocardium": (0.72, 0.33, 0.28),
    "LA": (0.93, 0.62, 0.66),
    "LV": (0.86, 0.16, 0.18),
    "RA": (0.45, 0.62, 0.86),
    "RV": (0.16, 0.38, 0.75),
    "Aorta": (0.93, 0.45, 0.20),
    "PA": (0.30, 0.70, 0.78),
    "LAA": (0.62, 0.30, 0.66),
    "Coronary": (0.98, 0.82, 0.25),
    "PV": (0.40, 0.72, 0.42),
}
OTHERS = ((0.5, 0.5, 0.5), (0.6, 0.5, 0.3), (0.3, 0.5, 0.5), (0.6, 0.4, 0.6))
VIEW = ((-0.94, -0.34, 0.0), (0.06, -0.17, 0.98))
"""Right and up of the picture as directions of the patient (RAS): from the front, a little from
the left and from above. The patient's left is on the right, as in radiology."""


def colour_of(name: str, number: int) -> tuple[float, float, float]:
    """Colour of a class: its own if it is one of the heart's.

    Example:
        >>> colour_of("LV", 0)
        (0.86, 0.16, 0.18)
    """
    return COLOURS.get(name, OTHERS[number % len(OTHERS)])


def render_meshes(
    meshes: Mapping[str, Mesh],
    *,
    centre_mm: Sequence[float],
    half_mm: float,
    size: int = 320,
    view: tuple[Sequence[float], Sequence[float]] = VIEW,
) -> Float[Tensor, "3 h w"]:
    """Draw meshes with a depth buffer, light from the upper left, on white; no perspective.

    Args:
        meshes: by name, vertices in patient millimetres (RAS).
        centre_mm: what the picture's middle shows.
        half_mm: half the width of the picture.
        size: pixels along each side; four times as many are drawn and averaged.
        view: right and up of the picture, as directions of the patient.

    Returns:
        ``(3, size, size)`` RGB in [0, 1].

    Example:
        >>> corners = torch.tensor([[-1.0, 0.0, -1.0], [1.0, 0.0, -1.0], [0.0, 0.0, 1.0]])
        >>> mesh = Mesh(corners, torch.tensor([[0, 1, 2]]))
        >>> picture = render_meshes({"LV": mesh}, centre_mm=(0, 0, 0), half_mm=2, size=8)
        >>> picture.shape, bool((picture[:, 4, 4] < 1).any()), bool((picture[:, 0, 0] == 1).all())
        (torch.Size([3, 8, 8]), True, True)
    """
    from libimg._ops.raster_kernels import fill

    fine = 2 * size
    right, up = (np.asarray(v, float) for v in view)
    right = right / np.linalg.norm(right)
    up = up - (up @ right) * right
    up = up / np.linalg.norm(up)
    away = np.cross(up, right)
    axes, scale = np.stack([right, -up, away], 1), fine / (2 * half_mm)
    depth, owner = np.full((fine, fine), np.inf), np.full((fine, fine), -1)
    way = np.zeros((fine, fine, 3))
    for number, mesh in enumerate(meshes.values()):
        vertices, faces = mesh.vertices.double().numpy(), mesh.faces.numpy()
        spots = (vertices - np.asarray(centre_mm, float)) @ axes * scale
        spots[:, :2] += fine / 2
        fill(spots, _normals(vertices, faces), faces, number, depth, owner, way)
    picture = np.ones((fine, fine, 3))
    seen = owner >= 0
    if seen.any():
        colours = np.array([colour_of(name, i) for i, name in enumerate(meshes)])
        normals = way[seen] / np.maximum(np.linalg.norm(way[seen], axis=1, keepdims=True), 1e-12)
        near = depth[seen]
        haze = 0.30 * (near - near.min()) / max(float(np.ptp(near)), 1e-9)
        shaded = _shade(normals, right, up, away, colours[owner[seen]])
        picture[seen] = shaded * (1 - haze[:, None]) + 0.85 * haze[:, None]
    image = picture.reshape(size, 2, size, 2, 3).mean((1, 3))
    return torch.from_numpy(image.transpose(2, 0, 1).copy()).float()


def _normals(vertices: Any, faces: Any) -> Any:
    """Outward direction at each vertex: sum over its triangles, by area."""
    a, b, c = (vertices[faces[:, i]] for i in range(3))
    cross, out = np.cross(b - a, c - a), np.zeros_like(vertices)
    for i in range(3):
        for axis in range(3):
            out[:, axis] += np.bincount(faces[:, i], cross[:, axis], len(vertices))
    return out


def _shade(normals: Any, right: Any, up: Any, away: Any, colours: Any) -> Any:
    """Diffuse light, a little gloss, darker rims."""
    light = -away + 0.5 * up - 0.45 * right
    light = light / np.linalg.norm(light)
    half = light - away
    diffuse = np.clip(normals @ light, 0, 1)
    gloss = np.clip(normals @ (half / np.linalg.norm(half)), 0, 1) ** 24
    level = (0.38 + 0.62 * diffuse) * (0.55 + 0.45 * np.abs(normals @ away) ** 0.6)
    return np.clip(level[:, None] * colours + 0.18 * gloss[:, None], 0, 1)


def label_meshes(case: Case, observed: Bool[Tensor, " k"] | None = None) -> dict[str, Mesh]:
    """Surfaces of a case's own labels, of all its known classes or the observed ones.

    Args:
        case: with its labels.
        observed: ``(k,)``; all if None.

    Raises:
        ValueError: the case was loaded without volumes.

    Example:
        >>> from libimg.completion import phantom_case
        >>> case = phantom_case()
        >>> list(label_meshes(case, case.restrict(["LV", "RV"]).labelled))
        ['LV', 'RV']
    """
    if case.labels is None:
        msg = f"{case.name}: loaded without its labels"
        raise ValueError(msg)
    wanted = case.known if observed is None else observed & case.known
    names, own = list(case.classes), wanted.nonzero()[:, 0].tolist()
    how: Any = {"spacing_mm": case.frame.spacing_mm, "border": "closed", "band_mm": 10.0}
    fields = signed_distance(case.labels, classes=[c + 1 for c in own], **how)
    affine = case.frame.affine
    return {names[c]: extract_mesh(f, affine=affine) for c, f in zip(own, fields, strict=True)}


def heart_sheet(
    path: Path,
    rows: Sequence[tuple[str, Sequence[Mapping[str, Mesh]]]],
    *,
    columns: Sequence[str],
    classes: Sequence[str],
    size: int = 360,
) -> Path:
    """Write a sheet of hearts as PNG, with a legend.

    Every row is drawn at one scale around the middle of its last column.

    Args:
        path: file to write; its folder is made.
        rows: name, and meshes for each column.
        columns: headings.
        classes: of the legend.
        size: pixels of a picture.

    Raises:
        ValueError: a row has another number of pictures than there are columns.

    Example:
        >>> import tempfile
        >>> from libimg.completion import phantom_case
        >>> case = phantom_case()
        >>> how = {"columns": ["truth"], "classes": list(case.classes), "size": 32}
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = heart_sheet(Path(folder) / "a.png", [("a", [label_meshes(case)])], **how)
        ...     path.name, path.stat().st_size > 3000
        ('a.png', True)
    """
    if not rows or any(len(pictures) != len(columns) for _, pictures in rows):
        msg = f"rows: expected some of {len(columns)} pictures each"
        raise ValueError(msg)
    figures = optional("matplotlib.figure", extra="tasks")
    patches = optional("matplotlib.patches", extra="tasks")
    figure = figures.Figure(
        figsize=(2.9 * len(columns), 2.9 * len(rows) + 0.75), layout="constrained"
    )
    axes = figure.subplots(len(rows), len(columns), squeeze=False)
    for r, (name, pictures) in enumerate(rows):
        whole = [m.vertices for m in pictures[-1].values() if len(m.vertices)]
        points = torch.cat(whole) if whole else torch.zeros(1, 3)
        low, high = points.amin(0), points.amax(0)
        centre, half = (low + high) / 2, 0.58 * float((high - low).max().clamp(min=1))
        for c, meshes in enumerate(pictures):
            image = render_meshes(meshes, centre_mm=centre.tolist(), half_mm=half, size=size)
            axes[r, c].imshow(image.movedim(0, -1).numpy())
            axes[r, c].set(xticks=[], yticks=[])
            for side in axes[r, c].spines.values():
                side.set_color("0.85")
            if r == 0:
                axes[r, c].set_title(columns[c], fontsize=10)
            if c == 0:
                axes[r, c].set_ylabel(name, fontsize=8)
    handles = [patches.Patch(color=colour_of(n, i), label=n) for i, n in enumerate(classes)]
    figure.legend(handles=handles, loc="outside lower center", ncols=5, fontsize=8, frameon=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)
    return path
