"""Courses of the vessels of the heart as chains of tubes: arteries, veins, appendage, coronaries.

Points are ``(x, y, z, radius)`` in mm: right, forwards, up from the aortic valve.
"""

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from libimg.phantoms.heart_params import HeartParams
from libimg.phantoms.heart_parts import (
    Frame,
    Points,
    epicardium,
    gap,
    left_ventricle,
    right_ventricle,
    unit,
)
from libimg.phantoms.vessels import Tubes, spline_tube

__all__ = ["appendage", "coronaries", "great_vessels", "lung_veins"]

Surface = Callable[[Tensor], Tensor]


def _chain(points: Sequence[Sequence[float]] | Points, *, steps: int = 4) -> Tubes:
    """Join points by a spline."""
    return spline_tube(np.asarray(points, np.float64).tolist(), steps=steps)


def _with(points: Points | Sequence[Points], radii: float | Sequence[float] | Points) -> Points:
    """Append radii to points."""
    at = np.asarray(points, np.float64)
    r = np.broadcast_to(np.asarray(radii, np.float64), len(at))
    return np.concatenate([at, r[:, None]], 1)


def great_vessels(p: HeartParams, f: Frame) -> tuple[Tubes, Tubes]:
    """Aorta from its valve over the arch downwards, and pulmonary artery with two branches."""
    k, lean, top = f.size, p.ascending_right_mm, p.arch_height_mm
    back, left = p.arch_depth_mm, 8 * f.size + p.arch_left_mm
    a, d = p.ascending_mm, p.descending_mm

    def body(*rows: tuple[float, float, float]) -> Points:
        out: Points = np.array(rows) @ f.upright
        return out

    root = [s * f.aortic_way for s in (-3.0, 1.0, 10 * k, 20 * k)]
    arch = body(
        (0.92 * lean + 2, 7, 0.42 * top),
        (lean + 3, 5, 0.62 * top),
        (0.82 * lean, -0.1 * back, 0.85 * top),
        (0.35 * lean - 0.15 * left, -0.36 * back, top),
        (-0.75 * left, -0.7 * back, 0.9 * top),
        (-1.05 * left, -0.94 * back, 0.62 * top),
        (-left, -back, 0.3 * top),
    )
    b = 0.5 * (a + d)
    r = [p.annulus_mm + 1, p.annulus_mm + 1.5, p.sinus_mm, 0.5 * (p.sinus_mm + a) - 1]
    r += [a, a, 0.5 * (a + b), b, 0.5 * (b + d), d, d]
    end = body((-left + 2, -back, p.descending_end_mm))
    points = _with([*root, *arch], r)
    if p.descending_end_mm < 0.3 * top - 8:
        points = np.concatenate([points, _with(end, d)])
    aorta = _chain(points)

    t, length = p.trunk_mm, p.trunk_length_mm
    start = f.pulmonary
    fork = start + body((10, -27, 22 + p.pa_up_mm))[0] * (length / 38)
    aside = body((-0.6, -0.8, 0))[0]
    for _ in range(40):  # a steep aorta would cut the arteries in two: they part beside it
        fork = fork + max(0.0, min(1.0, -0.3 * t - gap(fork, aorta))) * aside
    up = start + 0.4 * length * unit(0.5 * f.pulmonary_way + 0.5 * unit(fork - start))
    trunk = _chain(
        _with([start - 3 * f.pulmonary_way, start + f.pulmonary_way, up, fork],
              [p.outflow_mm, p.outflow_mm + 1, t, t])
    )  # fmt: skip
    far = p.pa_length_mm / 48
    right = body((13, -12, 0), (36, -19, -6), (36 + 26 * far, -19 - 14 * far, -9 - 9 * far))
    left_ = body((-5, -12, 5), (-14, -28, 4), (-17 - 9 * far, -32 - 9 * far, 1 - 14 * far))
    wide, narrow = p.right_pa_mm, p.left_pa_mm
    right_pa = _chain(_with([fork, *(fork + right * k)], [wide + 1, wide, wide, 0.8 * wide]))
    left_radii = [narrow + 1, narrow, narrow, 0.75 * narrow]
    left_pa = _chain(_with([fork, *(fork + left_ * k)], left_radii))
    return aorta, np.concatenate([trunk, right_pa, left_pa])


def lung_veins(p: HeartParams, f: Frame) -> list[Tubes]:
    """Tubes from inside the left atrium outwards: two on each side, and the variants."""
    draw = np.random.default_rng(p.pv_seed)
    w, d, h = p.la_width_mm, p.la_depth_mm, p.la_height_mm
    places = [  # mouth relative to the half axes, way, calibre
        ((0.82, -0.25, 0.5), (0.86, 0.1, 0.45), 1.08),
        ((0.78, -0.6, -0.3), (0.85, -0.5, -0.25), 1.0),
        ((-0.72, -0.45, 0.45), (-0.88, -0.25, 0.42), 1.0),
        ((-0.74, -0.65, -0.25), (-0.82, -0.55, -0.2), 0.92),
    ]
    if p.pv_middle_right:
        places.append(((0.86, -0.45, 0.1), (0.97, -0.2, 0.08), 0.62))
    veins = []
    for mouth, way, calibre in places:
        place = np.array(mouth) + draw.normal(0, 0.05, 3)
        heading = unit(np.array(way) + draw.normal(0, 0.1, 3))
        bend = draw.normal(0, 0.12, 3) + np.array((0, -0.1, 0))
        length = p.pv_length_mm * draw.uniform(0.8, 1.2)
        r = p.pv_mm * calibre * draw.uniform(0.9, 1.1)
        mouth_mm = f.la + f.upright.T @ (place * (w, d, h))
        way_mm = f.upright.T @ heading
        inner = f.la + f.upright.T @ (0.6 * place * (w, d, h))
        end = mouth_mm + length * (way_mm + f.upright.T @ bend)
        half = mouth_mm + 0.5 * length * way_mm
        veins.append(_with([inner, mouth_mm, half, end], [r, 1.1 * r, r, 0.88 * r]))
    if p.pv_common_left:
        joint = 0.5 * (veins[2][2] + veins[3][2])
        joint[3] = 1.3 * p.pv_mm
        mouth_row = 0.5 * (veins[2][1] + veins[3][1])
        mouth_row[3] = 1.4 * p.pv_mm
        for n in (2, 3):
            veins[n] = np.stack([veins[n][0], mouth_row, joint, veins[n][3]])
    return [_chain(v) for v in veins]


def _outside(points: Points, level: Points | float, surface: Surface, *, both: bool) -> Points:
    """Move points along the gradient to a distance from a surface, or only outwards to it."""
    at = torch.as_tensor(points[:, :3].T.copy(), dtype=torch.float64)
    aim = torch.as_tensor(np.broadcast_to(level, len(points)).copy())
    step = 0.5
    away = step * torch.cat([torch.zeros(3, 1), torch.eye(3), -torch.eye(3)], 1).double()
    for _ in range(8):
        here, *sides = surface(at[:, None] + away[..., None])
        slope = (torch.stack(sides[:3]) - torch.stack(sides[3:])) / (2 * step)
        gap = here - aim
        gap = gap if both else gap.clamp(max=0)
        at = at - (gap.clamp(-6, 6) / slope.square().sum(0).clamp(min=0.2)) * slope
    moved: Points = points.copy()
    moved[:, :3] = at.T.numpy()
    return moved


def appendage(p: HeartParams, f: Frame) -> Tubes:
    """Left atrial appendage: a bent finger with lobes, from inside the atrium to the front."""
    draw = np.random.default_rng(p.laa_seed)
    length, neck, kind = p.laa_length_mm, p.laa_neck_mm, p.laa_type
    bend = {"chicken_wing": 105, "cactus": 35, "windsock": 50, "cauliflower": 20}[kind]
    length *= {"chicken_wing": 1.15, "cactus": 0.9, "windsock": 1.1, "cauliflower": 0.72}[kind]
    width = {"chicken_wing": 0.8, "cactus": 0.85, "windsock": 0.85, "cauliflower": 1.1}[kind]
    turn = np.radians(bend + p.laa_bend_deg)
    half = np.array([p.la_width_mm, p.la_depth_mm, p.la_height_mm])
    mouth = f.la + f.upright.T @ (np.array([-0.72, 0.52, 0.32]) * half)
    inner = f.la + f.upright.T @ (np.array([-0.45, 0.25, 0.2]) * half)
    heading = f.upright.T @ unit(np.array([-0.72, 0.66, 0.22]) + draw.normal(0, 0.12, 3))
    aim = f.upright.T @ unit(np.array([0.35, 0.75, -0.5]) + draw.normal(0, 0.25, 3))
    aim = unit(aim - heading * (aim @ heading))
    where = {"chicken_wing": 0.42}.get(kind, 0.6)
    points, at, n = [inner, mouth], mouth.copy(), 6
    for i in range(n):
        t = (i + 0.5) / n
        angle = turn / (1 + np.exp(-(t - where) / 0.1))
        at = at + length / n * (np.cos(angle) * heading + np.sin(angle) * aim)
        points.append(at.copy())
    radii = neck * np.array([1.1, 1, 0.95, *(width * np.array([1, 1.05, 1, 0.85, 0.6]))])
    main = _with(points, radii)
    main[2:] = _clear(p, f, main[2:])
    pieces = [_chain(main, steps=3)]
    lobes = {"chicken_wing": 1, "cactus": 3, "windsock": 1, "cauliflower": 6}[kind]
    for _ in range(lobes):
        n = int(draw.integers(3, 7))
        way = unit(draw.normal(0, 1, 3) + 0.5 * (main[n, :3] - main[n - 1, :3]) / (length / 6))
        reach = main[n, 3] + length * draw.uniform(0.1, 0.28)
        tip = main[n, :3] + reach * way
        row = np.stack([main[n], np.append(tip, 0.0)])
        row[:, 3] = main[n, 3] * np.array([0.75, draw.uniform(0.4, 0.6)])
        row[1:] = _clear(p, f, row[1:])
        pieces.append(_chain(row, steps=2))
    return np.concatenate(pieces)


def _clear(p: HeartParams, f: Frame, rows: Points) -> Points:
    """Push a tube out of the ventricles."""

    def surface(at: Tensor) -> Tensor:
        _, outer = left_ventricle(p, f, at)
        return torch.minimum(outer, right_ventricle(p, f, at, outer))

    return _outside(rows, rows[:, 3] + 1.5, surface, both=False)


def _groove(p: HeartParams, f: Frame, depth: Points, *, upper: bool) -> Points:
    """Where the right ventricle leaves the left one, at depths along the long axis."""
    angle = np.radians(np.linspace(15, 150, 136)) * (1 if upper else -1)
    r = p.lv_radius_mm + max(p.septum_mm, p.lateral_mm) + 3.0
    out = []
    for u in depth:
        shrink = np.sqrt(max(0.02, 1 - (max(0.0, u / p.lv_length_mm - 0.25) / 0.82) ** 2))
        ring = np.stack(
            [np.full_like(angle, u), r * shrink * np.cos(angle), r * shrink * np.sin(angle)], 1
        )
        at = f.base + ring @ f.turn
        t = torch.as_tensor(at.T.copy())
        _, outer = left_ventricle(p, f, t)
        right = right_ventricle(p, f, t, outer)
        inside = (right < 0).nonzero()
        n = int(inside.max()) if len(inside) else 0
        out.append(at[min(n + 1, len(at) - 1)])
    return np.array(out)


def coronaries(p: HeartParams, f: Frame) -> list[Tubes]:
    """Left and right coronary artery with their branches, laid on the surface of the heart."""
    draw = np.random.default_rng(p.coronary_seed)

    def surface(at: Tensor) -> Tensor:
        return epicardium(p, f, at)

    def lay(points: Points, first: float, *, keep: int = 0, wind: float = 1.0) -> Points:
        """Resample, wind a little, press on the surface, taper."""
        dense = _resample(points, 6.0)
        n = len(dense)
        noise = draw.normal(0, wind, (n, 3))
        smooth = noise.copy()
        smooth[1:-1] = 0.5 * noise[1:-1] + 0.25 * (noise[:-2] + noise[2:])
        smooth[: keep + 1] = 0
        rows = _with(dense + smooth, np.linspace(first, p.coronary_end_mm, n))
        laid = _outside(rows, rows[:, 3] + 0.3, surface, both=True)
        laid[:keep] = rows[:keep]
        laid[0] = rows[0]
        return laid

    up = f.upright.T
    axis = f.aortic_way
    across = up @ np.array([-0.9, -0.1, 0.35])
    across = unit(across - axis * (across @ axis))
    ostium = 13 * f.size * axis + (p.sinus_mm - 1.5) * across
    deep = np.linspace(6, 0.97 * p.lad_reach * p.lv_length_mm, 9)
    anterior = _groove(p, f, deep, upper=True)
    fork = ostium + p.left_main_length_mm * unit(across + 0.4 * unit(anterior[0] - ostium))
    fork = _outside(_with([fork], p.left_main_mm), p.left_main_mm + 0.3, surface, both=False)[0, :3]
    left_main = _with([ostium - 3 * across, ostium, fork], p.left_main_mm)
    lad = lay(np.concatenate([[fork], anterior]), p.lad_mm)
    turn, out = f.turn, p.lv_radius_mm + p.lateral_mm

    def round_left(degrees: Points) -> Points:
        a = np.radians(degrees)
        ring = np.stack([np.full_like(a, -1.0), out * np.cos(a), out * np.sin(a)], 1)
        at: Points = f.base + ring @ turn
        return at

    lcx = lay(np.concatenate([[fork], round_left(np.linspace(125, 125 + 130 * p.lcx_reach, 9))]),
              p.lcx_mm)  # fmt: skip
    across = up @ np.array([0.35, 0.9, 0.1])
    across = unit(across - axis * (across @ axis))
    start = 13 * f.size * axis + (p.sinus_mm - 1.5) * across
    n = f.tricuspid_way
    e1 = up @ np.array([0.1, 0.8, 0.6])
    e1 = unit(e1 - n * (e1 @ n))
    e2 = np.cross(e1, n)
    e2 = e2 if e2 @ (up @ np.array([1.0, 0, 0])) > 0 else -e2
    a = np.radians(np.linspace(-10, -10 + 210 * p.rca_reach, 12))[:, None]
    wide = p.tricuspid_mm + 10
    ring = f.tricuspid + wide * (np.cos(a) * e1 + np.sin(a) * e2)
    rca = lay(np.concatenate([[start, start + 5 * across], ring]), p.rca_mm, keep=2)
    right = [_with([start - 3 * across, start], p.rca_mm), rca]
    left = [left_main, lad, lcx]

    def branch(parent: Points, share: float, towards: Points, length: float, r: float) -> None:
        i = round(share * (len(parent) - 1))
        base = parent[i]
        first = min(r, base[3])
        ends = base[:3] + np.linspace(0, length, 5)[:, None] * unit(towards)
        family.append(lay(ends, first))

    apex = f.base + turn[0] * p.lv_length_mm
    family = left
    for share in (0.25, 0.45)[: 1 + int(draw.integers(0, 2))]:  # diagonal branches
        way = 0.55 * unit(apex - lad[0, :3]) - 0.75 * turn[1] + 0.1 * turn[2]
        branch(lad, share + draw.uniform(-0.05, 0.05), way, draw.uniform(28, 48), 1.35)
    for share in (0.35, 0.6)[: 1 + int(draw.integers(0, 2))]:  # marginal branches
        branch(lcx, share + draw.uniform(-0.05, 0.05), turn[0], draw.uniform(28, 50), 1.35)
    family = right
    branch(rca, draw.uniform(0.35, 0.5), unit(apex - f.tricuspid), draw.uniform(25, 45), 1.3)
    if p.rca_reach > 0.85:  # the artery goes on in the posterior groove
        low = _groove(p, f, np.linspace(8, 0.7 * p.lv_length_mm, 6), upper=False)
        family.append(lay(np.concatenate([rca[-1:, :3], low]), 1.3))
    return [np.concatenate([_chain(x, steps=3) for x in tree]) for tree in (left, right)]


def _resample(points: npt.NDArray[np.float64], step: float) -> Points:
    """Points every ``step`` mm along a polyline."""
    way = np.linalg.norm(np.diff(points, axis=0), axis=1)
    along = np.concatenate([[0.0], np.cumsum(way)])
    count = max(3, round(along[-1] / step) + 1)
    t = np.linspace(0, along[-1], count)
    return np.stack([np.interp(t, along, points[:, i]) for i in range(3)], 1)
