"""Discriminators that judge patches, at one scale or on a pyramid."""

from typing import Literal

from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import spectral_norm

from libimg import _check

__all__ = ["MultiScaleDiscriminator", "PatchDiscriminator"]


class PatchDiscriminator(nn.Module):
    """PatchGAN: one linear logit for each patch of the image.

    ``layers`` convolutions of kernel 4 and stride 2, then two of stride 1; the features double
    from ``width`` up to ``max_width``. Padding 1 everywhere, as in pix2pix.

    | ``layers`` | receptive field |
    |---|---|
    | 1 | 16 |
    | 2 | 34 |
    | 3 | 70 |
    | 4 | 142 |

    Args:
        spatial_dims: 2 or 3.
        in_channels: channels of what is judged, the condition included.
        width: features of the first layer.
        layers: strided layers, at least 1.
        max_width: cap of the features.
        norm: ``"instance"`` or ``"group"`` norm in the inner layers, or None. Batch norm is left
            out: it ties the judgement of a sample to the rest of its batch.
        spectral: spectral normalisation of every convolution.

    Raises:
        ValueError: an option is unknown or out of range.

    Reference:
        Isola et al., pix2pix, CVPR 2017, section 3.2.2; Miyato et al., ICLR 2018 (spectral norm).

    Example:
        >>> import torch
        >>> judge = PatchDiscriminator(2, in_channels=1, width=8, layers=2)
        >>> judge.receptive_field
        34
        >>> judge(torch.zeros(1, 1, 64, 64)).shape
        torch.Size([1, 1, 14, 14])
    """

    def __init__(
        self,
        spatial_dims: int,
        *,
        in_channels: int,
        width: int = 64,
        layers: int = 3,
        max_width: int = 512,
        norm: Literal["instance", "group"] | None = None,
        spectral: bool = False,
    ) -> None:
        super().__init__()
        _check.one_of("spatial_dims", spatial_dims, (2, 3))
        _check.one_of("norm", norm, ("instance", "group", None))
        _check.positive(in_channels=in_channels, width=width, layers=layers)
        conv = nn.Conv2d if spatial_dims == 2 else nn.Conv3d
        widths = [in_channels] + [min(width * 2**i, max_width) for i in range(layers + 1)]
        self.spatial_dims, self.in_channels = spatial_dims, in_channels
        self.strides = (*([2] * layers), 1, 1)
        self.blocks = nn.ModuleList()
        for i, stride in enumerate(self.strides):
            last = i == len(self.strides) - 1
            layer: nn.Module = conv(widths[i], 1 if last else widths[i + 1], 4, stride, 1)
            parts = [spectral_norm(layer) if spectral else layer]
            if norm and not last and i > 0:
                groups = widths[i + 1] if norm == "instance" else min(8, widths[i + 1])
                parts.append(nn.GroupNorm(groups, widths[i + 1]))
            if not last:
                parts.append(nn.LeakyReLU(0.2))
            self.blocks.append(nn.Sequential(*parts))

    @property
    def receptive_field(self) -> int:
        """Side, in voxels of the input, of the patch that one logit sees."""
        field = 1
        for stride in reversed(self.strides):
            field = (field - 1) * stride + 4
        return field

    def features(self, x: Tensor) -> list[Tensor]:
        """Return the output of every layer; the last is the logits.

        Raises:
            ValueError: the channels are wrong or the image is too small for a single patch.
        """
        if x.ndim != self.spatial_dims + 2 or x.shape[1] != self.in_channels:
            msg = f"x must be (b, {self.in_channels}, *spatial) with {self.spatial_dims} spatial "
            msg += f"axes, got shape {tuple(x.shape)}"
            raise ValueError(msg)
        smallest = self.smallest
        if min(x.shape[2:]) < smallest:
            msg = f"x must have at least {smallest} voxels a side, got {tuple(x.shape[2:])}; "
            msg += "use fewer layers or scales"
            raise ValueError(msg)
        outputs = []
        for block in self.blocks:
            x = block(x)
            outputs.append(x)
        return outputs

    @property
    def smallest(self) -> int:
        """Side of the smallest image that gives a logit."""
        size = 1
        for stride in reversed(self.strides):
            size = (size - 1) * stride + 4 - 2
        return max(size, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Judge images.

        Args:
            x: ``(b, in_channels, *spatial)``.

        Returns:
            Linear logits ``(b, 1, *patches)``.
        """
        return self.features(x)[-1]


class MultiScaleDiscriminator(nn.Module):
    """Several patch discriminators, each on an image pooled once more.

    Args:
        spatial_dims: 2 or 3.
        scales: number of discriminators; 1 is a plain patch discriminator.
        in_channels: channels of what is judged.
        width: see `PatchDiscriminator`, as the others.
        layers: strided layers of each.
        max_width: cap of the features.
        norm: inner norm.
        spectral: spectral normalisation.

    Reference:
        Wang et al., pix2pixHD, CVPR 2018, section 3.2: between scales the image is pooled
        (window 3, stride 2, padding 1 that does not count). MONAI's class of this name does not
        pool: it gives each further discriminator more layers.

    Example:
        >>> import torch
        >>> judge = MultiScaleDiscriminator(2, scales=2, in_channels=1, width=8, layers=2)
        >>> judge.receptive_field
        (34, 69)
        >>> [logits.shape[-1] for logits in judge(torch.zeros(1, 1, 64, 64))]
        [14, 6]
    """

    def __init__(
        self,
        spatial_dims: int,
        *,
        scales: int = 2,
        in_channels: int,
        width: int = 64,
        layers: int = 3,
        max_width: int = 512,
        norm: Literal["instance", "group"] | None = None,
        spectral: bool = False,
    ) -> None:
        super().__init__()
        _check.positive(scales=scales)
        self.spatial_dims = spatial_dims
        self.judges = nn.ModuleList(
            PatchDiscriminator(
                spatial_dims,
                in_channels=in_channels,
                width=width,
                layers=layers,
                max_width=max_width,
                norm=norm,
                spectral=spectral,
            )
            for _ in range(scales)
        )

    @property
    def receptive_field(self) -> tuple[int, ...]:
        """Side of the patch that a logit sees at each scale, in voxels of the input."""
        fields, judge = [], self.judges[0]
        assert isinstance(judge, PatchDiscriminator)
        for scale in range(len(self.judges)):
            field = judge.receptive_field
            for _ in range(scale):
                field = (field - 1) * 2 + 3
            fields.append(field)
        return tuple(fields)

    def features(self, x: Tensor) -> list[list[Tensor]]:
        """Return the output of every layer at every scale; the last of each are the logits."""
        pool = F.avg_pool2d if self.spatial_dims == 2 else F.avg_pool3d
        outputs = []
        for scale, judge in enumerate(self.judges):
            assert isinstance(judge, PatchDiscriminator)
            if scale:
                x = pool(x, 3, 2, 1, count_include_pad=False)
            outputs.append(judge.features(x))
        return outputs

    def forward(self, x: Tensor) -> list[Tensor]:
        """Judge images.

        Args:
            x: ``(b, in_channels, *spatial)``.

        Returns:
            Linear logits ``(b, 1, *patches)`` at each scale, fine to coarse.
        """
        return [layers[-1] for layers in self.features(x)]
