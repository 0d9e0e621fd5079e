"""Overlap of segmentations: Dice and intersection over union."""

from collections.abc import Iterator, Sequence

import torch
from jaxtyping import Bool, Float, Shaped
from torch import Tensor

from libimg._check import same_shape

__all__ = ["dice", "iou"]

Segmentation = Shaped[Tensor, "b c *spatial"]
"""Boolean masks, one channel a class, or one channel of integer labels."""


def dice(
    pred: Segmentation, target: Segmentation, *, classes: Sequence[int] | None = None
) -> Float[Tensor, "b k"]:
    """Dice coefficient ``2·|A ∩ B| / (|A| + |B|)`` of every sample and class.

    Args:
        pred: boolean masks ``(b, k, *spatial)``, or integer labels ``(b, 1, *spatial)``.
        target: same shape and kind.
        classes: the labels to score, for label maps only. Background counts if it is listed.

    Returns:
        ``(b, k)`` in [0, 1]. A class that neither image has is NaN, never 0 or 1: leave it out of
        a mean on purpose (``nanmean``) and say so.

    Raises:
        ValueError: the shapes differ, or ``classes`` does not fit the kind of image.
        TypeError: the images are neither both boolean nor both integer.

    Example:
        >>> pred, target = torch.tensor([[[0, 1, 1, 2]]]), torch.tensor([[[0, 1, 2, 2]]])
        >>> dice(pred, target, classes=(1, 2, 3))
        tensor([[0.6667, 0.6667,    nan]])

    Reference:
        Dice, "Measures of the amount of ecologic association between species", Ecology 1945.
        MONAI's ``DiceMetric`` reports a class that only the prediction has as NaN as well; here
        that is 0, since it is an error.
    """
    common, of_pred, of_target = _counts(pred, target, classes)
    return 2 * common / (of_pred + of_target)


def iou(
    pred: Segmentation, target: Segmentation, *, classes: Sequence[int] | None = None
) -> Float[Tensor, "b k"]:
    """Intersection over union ``|A ∩ B| / |A ∪ B|`` (Jaccard index) of every sample and class.

    Args:
        pred: boolean masks ``(b, k, *spatial)``, or integer labels ``(b, 1, *spatial)``.
        target: same shape and kind.
        classes: the labels to score, for label maps only. Background counts if it is listed.

    Returns:
        ``(b, k)`` in [0, 1]; NaN for a class that neither image has, as in `dice`.

    Raises:
        ValueError: the shapes differ, or ``classes`` does not fit the kind of image.
        TypeError: the images are neither both boolean nor both integer.

    Example:
        >>> iou(torch.tensor([[[True, True, False]]]), torch.tensor([[[True, False, False]]]))
        tensor([[0.5000]])
    """
    common, of_pred, of_target = _counts(pred, target, classes)
    return common / (of_pred + of_target - common)


def class_pairs(
    pred: Tensor, target: Tensor, classes: Sequence[int] | None
) -> Iterator[tuple[Bool[Tensor, "b c *spatial"], Bool[Tensor, "b c *spatial"]]]:
    """Masks of ``pred`` and ``target``: all channels at once, or one label after the other."""
    same_shape(pred=pred, target=target)
    kinds = {"boolean" if x.dtype == torch.bool else str(x.dtype) for x in (pred, target)}
    if kinds == {"boolean"}:
        if classes is not None:
            msg = "classes are for label maps; boolean masks have one channel for each class"
            raise ValueError(msg)
        yield pred, target
    elif "boolean" in kinds or pred.is_floating_point() or target.is_floating_point():
        msg = "pred and target must be both boolean or both integer, got "
        msg += f"{pred.dtype} and {target.dtype}"
        raise TypeError(msg)
    else:
        if not classes or pred.shape[1] != 1:
            msg = "label maps must be (b, 1, *spatial) and need classes=, got shape "
            msg += f"{tuple(pred.shape)} and classes={classes}"
            raise ValueError(msg)
        for label in classes:
            yield pred == label, target == label


def _counts(
    pred: Tensor, target: Tensor, classes: Sequence[int] | None
) -> tuple[Float[Tensor, "b k"], Float[Tensor, "b k"], Float[Tensor, "b k"]]:
    """Voxels in both, in ``pred`` and in ``target``; counted as integers, returned as float32."""
    pairs = class_pairs(pred, target, classes)
    counts = [[part.flatten(2).sum(2) for part in (a & b, a, b)] for a, b in pairs]
    common, of_pred, of_target = (torch.cat(part, 1).float() for part in zip(*counts, strict=True))
    return common, of_pred, of_target
