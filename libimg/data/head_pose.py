"""Which way up is a head in profile? Its silhouette against a drawn one, in eight poses."""

from collections.abc import Sequence
from functools import lru_cache
from itertools import product
from typing import Literal, NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

__all__ = ["HeadPose", "head_pose"]

GRID = 24  # cells along each side
CROP = 0.08  # of a side: frames are no part of the picture
OTHER = 0.1  # difference from the background's colour
COMMON = 0.1  # share of the border that a background takes at least
MOST = 4  # candidates for the background
LIKE = 0.45  # correlation from which something looks like a head at all
LEAD, SURE = 0.05, 0.08  # lead in correlation over upright: to be said, to be certain
POSES = {
    "upright": (0, False),
    "turned by 90 degrees": (1, False),
    "turned by 180 degrees": (2, False),
    "turned by 270 degrees": (3, False),
    "mirrored": (0, True),
    "mirrored and turned by 90 degrees": (1, True),
    "mirrored and turned by 180 degrees": (2, True),
    "mirrored and turned by 270 degrees": (3, True),
}
"""Quarter turns anticlockwise that the picture has gone through, after being mirrored."""
SKULL = ((-16.0, -32.0), (100.0, 76.0))
HEIGHTS = (195.0, 230.0, 270.0, 320.0)  # of the field in millimetres
DOWN, ACROSS = (0.28, 0.36, 0.44), (0.3, 0.4, 0.5)  # where sella lies in it, as shares
NECKS = (-95.0, -60.0)  # how far back the neck reaches: with and without its soft tissue
FACE = (
    (76, -30), (77, -4), (103, 40), (84, 52), (84, 66), (80, 82), (74, 107), (52, 122), (20, 126),
    (-4, 136), (-4, 400),
)  # fmt: skip
"""Skull, face and front of the neck: forward and down from sella, millimetres of an adult."""


class HeadPose(NamedTuple):
    """What was found.

    Args:
        best: the likeliest pose.
        scores: correlation with the silhouette in each pose.
        margin: lead of the best pose over upright.
        sure: the lead is large enough.

    Example:
        >>> HeadPose("upright", {"upright": 0.9}, 0.0, False).best
        'upright'
    """

    best: str
    scores: dict[str, float]
    margin: float
    sure: bool


def head_pose(
    image: Float[Tensor, "c h w"], *, facing: Literal["left", "right"] = "right"
) -> HeadPose:
    """Compare a picture's silhouette with that of a head, turned and mirrored in all ways.

    Args:
        image: photograph or X-ray in [0, 1].
        facing: where upright heads of this collection look.

    Example:
        >>> torch.manual_seed(0) and head_pose(torch.rand(1, 64, 64)).sure
        False
    """
    found = [_scores(shape, facing) for shape in silhouettes(image)]
    scores = max(found, key=lambda scores: max(scores.values()))
    best = max(scores, key=scores.__getitem__)
    margin = scores[best] - scores["upright"]
    if margin < LEAD:
        best, margin = "upright", 0.0
    return HeadPose(best, scores, margin, margin > SURE and scores[best] > LIKE)


def _scores(shape: np.ndarray, facing: Literal["left", "right"]) -> dict[str, float]:
    """Largest correlation with a drawn head in each pose."""
    scores = {}
    for name, (turns, mirrored) in POSES.items():
        upright = np.rot90(shape, -turns)
        upright = upright[:, ::-1] if mirrored != (facing == "left") else upright
        values = upright - upright.mean()
        size = float(np.sqrt((values**2).sum())) or 1.0
        scores[name] = float((drawn_heads() @ values.ravel()).max() / size)
    return scores


def silhouettes(image: Float[Tensor, "c h w"]) -> list[np.ndarray]:
    """Share of each cell that differs from the background; one silhouette for each candidate.

    The background is a colour that is common along the border: of an X-ray the darkest, of a
    photograph it may be any of them.
    """
    y, x = (round(CROP * n) for n in image.shape[1:])
    inner = image[:, y : image.shape[1] - y, x : image.shape[2] - x].float()
    small = F.interpolate(inner[None], (96, 96), mode="area")[0]
    small = small / small.quantile(0.98).clamp(min=0.02)  # an underexposed head has a shape, too
    sides = (small[:, :3], small[:, -3:], small[:, :, :3], small[:, :, -3:])
    edge = torch.cat([side.flatten(1) for side in sides], 1).T
    colours = small.flatten(1).T
    kinds: list[Tensor] = []
    while len(edge) and len(kinds) < MOST:
        near = torch.cdist(edge, edge) < OTHER
        most = near[near.sum(1).argmax()]
        if most.sum() < COMMON * 12 * 96:
            break
        kinds.append(edge[most])
        edge = edge[~most]
    if len(image) == 1:
        kinds = sorted(kinds, key=lambda kind: float(kind.mean()))[:1]
    made = []
    for kind in kinds or [colours[:1]]:
        some = kind[:: max(1, len(kind) // 64)]
        far = (torch.cdist(colours, some).min(1).values > 0.5 * OTHER).float()
        cells = F.avg_pool2d(far.view(1, 1, 96, 96), 96 // GRID)[0, 0]
        made.append(cells.numpy().astype(np.float64))
    return made


@lru_cache(maxsize=1)
def drawn_heads() -> np.ndarray:
    """Silhouettes of upright heads looking right, of several sizes and places, as unit rows."""
    cells = (np.arange(GRID) + 0.5) / GRID
    rows = []
    for height, down, across, neck in product(HEIGHTS, DOWN, ACROSS, NECKS):
        forward = (cells[None] - across) * 0.8 * height
        below = (cells[:, None] - down) * height
        forward, below = np.broadcast_arrays(forward, below)
        (cx, cy), (rx, ry) = SKULL
        skull = ((forward - cx) / rx) ** 2 + ((below - cy) / ry) ** 2 < 1
        face = (*FACE, (neck, 400.0), (neck, 80.0), (neck - 3, 40.0), (-60.0, -20.0))
        mask = (skull | _inside(face, forward, below)).astype(np.float64)
        mask -= mask.mean()
        rows.append(mask.ravel() / (np.sqrt((mask**2).sum()) or 1.0))
    return np.stack(rows)


def _inside(polygon: Sequence[tuple[float, float]], x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Tell which points lie inside a polygon, by counting crossings."""
    odd = np.zeros(x.shape, bool)
    for (x0, y0), (x1, y1) in zip(polygon, [*polygon[1:], polygon[0]], strict=True):
        if y0 == y1:
            continue
        crosses = (y0 > y) != (y1 > y)
        odd ^= crosses & (x < (x1 - x0) * (y - y0) / (y1 - y0) + x0)
    return odd
