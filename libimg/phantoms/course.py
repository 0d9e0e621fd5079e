"""Where the vessels and airways of the common anatomy run: ``(z, y, x, radius)`` in mm."""

from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from libimg.phantoms.organs import HEART, chambers, lung, mediastinum, pleura
from libimg.phantoms.vessels import Tubes, grow_tree, spline_tube

__all__ = ["vessel_tubes"]

TARGETS = 1000
"""Ends of each lung tree; every lung has an arterial and a venous one."""

AORTA = (
    [(14, -14, 12, 14), (-2, -22, 0, 16), (-24, -27, -12, 15), (-48, -24, -14, 14.5),
     (-68, -12, -4, 14), (-75, 4, 10, 13), (-66, 24, 22, 12.5), (-45, 36, 26, 12),
     (0, 41, 26, 11.5), (60, 38, 20, 11), (110, 34, 10, 10.5), (150, 32, 5, 10.5)],
    [(-72, -9, -5, 7), (-95, -6, -14, 6.5), (-120, -2, -24, 6), (-150, 0, -32, 5)],
    [(-76, 2, 5, 5), (-100, 2, 12, 4.2), (-125, 2, 18, 4), (-150, 0, 22, 4)],
    [(-75, 14, 16, 6), (-98, 20, 24, 5.2), (-118, 16, 34, 5), (-135, 4, 60, 5)],
)  # fmt: skip
TRUNK = (
    [(8, -46, 16, 13), (-12, -42, 24, 13.5), (-28, -26, 24, 13), (-36, -4, 26, 11)],
    [(-30, -18, 24, 11), (-38, 0, 32, 10.5), (-36, 16, 44, 9.5), (-26, 20, 56, 8.5)],
    [(-30, -16, 20, 10), (-28, -2, 4, 10.5), (-26, 2, -18, 10), (-22, 6, -40, 9.5),
     (-16, 8, -54, 8.5)],
)  # fmt: skip
LUNG_VEINS = (
    [(-6, 12, -18, 8), (-8, 2, -36, 7), (-14, -6, -54, 6)],
    [(10, 18, -18, 8), (14, 26, -36, 7.5), (20, 30, -54, 6.5)],
    [(-4, 12, 14, 8), (-12, 0, 38, 7), (-18, -8, 54, 6)],
    [(8, 18, 14, 8), (12, 28, 40, 7.5), (20, 32, 56, 6.5)],
)
VEINS = (
    [(-88, -16, -26, 9), (-60, -10, -30, 9.5), (-25, -10, -32, 10), (6, -10, -34, 11)],
    [(36, -2, -30, 12), (66, 8, -26, 12), (100, 14, -20, 11.5), (150, 18, -16, 11.5)],
    [(-88, -16, -26, 8), (-92, -30, -6, 6.5), (-98, -36, 16, 6.5), (-112, -30, 44, 6.5),
     (-130, -20, 75, 6.5)],
    [(-86, -16, -27, 8), (-104, -16, -36, 7), (-122, -16, -60, 7), (-135, -14, -85, 7)],
    [(-48, -4, -32, 4), (-52, 14, -28, 4), (-46, 32, -17, 3.5), (0, 40, -8, 3.5), (80, 36, -6, 3)],
)  # fmt: skip
AIRWAY = (
    [(-150, 4, 0, 9), (-110, 12, 0, 9), (-70, 18, -3, 9), (-42, 20, -3, 9)],
    [(-44, 20, -5, 8), (-32, 21, -18, 7), (-20, 20, -34, 6.5), (-10, 20, -50, 5.5)],
    [(-44, 20, -1, 8), (-30, 22, 14, 6.5), (-18, 24, 32, 6), (-8, 28, 50, 5.5)],
)
OESOPHAGUS = (
    [(-150, 20, 4, 6), (-60, 32, 5, 6.5), (0, 40, 8, 6.5), (60, 34, 12, 7), (96, 22, 26, 8)],
)
CORONARIES = (  # in the heart's own axes; laid on its surface afterwards
    [(-30, -8, -10, 2), (-18, -30, -30, 2), (0, -24, -46, 1.9), (20, -6, -46, 1.8),
     (32, 12, -20, 1.6)],
    [(-30, -4, 16, 2.2), (-26, -26, 26, 2), (-8, -40, 36, 1.8), (12, -40, 50, 1.6),
     (28, -30, 64, 1.3)],
    [(-30, -4, 16, 2.2), (-18, 16, 40, 1.9), (2, 30, 54, 1.7), (20, 34, 46, 1.4)],
)  # fmt: skip
ARTERY_ROOT = {-1: (-16, 8, -54), 1: (-26, 20, 56)}
BRONCHUS_ROOT = {-1: (-10, 20, -50), 1: (-8, 28, 50)}
VEIN_ROOTS = {-1: ((-14, -6, -54), (20, 30, -54)), 1: ((-18, -8, 54), (20, 32, 56))}


def vessel_tubes(
    generator: torch.Generator, *, heart: float, domes: tuple[float, float]
) -> dict[str, Tubes]:
    """Great vessels as splines and lung vessels as trees that differ from case to case."""
    plain = {
        name: np.concatenate([spline_tube(points) for points in course])
        for name, course in {
            "aorta": AORTA,
            "pulmonary_artery": TRUNK,
            "pulmonary_vein": LUNG_VEINS,
            "vein": VEINS,
            "airway": AIRWAY,
            "oesophagus": OESOPHAGUS,
        }.items()
    }
    grown: dict[str, list[Tubes]] = {name: [tubes] for name, tubes in plain.items()}
    grown["aorta"] += [_on_heart(spline_tube(c), size=heart) for c in CORONARIES]
    for side in (-1, 1):
        ends = _ends(generator, side=side, heart=heart, top=domes[side > 0])
        root = ARTERY_ROOT[side]
        tree = grow_tree(ends[::2], start=root, direction=(0.5, 0.2, 0.6 * side), radius=9.0)
        grown["pulmonary_artery"].append(tree)
        grown["airway"].append(_beside(tree, np.subtract(BRONCHUS_ROOT[side], root)))
        rest = ends[1::2]
        upper = rest[:, 0] + 0.6 * rest[:, 1] < 2  # above the oblique fissure
        both = (rest[upper], rest[~upper])
        for part, start, tilt in zip(both, VEIN_ROOTS[side], (-1, 1), strict=True):
            heading = (0.5 * tilt, 0.3 * tilt, 0.7 * side)
            grown["pulmonary_vein"].append(
                grow_tree(part, start=start, direction=heading, radius=7.0)
            )
    great = [tubes for name, tubes in plain.items() if name != "oesophagus"]
    return {name: np.concatenate(parts) for name, parts in grown.items()} | {
        "great": np.concatenate(great)
    }


def _ends(generator: torch.Generator, *, side: int, heart: float, top: float) -> Tubes:
    """Points that fill one lung evenly (an additive recurrence), in random order."""
    shift = torch.rand(3, generator=generator, dtype=torch.float64)
    step = torch.tensor([0.8191725134, 0.6710436067, 0.5497004779], dtype=torch.float64)
    cube = (shift + torch.arange(8 * TARGETS)[:, None] * step) % 1
    lo, hi = torch.tensor([-118.0, -92, 0]), torch.tensor([120.0, 92, 145])
    points = (lo + cube * (hi - lo)).float() * torch.tensor([1, 1, side])
    z, y, x = points.unbind(1)
    middle = mediastinum(z, y, x, heart=chambers(z, y, x, size=heart)["whole"])
    hull = pleura(z, y, x, side=side)
    inside = lung(z, y, x, side=side, top=top, middle=middle, hull=hull) < -3
    kept = points[inside][: 2 * TARGETS]
    shuffled: Tubes = kept[torch.randperm(len(kept), generator=generator)].numpy()
    return shuffled


def _beside(tree: Tubes, towards: npt.NDArray[Any]) -> Tubes:
    """Bronchi along the thick part of an arterial tree, on the side where they begin."""
    tubes: Tubes = tree[np.minimum(tree[:, 3], tree[:, 7]) > 1.7].copy()
    side = towards / np.linalg.norm(towards)
    for end in (0, 4):
        tubes[:, end : end + 3] += 1.9 * tubes[:, end + 3 : end + 4] * side
        tubes[:, end + 3] *= 0.75
    return tubes


def _on_heart(tubes: Tubes, *, size: float) -> Tubes:
    """Lay tubes, given in the heart's own axes, into the fat just outside its surface."""
    ends = torch.from_numpy(tubes).view(-1, 4).clone()
    place = ends[:, :3] * size + torch.tensor(HEART)
    for _ in range(12):
        here = chambers(*place.unbind(1), size=size)["whole"]
        moved = [place + step for step in torch.eye(3)]
        slope = torch.stack(
            [chambers(*m.unbind(1), size=size)["whole"] - here for m in moved], dim=1
        )
        slope = slope / slope.norm(dim=1, keepdim=True).clamp(min=0.3)
        place = place - 0.7 * (here - 2.5)[:, None] * slope
    laid: Tubes = torch.cat([place, ends[:, 3:]], 1).view(-1, 8).numpy()
    return laid
