"""Landmarks by heat-maps: the network, its target, and the way back to pixels."""

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from libimg import _check
from libimg._ops.heatmaps import gaussian_axes, present
from libimg.nets.blocks import Norm
from libimg.nets.unet import UNet

__all__ = ["LandmarkUNet", "heatmap_target", "peak_probability", "soft_argmax"]

FLOOR = -60.0
"""Log-probability, relative to the peak, below which cells no longer differ."""

FLAT = 1e-3
"""Curvature of the log-probability, in 1 / cells², below which there is no peak to fit."""


class LandmarkUNet(nn.Module):
    """U-Net that gives one heat-map of logits for each landmark.

    Blocks of ``stride × stride`` pixels become the channels of one cell, without loss, and a
    `UNet` works on the cells; stride 2 costs about a quarter of stride 1. Cell i of an axis covers
    the pixels ``stride·i`` to ``stride·i + stride - 1``; its centre is
    ``stride·i + (stride - 1) / 2``.
    Train with `libimg.losses.heatmap_loss`, read with `soft_argmax`.

    Args:
        landmarks: number of landmarks.
        in_channels: channels of the image.
        channels: width of each level; an output of four levels sees about ``75·stride``
            pixels across, one of five levels twice as many.
        stride: pixels a cell: 1, 2 or 4.
        norm: as in `UNet`.

    Raises:
        ValueError: an option is unknown or out of range.

    Example:
        >>> net = LandmarkUNet(19, channels=(4, 8, 8))
        >>> heatmaps = net(torch.zeros(1, 1, 64, 47))
        >>> tuple(heatmaps.shape), tuple(soft_argmax(heatmaps, stride=2).shape)
        ((1, 19, 32, 24), (1, 19, 2))

    Reference:
        Payer et al., "Integrating spatial configuration into heatmap regression based CNNs",
        Medical Image Analysis 2019, for heat-maps by a U-Net; Shi et al., CVPR 2016, for blocks as
        channels.
    """

    def __init__(
        self,
        landmarks: int,
        *,
        in_channels: int = 1,
        channels: Sequence[int] = (16, 32, 64, 128),
        stride: int = 2,
        norm: Norm = "group",
    ) -> None:
        super().__init__()
        _check.positive(landmarks=landmarks, in_channels=in_channels)
        _check.one_of("stride", stride, (1, 2, 4))
        self.stride = stride
        self.body = UNet(
            2,
            in_channels=in_channels * stride**2,
            out_channels=landmarks,
            channels=channels,
            norm=norm,
        )

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b n rows columns"]:
        """Compute the heat-maps.

        Args:
            x: ``(b, in_channels, h, w)``; every axis at least ``stride · 2 ** (levels - 1)``
                pixels, and one a cell more. It is reflected at the far ends up to whole cells.

        Returns:
            Logits ``(b, landmarks, ceil(h / stride), ceil(w / stride))``.

        Raises:
            ValueError: wrong number of axes or channels, or too few cells.
        """
        if x.ndim != 4 or x.shape[1] * self.stride**2 != self.body.in_channels:
            msg = f"x must be (b, {self.body.in_channels // self.stride**2}, h, w), "
            msg += f"got shape {tuple(x.shape)}"
            raise ValueError(msg)
        if min(x.shape[2:]) < self.stride * self.body.multiple:
            msg = f"every axis of x must have at least {self.stride * self.body.multiple} pixels "
            msg += f"at stride {self.stride}, got shape {tuple(x.shape)}"
            raise ValueError(msg)
        bottom, right = (-n % self.stride for n in x.shape[2:])
        if bottom or right:
            x = F.pad(x, (0, right, 0, bottom), mode="reflect")
        out: Tensor = self.body(F.pixel_unshuffle(x, self.stride))
        return out


def heatmap_target(
    points: Float[Tensor, "b n 2"], *, size: tuple[int, int], sigma: float, stride: int = 1
) -> Float[Tensor, "b n rows columns"]:
    """Draw each point as a Gaussian that sums to one.

    Args:
        points: row and column in pixels of the image, integers at pixel centres; NaN is missing.
        size: height and width of the image in pixels.
        sigma: standard deviation in pixels of the image. From 0.6 cells up, the centre of mass of
            a map far from the border is the point to 0.01 cells.
        stride: pixels a cell.

    Returns:
        ``(b, n, ceil(h / stride), ceil(w / stride))``. A Gaussian that the border cuts keeps the
        sum of one, even if its point is outside. The map of a missing point is zero.

    Raises:
        ValueError: ``size``, ``sigma`` or ``stride`` is not above zero.

    Example:
        >>> points = torch.tensor([[[2.5, 0.5]]])  # corner of four pixels, centre of a cell
        >>> heatmap_target(points, size=(6, 4), sigma=1.0, stride=2)
        tensor([[[[0.09, 0.01],
                  [0.69, 0.09],
                  [0.09, 0.01]]]])
    """
    height, width = size
    _check.positive(height=height, width=width, stride=stride)
    cells = (-(-height // stride), -(-width // stride))
    rows, columns = gaussian_axes(points, cells=cells, sigma=sigma, stride=stride)
    known = present(points)[..., None, None]
    return torch.where(known, (rows[..., :, None] + columns[..., None, :]).exp(), 0.0)


def soft_argmax(
    heatmaps: Float[Tensor, "b n rows columns"], *, stride: int = 1, window: int = 9
) -> Float[Tensor, "b n 2"]:
    """Read the points from heat-maps: sub-pixel, differentiable, and without bias.

    In a window around the largest cell, and along each axis by itself, the slope of the
    log-probability from cell to cell is fitted by a line; the point is where the line crosses
    zero. This is exact for a Gaussian of any width and anywhere in the image: a window that the
    border cuts does not pull the point inwards, as it pulls a mean. Noise far from the peak has
    no say. Where the slope does not fall (a plateau), the mean over the window is taken. The result
    stays within the window and within the image, outer halves of the border cells included.

    Args:
        heatmaps: logits, or logarithms of any positive maps; a softmax is implied.
        stride: pixels a cell.
        window: width of the window in cells; odd, 3 or more. Best with a sigma of 1 to 2 cells,
            and at least as wide as 4 sigma.

    Returns:
        ``(b, n, 2)``: row and column in pixels of the image. NaN for a map of which all is
        ``-inf``, such as the logarithm of the target of a missing point. Half precision gives
        float32, since it cannot hold fractions of a pixel.

    Raises:
        ValueError: ``window`` is even or below 3, or ``stride`` not above zero.

    Example:
        >>> points = torch.tensor([[[10.3, 0.2], [24.8, 7.0]]])
        >>> maps = heatmap_target(points, size=(30, 40), sigma=2.0, stride=2)
        >>> soft_argmax(maps.log(), stride=2)
        tensor([[[10.3,  0.2],
                 [24.8,  7.0]]])

    Reference:
        Guo, "A simple algorithm for fitting a Gaussian function", IEEE Signal Processing Magazine
        2011, for the weighted fit in the logarithm, here of first differences. Differs on purpose
        from the soft-argmax of Sun et al., ECCV 2018, a mean over the whole map, which any far
        probability pulls, and from kornia's, which does the same.
    """
    _check.positive(stride=stride)
    if window < 3:
        msg = f"window must be odd and 3 or more, got {window}"
        raise ValueError(msg)
    index, inside, middles = _around_peak(heatmaps, window)
    values = heatmaps.to(torch.promote_types(heatmaps.dtype, torch.float32)).flatten(2)
    values = values.gather(-1, index) - values.amax(-1, keepdim=True).detach()
    logs = values.clamp(min=FLOOR).masked_fill(~inside, FLOOR).unflatten(-1, (window, window))
    half = window // 2
    found = []
    for axis, line in enumerate((logs.logsumexp(-1), logs.logsumexp(-2))):
        middle, cells = middles[axis], heatmaps.shape[2 + axis]
        offset = torch.arange(-half, half + 1, device=line.device)
        place = middle[..., None] + offset
        shift = _zero_crossing(line, offset.to(line.dtype), (place >= 0) & (place < cells))
        low = (-0.5 - middle).clamp(min=-half).to(line.dtype)
        high = (cells - 0.5 - middle).clamp(max=half).to(line.dtype)
        found.append((middle + shift.maximum(low).minimum(high)) * stride + (stride - 1) / 2)
    return torch.stack(found, -1)


def peak_probability(
    heatmaps: Float[Tensor, "b n rows columns"], *, window: int = 9
) -> Float[Tensor, "b n"]:
    """Share of the probability in the window that `soft_argmax` reads the point from.

    A confidence: near 1 if the network sees one place, 1/2 if it hesitates between two.

    Args:
        heatmaps: logits.
        window: width in cells; odd, 1 or more; 1 is the probability of the largest cell alone,
            which depends on the sigma of the target.

    Returns:
        ``(b, n)`` in [0, 1]; float32 for half precision.

    Raises:
        ValueError: ``window`` is even or below 1.

    Example:
        >>> two = heatmap_target(torch.tensor([[[8.0, 9.0], [8.0, 40.0]]]), size=(16, 64), sigma=1)
        >>> peak_probability(two.log()), peak_probability(two.mean(1, keepdim=True).log())
        (tensor([[1.00, 1.00]]), tensor([[0.50]]))
    """
    share = heatmaps.to(torch.promote_types(heatmaps.dtype, torch.float32)).flatten(2).softmax(-1)
    index, inside, _ = _around_peak(heatmaps, window)
    return (share.gather(-1, index) * inside).sum(-1).clamp(max=1)


def _around_peak(
    heatmaps: Float[Tensor, "b n rows columns"], window: int
) -> tuple[Int[Tensor, "b n cells"], Bool[Tensor, "b n cells"], Int[Tensor, "2 b n"]]:
    """Find the window around each largest cell.

    Returns:
        Flat index of its cells (any, for those outside), whether they are inside the map, and
        row and column of its middle.
    """
    if window < 1 or window % 2 == 0:
        msg = f"window must be odd and positive, got {window}"
        raise ValueError(msg)
    rows, columns = heatmaps.shape[2:]
    peak = heatmaps.flatten(2).argmax(-1)
    middle = torch.stack((peak.div(columns, rounding_mode="floor"), peak % columns))
    offset = torch.arange(window, device=peak.device) - window // 2
    row, column = middle[..., None] + offset
    along, across = (row >= 0) & (row < rows), (column >= 0) & (column < columns)
    inside = along[..., None] & across[..., None, :]
    index = row.clamp(0, rows - 1)[..., None] * columns + column.clamp(0, columns - 1)[..., None, :]
    return index.flatten(2), inside.flatten(2), middle


def _zero_crossing(
    logs: Float[Tensor, "b n k"], offset: Float[Tensor, " k"], inside: Bool[Tensor, "b n k"]
) -> Float[Tensor, "b n"]:
    """Fit the slope between neighbours by a line, weighted by probability; see where it is 0."""
    logs = logs.log_softmax(-1)
    slope, place = logs.diff(dim=-1), (offset[1:] + offset[:-1]) / 2
    weight = ((logs[..., 1:] + logs[..., :-1]) / 2).exp() * (inside[..., 1:] & inside[..., :-1])
    weight = weight / weight.sum(-1, keepdim=True).clamp(min=torch.finfo(logs.dtype).tiny)
    centre = (weight * place).sum(-1, keepdim=True)
    level = (weight * slope).sum(-1)
    lever = weight * (place - centre)
    fall = -(lever * slope).sum(-1)
    spread = (lever * (place - centre)).sum(-1)
    peaked = fall > FLAT * spread
    crossing = centre[..., 0] + level * spread / torch.where(peaked, fall, 1.0)
    mean = (logs.exp() * offset).sum(-1)
    return torch.where(peaked, crossing, mean)
