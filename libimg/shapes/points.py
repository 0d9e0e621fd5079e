"""Points on, near and inside the classes of signed distance fields, by explicit generators.

Points are ``(n, 3)`` float32 in millimetres along the array's axes: the centre of voxel
``(i, j, k)`` is ``(i, j, k) * spacing_mm``. Between the centres a field is trilinear.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from libimg.shapes import draws
from libimg.shapes.interpolate import interpolate_fields

__all__ = [
    "FieldPoints",
    "SurfacePoints",
    "sample_near_surface",
    "sample_surface",
    "sample_volume",
]

Fields = Float[Tensor, "classes d h w"]


@dataclass(frozen=True)
class SurfacePoints:
    """Points on the surfaces of several classes, in the order of the classes.

    Attributes:
        points: ``(n, 3)`` in millimetres.
        classes: ``(n,)`` index of each point's class in the fields.
        absent: classes that points were asked of and that have no surface; they gave none.

    Example:
        >>> SurfacePoints(torch.zeros(2, 3), torch.tensor([0, 1])).absent
        ()
    """

    points: Float[Tensor, "n 3"]
    classes: Int[Tensor, " n"]
    absent: tuple[int, ...] = ()


@dataclass(frozen=True)
class FieldPoints:
    """Points in space with the signed distances to all classes.

    Attributes:
        points: ``(n, 3)`` in millimetres.
        classes: ``(n,)`` index of the class that each point was drawn for, -1 for none.
        distances: ``(classes, n)`` in millimetres, negative inside.
        absent: classes that points were asked of and that have none to give.

    Example:
        >>> FieldPoints(torch.zeros(2, 3), torch.tensor([0, -1]), torch.ones(4, 2)).absent
        ()
    """

    points: Float[Tensor, "n 3"]
    classes: Int[Tensor, " n"]
    distances: Float[Tensor, "classes n"]
    absent: tuple[int, ...] = ()


def sample_surface(
    fields: Fields,
    *,
    spacing_mm: Sequence[float],
    counts: int | Sequence[int],
    generator: torch.Generator,
) -> SurfacePoints:
    """Draw points uniformly by area on the zero level of each class's trilinear field.

    Random lines along the axes, as dense per square millimetre along each, meet a surface with
    unit normal n in proportion to |n0| + |n1| + |n2|; a crossing is kept with the inverse of
    that. Along such a line a trilinear field is linear in each cell, so every point is an exact
    root: there is no mesh and no projection. Where a class leaves the volume, the cut is no
    surface and gets no points.

    Args:
        fields: ``(classes, d, h, w)``, negative inside.
        spacing_mm: voxel size along (d, h, w).
        counts: points of every class, or one number for each; thin classes get theirs in full.
        generator: of the points; on another device than the fields it still gives its own
            numbers, so a CPU generator draws the same points everywhere.

    Returns:
        The points of class 0, then of class 1, …, each class in random order.

    Raises:
        ValueError: a volume less than two voxels wide, a spacing or count out of range, or a
            surface far smaller than a voxel.

    Example:
        >>> grid = torch.stack(torch.meshgrid(*[torch.arange(9.0)] * 3, indexing="ij"))
        >>> ball = (grid - 4).norm(dim=0) - 2.5
        >>> fields = torch.stack([ball, torch.full_like(ball, 9.0)])
        >>> generator = torch.Generator().manual_seed(0)
        >>> drawn = sample_surface(fields, spacing_mm=(1, 1, 1), counts=500, generator=generator)
        >>> drawn.points.shape, drawn.absent
        (torch.Size([500, 3]), (1,))
        >>> (drawn.points - 4).norm(dim=1).mean()
        tensor(2.5)

    Reference:
        Santaló, Integral Geometry and Geometric Probability, 1976 (lines meeting a surface).
        Known shape codes draw on a triangle mesh instead, by ``trimesh`` or their own.
    """
    numbers = draws.quota("counts", counts, len(fields))
    return SurfacePoints(*draws.draw(fields, spacing_mm, numbers, generator, draws.surface))


def sample_near_surface(
    fields: Fields,
    *,
    spacing_mm: Sequence[float],
    counts: int | Sequence[int],
    sigmas_mm: Sequence[float] = (0.5, 5.0),
    generator: torch.Generator,
) -> FieldPoints:
    """Draw surface points, move them by Gaussian noise and read all fields there.

    Args:
        fields: ``(classes, d, h, w)`` in millimetres, negative inside.
        spacing_mm: voxel size along (d, h, w).
        counts: points of every class, or one number for each.
        sigmas_mm: standard deviations along each axis; the points of a class take them in turn.
        generator: of the points and the noise.

    Returns:
        The points, the class whose surface each was moved from, and their distances to all
        classes. Points may lie outside the volume: see `interpolate_fields`.

    Raises:
        ValueError: as for `sample_surface`, or no sigma or one that is not finite and above 0.

    Example:
        >>> field = torch.arange(6.0).view(6, 1, 1).expand(6, 6, 6)[None] - 2.5
        >>> generator = torch.Generator().manual_seed(0)
        >>> near = sample_near_surface(
        ...     field, spacing_mm=(1, 1, 1), counts=9, sigmas_mm=(0.1,), generator=generator
        ... )
        >>> near.distances.shape, bool(near.distances.abs().max() < 0.5)
        (torch.Size([1, 9]), True)

    Reference:
        Two standard deviations, 0.005 and 0.05 of half the cube, as in 3DShape2VecSet's data;
        here in millimetres, for a half cube of 100 mm, so that they do not depend on the case.
    """
    if not sigmas_mm:
        msg = "sigmas_mm must name at least one standard deviation, got none"
        raise ValueError(msg)
    for i, size in enumerate(sigmas_mm):
        if not 0 < size < math.inf:
            msg = f"sigmas_mm[{i}] must be above 0 and finite, got {size}"
            raise ValueError(msg)
    start = sample_surface(fields, spacing_mm=spacing_mm, counts=counts, generator=generator)
    n = len(start.points)
    noise = torch.randn(n, 3, generator=generator, device=generator.device).to(start.points)
    sigma = start.points.new_tensor(tuple(sigmas_mm))
    turn = torch.arange(n, device=sigma.device) % len(sigma)
    points = start.points + noise * sigma[turn, None]
    distances = interpolate_fields(fields, points, spacing_mm=spacing_mm)
    return FieldPoints(points, start.classes, distances, start.absent)


def sample_volume(
    fields: Fields,
    *,
    spacing_mm: Sequence[float],
    count: int,
    inside: int | Sequence[int] = 0,
    generator: torch.Generator,
) -> FieldPoints:
    """Draw points uniformly in the volume, and more inside each class, and read all fields there.

    A coronary artery fills a few parts in 100 000 of a scan: without ``inside`` it gets no points.
    For another box than the volume, such as the cube of a `Frame`, draw there and call
    `interpolate_fields`.

    Args:
        fields: ``(classes, d, h, w)`` in millimetres, negative inside.
        spacing_mm: voxel size along (d, h, w).
        count: points between the centres of the outermost voxels.
        inside: further points inside every class, or one number for each.
        generator: of the points.

    Returns:
        First the ``count`` points, of class -1, then those inside class 0, class 1, ….

    Raises:
        ValueError: as for `sample_surface`.

    Example:
        >>> field = torch.arange(6.0).view(6, 1, 1).expand(6, 6, 6)[None] - 2.5
        >>> generator = torch.Generator().manual_seed(0)
        >>> drawn = sample_volume(
        ...     field, spacing_mm=(1, 1, 1), count=4, inside=3, generator=generator
        ... )
        >>> drawn.classes
        tensor([-1, -1, -1, -1,  0,  0,  0])
        >>> bool((drawn.distances[0, 4:] < 0).all())
        True
    """
    draws.quota("count", count, 1)
    numbers = draws.quota("inside", inside, len(fields))
    points, classes, absent = draws.draw(fields, spacing_mm, numbers, generator, draws.inside)
    extent = [(n - 1) * size for n, size in zip(fields.shape[1:], spacing_mm, strict=True)]
    box = draws.rand(generator, count, 3).to(points) * points.new_tensor(extent)
    points = torch.cat([box, points])
    classes = torch.cat([classes.new_full((count,), -1), classes])
    distances = interpolate_fields(fields, points, spacing_mm=spacing_mm)
    return FieldPoints(points, classes, distances, absent)
