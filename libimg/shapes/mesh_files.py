"""Triangle meshes into PLY, OBJ, STL and VTP files."""

import base64
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from xml.sax.saxutils import quoteattr

import numpy as np

from libimg.shapes.meshing import Mesh

__all__ = ["MESH_SUFFIXES", "write_mesh"]

MESH_SUFFIXES = (".ply", ".vtp", ".obj", ".stl")


def write_mesh(path: Path | str, mesh: Mesh | Mapping[str, Mesh]) -> None:
    """Write a mesh, or several with their names, all at once or not at all.

    The format follows the suffix: ``.ply`` and ``.stl`` (binary, little endian), ``.obj`` or
    ``.vtp``. Each keeps float32 coordinates to the bit, and says that they are RAS millimetres
    (what `extract_mesh` gives with an affine) by ``SPACE=RAS`` in its header, for 3D Slicer, which
    takes a mesh for LPS if nothing is said and so turns it by 180°.

    Several meshes become one file. OBJ keeps their names as objects. PLY and VTP number the faces
    by ``structure``, in the order of the names, which PLY lists in comments and VTP in the field
    data ``structures``. STL has no names and takes one mesh only.

    Args:
        path: where to write; its folder is made.
        mesh: a mesh, or meshes by name. A mesh without faces is written as such.

    Raises:
        ValueError: unknown suffix, no mesh, several for STL, a name with a line break, vertices
            that are not finite, or faces of vertices that do not exist; nothing is written then.

    Example:
        >>> import torch
        >>> from tempfile import TemporaryDirectory
        >>> corners = torch.tensor([[0.0, 0, 0], [1, 0, 0], [0, 1, 0]])
        >>> with TemporaryDirectory() as folder:
        ...     path = Path(folder) / "triangle.obj"
        ...     write_mesh(path, {"LAA": Mesh(corners, torch.tensor([[0, 1, 2]]))})
        ...     print(path.read_text())
        # SPACE=RAS
        o LAA
        v 0 0 0
        v 1 0 0
        v 0 1 0
        f 1 2 3
    """
    path = Path(path)
    write = {".ply": _ply, ".obj": _obj, ".stl": _stl, ".vtp": _vtp}.get(path.suffix.lower())
    if write is None:
        msg = f"{path}: expected a name ending in .ply, .obj, .stl or .vtp"
        raise ValueError(msg)
    named = {"mesh": mesh} if isinstance(mesh, Mesh) else dict(mesh)
    if not named:
        msg = f"{path}: there is no mesh to write"
        raise ValueError(msg)
    if write is _stl and len(named) > 1:
        msg = f"{path}: STL holds one mesh and no names, got {', '.join(named)}; write one a file"
        raise ValueError(msg)
    parts = {name: _arrays(path, name, part) for name, part in named.items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".part-{path.name}")
    try:
        temporary.write_bytes(write(parts))
        os.replace(temporary, path)  # noqa: PTH105
    finally:
        temporary.unlink(missing_ok=True)


Parts = dict[str, tuple[Any, Any]]
"""Vertices ``(n, 3)`` little-endian float32 and faces ``(m, 3)`` int32 by name."""


def _arrays(path: Path, name: str, mesh: Mesh) -> tuple[Any, Any]:
    vertices = mesh.vertices.detach().cpu().numpy().astype("<f4")
    faces = mesh.faces.detach().cpu().numpy()
    if not name.strip() or not name.isprintable():
        msg = f"{path}: a name must be one line of text, got {name!r}"
        raise ValueError(msg)
    if not np.isfinite(vertices).all():
        msg = f"{path}: {name} has vertices that are not finite"
        raise ValueError(msg)
    if faces.size and not 0 <= faces.min() <= faces.max() < len(vertices):
        msg = f"{path}: {name} has faces of vertices {faces.min()} to {faces.max()}, but only "
        msg += f"{len(vertices)} vertices"
        raise ValueError(msg)
    return vertices, faces.astype("<i4")


def _joined(parts: Parts) -> tuple[Any, Any, Any]:
    """All vertices, all faces, and the number of each face's mesh."""
    starts = np.cumsum([0, *(len(vertices) for vertices, _ in parts.values())])
    faces = [faces + start for (_, faces), start in zip(parts.values(), starts, strict=False)]
    owner = np.repeat(np.arange(len(parts)), [len(faces) for _, faces in parts.values()])
    vertices = np.concatenate([vertices for vertices, _ in parts.values()])
    return vertices, np.concatenate(faces).astype("<i4"), owner.astype("<i4")


def _ply(parts: Parts) -> bytes:
    vertices, faces, owner = _joined(parts)
    header = ["ply", "format binary_little_endian 1.0", "comment SPACE=RAS"]
    header += [f"comment structure {i} {name}" for i, name in enumerate(parts)]
    header += [f"element vertex {len(vertices)}", *(f"property float {axis}" for axis in "xyz")]
    header += [f"element face {len(faces)}", "property list uchar int vertex_indices"]
    header += ["property int structure", "end_header", ""]
    rows = np.empty(len(faces), [("count", "u1"), ("corners", "<i4", 3), ("owner", "<i4")])
    rows["count"], rows["corners"], rows["owner"] = 3, faces, owner
    return b"".join(("\n".join(header).encode(), vertices.tobytes(), rows.tobytes()))


def _stl(parts: Parts) -> bytes:
    vertices, faces, _ = _joined(parts)
    corners = vertices[faces]
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-30)
    rows = np.zeros(len(faces), [("normal", "<f4", 3), ("corners", "<f4", (3, 3)), ("rest", "<u2")])
    rows["normal"], rows["corners"] = normals, corners
    size = np.array(len(faces), "<u4")
    return b"".join((b"binary STL, SPACE=RAS".ljust(80), size.tobytes(), rows.tobytes()))


def _obj(parts: Parts) -> bytes:
    lines, start = ["# SPACE=RAS"], 1
    for name, (vertices, faces) in parts.items():
        lines.append(f"o {name}")
        lines += [f"v {x:.9g} {y:.9g} {z:.9g}" for x, y, z in vertices.tolist()]
        lines += [f"f {a} {b} {c}" for a, b, c in (faces + start).tolist()]
        start += len(vertices)
    return "\n".join([*lines, ""]).encode()


def _vtp(parts: Parts) -> bytes:
    vertices, faces, owner = _joined(parts)
    offsets = np.arange(3, 3 * len(faces) + 1, 3, dtype="<i4")

    def data(name: str, values: Any, components: int = 1) -> str:
        kind = "Float32" if values.dtype.kind == "f" else "Int32"
        raw = values.tobytes()
        text = base64.b64encode(np.array(len(raw), "<u8").tobytes() + raw).decode()
        return (
            f'<DataArray type="{kind}" Name="{name}" NumberOfComponents="{components}" '
            f'format="binary">{text}</DataArray>'
        )

    def words(name: str, values: list[str]) -> str:
        codes = " ".join(str(byte) for value in values for byte in (*value.encode(), 0))
        return f'<Array type="String" Name={quoteattr(name)} NumberOfTuples="{len(values)}" ' + (
            f'format="ascii">{codes}</Array>'
        )

    lines = [
        '<?xml version="1.0"?>',
        '<VTKFile type="PolyData" version="1.0" byte_order="LittleEndian" header_type="UInt64">',
        "<PolyData>",
        f"<FieldData>{words('SPACE', ['RAS'])}{words('structures', list(parts))}</FieldData>",
        f'<Piece NumberOfPoints="{len(vertices)}" NumberOfVerts="0" NumberOfLines="0" '
        f'NumberOfStrips="0" NumberOfPolys="{len(faces)}">',
        f"<Points>{data('Points', vertices, 3)}</Points>",
        f"<Polys>{data('connectivity', faces)}{data('offsets', offsets)}</Polys>",
        f"<CellData>{data('structure', owner)}</CellData>",
        "</Piece>",
        "</PolyData>",
        "</VTKFile>",
        "",
    ]
    return "\n".join(lines).encode()
