"""Losses of signed distance fields of many classes: distances, slopes and overlaps."""

from collections.abc import Callable

import torch
from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor
from torch.nn import functional as F

from libimg import _check
from libimg._ops.reduce import masked_mean
from libimg._types import PerSample

__all__ = [
    "class_overlap",
    "eikonal",
    "field_gradient",
    "finite_difference_gradient",
    "sdf_l1",
    "surface_l1",
]

Field = Float[Tensor, "b q k"]
ClassMask = Shaped[Tensor, "b k"] | Shaped[Tensor, "b q k"]
Gradient = Float[Tensor, "b q k 3"]
Points = Float[Tensor, "b q 3"]


def sdf_l1(
    prediction: Field,
    target: Field,
    *,
    mask: ClassMask | None = None,
    weight: Float[Tensor, "b q #k"] | None = None,
    band: float | None = None,
    band_weight: float = 10.0,
    clamp: float | None = None,
) -> PerSample:
    """Absolute error of distances, over the labelled classes only: Σ m·w·ℓ / Σ m·w.

    A class without labels is not an absent class: it has ``mask`` 0 and its target is never
    read, be it NaN; an absent class has ``mask`` 1 and a positive target everywhere. Cases with
    different label sets so share a batch.

    Args:
        prediction: ``(b, q, classes)``, negative inside, any unit of length.
        target: the same shape and unit.
        mask: labelled classes, ``(b, classes)`` or ``(b, q, classes)``; all if None.
        weight: of samples, ``(b, q, 1 or classes)``, such as by their kind; 1 if None.
        band: distances ``|target| < band`` weigh ``band_weight`` times more; no band if None.
        band_weight: above 0.
        clamp: largest distance that is asked for, in that unit: where the target is beyond it,
            the prediction must only be beyond it too, on the same side; no limit if None.

    Returns:
        ``(b,)`` in the unit of the fields; 0 and without gradient where nothing is labelled.

    Raises:
        ValueError: the shapes differ, or a number is not above 0.

    Example:
        >>> prediction = torch.tensor([[[1.0, 9.0], [2.0, 9.0]]])
        >>> target = torch.tensor([[[1.5, float("nan")], [0.5, float("nan")]]])
        >>> sdf_l1(prediction, target, mask=torch.tensor([[True, False]]))
        tensor([1.])
        >>> sdf_l1(prediction[..., :1], target[..., :1], clamp=1.0)
        tensor([0.75])

    Reference:
        Fang, Yan, "Multi-organ Segmentation over Partially Labeled Datasets", TMI 2020, for the
        idea; Park et al., "DeepSDF", CVPR 2019, equation 4, for the clamp. There the prediction
        is clamped too, which leaves one that is far on the wrong side without gradient.
    """
    _check.same_shape(prediction=prediction, target=target)
    _check.positive(band_weight=band_weight)
    weights = _weights(prediction, mask)
    if weight is not None:
        weights = weights * weight.to(weights.dtype)
    target = torch.where(weights != 0, target, 0)
    if band is not None:
        _check.positive(band=band)
        weights = torch.where(target.abs() < band, band_weight * weights, weights)
    if clamp is None:
        return masked_mean((prediction - target).abs(), weights)
    _check.positive(clamp=clamp)
    over = prediction - target.clamp(-clamp, clamp)
    error = torch.where(target >= clamp, (-over).relu(), over.abs())
    return masked_mean(torch.where(target <= -clamp, over.relu(), error), weights)


def surface_l1(
    prediction: Field, classes: Int[Tensor, "b q"], *, mask: Shaped[Tensor, "b q"] | None = None
) -> PerSample:
    """Distance that a field gives to points on its class's surface, where it should be 0.

    Args:
        prediction: ``(b, q, classes)``, at points of surfaces.
        classes: index of the class whose surface the point is on, ``(b, q)``, from 0 to classes
            - 1. Values are not read here: for another index torch raises its own error (on a GPU,
            late and for the whole process), unless the mask of the point is 0.
        mask: weights of points, ``(b, q)``, 0 for padding; all 1 if None.

    Returns:
        ``(b,)``, mean of ``|f_class|`` in the unit of the field; 0 where the mask is empty.

    Raises:
        ValueError: the classes or the mask do not fit.

    Example:
        >>> field = torch.tensor([[[0.5, 7.0], [7.0, -1.5]]])
        >>> surface_l1(field, torch.tensor([[0, 1]]))
        tensor([1.])
    """
    for name, tensor in (("classes", classes), ("mask", mask)):
        if tensor is not None and tensor.shape != prediction.shape[:2]:
            msg = f"{name} must be {tuple(prediction.shape[:2])}, got {tuple(tensor.shape)}"
            raise ValueError(msg)
    keep = torch.ones_like(prediction[..., 0]) if mask is None else mask
    index = torch.where(keep != 0, classes, 0).long().unsqueeze(-1)
    return masked_mean(prediction.gather(2, index).abs(), keep.unsqueeze(-1))


def eikonal(gradient: Gradient, *, mask: ClassMask | None = None) -> PerSample:
    """Squared difference of a slope to 1: mean of (|∇f| - 1)².

    Distances have slope 1 except where two nearest points are equally far; with a target that
    is clamped, mask to its band. Points and field must have one unit.

    Args:
        gradient: ``(b, q, classes, 3)``, of `field_gradient` or `finite_difference_gradient`.
        mask: weights, ``(b, classes)`` or ``(b, q, classes)``; all 1 if None.

    Returns:
        ``(b,)`` without unit; 0 where the mask is empty. Where a gradient is 0, so is the
        loss's own derivative: a constant field does not move.

    Raises:
        ValueError: the last axis is not 3, or the mask does not fit.

    Example:
        >>> eikonal(torch.tensor([[[[0.0, 3.0, 4.0]], [[1.0, 0.0, 0.0]]]]))
        tensor([8.])

    Reference:
        Gropp et al., "Implicit Geometric Regularization", ICML 2020, equation 2.
    """
    if gradient.ndim != 4 or gradient.shape[-1] != 3:
        msg = f"gradient must be (b, q, classes, 3), got {tuple(gradient.shape)}"
        raise ValueError(msg)
    wide = gradient.float() if gradient.dtype in (torch.float16, torch.bfloat16) else gradient
    slope = torch.linalg.vector_norm(wide, dim=-1)
    return masked_mean((slope - 1).square(), _weights(slope, mask))


def field_gradient(
    function: Callable[[Tensor], Tensor], points: Points, *, create_graph: bool = True
) -> Gradient:
    """Exact derivative of a field by its points, by one backward pass for each class.

    Its own gradient needs second derivatives of everything in ``function``, which fused
    attention kernels do not have (`VecSetAutoencoder.read` then does without them), and the
    memory of a graph for each class. For many classes `finite_difference_gradient` is cheaper.

    Args:
        function: gives ``(b, q, classes)`` at ``(b, q, 3)``, each point by itself.
        points: ``(b, q, 3)``; they need no gradient of their own.
        create_graph: True to train with the result, False to look at it.

    Returns:
        ``(b, q, classes, 3)``, unit of the field over unit of the points.

    Example:
        >>> ball = lambda p: p.norm(dim=-1, keepdim=True) - 0.5
        >>> field_gradient(ball, torch.tensor([[[0.0, 3.0, 4.0]]]), create_graph=False)
        tensor([[[[0.0000, 0.6000, 0.8000]]]])
    """
    with torch.enable_grad():
        if not points.requires_grad:
            points = points.detach().requires_grad_()
        columns: tuple[Tensor, ...] = function(points).unbind(-1)
        parts = [
            torch.autograd.grad(
                column.sum(),
                points,
                create_graph=create_graph,
                retain_graph=create_graph or i + 1 < len(columns),
            )[0]
            for i, column in enumerate(columns)
        ]
    return torch.stack(parts, 2)


def finite_difference_gradient(
    function: Callable[[Tensor], Tensor], points: Points, *, step: float
) -> Gradient:
    """Derivative of a field by central differences: one call with six points for each point.

    It costs six times the field, for any number of classes; its gradient is of first order, so
    any kernel will do. The error is ``step² / 6`` times the third derivative: a wave of length
    ``λ`` loses the share ``(2π·step/λ)² / 6`` of its slope. Rounding adds about 1e-7 times the
    field over ``step`` in float32, so that 0.005 is a fair step in the unit cube. Do not take it
    from a field in bfloat16.

    Args:
        function: gives ``(b, n, classes)`` at ``(b, n, 3)``, each point by itself.
        points: ``(b, q, 3)``.
        step: half the distance of the two points of a difference, in the unit of the points.

    Returns:
        ``(b, q, classes, 3)``, unit of the field over unit of the points.

    Raises:
        ValueError: ``step`` is not above 0.

    Example:
        >>> bowl = lambda p: p.square().sum(-1, keepdim=True)
        >>> finite_difference_gradient(bowl, torch.tensor([[[1.0, 2.0, 3.0]]]), step=0.5)
        tensor([[[[2., 4., 6.]]]])

    Reference:
        Li et al., "Neuralangelo", CVPR 2023, section 3.1, for the merit of a wide step.
    """
    _check.positive(step=step)
    shifts = step * torch.eye(3, dtype=points.dtype, device=points.device)
    around = points.unsqueeze(2) + torch.cat([shifts, -shifts])
    values: Tensor = function(around.flatten(1, 2)).unflatten(1, (points.shape[1], 2, 3))
    return (values[:, :, 0] - values[:, :, 1]).transpose(2, 3) / (2 * step)


def class_overlap(
    prediction: Field, *, margin: float = 0.0, mask: Bool[Tensor, "b k"] | None = None
) -> PerSample:
    """Depth by which a second class reaches into another, mean over the points.

    A point belongs to one class at most, so the second lowest distance must not be negative;
    the class that is deepest stays, the next is pushed out. Classes that touch cost nothing.

    Args:
        prediction: ``(b, q, classes)``, negative inside, any unit of length.
        margin: overlap up to this depth, in that unit, is free; not negative.
        mask: classes that exclude each other, ``(b, classes)``; all if None. Leave out those
            that contain others.

    Returns:
        ``(b,)``, mean of ``max(0, -second lowest - margin)``, in the unit of the field.

    Raises:
        ValueError: a negative margin, or a mask that does not fit.

    Example:
        >>> class_overlap(torch.tensor([[[-3.0, -1.0, 5.0], [-3.0, 1.0, 5.0]]]))
        tensor([0.50])

    Reference:
        For disjoint bodies f_i + f_j >= 0 everywhere. Others take products of the depths of
        pairs, whose unit is squared and whose slope vanishes where one depth does.
    """
    if margin < 0:
        msg = f"margin must not be negative, got {margin}"
        raise ValueError(msg)
    if mask is not None:
        keep = _weights(prediction, mask) != 0
        prediction = torch.where(keep, prediction, torch.inf)
    beside = F.pad(prediction, (0, 1), value=torch.inf)  # so that there are two
    second = beside.topk(2, dim=-1, largest=False).values[..., 1:]
    return masked_mean((-second - margin).relu())


def _weights(like: Tensor, mask: Tensor | None) -> Tensor:
    """Weights ``(b, q, classes)`` of a mask of classes, or of points and classes."""
    dtype = torch.promote_types(like.dtype, torch.float32)
    if mask is None:
        return torch.ones_like(like, dtype=dtype)
    wide = mask.unsqueeze(1) if mask.ndim == 2 else mask
    b, q, k = like.shape
    if wide.ndim != 3 or wide.shape not in ((b, 1, k), (b, q, k)):
        msg = f"mask must be {(b, k)} or {(b, q, k)}, got {tuple(mask.shape)}"
        raise ValueError(msg)
    return wide.to(dtype).expand(b, q, k)
