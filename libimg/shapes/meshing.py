"""From signed distances to triangle meshes and label maps, and the fields on a grid before."""

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor

from libimg._check import positive
from libimg._extras import optional

__all__ = ["Mesh", "extract_mesh", "labels_from_fields", "query_grid"]

Triple = Sequence[float]


class Mesh(NamedTuple):
    """A triangle mesh.

    Attributes:
        vertices: ``(n, 3)`` float32, mm.
        faces: ``(m, 3)`` int64, indices of vertices; seen from outside, they run counter-clockwise.

    Example:
        >>> Mesh(torch.zeros(3, 3), torch.tensor([[0, 1, 2]])).faces.shape
        torch.Size([1, 3])
    """

    vertices: Float[Tensor, "n 3"]
    faces: Int[Tensor, "m 3"]


def extract_mesh(
    field: Float[Tensor, "d h w"],
    *,
    spacing_mm: Triple | None = None,
    origin_mm: Triple = (0.0, 0.0, 0.0),
    affine: Any = None,
    level: float = 0.0,
) -> Mesh:
    """Extract the surface of one class from its signed distances by marching cubes.

    The mesh is closed: where the class leaves the volume it is cut off on the outer faces of the
    volume's voxels, half a voxel beyond their centres.

    Args:
        field: ``(d, h, w)``, below ``level`` inside; on the CPU or copied there.
        spacing_mm: voxel size along (d, h, w); that of ``affine`` if None.
        origin_mm: centre of the first voxel in mm along (d, h, w).
        affine: ``(4, 4)`` as in NIfTI, from the file's (i, j, k) = (w, h, d) to RAS mm, of the
            image in whose millimetres the grid lies. The grid may be finer or coarser than it.
        level: value on the surface.

    Returns:
        With ``affine``, vertices (x, y, z) in RAS mm; without, in mm along (d, h, w), the
        coordinates of the points of this package. Normals point outward in either, also when the
        affine mirrors. A field that is nowhere below the level gives a mesh without vertices.

    Raises:
        ValueError: neither ``spacing_mm`` nor ``affine`` is given or one is malformed, or a field
            with an inside holds values that are not finite.
        ImportError: scikit-image is not installed.

    Example:
        >>> grid = torch.stack(torch.meshgrid(*[torch.arange(21.0)] * 3, indexing="ij"))
        >>> mesh = extract_mesh((grid - 10).norm(dim=0) - 8, spacing_mm=(1, 1, 1))
        >>> (mesh.vertices - 10).norm(dim=1).mean()
        tensor(8.00)

    Reference:
        Lewiner et al., Efficient implementation of marching cubes' cases with topological
        guarantees, Journal of Graphics Tools 8, 2003, as in scikit-image.
    """
    size = _spacing(spacing_mm, affine)
    values = field.detach().to("cpu", torch.float32) - level
    inside = values < 0
    if not bool(inside.any()):
        return Mesh(torch.zeros(0, 3), torch.zeros(0, 3, dtype=torch.int64))
    box = _box(inside)
    values = values[box]
    if not bool(values.isfinite().all()):
        msg = "field holds values that are not finite beside the class"
        raise ValueError(msg)
    # Mirrored values around the volume put the cut half a voxel outside; a value of just the
    # level is outside.
    padded = np.pad(values.numpy(), 1, mode="edge")
    core = (slice(1, -1),) * 3
    closed = np.abs(padded)
    closed[core] = padded[core]
    closed[closed == 0] = np.finfo(np.float32).tiny
    measure = optional("skimage.measure", extra="tasks")
    places, faces, _, _ = measure.marching_cubes(closed, 0.0, gradient_direction="descent")
    start = np.array([part.start for part in box]) - 1
    vertices = np.asarray(origin_mm, float) + (places + start) * size
    if affine is not None:
        matrix = _matrix(affine)
        index = (vertices / _spacing(None, affine))[:, ::-1]
        vertices = index @ matrix[:3, :3].T + matrix[:3, 3]
        if np.linalg.det(matrix) > 0:  # (d, h, w) against (i, j, k) mirrors once
            faces = faces[:, ::-1]
    return Mesh(torch.from_numpy(vertices).float(), torch.from_numpy(faces.astype(np.int64)))


def query_grid(
    function: Callable[[Float[Tensor, "n 3"]], Shaped[Tensor, "n c"]],
    *,
    shape: Sequence[int],
    spacing_mm: Triple,
    origin_mm: Triple = (0.0, 0.0, 0.0),
    chunk: int = 1 << 16,
    device: torch.device | str | None = None,
) -> Shaped[Tensor, "c d h w"]:
    """Evaluate a function of points at all voxel centres of a grid, some points at a time.

    Voxel (d, h, w) has its centre at ``origin_mm + (d, h, w) · spacing_mm``. To fill the box from
    ``low`` to ``high`` with ``n`` voxels along an axis: spacing ``(high - low) / n``, origin
    ``low + spacing / 2``. To fill an image's own grid: its shape and spacing, no origin.

    Args:
        function: from points ``(n, 3)``, mm along (d, h, w), to ``(n, c)``, such as signed
            distances of c classes; called without gradient. A function that returns labels
            ``(n, 1)`` gives a label map without ever holding all fields.
        shape: voxels (d, h, w).
        spacing_mm: voxel size along (d, h, w).
        origin_mm: centre of the first voxel.
        chunk: most points at a time, which bounds the memory beside the result.
        device: of the points; the result is gathered on the CPU.

    Returns:
        ``(c, d, h, w)`` in the dtype that the function returns, on the CPU.

    Raises:
        ValueError: ``shape`` is not three positive numbers, ``chunk`` is not positive, or the
            function does not return ``(n, c)`` for n points.

    Example:
        >>> ball = lambda points: points.norm(dim=1, keepdim=True) - 3
        >>> query_grid(ball, shape=(1, 1, 3), spacing_mm=(1, 1, 2), origin_mm=(0, 0, 1))
        tensor([[[[-2., 0., 2.]]]])
    """
    if len(shape) != 3 or min(shape) < 1:
        msg = f"shape must be three positive numbers (d, h, w), got {tuple(shape)}"
        raise ValueError(msg)
    positive(chunk=chunk)
    step = torch.tensor(tuple(spacing_mm), dtype=torch.float64, device=device)
    first = torch.tensor(tuple(origin_mm), dtype=torch.float64, device=device)
    total, out = math.prod(shape), torch.empty(0)
    with torch.no_grad():
        for start in range(0, total, chunk):
            index = torch.arange(start, min(start + chunk, total), device=device)
            place = torch.stack(torch.unravel_index(index, tuple(shape)), 1)
            found = function((first + place * step).float())
            if found.ndim != 2 or len(found) != len(index):
                msg = f"function must return (n, c) for n points, got {tuple(found.shape)} for "
                msg += f"{len(index)} points"
                raise ValueError(msg)
            if start == 0:
                out = torch.empty(found.shape[1], total, dtype=found.dtype)
            out[:, start : start + chunk] = found.T
    return out.view(-1, *shape)


def labels_from_fields(
    fields: Float[Tensor, " c *grid"],
    *,
    classes: Sequence[int],
    background: int = 0,
    level: float = 0.0,
) -> Int[Tensor, "*grid"]:
    """Label every voxel with the class whose field is lowest, if it is below the level.

    Where classes overlap, the one that the voxel lies deepest in wins, the first of them on a tie;
    a voxel of just the level is background.

    Args:
        fields: ``(c, *grid)`` signed distances, negative inside.
        classes: label of each field, within int16.
        background: label of voxels that are in no class.
        level: value on the surfaces.

    Returns:
        ``(*grid)`` int16, the kind that `libimg.io` writes.

    Raises:
        ValueError: there are not as many different classes as fields, one is the background, or
            one does not fit int16.

    Example:
        >>> fields = torch.tensor([[-2.0, -1.0, 1.0], [3.0, -1.5, 0.0]])
        >>> labels_from_fields(fields, classes=(1, 7))
        tensor([1, 7, 0], dtype=torch.int16)
    """
    labels = [*classes, background]
    if len(classes) != len(fields) or len(set(labels)) != len(labels):
        msg = f"classes must be {len(fields)} different labels, one a field, and not the "
        msg += f"background {background}, got {tuple(classes)}"
        raise ValueError(msg)
    if any(not -(2**15) <= label < 2**15 for label in labels):
        msg = f"classes must fit int16, got {labels}"
        raise ValueError(msg)
    lowest, index = fields.min(dim=0)
    table = torch.tensor(labels, dtype=torch.int16, device=fields.device)
    return table[torch.where(lowest < level, index, len(classes))]


def _box(inside: Tensor) -> tuple[slice, ...]:
    """Smallest box around the inside and one voxel more where there is one."""
    box = []
    for axis in range(3):
        others = [k for k in range(3) if k != axis]
        found = inside.any(dim=others).nonzero()
        box.append(slice(max(int(found[0]) - 1, 0), int(found[-1]) + 2))
    return tuple(box)


def _spacing(spacing_mm: Triple | None, affine: Any) -> Any:
    """Voxel size along (d, h, w), from the affine if it is not given."""
    if spacing_mm is None:
        if affine is None:
            msg = "spacing_mm or affine must be given, got neither"
            raise ValueError(msg)
        return np.linalg.norm(_matrix(affine)[:3, :3], axis=0)[::-1].copy()
    if len(spacing_mm) != 3 or min(spacing_mm) <= 0:
        msg = f"spacing_mm must be three positive numbers (d, h, w), got {tuple(spacing_mm)}"
        raise ValueError(msg)
    return np.asarray(spacing_mm, float)


def _matrix(affine: Any) -> Any:
    matrix = np.asarray(affine, dtype=np.float64)
    good = matrix.shape == (4, 4) and bool(np.isfinite(matrix).all())
    if not good or matrix[3].tolist() != [0, 0, 0, 1] or abs(np.linalg.det(matrix)) < 1e-9:
        msg = f"affine must be (4, 4), finite, invertible and end in (0, 0, 0, 1), got {affine}"
        raise ValueError(msg)
    return matrix
