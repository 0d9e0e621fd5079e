"""Loss of heat-maps of landmarks."""

import torch
from jaxtyping import Float
from torch import Tensor

from libimg._ops.heatmaps import gaussian_axes, present
from libimg._ops.reduce import masked_mean
from libimg._types import PerSample

__all__ = ["heatmap_loss"]


def heatmap_loss(
    logits: Float[Tensor, "b n rows columns"],
    points: Float[Tensor, "b n 2"],
    *,
    sigma: float,
    stride: int = 1,
) -> PerSample:
    """Cross-entropy of each map's softmax with a Gaussian at its point, above its lowest value.

    The entropy of the Gaussian is taken off, which leaves the gradient as it is: a perfect map has
    0 at any sigma. All landmarks that are there count the same.

    Args:
        logits: ``(b, n, rows, columns)``, such as `libimg.nets.LandmarkUNet` gives them.
        points: row and column in pixels of the image, integers at pixel centres. A point with a
            NaN is missing and left out. One outside the image draws its map to the border: make
            it NaN if it is not to count.
        sigma: standard deviation of the Gaussian in pixels of the image.
        stride: pixels a cell, as in the network.

    Returns:
        ``(b,)`` in nats, 0 or more, mean over the landmarks that are there; 0 and no gradient if
        all are missing. Half precision gives float32.

    Raises:
        ValueError: the shapes do not fit, or ``sigma`` or ``stride`` is not above zero.

    Example:
        >>> line = -((torch.arange(9.0) - 4) ** 2) / 2
        >>> logits = (line[:, None] + line)[None, None]  # a Gaussian at (4, 4), sigma 1
        >>> heatmap_loss(logits, torch.tensor([[[4.0, 5.0]]]), sigma=1.0)  # one sigma beside it
        tensor([0.50])

    Reference:
        The Kullback-Leibler divergence of the softmax from the target; Nibali et al., "Numerical
        coordinate regression with convolutional neural networks", 2018, compare it with others.
        Differs from the squared error of unnormalised maps, common elsewhere, which depends on
        the size of the map and is low for an empty one.
    """
    if logits.ndim != 4 or points.shape != (*logits.shape[:2], 2):
        msg = "expected logits (b, n, rows, columns) and points (b, n, 2), got shapes "
        msg += f"{tuple(logits.shape)} and {tuple(points.shape)}"
        raise ValueError(msg)
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    rows, columns = gaussian_axes(
        points.to(logits.dtype),
        cells=(logits.shape[2], logits.shape[3]),
        sigma=sigma,
        stride=stride,
    )
    # the target is an outer product: no map of it is needed
    row, column = rows.exp(), columns.exp()
    expected = ((logits * column[..., None, :]).sum(-1) * row).sum(-1)
    entropy = -(row * rows).sum(-1) - (column * columns).sum(-1)
    excess = logits.flatten(2).logsumexp(-1) - expected - entropy
    return masked_mean(excess[:, None], present(points)[:, None])
