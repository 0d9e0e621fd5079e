import inspect
import math
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from libimg.shapes import Mesh, extract_mesh, labels_from_fields, query_grid, write_mesh
from tests.reference import surface as reference

seeds = st.integers(0, 10_000)
UNIT = (1.0, 1.0, 1.0)
# what scanners write: left-handed and right-handed, permuted, oblique, and one that is sheared
AFFINES = {
    "ras": np.diag([1.0, 1.0, 1.0, 1.0]),
    "las": np.array([[-0.5, 0, 0, 90], [0, 0.5, 0, -120], [0, 0, 2, 30], [0, 0, 0, 1.0]]),
    "lps": np.array([[-0.5, 0, 0, 90], [0, -0.7, 0, 120], [0, 0, 2, 30], [0, 0, 0, 1.0]]),
    "permuted": np.array([[0, 0, 1.5, 5], [0.5, 0, 0, 6], [0, 0.7, 0, 7], [0, 0, 0, 1.0]]),
    "oblique": np.array([[0.48, -0.36, 0, 1], [0.36, 0.48, 0, 2], [0, 0, -1.2, 3], [0, 0, 0, 1.0]]),
    "sheared": np.array([[1, 0.2, 0, 0], [0, 1, 0.1, 0], [0, 0, 1, 0], [0, 0, 0, 1.0]]),
}
READERS = {
    ".ply": reference.read_ply,
    ".obj": reference.read_obj,
    ".stl": reference.read_stl,
    ".vtp": reference.read_vtp,
}


def ball(centre: tuple[float, ...], radius: float, size: int = 24) -> torch.Tensor:
    grid = torch.stack(torch.meshgrid(*[torch.arange(float(size))] * 3, indexing="ij"))
    return (grid - torch.tensor(centre)[:, None, None, None]).norm(dim=0) - radius


def closed(mesh: Mesh) -> bool:
    return reference.is_closed(mesh.faces.numpy())


def volume(mesh: Mesh) -> float:
    return reference.volume(mesh.vertices.numpy(), mesh.faces.numpy())


@pytest.mark.parametrize("name", [None, *AFFINES])
def test_a_ball_in_every_orientation(name: str | None) -> None:
    """Closed, normals outward, right size, right place: also where the affine mirrors."""
    centre, radius = (11.3, 14.2, 13.1), 8.6
    field = ball(centre, radius)
    if name is None:
        mesh = extract_mesh(field, spacing_mm=UNIT)
        matrix, middle = np.eye(4), np.array(centre)
    else:
        matrix = AFFINES[name]
        mesh = extract_mesh(field, affine=matrix)
        middle = matrix[:3, :3] @ centre[::-1] + matrix[:3, 3]
    assert mesh.vertices.dtype == torch.float32
    assert mesh.faces.dtype == torch.int64
    assert closed(mesh)
    size = 4 / 3 * math.pi * radius**3 * abs(np.linalg.det(matrix))
    assert volume(mesh) == pytest.approx(size, rel=0.01)
    assert np.allclose(mesh.vertices.mean(0), middle, atol=0.1)
    offset = mesh.vertices.numpy() - middle
    radii = np.linalg.norm(np.linalg.solve(matrix[:3, :3], offset.T), axis=0)
    assert np.abs(radii - radius).max() < 0.02


@given(seed=seeds)
def test_any_field_gives_a_closed_mesh(seed: int) -> None:
    """Noise reaches every border and every ambiguous cell; levels are hit exactly as well."""
    generator = torch.Generator().manual_seed(seed)
    shape = torch.randint(1, 7, (3,), generator=generator).tolist()
    field = torch.randn(shape, generator=generator)
    if seed % 2:
        field = field.round()
    mesh = extract_mesh(field, spacing_mm=(1.0, 2.0, 0.5))
    assert (len(mesh.faces) == 0) == (not (field < 0).any())
    assert closed(mesh)
    assert volume(mesh) >= 0
    assert mesh.vertices.isfinite().all()
    if len(mesh.faces):  # within the outer faces of the voxels
        far = torch.tensor(shape) - 0.5
        index = mesh.vertices / torch.tensor([1.0, 2.0, 0.5])
        assert index.min() >= -0.5
        assert (index <= far + 1e-5).all()


def test_a_class_at_the_border_is_cut_off_on_the_outer_faces() -> None:
    full = extract_mesh(torch.full((3, 4, 5), -7.0), spacing_mm=(2.0, 1.0, 0.5))
    assert closed(full)
    assert full.vertices.min(0).values.tolist() == [-1.0, -0.5, -0.25]
    assert full.vertices.max(0).values.tolist() == [5.0, 3.5, 2.25]
    half = extract_mesh(ball((-0.5, 11.5, 11.5), 8), spacing_mm=UNIT)
    assert closed(half)
    assert half.vertices[:, 0].min() == -0.5
    assert volume(half) == pytest.approx(2 / 3 * math.pi * 8**3, rel=0.015)


def test_one_voxel_and_no_voxel() -> None:
    field = torch.ones(3, 3, 3)
    assert [len(part) for part in extract_mesh(field, spacing_mm=UNIT)] == [0, 0]
    assert [len(part) for part in extract_mesh(field * math.inf, spacing_mm=UNIT)] == [0, 0]
    field[1, 1, 1] = -1
    mesh = extract_mesh(field, spacing_mm=(2.0, 1.0, 1.0))
    assert len(mesh.vertices) == 6
    assert closed(mesh)
    assert volume(mesh) == pytest.approx(4 / 3 * 0.5**3 * 2)


@given(seed=seeds, level=st.floats(-1, 1))
def test_laws_of_meshes(seed: int, level: float) -> None:
    generator = torch.Generator().manual_seed(seed)
    field = torch.randn(5, 6, 4, generator=generator)
    affine = AFFINES["oblique"]
    mesh = extract_mesh(field, affine=affine, level=level)
    shifted = extract_mesh(field - level, affine=affine)
    assert torch.equal(mesh.vertices, shifted.vertices)
    assert torch.equal(mesh.faces, shifted.faces)
    inner = extract_mesh(field, spacing_mm=UNIT, level=level)
    moved = extract_mesh(field, spacing_mm=UNIT, origin_mm=(5, 6, 7), level=level)
    offset = torch.tensor([5.0, 6.0, 7.0])
    assert torch.allclose(moved.vertices, inner.vertices + offset, atol=1e-5)
    spacing = np.linalg.norm(affine[:3, :3], axis=0)[::-1]
    plain = extract_mesh(field, spacing_mm=spacing.tolist(), level=level).vertices.double().numpy()
    there = (plain / spacing)[:, ::-1] @ affine[:3, :3].T + affine[:3, 3]
    assert np.allclose(mesh.vertices.numpy(), there, atol=1e-5)


def test_a_finer_grid_in_the_same_image() -> None:
    """The network is asked on a grid of its own; the mesh lies where the image's class does."""
    affine = AFFINES["las"]
    spacing = (2.0, 0.5, 0.5)
    middle, radius = torch.tensor([20.0, 6.0, 7.0]), 4.0
    ask = lambda points: (points - middle).norm(dim=1, keepdim=True) - radius  # noqa: E731
    meshes = []
    for shape, step, origin in (
        ((20, 24, 28), spacing, (0.0, 0.0, 0.0)),
        ((30, 30, 30), (0.35, 0.35, 0.35), (15.0, 1.0, 2.0)),
    ):
        fields = query_grid(ask, shape=shape, spacing_mm=step, origin_mm=origin)
        meshes.append(extract_mesh(fields[0], spacing_mm=step, origin_mm=origin, affine=affine))
    for mesh, error in zip(meshes, (0.06, 0.01), strict=True):
        assert np.allclose(mesh.vertices.mean(0), [90 - 7, -120 + 6, 30 + 20], atol=0.05)
        assert volume(mesh) == pytest.approx(4 / 3 * math.pi * radius**3, rel=error)


@pytest.mark.parametrize("chunk", [1, 7, 60, 1000])
def test_querying_in_chunks_changes_nothing(chunk: int) -> None:
    sizes = []

    def ask(points: torch.Tensor) -> torch.Tensor:
        assert not torch.is_grad_enabled()
        sizes.append(len(points))
        return torch.stack([points[:, 0], points[:, 1] * points[:, 2]], 1)

    got = query_grid(
        ask, shape=(3, 4, 5), spacing_mm=(2.0, 0.5, 1.0), origin_mm=(1.0, 0.0, -1.0), chunk=chunk
    )
    d, h, w = torch.meshgrid(torch.arange(3), torch.arange(4), torch.arange(5), indexing="ij")
    assert torch.equal(got[0], 1 + 2.0 * d)
    assert torch.equal(got[1], 0.5 * h * (w - 1.0))
    assert max(sizes) <= chunk
    assert sum(sizes) == 60


def test_labels_without_holding_the_fields() -> None:
    centres = torch.tensor([[4.0, 4, 4], [6.0, 5, 4]])

    def fields(points: torch.Tensor) -> torch.Tensor:
        return (points[:, None] - centres).norm(dim=2) - 3.0

    def labels(points: torch.Tensor) -> torch.Tensor:
        return labels_from_fields(fields(points).T, classes=(2, 9))[:, None]

    options = {"shape": (9, 9, 9), "spacing_mm": UNIT, "chunk": 100}
    whole = labels_from_fields(query_grid(fields, **options), classes=(2, 9))
    assert torch.equal(query_grid(labels, **options)[0], whole)
    assert whole.dtype == torch.int16
    assert whole.unique().tolist() == [0, 2, 9]


@given(seed=seeds, c=st.integers(1, 4))
def test_labels_agree_with_the_definition(seed: int, c: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    fields = torch.randint(-2, 3, (c, 2, 3, 2), generator=generator).float()
    classes = (torch.randperm(9, generator=generator)[:c] + 1).tolist()
    got = labels_from_fields(fields, classes=classes, background=-1, level=0.5)
    for place in np.ndindex(2, 3, 2):
        values = [fields[(k, *place)].item() for k in range(c)]
        low = min(values)
        expected = classes[values.index(low)] if low < 0.5 else -1
        assert got[place].item() == expected
    assert (labels_from_fields(fields, classes=classes)[fields.amin(0) == 0] == 0).all()


def a_mesh(seed: int = 0, name: str = "las") -> Mesh:
    generator = torch.Generator().manual_seed(seed)
    return extract_mesh(torch.randn(4, 5, 4, generator=generator), affine=AFFINES[name])


@pytest.mark.parametrize("suffix", READERS)
def test_files_hold_the_mesh_to_the_bit(suffix: str, tmp_path: Path) -> None:
    mesh = a_mesh()
    path = tmp_path / "new" / f"heart{suffix.upper()}"
    write_mesh(path, mesh)
    vertices, faces, more = READERS[suffix](path)
    assert vertices.dtype == np.float32
    assert np.array_equal(vertices[faces], mesh.vertices.numpy()[mesh.faces.numpy()])
    if suffix != ".stl":
        assert np.array_equal(vertices, mesh.vertices.numpy())
        assert np.array_equal(faces, mesh.faces.numpy())
    assert [file.name for file in path.parent.iterdir()] == [path.name]
    # and say which way is right, for a viewer that would take it for left
    space = more.get("SPACE") or more.get("comments") or more.get("header")
    assert "RAS" in str(space)


def test_normals_in_stl_point_outward(tmp_path: Path) -> None:
    write_mesh(tmp_path / "ball.stl", extract_mesh(ball((11, 12, 12.5), 7.3), spacing_mm=UNIT))
    vertices, faces, more = reference.read_stl(tmp_path / "ball.stl")
    middle = vertices[faces].mean(1) - [11, 12, 12.5]
    normals = np.asarray(more["normals"])
    assert np.allclose(np.linalg.norm(normals, axis=1), 1, atol=1e-5)
    assert ((normals * middle).sum(1) > 0).all()


@pytest.mark.parametrize("suffix", [".ply", ".obj", ".vtp"])
def test_several_meshes_keep_their_names(suffix: str, tmp_path: Path) -> None:
    nothing = Mesh(torch.zeros(0, 3), torch.zeros(0, 3, dtype=torch.int64))
    meshes = {"left atrium": a_mesh(0), "none <&>": nothing, "LAA": a_mesh(1, "ras")}
    path = tmp_path / f"heart{suffix}"
    write_mesh(path, meshes)
    vertices, faces, more = READERS[suffix](path)
    corners = [mesh.vertices.numpy()[mesh.faces.numpy()] for mesh in meshes.values()]
    assert np.array_equal(vertices[faces], np.concatenate(corners))
    if suffix == ".obj":
        assert more["names"] == list(meshes)
        return
    owner = np.asarray(more["structure"])
    assert [int((owner == i).sum()) for i in range(3)] == [len(part) for part in corners]
    names = more["structures"] if suffix == ".vtp" else more["comments"][1:]
    numbered = [f"structure {i} {name}" for i, name in enumerate(meshes)]
    assert names == (list(meshes) if suffix == ".vtp" else numbered)


@pytest.mark.parametrize("suffix", READERS)
def test_a_mesh_of_nothing_is_written(suffix: str, tmp_path: Path) -> None:
    write_mesh(tmp_path / f"x{suffix}", extract_mesh(torch.ones(2, 2, 2), spacing_mm=UNIT))
    vertices, faces, _ = READERS[suffix](tmp_path / f"x{suffix}")
    assert vertices.shape == faces.shape == (0, 3)


def test_a_failed_write_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.ply"
    write_mesh(path, a_mesh())
    before = path.read_bytes()

    def fail(*_: object) -> None:
        raise OSError

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError):  # noqa: PT011
        write_mesh(path, a_mesh(1))
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_refusals_of_files(tmp_path: Path) -> None:
    mesh = a_mesh()
    write = inspect.unwrap(write_mesh)
    bad: list[tuple[str, object, str]] = [
        ("a.glb", mesh, r"a\.glb: expected a name ending in"),
        ("a.ply", {}, r"a\.ply: there is no mesh"),
        ("a.stl", {"LA": mesh, "LV": mesh}, "STL holds one mesh and no names, got LA, LV"),
        ("a.obj", {"L\nA": mesh}, "one line of text"),
        ("a.obj", {"": mesh}, "one line of text"),
        ("a.vtp", Mesh(mesh.vertices * math.nan, mesh.faces), "not finite"),
        ("a.vtp", Mesh(mesh.vertices[:3], mesh.faces), "only 3 vertices"),
        ("a.vtp", Mesh(mesh.vertices, mesh.faces - 1), "faces of vertices -1"),
    ]
    for name, what, message in bad:
        with pytest.raises(ValueError, match=message):
            write(tmp_path / name, what)
    assert list(tmp_path.iterdir()) == []


def test_refusals_of_meshes() -> None:
    field = ball((3, 3, 3), 2, 7)
    with pytest.raises(ValueError, match="spacing_mm or affine must be given"):
        extract_mesh(field)
    for spacing in ((1.0, 1.0), (1.0, 0.0, 1.0)):
        with pytest.raises(ValueError, match="spacing_mm must be three positive numbers"):
            extract_mesh(field, spacing_mm=spacing)
    flat = np.diag([1.0, 1.0, 0.0, 1.0])
    for affine in (np.eye(3), flat, np.eye(4) * math.nan, np.eye(4) + 1):
        with pytest.raises(ValueError, match=r"affine must be \(4, 4\)"):
            extract_mesh(field, affine=affine)
    for value in (math.nan, math.inf):
        holed = field.clone()
        holed[3, 3, 4] = value
        with pytest.raises(ValueError, match="not finite"):
            extract_mesh(holed, spacing_mm=UNIT)


def test_refusals_of_grids_and_labels(unchecked: None) -> None:
    ask: Callable[[torch.Tensor], torch.Tensor] = lambda points: points  # noqa: E731
    for shape in ((2, 2), (2, 0, 2)):
        with pytest.raises(ValueError, match="shape must be three positive numbers"):
            query_grid(ask, shape=shape, spacing_mm=UNIT)
    with pytest.raises(ValueError, match="chunk must be above 0"):
        query_grid(ask, shape=(2, 2, 2), spacing_mm=UNIT, chunk=0)
    for wrong in (lambda points: points[:, 0], lambda points: points[:1]):
        with pytest.raises(ValueError, match=r"function must return \(n, c\) for n points"):
            query_grid(wrong, shape=(2, 2, 2), spacing_mm=UNIT)
    fields = torch.zeros(2, 3, 3, 3)
    for classes in ((1,), (1, 1), (0, 1)):
        with pytest.raises(ValueError, match="classes must be 2 different labels"):
            labels_from_fields(fields, classes=classes)
    with pytest.raises(ValueError, match="classes must fit int16"):
        labels_from_fields(fields, classes=(1, 40_000))


@pytest.mark.data
def test_a_known_torus_comes_back_from_its_distances(data_folder: Path) -> None:
    """R = 1, r = 0.5: the vertices of a mesh of others lie on the field that is meshed here."""
    raw = (data_folder / "shapes" / "torus.STL").read_bytes()
    known, _, _ = reference.read_stl(data_folder / "shapes" / "torus.STL")
    assert len(raw) == 84 + 50 * (len(known) // 3)

    def torus(points: torch.Tensor, axis: int) -> torch.Tensor:
        others = [k for k in range(3) if k != axis]
        ring = points[:, others].norm(dim=1) - 1
        return torch.stack([ring, points[:, axis]]).norm(dim=0)[:, None] - 0.5

    there = torch.from_numpy(known.copy())
    axis = min(range(3), key=lambda k: torus(there, k).abs().max().item())
    assert torus(there, axis).abs().max() < 1e-3
    step, first = (0.06,) * 3, (-1.65,) * 3
    field = query_grid(
        lambda points: torus(points, axis), shape=(56, 56, 56), spacing_mm=step, origin_mm=first
    )[0]
    mesh = extract_mesh(field, spacing_mm=step, origin_mm=first)
    assert closed(mesh)
    assert volume(mesh) == pytest.approx(2 * math.pi**2 * 0.25, rel=0.01)
    assert torus(mesh.vertices, axis).abs().max() < 0.003
