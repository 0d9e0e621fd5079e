"""Outlines of skull and soft tissue around the landmarks of a head, in millimetres."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from libimg.phantoms.head_params import HEAD_LANDMARKS, HeadParams, head_landmarks

__all__ = ["Line", "outlines"]

Line = npt.NDArray[Any]


def outlines(params: HeadParams) -> dict[str, Line]:
    """Lines ``(n, 2)``, forward and down from mean sella, by the name of what they surround."""
    at = dict(zip(HEAD_LANDMARKS, head_landmarks(params).double().numpy(), strict=True))
    s, n, ar, po = (at[name] for name in ("sella", "nasion", "articulare", "porion"))
    ans, pns = at["anterior nasal spine"], at["posterior nasal spine"]
    me, gn, pog, go = (at[name] for name in ("menton", "gnathion", "pogonion", "gonion"))
    b, a = at["supramentale"], at["subspinale"]
    u1, l1 = at["upper incisor"], at["lower incisor"]
    ls, li, sn = at["upper lip"], at["lower lip"], at["subnasale"]
    chin = at["soft pogonion"]
    tip = _by(sn, 20 + params.nose_mm, -11)
    profile = [
        (-14, -106), (30, -99), (62, -76), _by(n, 10, -38), _by(n, 11, -16), _by(n, 6.5, 0),
        _by(n, 14, 16), _by(tip, -5, -6), tip, _by(tip, -5, 6), sn, _by((sn + ls) / 2, 0.5, 0), ls,
        (ls + li) / 2 - (4.5, 0), li, (li + chin) / 2 - (4.5, 0), chin, _by(chin, -6, 13),
        _by(me, -6, 9), _by(me, -32, 8), (-8, me[1] + 14), (-6, 170), (-4, 300),
    ]  # fmt: skip
    back = [(-160, 300), (-112, 170), (-92, 110), (-98, 62), (-112, 10), (-106, -48), (-66, -93)]
    u_root = _by(a, -3, -2)
    mandible = [
        _by(l1, -3, 6), _by(b, 0.5, -4), b, pog, gn, me, _by(me, -14, 1), _by(go, 16, 8),
        _by(go, 4, 4), go, _by(go, -2, -10), _by(ar, 1, 8), _by(ar, 2, 0), _by(ar, 4, -6),
        _by(ar, 11, -4), _by(ar, 13, 8), _by(ar, 24, 16), _by(ar, 34, 6), _by(ar, 39, 24),
        _by(l1, -38, 10), _by(l1, -20, 9),
    ]  # fmt: skip
    maxilla = [
        ans, _by(a, 0.5, -3), a, _by(u1, -4, -8), _by(u1, -14, -9), _by(u1, -40, -6),
        _by(pns, 4, 12), pns, _by((ans + pns) / 2, 0, 1),
    ]  # fmt: skip
    lines = {
        "skin": _smooth([*profile, *back], closed=True),
        "vault": _ellipse((-16, -32), (92, 68), 0, 360),
        "brain": _ellipse((-16, -32), (86, 62), 0, 360),
        "face": _smooth(
            [
                _by(n, -2, -4),
                n,
                _by(n, -6, 14),
                _by(a, -6, -14),
                ans,
                a,
                pns,
                _by(s, 6, 8),
                _by(s, 6, -2),
            ],
            closed=True,
        ),
        "base": _smooth(
            [
                _by(n, -4, -2),
                _by(s, 30, -8),
                _by(s, 10, -3),
                _by(s, -8, -2),
                _by(s, -14, 20),
                _by(s, -22, 34),
            ],
            closed=False,
        ),
        "sella": s + _ellipse((0, 0), (5.5, 5.0), -20, 200),
        "clinoid": s + np.array([(9, -3), (5.5, -1.7), (4.5, -4.5)], float),
        "orbit": at["orbitale"] + _ellipse((-1, -16), (17, 16), -100, 150),
        "palate": _smooth([ans, _by((ans + pns) / 2, 0, 1), pns], closed=False),
        "maxilla": _smooth(maxilla, closed=True),
        "mandible": _smooth(mandible, closed=True),
        "canal": _smooth(
            [
                _by(ar, 14, 26),
                _by((ar + go) / 2, 14, 10),
                _by(go, 16, -6),
                _by((go + me) / 2, 4, -6),
                _by(b, -12, 8),
            ],
            closed=False,
        ),
        "nasion": np.array(
            [_by(n, -8, -10), _by(n, -1, -5), n, _by(n, 5, 8), _by(n, 7, 14)], float
        ),
        "porion": po + _ellipse((0, 4), (4, 4), 0, 360),
        "sinus": _ellipse((a[0] - 24, a[1] - 14), (16, 12), 0, 360),
        "frontal": n + _ellipse((-7, -14), (4, 9), 0, 360),
        "airway": _smooth(
            [
                _by(pns, -4, -18),
                _by(pns, -2, 0),
                _by(pns, -8, 28),
                (-2, 120),
                (-6, 200),
                (-17, 200),
                (-14, 120),
                _by(pns, -20, 20),
                _by(pns, -18, -10),
            ],
            closed=True,
        ),
        "upper incisor": _tooth(u1, _by(u_root, -4, -4)),
        "lower incisor": _tooth(l1, _by(b, -6, -3)),
        "eye": _ellipse((at["orbitale"][0] + 5, at["orbitale"][1] - 11), (6, 3), 0, 360),
        "ear": po + _ellipse((-3, 6), (11, 19), 0, 360),
        "mouth": _smooth(
            [
                _by(ls, -9, -5),
                ls,
                (ls + li) / 2 - (4, 0),
                li,
                _by(li, -9, 5),
                (ls + li) / 2 - (20, 0),
            ],
            closed=True,
        ),
        "nostril": sn + _ellipse((4, -5), (5, 2.2), 0, 360),
        "brow": _smooth([_by(n, 6, -10), _by(n, -4, -14), _by(n, -18, -10)], closed=False),
        "hair": _smooth(
            [
                (62, -78),
                (40, -56),
                (28, -34),
                (6, -14),
                (0, 10),
                _by(po, -12, 34),
                (-70, 66),
                (-116, 66),
                (-130, 0),
                (-116, -58),
                (-70, -105),
                (-14, -116),
                (34, -106),
            ],
            closed=True,
        ),
        "cloth": np.array(
            [
                (-300, 168),
                (-100, 158),
                (-40, 176),
                (10, 184),
                (60, 210),
                (200, 230),
                (200, 320),
                (-300, 320),
            ],
            float,
        ),
    }
    for i in range(4):
        x = u1[0] - 15 - 10.5 * i
        lines[f"upper molar {i}"] = _box((x, u1[1] - 7 - i), (9, 17), 4 * i)
        lines[f"lower molar {i}"] = _box((x - 2, l1[1] + 11 - i), (9, 18), -4 * i)
    for i in range(5):
        lines[f"vertebra {i}"] = _box((-30 - 1.5 * i, 62 + 23 * i), (20, 17), 8)
    return lines


def _by(point: Line, forward: float, down: float) -> Line:
    moved: Line = point + np.array((forward, down))
    return moved


def _smooth(points: Sequence[object], *, closed: bool, steps: int = 12) -> Line:
    """Catmull-Rom spline through points."""
    p = np.array([np.asarray(point, float) for point in points])
    p = np.concatenate([p[-1:], p, p[:2]]) if closed else np.concatenate([p[:1], p, p[-1:]])
    t = np.linspace(0, 1, steps, endpoint=False)[:, None]
    parts = []
    for p0, p1, p2, p3 in zip(p[:-3], p[1:-2], p[2:-1], p[3:], strict=True):
        a, b, c = 2 * p1, p2 - p0, 2 * p0 - 5 * p1 + 4 * p2 - p3
        parts.append((a + b * t + c * t**2 + (3 * p1 - p0 - 3 * p2 + p3) * t**3) / 2)
    line: Line = np.concatenate([*parts, p[-2:-1]])
    return line


def _ellipse(
    centre: tuple[float, float], radii: tuple[float, float], start: float, end: float
) -> Line:
    """Arc from one angle to another in degrees, 0 forward, 90 down."""
    angle = np.radians(np.linspace(start, end, 72))
    arc: Line = np.stack([np.cos(angle) * radii[0], np.sin(angle) * radii[1]], 1)
    arc += np.asarray(centre)
    return arc


def _box(centre: tuple[float, float], size: tuple[float, float], degrees: float) -> Line:
    """Rounded box, turned."""
    angle = np.linspace(0, 2 * math.pi, 40, endpoint=False)
    c, s = np.cos(angle), np.sin(angle)
    edge = np.stack([np.sign(c) * np.abs(c) ** 0.4, np.sign(s) * np.abs(s) ** 0.4], 1)
    edge = edge * np.asarray(size) / 2
    t = math.radians(degrees)
    turn = np.array([[math.cos(t), math.sin(t)], [-math.sin(t), math.cos(t)]])
    turned: Line = edge @ turn + np.asarray(centre)
    return turned


def _tooth(tip: Line, root: Line) -> Line:
    """Front tooth from its tip to the end of its root."""
    axis = root - tip
    side = np.array([-axis[1], axis[0]]) / np.hypot(*axis)
    crown = tip + 0.38 * axis
    return _smooth(
        [tip, crown + 3.6 * side, root + 0.8 * side, root - 0.8 * side, crown - 3.6 * side],
        closed=True,
    )
