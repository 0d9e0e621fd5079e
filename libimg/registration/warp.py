"""Sample an image along a flow; compose and resize flows."""

from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor

from libimg._check import one_of, same_shape
from libimg._ops import grids
from libimg._types import Flow, Image

__all__ = ["compose", "resize_flow", "warp"]


def warp(
    moving: Image,
    flow: Flow,
    *,
    mode: grids.Mode = "bilinear",
    padding: grids.Padding = "border",
) -> Image:
    """Sample ``moving`` where the flow points: ``warp(moving, flow)(p) = moving(p + flow(p))``.

    The flow says where each output voxel comes from, so content moves against it. Positions are
    computed in float32 or better whatever the input and whether autocast is on. Float32 volumes
    on the CPU take compiled loops that use every thread, forward and backward; all else takes
    ``torch.nn.functional.grid_sample``. Gradients are defined once, to image and flow.

    Args:
        moving: ``(b, c, *spatial)``.
        flow: ``(b, n, *spatial)`` in voxels, channel ``i`` along spatial axis ``i``.
        mode: ``"bilinear"`` (trilinear in 3D), or ``"nearest"`` for label maps; the latter has
            no gradient to the flow.
        padding: outside, an image goes on as its ``"border"``, is ``"zeros"``, or is mirrored
            about the centres of its border voxels (``"reflection"``).

    Returns:
        The warped image, in the shape and dtype of ``moving``.

    Raises:
        ValueError: sizes differ, or an option is unknown.

    Example:
        >>> import torch
        >>> row = torch.tensor([[[[1.0, 2.0, 3.0, 4.0]]]])
        >>> flow = torch.zeros(1, 2, 1, 4)
        >>> flow[:, 1] = 0.5
        >>> warp(row, flow)
        tensor([[[[1.5000, 2.5000, 3.5000, 4.0000]]]])

    Reference:
        Jaderberg et al., "Spatial Transformer Networks", NeurIPS 2015, eq. 5. Order and unit of
        the flow are voxelmorph's, whose padding is zeros: there, borders darken.
    """
    grids.axes("flow", flow)
    if moving.shape[:1] + moving.shape[2:] != flow.shape[:1] + flow.shape[2:]:
        msg = "moving and flow must agree in batch and spatial size, got "
        msg += f"moving {tuple(moving.shape)}, flow {tuple(flow.shape)}"
        raise ValueError(msg)
    one_of("mode", mode, ("bilinear", "nearest"))
    one_of("padding", padding, ("border", "zeros", "reflection"))
    return grids.warp(moving, flow, mode=mode, padding=padding)


def compose(first: Flow, then: Flow) -> Flow:
    """Compose two flows: warping by the result is warping by ``first``, and the result by ``then``.

    ``compose(first, then)(p) = then(p) + first(p + then(p))``, so that
    ``warp(warp(x, first), then) = warp(x, compose(first, then))`` up to interpolation. Beyond the
    border ``first`` keeps its border value.

    Args:
        first: ``(b, n, *spatial)`` in voxels, applied to the image first.
        then: the same shape, applied to what ``first`` has warped.

    Returns:
        ``(b, n, *spatial)`` in voxels.

    Raises:
        ValueError: shapes differ.

    Example:
        >>> import torch
        >>> compose(torch.full((1, 2, 3, 3), 1.0), torch.full((1, 2, 3, 3), -0.25)).unique()
        tensor([0.7500])
    """
    grids.axes("first", first)
    same_shape(first=first, then=then)
    return then + grids.warp(first, then, mode="bilinear", padding="border")


def resize_flow(flow: Flow, *, size: Sequence[int]) -> Float[Tensor, "b n *new"]:
    """Resize a flow to a new grid over the same field, vectors included.

    Multilinear with aligned corners: old voxel ``p`` lies at ``p * (new - 1) / (old - 1)``, and
    the vectors are multiplied by the same factor, so an affine flow stays exactly that flow.

    Args:
        flow: ``(b, n, *spatial)`` in voxels of the old grid.
        size: the new length of each spatial axis.

    Returns:
        ``(b, n, *size)`` in voxels of the new grid.

    Raises:
        ValueError: ``size`` has the wrong number of axes, or a length goes to or from 1, where
            the ratio of the two grids is not defined.

    Example:
        >>> import torch
        >>> resize_flow(torch.full((1, 2, 5, 5), 1.0), size=(9, 3))[0, :, 0, 0]
        tensor([2.0000, 0.5000])

    Reference:
        voxelmorph multiplies by the zoom asked for, 2 where aligned corners make it
        ``(2n - 1) / (n - 1)``. MONAI 1.6's ``VoxelMorph`` (``half_res``) has the factor inverted:
        it doubles the vectors on the smaller grid and halves them on the larger one.
    """
    n = grids.axes("flow", flow)
    new, old = tuple(size), tuple(flow.shape[2:])
    if (
        len(new) != n
        or min(new) < 1
        or any(a != b and 1 in (a, b) for a, b in zip(new, old, strict=True))
    ):
        msg = f"size must have {n} lengths and keep those of 1, got {new} for flow {old}"
        raise ValueError(msg)
    return grids.resize(flow, size=new)
