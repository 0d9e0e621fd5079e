"""A procedural heart: ten structures as one label map, different from case to case."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import Bool, Float, Int16
from torch import Tensor

from libimg import _check
from libimg.phantoms.fields import resample_lattice, smooth_lattice
from libimg.phantoms.heart_course import appendage, coronaries, great_vessels, lung_veins
from libimg.phantoms.heart_params import HeartParams
from libimg.phantoms.heart_parts import (
    WALL_MM,
    Frame,
    frame,
    left_atrium,
    left_ventricle,
    past,
    right_atrium,
    right_ventricle,
)
from libimg.phantoms.heart_sample import sample_heart
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
"""Names and labels of the ten structures."""
MARGIN_MM = 6.0  # around the heart
VALVE_MM = 30.0  # a vessel ends at its valve, and that far around it
FAR_MM = 4.0  # tube distances are exact up to here


@dataclass(frozen=True)
class HeartCase:
    """A heart as labels.

    Attributes:
        labels: ``(d, h, w)``, 0 and the labels of `HEART_CLASSES`; no voxel has two.
        affine: ``(4, 4)`` from voxels (i, j, k) = (w, h, d) to millimetres (RAS+), as in NIfTI.

    Example:
        >>> HeartCase(torch.zeros(2, 3, 4, dtype=torch.int16), np.eye(4)).labels.shape
        torch.Size([2, 3, 4])
    """

    labels: Int16[Tensor, "d h w"]
    affine: Any


def heart_labels(
    params: HeartParams, *, spacing_mm: float = 1.25, shape: Sequence[int] | None = None
) -> HeartCase:
    """Make the label map of a heart.

    The chambers are smooth implicit bodies, the vessels tubes along splines, and all of them are
    bent by one smooth deformation. Where two meet, the later of this order keeps the voxel:
    pulmonary veins, appendage, left atrium, right atrium, right ventricle, pulmonary artery,
    myocardium, left ventricle, aorta, coronaries. The left ventricle lies in the myocardium, open
    towards its valves; thin walls of atria and vessels are background.

    Args:
        params: of `sample_heart`.
        spacing_mm: side of a voxel.
        shape: ``(d, h, w)`` of the map, with the heart in its middle; what fits the heart if None.

    Returns:
        Labels and affine. 1.4 s at 1.25 mm and 0.25 s at 2.5 mm on one core. The coronaries are
        two trees at 1.25 mm; at 2.5 mm they fall into 7 to 30 pieces.

    Raises:
        ValueError: ``spacing_mm`` is not above 0, or ``shape`` has not three sizes of 1 or more.

    Example:
        >>> params = sample_heart(torch.Generator().manual_seed(0))
        >>> case = heart_labels(params, spacing_mm=6.0)
        >>> sorted(set(case.labels.unique().tolist()) - {9})
        [0, 1, 2, 3, 4, 5, 6, 7, 8, 10]
    """
    _check.positive(spacing_mm=spacing_mm)
    f = frame(params)
    aorta, artery = great_vessels(params, f)
    veins, thin = (np.concatenate(t) for t in (lung_veins(params, f), coronaries(params, f)))
    tubes = {"Aorta": aorta, "PA": artery, "PV": veins, "LAA": appendage(params, f)}
    tubes["Coronary"] = thin
    low, high = _box(params, f, list(tubes.values()))
    centre = (low + high) / 2
    if shape is None:
        shape = [int(n) for n in np.ceil((high - low) / spacing_mm)[::-1]]
    if len(shape) != 3 or min(shape) < 1:
        msg = f"shape must be three sizes of 1 or more, got {tuple(shape)}"
        raise ValueError(msg)
    at = _places(params, shape, spacing_mm, centre)
    xyz = at.flip(0) + torch.as_tensor(centre, dtype=torch.float32).view(3, 1, 1, 1)
    size = (spacing_mm,) * 3
    away = {
        name: tube_distance(_zyx(tube, centre), at, spacing_mm=size, margin_mm=FAR_MM)
        for name, tube in tubes.items()
    }
    valves = {"Aorta": (f.aortic, f.aortic_way), "PA": (f.pulmonary, f.pulmonary_way)}
    for name, (place, way) in valves.items():
        below = (past(xyz, place, way) < 0) & _near(xyz, place, VALVE_MM)
        away[name] = torch.where(below, FAR_MM, away[name])
    labels = _fill(params, f, xyz, away)
    affine = np.diag([spacing_mm, spacing_mm, spacing_mm, 1.0])
    extent = spacing_mm * (np.array(shape[::-1]) - 1)
    affine[:3, 3] = centre - extent / 2 + np.array(params.shift_mm)
    return HeartCase(labels, affine)


def _fill(
    params: HeartParams, f: Frame, xyz: Float[Tensor, "3 d h w"], away: dict[str, Tensor]
) -> Int16[Tensor, "d h w"]:
    """Write the structures over each other, the one that keeps its place last."""
    blood, outer = left_ventricle(params, f, xyz)
    la, ra = left_atrium(params, f, xyz, outer), right_atrium(params, f, xyz, outer)
    rv = right_ventricle(params, f, xyz, outer)
    labels = torch.zeros(xyz.shape[1:], dtype=torch.int16)

    def put(name: str, where: Tensor) -> None:
        labels[where] = HEART_CLASSES[name]

    def wall(distance: Tensor) -> Tensor:
        return (distance >= 0) & (distance < WALL_MM)

    put("PV", away["PV"] < 0)
    put("LAA", away["LAA"] < 0)
    put("LA", la < 0)
    put("RA", (ra < 0) & (la >= WALL_MM))
    labels[wall(away["PA"])] = 0
    put("RV", rv < 0)
    put("PA", away["PA"] < 0)
    labels[wall(away["Aorta"])] = 0
    put("Myocardium", outer < 0)
    put("LV", blood < 0)
    put("Aorta", away["Aorta"] < 0)
    put("Coronary", (away["Coronary"] < 0) & (away["Aorta"] >= 0))
    return labels


def _places(
    params: HeartParams, shape: Sequence[int], spacing_mm: float, centre: npt.NDArray[Any]
) -> Float[Tensor, "3 d h w"]:
    """Where each voxel looks, ``(z, y, x)`` in mm from the centre: its place, bent smoothly."""
    axes = [(torch.arange(n) - (n - 1) / 2) * spacing_mm for n in shape]
    seed = torch.Generator().manual_seed(params.bend_seed)
    bend = smooth_lattice(seed, channels=3, waves=8) * params.bend_mm
    whole = [axis + float(c) for axis, c in zip(axes, centre[::-1], strict=True)]
    at = resample_lattice(bend, whole)
    for i, axis in enumerate(axes):
        at[i] += axis.view([-1 if i == j else 1 for j in range(3)])
    return at


def _near(
    xyz: Float[Tensor, "3 d h w"], place: npt.NDArray[Any], radius: float
) -> Bool[Tensor, "d h w"]:
    middle = torch.as_tensor(place, dtype=torch.float32).view(3, 1, 1, 1)
    return (xyz - middle).square().sum(0) < radius**2


def _zyx(tube: Tubes, centre: npt.NDArray[Any]) -> Tubes:
    """Segments of x, y, z, radius twice, as z, y, x, radius twice from the centre."""
    moved = tube - np.concatenate([centre, [0], centre, [0]])
    return np.ascontiguousarray(moved[:, [2, 1, 0, 3, 6, 5, 4, 7]], np.float32)


def _box(
    params: HeartParams, f: Frame, tubes: list[Tubes]
) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    """Corners of a box around vessels and chambers, with a margin."""
    t = np.concatenate(tubes)
    low = np.minimum(t[:, :3] - t[:, 3:4], t[:, 4:7] - t[:, 7:]).min(0)
    high = np.maximum(t[:, :3] + t[:, 3:4], t[:, 4:7] + t[:, 7:]).max(0)
    body = f.base + f.turn[0] * params.lv_length_mm * 0.5
    right = max(params.ra_width_mm, params.ra_depth_mm, params.ra_height_mm)
    round_about = ((body, params.lv_length_mm * 0.55 + 10), (f.ra, right))
    for middle, radius in (*round_about, (f.la, params.la_width_mm)):
        low, high = np.minimum(low, middle - radius), np.maximum(high, middle + radius)
    return low - MARGIN_MM, high + MARGIN_MM
