"""Heads as a profile photograph and a lateral X-ray with 19 landmarks, all from one geometry."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from libimg.phantoms.head_outline import Line, outlines
from libimg.phantoms.head_paint import Canvas, paint_photo, paint_xray
from libimg.phantoms.head_params import HeadFaults, HeadParams, head_landmarks, sample_head

__all__ = ["Head", "head", "render_head"]

FIELD_MM = (230.0, 187.0)  # height and width of the picture; 1520 x 1236 pixels of 0.151 mm
SELLA_MM = (86.0, 76.0)  # where mean sella lies, from the top and from the left
FEWEST = 64  # pixels along a side


@dataclass(frozen=True)
class Head:
    """A head.

    Attributes:
        photo: ``(3, h, w)`` in [0, 1], profile to the right.
        xray: ``(1, h, w)`` in [0, 1], bright bone.
        landmarks: ``(19, 2)``, row and column in pixels of both pictures; integers are centres.
            They are those of the X-ray; the photograph is off by ``params.misfit_mm``.
        spacing_mm: of the rows and the columns.
        params: what it is made from.

    Example:
        >>> sorted(vars(head(0, size=(95, 77))))
        ['landmarks', 'params', 'photo', 'spacing_mm', 'xray']
    """

    photo: Float[Tensor, "3 h w"]
    xray: Float[Tensor, "1 h w"]
    landmarks: Float[Tensor, "19 2"]
    spacing_mm: tuple[float, float]
    params: HeadParams


def head(
    index: int, *, size: tuple[int, int] = (1520, 1236), faults: HeadFaults | None = None
) -> Head:
    """Draw and render head number ``index``.

    Args:
        index: any whole number; equal numbers give equal heads.
        size: height and width in pixels; the same head at any size.
        faults: rates of frames, rulers and faults; ``HeadFaults()`` has those of real collections,
            None has none.

    Example:
        >>> case = head(3, size=(152, 124))
        >>> tuple(case.photo.shape), tuple(case.xray.shape), tuple(case.landmarks.shape)
        ((3, 152, 124), (1, 152, 124), (19, 2))
    """
    generator = torch.Generator().manual_seed(index)
    return render_head(sample_head(generator, faults=faults), size=size)


def render_head(params: HeadParams, *, size: tuple[int, int] = (1520, 1236)) -> Head:
    """Render both pictures.

    Args:
        params: of the head.
        size: height and width in pixels, 64 or more.

    Raises:
        ValueError: the size is too small.

    Example:
        >>> params = sample_head(torch.Generator().manual_seed(1))
        >>> render_head(params, size=(152, 124)).spacing_mm
        (1.51, 1.51)
    """
    height, width = size
    if min(size) < FEWEST:
        msg = f"size must be {FEWEST} or more along each side, got {size}"
        raise ValueError(msg)
    spacing = FIELD_MM[0] / height, FIELD_MM[1] / width
    lines = outlines(params)
    place = {name: _placed(line, params, spacing) for name, line in lines.items()}
    off = np.asarray(params.misfit_mm) / (spacing[1], spacing[0])
    seen = {name: line + off for name, line in place.items()}
    rng = np.random.default_rng(params.seed)
    photo = paint_photo(Canvas(size, spacing), seen, params, rng)
    xray = paint_xray(Canvas(size, spacing), place, params, rng)
    points = placed_landmarks(params, spacing)
    both = torch.from_numpy(np.concatenate([photo, xray])).float()
    if params.mirrored:
        both, points = both.flip(2), points * torch.tensor([1, -1]) + torch.tensor([0, width - 1])
    for _ in range(params.turned // 90):
        both = torch.rot90(both, 1, (1, 2))
        points = torch.stack([both.shape[1] - 1 - points[:, 1], points[:, 0]], 1)
        spacing = spacing[::-1]
    return Head(both[:3].contiguous(), both[3:].contiguous(), points, spacing, params)


def placed_landmarks(params: HeadParams, spacing: tuple[float, float]) -> Float[Tensor, "19 2"]:
    """Row and column of the landmarks of an upright head, without rendering it."""
    marks = _placed(head_landmarks(params).double().numpy(), params, spacing)
    return torch.from_numpy(marks[:, ::-1].copy()).float()


def _placed(line: Line, params: HeadParams, spacing: tuple[float, float]) -> Line:
    """Column and row in pixels of points given forward and down of mean sella in millimetres."""
    angle = np.radians(-params.tilt)
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    mm = line * params.scale @ turn + (SELLA_MM[1], SELLA_MM[0]) + np.asarray(params.shift_mm)
    placed: Line = mm / (spacing[1], spacing[0]) - 0.5
    return placed
