"""LPIPS, with the range said and gray images allowed."""

from functools import lru_cache
from pathlib import Path
from typing import Literal

import torch
from torch import nn

from libimg import _check
from libimg._ops.backbones import lpips_network
from libimg._types import Image, PerSample
from libimg.ranges import SIGNED, ValueRange

__all__ = ["lpips"]

NETS = ("alex", "vgg", "squeeze")


@torch.no_grad()
def lpips(
    pred: Image,
    target: Image,
    *,
    data_range: float | ValueRange,
    net: Literal["alex", "vgg", "squeeze"] = "alex",
    weights_path: str | Path | None = None,
) -> PerSample:
    """Learned perceptual image patch similarity, version 0.1; lower is better.

    The ``lpips`` package and torchmetrics take [-1, 1] unless told otherwise, and are often given
    [0, 1]; here the range is said. To train on it, use `libimg.losses.PerceptualLoss`.

    Args:
        pred: ``(b, 1 or 3, h, w)``, gray is repeated; of ``(b, c, d, h, w)`` the mean over the
            slices along the first spatial axis is taken.
        target: the same shape.
        data_range: values lie in ``[0, data_range]``, or in the given range.
        net: AlexNet, the one to report, VGG16 or SqueezeNet 1.1.
        weights_path: state dict of torchvision's network, where it cannot be downloaded.

    Returns:
        ``(b,)``, 0 for equal images; float32.

    Raises:
        ValueError: the shapes differ, there are neither 1 nor 3 channels, or the net is unknown.
        FileNotFoundError: there is no such file of weights.
        RuntimeError: the weights cannot be downloaded; the message names the file that helps.
        ImportError: the ``lpips`` package is not installed.

    Example:
        >>> x = torch.rand(1, 3, 64, 64)
        >>> lpips(x, x, data_range=1.0)  # doctest: +SKIP
        tensor([0.])

    Reference:
        Zhang et al., "The Unreasonable Effectiveness of Deep Features", CVPR 2018.
    """
    _check.same_shape(pred=pred, target=target)
    _check.spatial("pred", pred)
    _check.one_of("channels of pred", pred.shape[1], (1, 3))
    _check.one_of("net", net, NETS)
    bounds = data_range if isinstance(data_range, ValueRange) else ValueRange(0, data_range)
    network = _network(net, Path(weights_path) if weights_path else None).to(pred.device)
    pair = []
    for x in (pred, target):
        slices = x.movedim(2, 1).flatten(0, 1) if x.ndim == 5 else x
        pair.append(bounds.to(slices.float(), SIGNED).expand(-1, 3, -1, -1))
    distance: torch.Tensor = network(*pair)
    return distance.view(len(pred), -1).mean(1)


@lru_cache(maxsize=3)
def _network(net: str, path: Path | None) -> nn.Module:
    return lpips_network(f"lpips-{net}", path).eval().requires_grad_(False)
