"""JPEG with gradients: libjpeg's tables, filters and integers, the rounding straight-through."""

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int, Shaped
from torch import Tensor

from libimg import _check
from libimg.degradations.jpeg import SUBSAMPLINGS, Subsampling, check_quality

__all__ = ["differentiable_jpeg", "quantisation_tables"]

# ITU-T T.81, tables K.1 (luminance) and K.2 (chrominance), row by row.
# fmt: off
_LUMA = (
    16, 11, 10, 16, 24, 40, 51, 61, 12, 12, 14, 19, 26, 58, 60, 55,
    14, 13, 16, 24, 40, 57, 69, 56, 14, 17, 22, 29, 51, 87, 80, 62,
    18, 22, 37, 56, 68, 109, 103, 77, 24, 35, 55, 64, 81, 104, 113, 92,
    49, 64, 78, 87, 103, 121, 120, 101, 72, 92, 95, 98, 112, 100, 103, 99,
)
_CHROMA = (
    17, 18, 24, 47, 99, 99, 99, 99, 18, 21, 26, 66, 99, 99, 99, 99,
    24, 26, 56, 99, 99, 99, 99, 99, 47, 66, 99, 99, 99, 99, 99, 99,
) + (99,) * 32
_COSINES = (  # libjpeg's 8 x cosines of rows 0 to 7, left half, in whole 8192ths
    (8192, 8192, 8192, 8192), (11363, 9633, 6437, 2260),
    (10703, 4433, -4433, -10703), (9633, -2259, -11362, -6436),
    (8192, -8192, -8192, 8192), (6437, -11362, 2261, 9633),
    (4433, -10704, 10704, -4433), (2260, -6436, 9633, -11363),
)
# fmt: on
_TO_YCC = ((19595, 38470, 7471), (-11059, -21709, 32768), (32768, -27439, -5329))  # in 65536ths
_TO_RGB = ((65536, 0, 91881), (65536, -22554, -46802), (65536, 116130, 0))
_STEPS = {"4:2:0": (2, 2), "4:2:2": (1, 2), "4:4:4": (1, 1)}  # pixels a chroma sample covers
_DOWN_BIAS = {"4:2:0": (1 / 4, 2 / 4), "4:2:2": (0.0, 1 / 2)}  # libjpeg's, by column parity
_UP_BIAS = {"4:2:0": (8 / 16, 7 / 16), "4:2:2": (1 / 4, 2 / 4)}


def differentiable_jpeg(
    image: Float[Tensor, "b c h w"],
    *,
    quality: int | Shaped[Tensor, " b"],
    subsampling: Subsampling = "4:2:0",
    rounding: bool = True,
) -> Float[Tensor, "b c h w"]:
    """Compress and decompress as libjpeg does, with gradients for the image.

    Args:
        image: in [0, 1], one channel (gray) or three (RGB), any height and width.
        quality: 1 to 100, one whole number, or a tensor of one for each image (limited to 1 to
            100 as libjpeg does, fractions cut off).
        subsampling: chroma layout; gray has none.
        rounding: round as libjpeg does, with the gradient of the identity. Without it what is
            left is smooth: colour, chroma filters and the limits, and no loss by quantisation (but
            what libjpeg's 13-bit cosines leave, 5e-4).

    Returns:
        Images in [0, 1], whole 255ths, with the shape, dtype and device of ``image``. Half
        precision computes in float32.

    Raises:
        ValueError: ``image`` has other than 1 or 3 channels, or an argument is out of range.

    Example:
        >>> x = torch.rand(2, 3, 24, 24, generator=torch.Generator().manual_seed(0))
        >>> out = differentiable_jpeg(x.requires_grad_(), quality=torch.tensor([10, 90]))
        >>> [round(float(v), 2) for v in (out - x).detach().abs().mean((1, 2, 3))]
        [0.24, 0.17]
        >>> out.sum().backward()
        >>> x.grad.shape
        torch.Size([2, 3, 24, 24])

    Reference:
        ITU-T T.81 and libjpeg (accurate integer DCT, as Pillow uses it); straight-through rounding
        of Bengio et al., 2013. In float64 the result is that of `jpeg` bit for bit, in float32 but
        for few pixels in a thousand (full float32 matrix products, torch's default). kornia's and
        DiffJPEG's differ in tables, chroma filters and rounding: their loss is about 1 dB off.
    """
    _check.one_of("subsampling", subsampling, SUBSAMPLINGS)
    if image.ndim != 4 or image.shape[1] not in (1, 3) or 0 in image.shape:
        msg = "image must be (b, c, h, w), not empty, with 1 or 3 channels, "
        msg += f"got shape {tuple(image.shape)}"
        raise ValueError(msg)
    if isinstance(quality, Tensor):
        if quality.shape != image.shape[:1]:
            msg = f"quality: expected one for each of {len(image)} images, "
            msg += f"got shape {tuple(quality.shape)}"
            raise ValueError(msg)
        levels = quality.to(image.device)
    else:
        check_quality(quality)
        levels = torch.full((len(image),), quality, device=image.device)
    wide = torch.promote_types(image.dtype, torch.float32)
    with torch.autocast(image.device.type, enabled=False):
        x = _round((image.to(wide) * 255).clamp(0, 255), rounding)
        tables = quantisation_tables(levels).to(wide)
        if image.shape[1] == 1:
            out = _code(x, tables[:, :1], rounding)
        else:
            out = _code_colour(x, tables, subsampling, rounding)
        return (out.clamp(0, 255) / 255).to(image.dtype)


def quantisation_tables(quality: Shaped[Tensor, " b"]) -> Int[Tensor, "b 2 8 8"]:
    """Return libjpeg's tables of luma and chroma.

    Args:
        quality: ``(b,)``, limited to 1 to 100, fractions cut off.

    Returns:
        ``(b, 2, 8, 8)`` whole numbers from 1 to 255, rows by vertical frequency.

    Example:
        >>> quantisation_tables(torch.tensor([10, 50, 90]))[:, 0, 0, 0]
        tensor([80, 16,  3])

    Reference:
        ITU-T T.81 annex K, scaled as libjpeg's ``jpeg_set_quality`` with the baseline limit.
    """
    q = quality.long().clamp(1, 100).view(-1, 1, 1, 1)
    scale = torch.where(q < 50, 5000 // q, 200 - 2 * q)
    annex_k = torch.tensor(_LUMA + _CHROMA, device=quality.device).view(2, 8, 8)
    return ((annex_k * scale + 50) // 100).clamp(1, 255)


def _code_colour(x: Tensor, tables: Tensor, subsampling: Subsampling, rounding: bool) -> Tensor:
    height, width = x.shape[-2:]
    offset = x.new_tensor([0.0, 128.0, 128.0]).view(3, 1, 1)
    halves = offset / 2**23 if rounding else 0  # those of chroma go down
    ycc = _round(_mix(x, _TO_YCC) + offset - halves, rounding).clamp(0, 255)
    luma, chroma = _code(ycc[:, :1], tables[:, :1], rounding), ycc[:, 1:]
    rows, columns = steps = _STEPS[subsampling]
    if subsampling == "4:4:4":
        chroma = _code(chroma, tables[:, 1:], rounding)
    else:
        # libjpeg extends the columns before it shrinks them and the rows after
        chroma = _extend(chroma, rows, 8 * columns)
        chroma = F.avg_pool2d(chroma, steps)
        chroma = _floor(chroma, _DOWN_BIAS[subsampling], rounding)
        chroma = _code(chroma, tables[:, 1:], rounding)
        chroma = chroma[..., : -(-height // rows), : -(-width // columns)]
        size = (chroma.shape[-2] * rows, chroma.shape[-1] * columns)
        if chroma.shape[-1] > 2:
            chroma = F.interpolate(chroma, size, mode="bilinear", align_corners=False)
            chroma = _floor(chroma, _UP_BIAS[subsampling], rounding)
        else:  # too narrow for libjpeg's triangle
            chroma = F.interpolate(chroma, size, mode="nearest")
        chroma = chroma[..., :height, :width]
    back = torch.cat([luma, chroma], 1) - offset
    return _round(_mix(back, _TO_RGB), rounding)


def _code(plane: Tensor, tables: Tensor, rounding: bool) -> Tensor:
    """Cosine transform, quantise and go back, block by block, rounded where libjpeg rounds."""
    b, c, height, width = plane.shape
    x = _extend(plane, 8, 8) - 128
    rows, columns = x.shape[-2] // 8, x.shape[-1] // 8
    blocks = x.view(b, c, rows, 8, columns, 8).transpose(3, 4)
    left, steps = x.new_tensor(_COSINES) / 8192, tables[:, :, None, None]
    signs = left.new_tensor((1, -1)).repeat(4)[:, None]
    basis = torch.cat([left, signs * left.flip(1)], 1)  # sqrt(8) x the orthonormal one
    half = _round(blocks @ basis.T * 4, rounding)  # two more bits are kept between the passes
    eighths = _round(basis @ half / 4, rounding)
    levels = _away(eighths / (8 * steps), rounding)
    half = _round(basis.T @ (levels * steps) * 4, rounding)
    blocks = half @ basis / 32
    x = blocks.transpose(3, 4).reshape(x.shape) + 128
    return _round(x, rounding).clamp(0, 255)[..., :height, :width]


def _extend(x: Tensor, rows: int, columns: int) -> Tensor:
    """Repeat the last row and column up to a multiple."""
    below, right = -x.shape[-2] % rows, -x.shape[-1] % columns
    return F.pad(x, (0, right, 0, below), mode="replicate") if below or right else x


def _mix(x: Tensor, matrix: tuple[tuple[int, ...], ...]) -> Tensor:
    return torch.einsum("ij,bjhw->bihw", x.new_tensor(matrix) / 65536, x)


def _round(x: Tensor, rounding: bool) -> Tensor:
    return x + (torch.floor(x + 0.5) - x).detach() if rounding else x


def _away(x: Tensor, rounding: bool) -> Tensor:
    """Round halves away from zero."""
    return x + (torch.copysign(torch.floor(x.abs() + 0.5), x) - x).detach() if rounding else x


def _floor(x: Tensor, bias: tuple[float, float], rounding: bool) -> Tensor:
    """Round with the bias that libjpeg gives even and odd columns."""
    if not rounding:
        return x
    add = x.new_tensor(bias).repeat(-(-x.shape[-1] // 2))[: x.shape[-1]]
    return x + (torch.floor(x + add) - x).detach()
