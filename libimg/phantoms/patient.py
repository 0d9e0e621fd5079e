"""One random patient: proportions, blood and contrast values, vessels. Nothing here is a grid."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from libimg.phantoms.fields import ellipsoid, smooth_lattice, smooth_min, uniform
from libimg.phantoms.vessels import Array, grow_tree, spline_tube

__all__ = ["Patient", "draw_patient", "lung_distance"]

TARGETS = 420
"""Ends of each lung tree (one arterial, one venous in each lung)."""


@dataclass(frozen=True)
class Patient:
    """What is drawn once per case; lengths in mm, values in HU."""

    scale: tuple[float, float, float]
    dome: tuple[float, float]  # height of the right and left diaphragm
    heart: float  # relative heart size
    fat: float  # thickness under the skin
    period: float  # height of a vertebra with its disc
    phase: float
    lung_hu: float
    blood_hu: float
    gain: dict[str, float]  # enhancement by vessel group
    lattice: Float[Tensor, "5 k k k"]  # bend z, y, x (mm), two textures
    tubes: dict[str, Array]


def draw_patient(generator: torch.Generator) -> Patient:
    """Draw a patient; the grid it is rendered on later has no influence."""
    u = lambda lo, hi: uniform(generator, lo, hi)  # noqa: E731
    bend = smooth_lattice(generator, channels=3, waves=4) * torch.tensor([4.0, 3.0, 4.0]).view(
        3, 1, 1, 1
    )
    coarse = smooth_lattice(generator, channels=1, waves=12)
    fine = smooth_lattice(generator, channels=1, waves=24)
    artery = u(270, 430)
    gain = {
        "aorta": artery,
        "pulmonary_artery": artery * u(0.85, 1.1),
        "pulmonary_vein": artery * u(0.8, 0.95),
        "vein": artery * u(0.35, 0.75),
        "heart_left": artery * u(0.92, 1.0),
        "heart_right": artery * u(0.6, 0.9),
    }
    heart, dome = u(0.9, 1.06), (u(44, 66), u(56, 76))
    return Patient(
        scale=(u(0.95, 1.05), u(0.95, 1.05), u(0.95, 1.04)),
        dome=dome,
        heart=heart,
        fat=u(9, 20),
        period=u(23, 26.5),
        phase=u(0, 1),
        lung_hu=u(-880, -840),
        blood_hu=u(35, 50),
        gain=gain,
        lattice=torch.cat([bend, coarse, fine]),
        tubes=_tubes(generator, heart=heart, dome=dome),
    )


def lung_distance(
    z: Tensor, y: Tensor, x: Tensor, *, side: int, heart: float, dome: tuple[float, float] | None
) -> Tensor:
    """Signed distance of one lung without vessels; ``dome=None`` gives the pleural hull.

    ``side`` is -1 for the right lung and +1 for the left one.
    """
    across = (x * side - 70 - 0.08 * y) / 63
    along = (y - 2) / 89
    above = (24 - z).clamp(min=0) / 138
    k = sum((v.abs().pow(2.4) for v in (across, along, above)), torch.zeros(()))
    norm = k.pow(1 / 2.4)
    reach = ((63 * across).square() + (89 * along).square() + (138 * above).square()).sqrt()
    hull = reach * (1 - 1 / norm.clamp(min=1e-3))
    if dome is None:
        return hull
    d = hull.clone()
    d = torch.maximum(d, 0.8 * (z - diaphragm(y, x, side=side, top=dome[side > 0])))
    return torch.maximum(d, -mediastinum(z, y, x, heart=heart))


def diaphragm(y: Tensor, x: Tensor, *, side: int, top: float) -> Tensor:
    """Height (z, mm) of the dome under one lung."""
    bowl = ((x * side - 58) / 70).square() * 36 + ((y + 18) / 95).square() * 34
    return top + bowl


def mediastinum(z: Tensor, y: Tensor, x: Tensor, *, heart: float) -> Tensor:
    """Signed distance of the space between the lungs."""
    wide = 11 + 12 * torch.sigmoid((-50 - z) / 12) + 9 * torch.sigmoid((y + 40) / 10)
    column = (x - 3).abs() - wide
    pericardium = ellipsoid(
        z, y, x, centre=(34, -24, 16), radii=(54 * heart, 50 * heart, 64 * heart)
    )
    return smooth_min(column, pericardium - 3, 18)


def _tubes(
    generator: torch.Generator, *, heart: float, dome: tuple[float, float]
) -> dict[str, Array]:
    """Great vessels as splines, lung vessels as trees."""
    join = lambda *parts: np.concatenate(parts)  # noqa: E731
    aorta = join(
        spline_tube(
            [
                (14, -14, 12, 14),
                (-2, -22, 0, 16),
                (-24, -27, -12, 15),
                (-48, -24, -14, 14.5),
                (-68, -12, -4, 14),
                (-75, 4, 10, 13),
                (-66, 24, 22, 12.5),
                (-45, 36, 26, 12),
                (0, 42, 25, 11.5),
                (60, 44, 18, 11),
                (110, 44, 8, 10.5),
                (150, 42, 4, 10.5),
            ]
        ),
        spline_tube([(-72, -9, -5, 7), (-95, -6, -14, 6.5), (-120, -2, -24, 6), (-150, 0, -32, 5)]),
        spline_tube([(-76, 2, 5, 5), (-100, 2, 12, 4.2), (-125, 2, 18, 4), (-150, 0, 22, 4)]),
        spline_tube([(-75, 14, 16, 6), (-98, 20, 24, 5.2), (-118, 16, 34, 5), (-135, 4, 60, 5)]),
    )
    trunk = spline_tube(
        [(8, -46, 16, 13), (-12, -42, 24, 13.5), (-28, -26, 24, 13), (-36, -4, 26, 11)]
    )
    left = spline_tube(
        [(-30, -18, 24, 11), (-38, 0, 32, 10.5), (-36, 16, 44, 9.5), (-26, 20, 56, 8.5)]
    )
    right = spline_tube(
        [
            (-30, -16, 20, 10),
            (-28, -2, 4, 10.5),
            (-26, 2, -18, 10),
            (-22, 6, -40, 9.5),
            (-16, 8, -54, 8.5),
        ]
    )
    veins = join(
        spline_tube([(-6, 12, -18, 8), (-8, 2, -36, 7), (-14, -6, -54, 6)]),
        spline_tube([(10, 20, -18, 8), (14, 26, -36, 7.5), (20, 30, -54, 6.5)]),
        spline_tube([(-4, 12, 20, 8), (-12, 0, 38, 7), (-18, -8, 54, 6)]),
        spline_tube([(8, 20, 20, 8), (12, 28, 40, 7.5), (20, 32, 56, 6.5)]),
    )
    cava = join(
        spline_tube(
            [(-88, -16, -26, 9), (-60, -10, -30, 9.5), (-25, -10, -32, 10), (6, -10, -34, 11)]
        ),
        spline_tube(
            [(36, -2, -30, 12), (66, 8, -26, 12), (100, 14, -20, 11.5), (150, 18, -16, 11.5)]
        ),
        spline_tube(
            [
                (-88, -16, -26, 8),
                (-92, -30, -6, 6.5),
                (-98, -36, 16, 6.5),
                (-112, -30, 44, 6.5),
                (-130, -20, 75, 6.5),
            ]
        ),
        spline_tube(
            [(-86, -16, -27, 8), (-104, -16, -36, 7), (-122, -16, -60, 7), (-135, -14, -85, 7)]
        ),
        spline_tube(
            [
                (-48, -4, -32, 4),
                (-52, 14, -28, 4),
                (-46, 34, -16, 3.5),
                (0, 44, -6, 3.5),
                (80, 46, -4, 3),
            ]
        ),
    )
    windpipe = spline_tube([(-150, 4, 0, 9), (-110, 12, 0, 9), (-70, 18, -3, 9), (-42, 20, -3, 9)])
    bronchi = join(
        spline_tube(
            [(-44, 20, -5, 8), (-32, 21, -18, 7), (-20, 20, -34, 6.5), (-10, 20, -50, 5.5)]
        ),
        spline_tube([(-44, 20, -1, 8), (-30, 22, 14, 6.5), (-18, 24, 32, 6), (-8, 28, 50, 5.5)]),
    )
    groups: dict[str, list[Array]] = {"pulmonary_artery": [], "pulmonary_vein": [], "airway": []}
    for side in (-1, 1):
        ends = _targets(generator, side=side, heart=heart, dome=dome)
        arteries, rest = ends[:TARGETS], ends[TARGETS:]
        hilum = (-16, 8, -54) if side < 0 else (-26, 20, 56)
        tree = grow_tree(arteries, start=hilum, direction=(0.5, 0.2, 0.6 * side), radius=8.5)
        groups["pulmonary_artery"].append(tree)
        stem = (-10, 20, -50) if side < 0 else (-8, 28, 50)
        groups["airway"].append(_companion(tree, start=np.subtract(stem, hilum)))
        upper = rest[:, 0] + 0.6 * rest[:, 1] < 2  # in front and above the oblique fissure
        roots = [(-14, -6, -54), (20, 30, -54)] if side < 0 else [(-18, -8, 54), (20, 32, 56)]
        for part, root, tilt in zip((rest[upper], rest[~upper]), roots, (-0.4, 0.6), strict=True):
            heading = (tilt, 0.3 * np.sign(tilt), 0.7 * side)
            groups["pulmonary_vein"].append(
                grow_tree(part, start=root, direction=heading, radius=6.6, reach=0.4)
            )
    return {
        "aorta": aorta,
        "pulmonary_artery": join(trunk, left, right, *groups["pulmonary_artery"]),
        "pulmonary_vein": join(veins, *groups["pulmonary_vein"]),
        "vein": cava,
        "airway": join(windpipe, bronchi, *groups["airway"]),
        "great": join(aorta, trunk, left, right, veins, cava, windpipe, bronchi),
        "oesophagus": spline_tube(
            [(-150, 22, 4, 6), (-60, 34, 6, 6.5), (0, 44, 6, 6.5), (60, 40, 12, 7), (96, 22, 26, 8)]
        ),
    }


def _companion(tree: Array, *, start: np.ndarray) -> Array:
    """Bronchi beside the thick part of an arterial tree, on the side where they begin."""
    segments = tree[(tree[:, 3] > 1.7) & (tree[:, 7] > 1.6)].copy()
    side = start / np.linalg.norm(start)
    for at in (0, 4):
        radius = segments[:, at + 3 : at + 4]
        segments[:, at : at + 3] += 2.0 * radius * side
        segments[:, at + 3] *= 0.8
    return segments.astype(np.float32)


def _targets(
    generator: torch.Generator, *, side: int, heart: float, dome: tuple[float, float]
) -> Array:
    """Points that fill one lung evenly, for two trees in turn."""
    shift = torch.rand(3, generator=generator, dtype=torch.float64)
    step = torch.tensor([0.8191725134, 0.6710436067, 0.5497004779], dtype=torch.float64)
    cube = (shift + torch.arange(8 * TARGETS)[:, None] * step) % 1
    lo, hi = torch.tensor([-118.0, -92, 0]), torch.tensor([120.0, 92, 145])
    p = (lo + cube * (hi - lo)).float()
    p[:, 2] *= side
    inside = lung_distance(p[:, 0], p[:, 1], p[:, 2], side=side, heart=heart, dome=dome) < -4
    kept = p[inside][: 2 * TARGETS]
    order = torch.randperm(len(kept), generator=generator)
    return kept[order].numpy()
