"""Chambers of the heart as signed distances (mm, negative inside), blood and left wall.

Points are ``(3, *at)`` with x to the patient's right, y forwards, z up, origin at the centre of
the aortic valve. The mean directions and places were measured on one public whole-heart label
map and rounded.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import Float
from torch import Tensor

from libimg.phantoms.fields import smooth_min
from libimg.phantoms.heart_params import HeartParams
from libimg.phantoms.vessels import Tubes

__all__ = ["Frame", "Points", "capsule", "epicardium", "frame", "gap", "left_atrium"]
__all__ += ["left_ventricle", "past", "right_atrium", "right_ventricle", "unit"]

Points = npt.NDArray[np.float64]
At = Float[Tensor, "3 *at"]
Distance = Float[Tensor, "*at"]

LONG, SEPTAL = (-0.67, 0.60, -0.44), (0.70, 0.70, -0.11)
"""Base to apex, and left to right ventricle, in the mean heart."""

WALL_MM = 1.5
"""Between blood pools that do not communicate."""

REACH_MM = 120.0


@dataclass(frozen=True)
class Frame:
    """Where the parts lie: points and unit vectors, mm.

    Attributes:
        turn: ``(3, 3)``, rows are base to apex, left to right ventricle, and superior in the
            short axis.
        base: centre of the base of the left ventricle.
        mitral, aortic, tricuspid, pulmonary: centres of the valves.
        aortic_way, tricuspid_way, pulmonary_way: direction of the blood in them.
        la, ra: centres of the atria.
        upright: ``(3, 3)``, axes of the body.
        ra_turn: ``(3, 3)``, axes of the right atrium.
        size: body size relative to the mean.
    """

    turn: Points
    base: Points
    mitral: Points
    aortic: Points
    tricuspid: Points
    pulmonary: Points
    aortic_way: Points
    tricuspid_way: Points
    pulmonary_way: Points
    la: Points
    ra: Points
    upright: Points
    ra_turn: Points
    size: float


def unit(v: Points | tuple[float, float, float]) -> Points:
    """Scale a vector to length 1."""
    a = np.asarray(v, np.float64)
    scaled: Points = a / np.linalg.norm(a)
    return scaled


def _spin(axis: Points, degrees: float) -> Points:
    """Rotation matrix about an axis (Rodrigues)."""
    x, y, z = unit(axis)
    k = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    a = np.radians(degrees)
    turn: Points = np.eye(3) + np.sin(a) * k + (1 - np.cos(a)) * k @ k
    return turn


def frame(p: HeartParams) -> Frame:
    """Place valves and chambers; the ventricles turn about the aortic valve."""
    body = np.eye(3)
    for axis, degrees in zip(np.eye(3), p.turn_deg, strict=True):
        body = _spin(axis, degrees) @ body
    long = unit(LONG)
    septal = unit(np.asarray(SEPTAL) - long * (long @ np.asarray(SEPTAL)))
    side = unit(np.cross(long, (0, 0, 1)))
    tilt = _spin(np.array([0.0, 0, 1]), p.yaw_deg) @ _spin(side, -p.pitch_deg)
    tilt = tilt @ _spin(long, p.roll_deg)
    turn = np.stack([long, septal, np.cross(septal, long)]) @ tilt.T @ body.T
    r, size = p.lv_radius_mm, p.annulus_mm / 11.8
    outside = r + p.septum_mm

    def at(u: float, v: float, w: float) -> Points:
        point: Points = base + turn.T @ np.array([u, v, w])
        return point

    base = -turn.T @ np.array([-5.0, 0.62 * r, 0.33 * r])
    mitral = at(0, -0.27 * r, -0.2 * r)
    tricuspid = at(11, outside + 6, -14 - p.rv_drop_mm)
    pulmonary = at(4, 0.55 * outside + 3, outside + 0.5 * p.outflow_mm - 1)
    ra = tricuspid + body @ np.array(
        [0.95 * p.ra_width_mm, -4 - p.ra_back_mm, 0.35 * p.ra_height_mm]
    )
    away = unit(ra - tricuspid)
    tall = body @ unit((0.22, 0.1, 0.95))
    tall = unit(tall - away * (tall @ away))
    la = mitral + body @ np.array(
        [16 + p.la_right_mm, -6 - 0.45 * p.la_depth_mm, 6 + 0.15 * p.la_height_mm + p.la_up_mm]
    )
    return Frame(
        turn=turn,
        base=base,
        mitral=mitral,
        aortic=np.zeros(3),
        tricuspid=tricuspid,
        pulmonary=pulmonary,
        aortic_way=turn.T @ unit((-0.61, 0.72, 0.33)),
        tricuspid_way=turn.T @ unit((0.96, -0.2, 0.15)),
        pulmonary_way=turn.T @ unit((-0.72, -0.1, 0.7)),
        la=la,
        ra=ra,
        upright=body.T,
        ra_turn=np.stack([away, np.cross(tall, away), tall]),
        size=size,
    )


def _local(at: At, turn: Points, origin: Points) -> Tensor:
    """Coordinates of the points along the rows of ``turn``."""
    m = torch.as_tensor(turn, dtype=at.dtype)
    shift = m @ torch.as_tensor(origin, dtype=at.dtype)
    flat = torch.addmm(-shift[:, None], m, at.reshape(3, -1))
    return flat.view(len(m), *at.shape[1:])


def _egg(
    q: Tensor, *, centre: tuple[float, ...], lo: tuple[float, ...], hi: tuple[float, ...]
) -> Distance:
    """Ellipsoid with other radii below than above the centre, to first order a distance."""
    level = torch.zeros(())
    steep = torch.zeros(())
    for x, c, a, b in zip(q, centre, lo, hi, strict=True):
        d = x - c
        d = d / a if a == b else torch.where(d < 0, d / a, d / b)
        s = d.square()
        level = level + s
        steep = steep + (s / a**2 if a == b else s * torch.where(d < 0, 1 / a**2, 1 / b**2))
    level = level.sqrt()
    return level * (level - 1) / steep.sqrt().clamp(min=1e-6)


def capsule(at: At, start: Points, end: Points, first: float, last: float) -> Distance:
    """Tube with round ends whose radius changes along the way."""
    way = end - start
    t = _local(at, way[None] / (way @ way), start)[0].clamp(0, 1)
    d = torch.zeros_like(t)
    for x, s, w in zip(at, start, way, strict=True):
        d += (x - s - t * w).square()
    return d.sqrt() - (first + t * (last - first))


def gap(point: Points, tube: Tubes) -> float:
    """Distance of a point to a chain of tubes (rows of two ends with radii), negative inside."""
    a, way = tube[:, :3], tube[:, 4:7] - tube[:, :3]
    t = ((point - a) * way).sum(1) / np.maximum((way * way).sum(1), 1e-9)
    t = np.clip(t, 0, 1)[:, None]
    away = np.linalg.norm(point - a - t * way, axis=1)
    return float((away - (tube[:, 3:4] + t * (tube[:, 7:] - tube[:, 3:4]))[:, 0]).min())


def past(at: At, place: Points, way: Points) -> Distance:
    """How far the points are beyond a plane."""
    return _local(at, way[None], place)[0]


def left_ventricle(p: HeartParams, f: Frame, at: At) -> tuple[Distance, Distance]:
    """Blood of the left ventricle, and blood and wall together.

    The wall closes the base but for the two valves, and forms a sleeve around the outflow.
    """
    q = _local(at, f.turn, f.base)
    long, r = p.lv_length_mm, p.lv_radius_mm
    middle = 0.25 * long
    sept = r * (1 - p.septum_flat)
    radii = (2.4 * middle, r, r), (long - middle, sept, r)
    blood = _egg(q, centre=(middle, 0, 0), lo=radii[0], hi=radii[1])
    lo = (radii[0][0] + 8, r + p.lateral_mm, r + p.lateral_mm)
    hi = (long - middle + p.apex_mm, sept + p.septum_mm, r + 0.5 * (p.septum_mm + p.lateral_mm))
    outer = _egg(q, centre=(middle, 0, 0), lo=lo, hi=hi)
    blood = -smooth_min(-blood, q[0] - 3.5, 5)
    outer = -smooth_min(-outer, q[0], 3)
    mitral = capsule(at, f.mitral, f.mitral + 10 * f.turn[0], p.mitral_mm, p.mitral_mm)
    start = f.aortic - 16 * f.aortic_way
    outflow = capsule(at, start, f.aortic + f.aortic_way, p.annulus_mm, p.annulus_mm - 1)
    sleeve = capsule(at, start, f.aortic, p.annulus_mm + 3.5, p.annulus_mm + 2.5)
    plane = past(at, f.aortic, f.aortic_way)
    blood = torch.maximum(smooth_min(blood, mitral, 3), -q[0])
    blood = torch.minimum(blood, torch.maximum(outflow, plane))
    return blood, torch.minimum(outer, torch.maximum(sleeve, plane))


def right_ventricle(p: HeartParams, f: Frame, at: At, outer: Distance) -> Distance:
    """Blood of the right ventricle: a crescent on the left one, and the outflow."""
    q = _local(at, f.turn, f.base)
    outside = p.lv_radius_mm * (1 - p.septum_flat) + p.septum_mm
    centre = (11 + 0.3 * p.rv_length_mm, 0.45 * outside, -3 - p.rv_drop_mm)
    deep = outside + p.rv_depth_mm - centre[1]
    back = 0.5 * outside  # the free wall meets the left ventricle soon behind the middle
    lo = (0.5 * p.rv_length_mm, back, p.rv_height_mm)
    hi = (0.7 * p.rv_length_mm, deep, p.rv_height_mm)
    slant = q.clone()  # the free wall comes nearer to the septum towards the apex
    slant[1] += 0.22 * (q[0] - centre[0])
    body = _egg(slant, centre=centre, lo=lo, hi=hi)
    inflow = f.tricuspid + 14 * f.tricuspid_way
    body = smooth_min(body, capsule(at, f.tricuspid, inflow, p.tricuspid_mm, p.tricuspid_mm), 8)
    body = torch.maximum(body, -past(at, f.tricuspid, f.tricuspid_way))
    below = f.pulmonary - 28 * f.pulmonary_way
    below = below + f.turn[1] * 6
    cone = capsule(at, below, f.pulmonary, 1.25 * p.outflow_mm, p.outflow_mm)
    body = smooth_min(body, cone, 12)
    body = torch.maximum(body, past(at, f.pulmonary, f.pulmonary_way))
    return torch.maximum(body, -outer)


def left_atrium(p: HeartParams, f: Frame, at: At, outer: Distance) -> Distance:
    """Blood of the left atrium, open towards the mitral valve."""
    radii = (p.la_width_mm, p.la_depth_mm, p.la_height_mm)
    body = _egg(_local(at, f.upright, f.la), centre=(0, 0, 0), lo=radii, hi=radii)
    r = p.mitral_mm + 2.5
    funnel = capsule(at, f.mitral + 2 * f.turn[0], 0.5 * (f.mitral + f.la), r, r)
    body = smooth_min(body, funnel, 8)
    body = torch.maximum(body, past(at, f.mitral, f.turn[0]))
    return torch.maximum(body, -outer)


def right_atrium(p: HeartParams, f: Frame, at: At, outer: Distance) -> Distance:
    """Blood of the right atrium with its appendage, open towards the tricuspid valve."""
    radii = (p.ra_width_mm, p.ra_depth_mm, p.ra_height_mm)
    body = _egg(_local(at, f.ra_turn, f.ra), centre=(0, 0, 0), lo=radii, hi=radii)
    r = p.tricuspid_mm
    funnel = capsule(at, f.tricuspid + 2 * f.tricuspid_way, 0.6 * f.tricuspid + 0.4 * f.ra, r, r)
    body = smooth_min(body, funnel, 10)
    root = f.ra + f.upright.T @ np.array([-4, 0.45 * p.ra_depth_mm, 0.55 * p.ra_height_mm])
    tip = f.upright.T @ np.array([6.0, p.sinus_mm + 11, 12]) * f.size + 9 * f.aortic_way
    body = smooth_min(body, capsule(at, root, tip, 13 * f.size, 8 * f.size), 8)
    body = torch.maximum(body, past(at, f.tricuspid, f.tricuspid_way))
    return torch.maximum(body, WALL_MM - outer)


def epicardium(p: HeartParams, f: Frame, at: At) -> Distance:
    """Outside of the four chambers with their walls; grooves between them are rounded."""
    _, outer = left_ventricle(p, f, at)
    right = right_ventricle(p, f, at, outer) - 3
    atria = torch.minimum(left_atrium(p, f, at, outer), right_atrium(p, f, at, outer)) - 2
    return smooth_min(smooth_min(outer, right, 4), atria, 4)
