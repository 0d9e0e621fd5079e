"""A light second stage that sees the source image and the generator's output together."""

from collections.abc import Sequence
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from libimg._check import one_of
from libimg._types import Image
from libimg.nets.blocks import ResidualBlock, conv

__all__ = ["Refiner", "product", "product_nonneg"]

Channel = Literal["x", "y", "product", "product_nonneg"]


def product(x: Image, y: Image) -> Image:
    """``x·|y|``: the product of the magnitudes with the sign of ``x``.

    It never exceeds ``|x|`` or ``|y|`` for values in [-1, 1], so a vessel cannot become brighter
    than in ``x``; it is 0, with no gradient by ``y``, wherever ``x`` is 0 (the middle of the
    window); and it does not know the sign of ``y``. See `product_nonneg`.

    Args:
        x: source image in [-1, 1], ``(b, c, *spatial)``; gives the sign.
        y: generated image in [-1, 1], same shape.

    Returns:
        Same shape and dtype.

    Example:
        >>> x, y = torch.tensor([[[-0.5, 0.0, 0.5]]]), torch.tensor([[[0.5, 1.0, -0.5]]])
        >>> product(x, y)
        tensor([[[-0.2500, 0.0000, 0.2500]]])
    """
    return x * y.abs()


def product_nonneg(x: Image, y: Image) -> Image:
    """Product of ``x`` and ``y`` counted from black: with ``u = (v + 1) / 2``, ``2·u_x·u_y - 1``.

    Unlike `product` it rises with both images everywhere above black, keeps the sign of both and
    has no dead zone in the middle of the window.

    Args:
        x: source image in [-1, 1], ``(b, c, *spatial)``.
        y: generated image in [-1, 1], same shape.

    Returns:
        Same shape and dtype, in [-1, 1] for such input; nothing is clipped.

    Example:
        >>> x, y = torch.tensor([[[-1.0, 0.0, 0.0, 1.0]]]), torch.tensor([[[1.0, 0.0, 1.0, 1.0]]])
        >>> product_nonneg(x, y)
        tensor([[[-1.0000, -0.5000, 0.0000, 1.0000]]])
    """
    return (x + 1) * (y + 1) / 2 - 1


class Refiner(nn.Module):
    """Small residual network on chosen channels of a source ``x`` and a generated image ``y``.

    It starts as the identity on its base image: ``y`` if that is among the inputs, else the first
    input named. It has no norm, since absolute values matter, and no tanh. The defaults have 15 k
    parameters in 2D and 43 k in 3D; ``width=32, blocks=5`` has 94 k and 280 k.

    Args:
        spatial_dims: 2 for images, 3 for volumes.
        inputs: the channels it sees, in this order: ``"x"``, ``"y"``, ``"product"`` (see
            `product`), ``"product_nonneg"`` (see `product_nonneg`).
        head: ``"residual"``: ``base + Δ``; ``"affine"``: ``(1 + a)·base + b``.
        width: channels of each layer.
        blocks: residual blocks of two 3×3 convolutions.
        dilated: the dilation doubles from block to block, so that the default sees 33 voxels
            instead of 17 with the same parameters.

    Raises:
        ValueError: an option is unknown, repeated or out of range.

    Example:
        >>> x, y = torch.rand(2, 2, 1, 9, 9, generator=torch.Generator().manual_seed(0)) * 2 - 1
        >>> torch.equal(Refiner(2)(x, y), y)
        True
        >>> torch.equal(Refiner(2, inputs=("product",))(x, y), product(x, y))
        True
    """

    def __init__(
        self,
        spatial_dims: int,
        *,
        inputs: Sequence[Channel] = ("x", "y", "product_nonneg"),
        head: Literal["residual", "affine"] = "residual",
        width: int = 16,
        blocks: int = 3,
        dilated: bool = True,
    ) -> None:
        super().__init__()
        one_of("spatial_dims", spatial_dims, (2, 3))
        one_of("head", head, ("residual", "affine"))
        for name in inputs:
            one_of("inputs", name, ("x", "y", "product", "product_nonneg"))
        if not inputs or len(set(inputs)) < len(inputs):
            msg = f"inputs must name at least one channel and none twice, got {tuple(inputs)}"
            raise ValueError(msg)
        if width < 1 or blocks < 0:
            msg = f"expected width >= 1 and blocks >= 0, got {width}, {blocks}"
            raise ValueError(msg)
        self.spatial_dims = spatial_dims
        self.inputs = tuple(inputs)
        self.base = self.inputs.index("y") if "y" in self.inputs else 0
        last = conv(spatial_dims, width, 2 if head == "affine" else 1)
        for parameter in last.parameters():
            nn.init.zeros_(parameter)
        self.net = nn.Sequential(
            conv(spatial_dims, len(self.inputs), width),
            *(
                ResidualBlock(spatial_dims, width, dilation=2**i if dilated else 1)
                for i in range(blocks)
            ),
            nn.SiLU(),
            last,
        )

    def forward(
        self, x: Float[Tensor, "b 1 *spatial"], y: Float[Tensor, "b 1 *spatial"]
    ) -> Float[Tensor, "b 1 *spatial"]:
        """Refine ``y``.

        Args:
            x: source (the non-contrast CT) in [-1, 1], ``(b, 1, *spatial)``.
            y: output of the generator in the same range and geometry.

        Returns:
            ``(b, 1, *spatial)``, not clipped.

        Raises:
            ValueError: the shapes differ, or are not one channel with ``spatial_dims`` axes.
        """
        if x.shape != y.shape or x.ndim != self.spatial_dims + 2 or x.shape[1] != 1:
            msg = f"x and y must both be (b, 1, *spatial) with {self.spatial_dims} spatial axes, "
            msg += f"got {tuple(x.shape)} and {tuple(y.shape)}"
            raise ValueError(msg)
        made = {
            "x": lambda: x,
            "y": lambda: y,
            "product": lambda: product(x, y),
            "product_nonneg": lambda: product_nonneg(x, y),
        }
        seen = [made[name]() for name in self.inputs]
        base = seen[self.base]
        out: Tensor = self.net(torch.cat(seen, 1))
        if out.shape[1] == 1:
            return base + out
        return (1 + out[:, :1]) * base + out[:, 1:]
