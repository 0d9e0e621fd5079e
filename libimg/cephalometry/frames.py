"""The picture that a network works in: letterbox with a fixed region, or a square squash."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from libimg import data
from libimg.cephalometry.pairs import HeadPair

__all__ = ["Frame", "Framed", "box_of", "draw_framed", "framed", "stack", "within"]


@dataclass(frozen=True, kw_only=True)
class Frame:
    """How pictures are brought to the size of a network.

    Args:
        size: height and width.
        keep_aspect: letterbox; otherwise both axes are squashed to the size.
        region: top, left, height and width of the fixed region of interest, as shares of the
            picture; None for all of it.

    Example:
        >>> Frame(size=(128, 128), keep_aspect=False, region=None).size
        (128, 128)
    """

    size: tuple[int, int] = (512, 512)
    keep_aspect: bool = True
    region: tuple[float, float, float, float] | None = (0.26, 0.22, 0.72, 0.76)


@dataclass(frozen=True)
class Framed:
    """A pair in its frame.

    Attributes:
        photo: ``(3, h, w)`` in [-1, 1], 0 outside the picture.
        xray: ``(1, h, w)`` likewise.
        inside: ``(1, h, w)``, 1 where there is a picture.
        points: ``(n, 2)`` landmarks in the frame.
        spacing_mm: of the frame's rows and columns.

    Example:
        >>> dark = torch.zeros(1, 8, 8)
        >>> Framed(dark.expand(3, 8, 8), dark, dark + 1, torch.zeros(19, 2), (1.0, 1.0)).spacing_mm
        (1.0, 1.0)
    """

    photo: Float[Tensor, "3 h w"]
    xray: Float[Tensor, "1 h w"]
    inside: Float[Tensor, "1 h w"]
    points: Float[Tensor, "n 2"]
    spacing_mm: tuple[float, float]


def box_of(frame: Frame, size: Sequence[int]) -> data.Letterbox:
    """Return the transform of pictures of a size into the frame.

    Example:
        >>> box_of(Frame(size=(64, 64), region=None), (152, 124)).target
        (64, 64)
    """
    height, width = size
    roi = None
    if frame.region is not None:
        top, left, tall, wide = frame.region
        roi = (
            round(top * height),
            round(left * width),
            round(tall * height),
            round(wide * width),
        )
    return data.letterbox(
        (height, width), target=frame.size, roi=roi, keep_aspect=frame.keep_aspect
    )


def framed(pair: HeadPair, frame: Frame) -> Framed:
    """Bring a pair into a frame.

    Example:
        >>> from libimg.cephalometry import Heads, load_pair
        >>> pair = load_pair(Heads(size=(152, 124)), "head-000")
        >>> framed(pair, Frame(size=(48, 48))).xray.shape
        torch.Size([1, 48, 48])
    """
    box = box_of(frame, pair.xray.shape[1:])
    inside = box.mask().float()
    both = torch.cat([pair.photo, pair.xray])[None] * 2 - 1
    both = (box.image(both) * inside)[0]
    return Framed(
        both[:3], both[3:], inside[0], box.points(pair.points), box.spacing_mm(pair.spacing_mm)
    )


def stack(pairs: Iterable[Framed]) -> dict[str, Tensor]:
    """Stack framed pairs as a batch: ``input``, ``target``, ``mask`` and ``points``.

    Example:
        >>> dark = torch.zeros(1, 8, 8)
        >>> one = Framed(dark.expand(3, 8, 8), dark, dark + 1, torch.zeros(19, 2), (1.0, 1.0))
        >>> {name: tuple(part.shape) for name, part in stack([one, one]).items()}
        {'input': (2, 3, 8, 8), 'target': (2, 1, 8, 8), 'mask': (2, 1, 8, 8), 'points': (2, 19, 2)}
    """
    parts = list(pairs)
    return {
        "input": torch.stack([part.photo for part in parts]),
        "target": torch.stack([part.xray for part in parts]),
        "mask": torch.stack([part.inside for part in parts]),
        "points": torch.stack([part.points for part in parts]),
    }


def draw_framed(
    pairs: Sequence[Framed], *, batch: int, jitter: float, generator: torch.Generator
) -> dict[str, Tensor]:
    """Draw a batch; every pair is shifted and scaled at random, photograph, X-ray and points alike.

    There is no mirroring: which way a head faces is part of what a network has to know.

    Args:
        pairs: to draw from.
        batch: number of pairs.
        jitter: largest shift as a share of the frame, and largest change of scale.
        generator: draws everything.

    Example:
        >>> dot = torch.zeros(1, 8, 8)
        >>> one = Framed(dot.expand(3, 8, 8), dot, dot + 1, torch.zeros(2, 2), (1.0, 1.0))
        >>> generator = torch.Generator().manual_seed(0)
        >>> draw_framed([one], batch=3, jitter=0.1, generator=generator)["input"].shape
        torch.Size([3, 3, 8, 8])
    """
    order = torch.randint(len(pairs), (batch,), generator=generator)
    drawn = stack(pairs[i] for i in order.tolist())
    shift = (torch.rand(batch, 2, generator=generator) * 2 - 1) * 2 * jitter  # frame is 2 long
    scale = torch.exp((torch.rand(batch, generator=generator) * 2 - 1) * jitter)
    if not jitter:
        return drawn
    theta = torch.zeros(batch, 2, 3)
    theta[:, 0, 0] = theta[:, 1, 1] = scale
    theta[:, :, 2] = shift.flip(1)
    size = drawn["input"].shape[2:]
    grid = F.affine_grid(theta, [batch, 1, *size], align_corners=False)
    names = ("input", "target", "mask")
    whole = torch.cat([drawn[name] for name in names], 1)
    moved = F.grid_sample(whole, grid, padding_mode="zeros", align_corners=False)
    parts = moved.split([drawn[name].shape[1] for name in names], 1)
    half = torch.tensor([n / 2 for n in size])
    # output u shows input scale * u + shift, so a landmark at v is seen at (v - shift) / scale
    places = ((drawn["points"] + 0.5) / half - 1 - shift[:, None]) / scale[:, None, None]
    inside = (parts[2] > 0.99).float()  # half a pixel of padding would be a cue for D
    drawn |= {"input": parts[0] * inside, "target": parts[1] * inside, "mask": inside}
    return drawn | {"points": (places + 1) * half - 0.5}


def within(points: Float[Tensor, "*n 2"], size: Sequence[int]) -> Float[Tensor, "*n 2"]:
    """Points, NaN where a picture of this height and width does not show them.

    Example:
        >>> within(torch.tensor([[2.0, 3.0], [9.0, 3.0]]), (8, 8))
        tensor([[2., 3.],
                [nan, nan]])
    """
    seen = ((points >= 0) & (points <= torch.tensor(list(size)) - 1)).all(-1, keepdim=True)
    return torch.where(seen, points, torch.nan)
