"""A procedural heart: ten structures as one label map, different from case to case."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import nibabel as nib
import numpy as np
import torch
from jaxtyping import Int16
from torch import Tensor

from libimg.io import Volume, write_volume
from libimg.phantoms.fields import resample_lattice, smooth_lattice
from libimg.phantoms.heart_course import appendage, coronaries, great_vessels, lung_veins
from libimg.phantoms.heart_params import HeartParams, sample_heart
from libimg.phantoms.heart_parts import (
    WALL_MM,
    frame,
    left_atrium,
    left_ventricle,
    right_atrium,
    right_ventricle,
)
from libimg.phantoms.vessels import Tubes, tube_distance

__all__ = ["HEART_CLASSES", "HeartCase", "HeartParams", "heart_labels", "sample_heart"]

HEART_CLASSES: Final[dict[str, int]] = {
    "Myocardium": 1,
    "LA": 2,
    "LV": 3,
    "RA": 4,
    "RV": 5,
    "Aorta": 6,
    "PA": 7,
    "LAA": 8,
    "Coronary": 9,
    "PV": 10,
}


@dataclass(frozen=True)
class HeartCase:
    labels: Int16[Tensor, "d h w"]
    affine: Any


def heart_labels(params, *, spacing_mm=1.25, shape=None):
    p = params
    f = frame(p)
    aorta, pa = great_vessels(p, f)
    veins = np.concatenate(lung_veins(p, f))
    laa = appendage(p, f)
    cor = np.concatenate(coronaries(p, f))
    lo, hi = _box(p, f, [aorta, pa, veins, laa, cor])
    s = spacing_mm
    centre = (lo + hi) / 2
    if shape is None:
        n = np.ceil((hi - lo) / s).astype(int)
        shape = tuple(int(v) for v in n[::-1])
    axes = [(torch.arange(m) - (m - 1) / 2) * s for m in shape]
    mid = torch.as_tensor(centre, dtype=torch.float32)
    bend = smooth_lattice(torch.Generator().manual_seed(p.bend_seed), channels=3, waves=8) * p.bend_mm
    at = resample_lattice(bend, [a + float(c) for a, c in zip(axes, centre[::-1])])
    for c in range(3):
        at[c] += axes[c].view([-1 if i == c else 1 for i in range(3)])
    tube = lambda t: tube_distance(_zyx(t, centre), at, spacing_mm=(s, s, s), margin_mm=4.0)
    d_ao, d_pa, d_pv, d_laa, d_cor = (tube(t) for t in (aorta, pa, veins, laa, cor))
    xyz = at.flip(0) + mid.view(3, 1, 1, 1)
    out = torch.zeros(shape, dtype=torch.int16)
    from libimg.phantoms.heart_parts import _past
    blood, outer = left_ventricle(p, f, xyz)
    rv = right_ventricle(p, f, xyz, outer)
    la = left_atrium(p, f, xyz, outer)
    ra = right_atrium(p, f, xyz, outer)
    near = lambda c, r: (xyz - torch.as_tensor(c, dtype=torch.float32).view(3,1,1,1)).square().sum(0) < r * r
    d_ao = torch.where((_past(xyz, f.aortic, f.aortic_way) < 0) & near(f.aortic, 30), 4.0, d_ao)
    d_pa = torch.where((_past(xyz, f.pulmonary, f.pulmonary_way) < 0) & near(f.pulmonary, 30), 4.0, d_pa)
    C = HEART_CLASSES
    ao = d_ao < 0
    aow = d_ao < WALL_MM
    out[d_pv < 0] = C["PV"]
    out[(d_laa < 0)] = C["LAA"]
    law = la < 0
    out[law] = C["LA"]
    out[(ra < 0) & ~(la < WALL_MM)] = C["RA"]
    out[(d_pa < WALL_MM)&(d_pa>=0)&(out!=0)] = 0
    out[(rv < 0)] = C["RV"]
    out[d_pa < 0] = C["PA"]
    out[aow & ~ao] = 0
    out[outer < 0] = C["Myocardium"]
    out[blood < 0] = C["LV"]
    out[ao] = C["Aorta"]
    out[(d_cor < 0) & ~ao] = C["Coronary"]
    affine = np.diag([s, s, s, 1.0])
    affine[:3, 3] = centre - s * (np.array(shape[::-1]) - 1) / 2 + np.array(p.shift_mm)
    return HeartCase(out, affine)


def _zyx(t, centre):
    t = t - np.concatenate([centre, [0], centre, [0]])
    return np.ascontiguousarray(t[:, [2, 1, 0, 3, 6, 5, 4, 7]], np.float32)


def _box(p, f, tubes):
    t = np.concatenate(tubes)
    lo = np.minimum(t[:, :3] - t[:, 3:4], t[:, 4:7] - t[:, 7:]).min(0)
    hi = np.maximum(t[:, :3] + t[:, 3:4], t[:, 4:7] + t[:, 7:]).max(0)
    apex = f.base + f.turn[0] * p.lv_length_mm * 0.5
    r = p.lv_length_mm * 0.55 + 10
    ra = max(p.ra_width_mm, p.ra_depth_mm, p.ra_height_mm)
    for c, q in ((apex, r), (f.ra, ra), (f.la, p.la_width_mm)):
        lo, hi = np.minimum(lo, c - q), np.maximum(hi, c + q)
    return lo - 6, hi + 6
