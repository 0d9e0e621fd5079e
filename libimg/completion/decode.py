"""From latents to distances on a grid and meshes."""

from collections.abc import Sequence
from typing import Any

from jaxtyping import Float
from torch import Tensor

from libimg.completion.cases import Case
from libimg.completion.evaluate import field_reader
from libimg.completion.fields import sparse
from libimg.completion.model import Completer
from libimg.shapes import Mesh, extract_mesh, query_grid

__all__ = ["cube_grid", "decode_fields", "decode_meshes", "grid_meshes"]


def cube_grid(half_mm: float, *, spacing_mm: float) -> int:
    """Voxels along each side of the cube; a spacing that leaves less than 3 is refused.

    Example:
        >>> cube_grid(100.0, spacing_mm=2.0)
        101
    """
    if not 0 < spacing_mm <= half_mm:
        msg = f"spacing_mm must be above 0 and at most {half_mm:g} (half the cube), "
        msg += f"got {spacing_mm}"
        raise ValueError(msg)
    return 2 * round(half_mm / spacing_mm) + 1


def grid_meshes(
    case: Case, fields: Tensor, spacing_mm: float, origin_mm: Sequence[float]
) -> dict[str, Mesh]:
    """Surfaces of all classes from fields on a grid parallel to a case's."""
    place: Any = {"spacing_mm": 3 * (spacing_mm,), "origin_mm": origin_mm}
    place["affine"] = case.frame.affine
    return {n: extract_mesh(f, **place) for n, f in zip(case.classes, fields, strict=True)}


def decode_meshes(
    model: Completer,
    case: Case,
    code: Float[Tensor, "b m c"],
    middle: Float[Tensor, " 3"],
    *,
    spacing_mm: float = 2.0,
) -> dict[str, Mesh]:
    """Surfaces of all classes from latents, in patient millimetres (RAS).

    Args:
        model: in evaluation mode.
        case: whose frame is used.
        code: latents.
        middle: of `encode_case`.
        spacing_mm: of the distances that are asked for.

    Example:
        >>> from libimg.completion import encode_case, learn_shape, phantom_case
        >>> from libimg.nets import VecSetAutoencoder
        >>> case = phantom_case()
        >>> model = Completer(VecSetAutoencoder.preset("tiny", classes=10), grid=16).eval()
        >>> learn_shape(model, [case])
        >>> latent, middle = encode_case(model, case, case.labelled, inputs=64)
        >>> meshes = decode_meshes(model, case, latent.mean, middle, spacing_mm=8.0)
        >>> list(meshes)[:3], len(meshes["LV"].faces) > 100
        (['Myocardium', 'LA', 'LV'], True)
    """
    how: Any = {"spacing_mm": spacing_mm, "levelled": True}
    fields, origin = decode_fields(model, case, code, middle, **how)
    return grid_meshes(case, fields, spacing_mm, origin)


def decode_fields(
    model: Completer,
    case: Case,
    code: Float[Tensor, "b m c"],
    middle: Float[Tensor, " 3"],
    *,
    spacing_mm: float,
    levelled: bool = False,
    chunk: int = 1 << 15,
) -> tuple[Float[Tensor, "k d h w"], tuple[float, float, float]]:
    """Ask for all distances in the cube around the middle, on axes parallel to the labels'.

    Args:
        model: in evaluation mode.
        case: whose frame is used.
        code: latents.
        middle: of `encode_case`.
        spacing_mm: of the grid.
        levelled: take the surfaces at the levels of `fit_levels`: for the encoder's answer, which
            is a mean, and neither for a draw nor for fitted latents.
        chunk: points asked for at once.

    Returns:
        Fields in mm, and the place of their first voxel in array millimetres of the case.

    Raises:
        ValueError: ``spacing_mm`` is not above 0, or more than half the cube.

    Example:
        >>> from libimg.completion import encode_case, learn_shape, phantom_case
        >>> from libimg.nets import VecSetAutoencoder
        >>> case = phantom_case()
        >>> model = Completer(VecSetAutoencoder.preset("tiny", classes=10), grid=16).eval()
        >>> learn_shape(model, [case])
        >>> latent, middle = encode_case(model, case, case.labelled, inputs=64)
        >>> fields, origin = decode_fields(model, case, latent.mean, middle, spacing_mm=8.0)
        >>> fields.shape
        torch.Size([10, 25, 25, 25])
    """
    half = case.sampling.half_mm
    size = cube_grid(half, spacing_mm=spacing_mm)
    first = case.frame.to_mm(middle[None])[0] - (size - 1) / 2 * spacing_mm
    ask = field_reader(model, code, middle, half_mm=half, levelled=levelled)

    def read(points: Tensor) -> Tensor:
        return ask(case.frame.to_unit(points))

    origin: Any = tuple(first.tolist())
    grid: Any = {"shape": 3 * (size,), "spacing_mm": 3 * (spacing_mm,), "origin_mm": origin}
    return query_grid(sparse(read, **grid), **grid, chunk=chunk), origin
