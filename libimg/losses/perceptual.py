"""Perceptual distance on LPIPS, VGG or any network whose weights are at hand."""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from libimg import _check
from libimg._ops.backbones import VGG_LAYERS, load_weights, lpips_network, vgg_network
from libimg._ops.reduce import masked_mean
from libimg._types import Image, Mask, PerSample
from libimg.ranges import SIGNED, UNIT, ValueRange

__all__ = ["PerceptualLoss"]

BACKBONES = ("lpips-alex", "lpips-vgg", "lpips-squeeze", "vgg19")


class PerceptualLoss(nn.Module):
    """Distance between the deep features of two images.

    Gray images are repeated to three channels and the values are moved from the given range to
    the one that the backbone was trained on. Volumes are compared slice by slice along their
    first spatial axis. All weights are frozen, and stay so after ``.train()``.

    | ``backbone`` | distance | input |
    |---|---|---|
    | ``lpips-alex``, ``-vgg``, ``-squeeze`` | LPIPS 0.1 | [-1, 1] |
    | ``vgg19`` | L1 of relu1_1 … relu5_1, weights 1/32 … 1/4, 1 | ImageNet mean, deviation |
    | a module | squared, features of unit length as in LPIPS | [-1, 1] |

    pix2pixHD feeds [-1, 1] to a VGG that expects normalised [0, 1]; here that cannot happen.

    Args:
        backbone: a name of the table, or a module that maps ``(b, 3, h, w)`` to a tensor or a
            list of tensors.
        value_range: range of the images that are compared.
        weights_path: file of weights for the backbone: for LPIPS and ``vgg19`` the state dict of
            torchvision's AlexNet, VGG16, SqueezeNet 1.1 or VGG19; for a module its own. Needed
            where torchvision cannot download.

    Raises:
        ValueError: the name is unknown, or the file does not fit the backbone.
        FileNotFoundError: there is no such file.
        RuntimeError: the weights cannot be downloaded; the message names the file that helps.

    Reference:
        Zhang et al., The Unreasonable Effectiveness of Deep Features, CVPR 2018.

    Example:
        >>> net = nn.Conv2d(3, 4, 3, bias=False)
        >>> distance = PerceptualLoss(net, value_range=UNIT)
        >>> x = torch.rand(2, 1, 8, 8, generator=torch.Generator().manual_seed(0))
        >>> distance(x, x)
        tensor([0., 0.])
    """

    mean: Tensor
    deviation: Tensor

    def __init__(
        self,
        backbone: str | nn.Module,
        *,
        value_range: ValueRange,
        weights_path: Path | None = None,
    ) -> None:
        super().__init__()
        self.value_range, self.expected = value_range, SIGNED
        self.register_buffer("mean", torch.zeros(3, 1, 1), persistent=False)
        self.register_buffer("deviation", torch.ones(3, 1, 1), persistent=False)
        self.kind = "module"
        if isinstance(backbone, nn.Module):
            self.net = backbone
            if weights_path is not None:
                load_weights(self.net, weights_path)
        else:
            _check.one_of("backbone", backbone, BACKBONES)
            self.kind = "lpips" if backbone.startswith("lpips") else "vgg"
            self.net = (lpips_network if self.kind == "lpips" else vgg_network)(
                backbone, weights_path
            )
        if self.kind == "vgg":
            self.expected = UNIT
            self.mean.copy_(torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1))
            self.deviation.copy_(torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1))
        self.net.eval().requires_grad_(False)

    def train(self, mode: bool = True) -> "PerceptualLoss":
        """Stay in eval mode: the backbone is a measure, not a student."""
        return super().train(False)

    def forward(self, pred: Image, target: Image, *, mask: Mask | None = None) -> PerSample:
        """Compare images.

        Args:
            pred: ``(b, 1 or 3, h, w)`` or ``(b, 1 or 3, d, h, w)`` in ``value_range``.
            target: the same shape; gets no gradient of its own unless it asks for one.
            mask: ``(b, 1, *spatial)``: both images are set to the range's lower end outside it,
                so that only the inside and its rim differ.

        Returns:
            ``(b,)``, 0 for equal images.

        Raises:
            ValueError: the shapes differ, or there are neither 1 nor 3 channels.
        """
        _check.same_shape(pred=pred, target=target)
        _check.spatial("pred", pred)
        _check.one_of("channels of pred", pred.shape[1], (1, 3))
        if mask is not None:
            inside = mask.bool().expand_as(pred)
            floor = torch.full_like(pred, self.value_range.lo)
            pred, target = (torch.where(inside, x, floor) for x in (pred, target))
        a, b = (self._prepare(x) for x in (pred, target))
        distance = self._distance(a, b)
        return distance.view(len(pred), -1).mean(1)

    def _prepare(self, x: Tensor) -> Tensor:
        """Slices of three channels in the range that the backbone expects."""
        if x.ndim == 5:
            x = x.movedim(2, 1).flatten(0, 1)
        x = self.value_range.to(x, self.expected).expand(-1, 3, -1, -1)
        return (x - self.mean.to(x)) / self.deviation.to(x)

    def _distance(self, a: Tensor, b: Tensor) -> Tensor:
        if self.kind == "lpips":
            out: Tensor = self.net(a, b)
            return out.flatten()
        if self.kind == "vgg":
            weights = (1 / 32, 1 / 16, 1 / 8, 1 / 4, 1.0)
            pairs = zip(weights, self._vgg(a), self._vgg(b), strict=True)
            parts = [weight * masked_mean((x - y).abs()) for weight, x, y in pairs]
        else:
            pairs_of = zip(_features(self.net(a)), _features(self.net(b)), strict=True)
            parts = [masked_mean((_unit(x) - _unit(y)).square()) * x.shape[1] for x, y in pairs_of]
        return torch.stack(parts).sum(0)

    def _vgg(self, x: Tensor) -> list[Tensor]:
        """Features after the chosen layers."""
        outputs = []
        assert isinstance(self.net, nn.Sequential)
        for index, layer in enumerate(self.net):
            x = layer(x)
            if index in VGG_LAYERS:
                outputs.append(x)
        return outputs


def _features(out: Tensor | Sequence[Tensor]) -> list[Tensor]:
    return [out] if isinstance(out, Tensor) else list(out)


def _unit(x: Tensor) -> Tensor:
    """Normalise over channels."""
    return x / (x.square().sum(1, keepdim=True) + 1e-10).sqrt()
