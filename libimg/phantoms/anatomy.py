"""Paint a patient on a grid of points: tissue by tissue, each with a soft edge."""

from collections.abc import Mapping
from types import MappingProxyType

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from libimg.phantoms.fields import ellipsoid, sample_lattice, smooth_min, smooth_step
from libimg.phantoms.patient import Patient, diaphragm, lung_distance, mediastinum
from libimg.phantoms.vessels import tube_distance

__all__ = ["LABELS", "Canvas", "anatomical", "render"]

LABELS: Mapping[str, int] = MappingProxyType(
    {
        "air": 0,
        "fat": 1,
        "soft_tissue": 2,
        "lung": 3,
        "airway": 4,
        "bone": 5,
        "abdominal_organ": 6,
        "myocardium": 7,
        "heart_left": 8,
        "heart_right": 9,
        "aorta": 10,
        "pulmonary_artery": 11,
        "pulmonary_vein": 12,
        "vein": 13,
    }
)
"""Name of each tissue and its value in `ChestCase.labels`."""


class Canvas:
    """Volume under construction: unenhanced HU, enhancement and label of every voxel."""

    def __init__(self, shape: torch.Size, *, voxel_mm: float) -> None:
        self.voxel = voxel_mm
        self.hu = torch.full(shape, -1000.0)
        self.gain = torch.zeros(shape)
        self.labels = torch.zeros(shape, dtype=torch.uint8)

    def paint(self, name: str, distance: Tensor, hu: Tensor | float, gain: float = 0.0) -> None:
        """Cover what lies inside ``distance < 0``; edge voxels are shared."""
        share = (0.5 - distance / self.voxel).clamp_(0, 1)
        self.hu += share * (hu - self.hu)
        self.gain += share * (gain - self.gain)
        self.labels.masked_fill_(share >= 0.5, LABELS[name])


def anatomical(
    patient: Patient, at: Float[Tensor, "3 d h w"]
) -> tuple[Float[Tensor, "3 d h w"], Tensor, Tensor]:
    """Patient millimetres to the common anatomy, with the two textures found there."""
    field = sample_lattice(patient.lattice, at)
    scale = torch.tensor(patient.scale).view(3, 1, 1, 1)
    return at / scale + field[:3], field[3], field[4]


def render(
    patient: Patient, at: Float[Tensor, "3 d h w"], *, spacing_mm: tuple[float, float, float]
) -> tuple[Float[Tensor, "d h w"], Float[Tensor, "d h w"], UInt8[Tensor, "d h w"]]:
    """Evaluate the patient at points ``at`` (mm): HU without contrast, enhancement, labels."""
    place, coarse, fine = anatomical(patient, at)
    z, y, x = place
    voxel = sum(spacing_mm) / 3
    canvas = Canvas(z.shape, voxel_mm=voxel)
    tubes = {
        name: tube_distance(
            segments, place, spacing_mm=spacing_mm, margin_mm=12 if name == "great" else voxel
        )
        for name, segments in patient.tubes.items()
    }
    hull = smooth_min(
        lung_distance(z, y, x, side=-1, heart=1, dome=None),
        lung_distance(z, y, x, side=1, heart=1, dome=None),
        60,
    )
    _wall(canvas, patient, z, y, x, hull, coarse, fine)
    _abdomen(canvas, patient, z, y, x, hull, fine)
    _lungs(canvas, patient, z, y, x, tubes["great"], coarse, fine)
    _heart(canvas, patient, z, y, x, fine)
    canvas.paint("soft_tissue", tubes["oesophagus"], 38.0, 15.0)
    blood = patient.blood_hu
    for name in ("vein", "pulmonary_vein", "pulmonary_artery", "aorta"):
        canvas.paint(name, tubes[name], blood, patient.gain[name])
    canvas.paint("soft_tissue", tubes["airway"] - 0.5, 20.0)
    canvas.paint("airway", tubes["airway"] + 0.8, -1000.0)
    _bones(canvas, patient, z, y, x, hull)
    return canvas.hu, canvas.gain, canvas.labels


def _wall(canvas, patient, z, y, x, hull, coarse, fine):
    """Skin, fat, muscle layers and the fat between the lungs."""
    front = smooth_step(z, -60.0, -150.0)
    depth = 110 - 22 * front
    k = (x / 158).abs().pow(2.5) + ((y - 2) / depth).abs().pow(2.5)
    reach = (x.square() + (y - 2).square()).sqrt()
    body = reach * (1 - k.clamp(min=1e-6).pow(-0.4))
    canvas.paint("soft_tissue", body, 10.0)
    canvas.paint("fat", body + 2, -102 + 6 * fine)
    muscle = torch.maximum(body + patient.fat + 4 * coarse, 7 - hull)
    planes = (fine - 0.3 * coarse).abs() * 4 - 0.9
    canvas.paint("soft_tissue", torch.maximum(muscle, -planes), 55 + 4 * fine, 4.0)
    canvas.paint("soft_tissue", hull - 9.5, 52 + 4 * fine, 4.0)
    canvas.paint("fat", hull + 1.5, -95 + 8 * fine)


def _abdomen(canvas, patient, z, y, x, hull, fine):
    """Diaphragm, liver, stomach and spleen."""
    mix = smooth_step(x, -10.0, 25.0)
    dome = torch.lerp(
        diaphragm(y, x, side=-1, top=patient.dome[0]),
        diaphragm(y, x, side=1, top=patient.dome[1]),
        mix,
    )
    below = 0.8 * (dome - z)
    inner = hull + 2
    canvas.paint("soft_tissue", torch.maximum(below, inner), 50.0, 5.0)
    canvas.paint("fat", torch.maximum(below + 4, inner + 3), -100 + 6 * fine)
    liver = torch.maximum(torch.maximum(below + 4, inner + 3), (x - 30) * 0.8 + 0.3 * (z - 70))
    liver = torch.maximum(liver, y - 62)
    canvas.paint("abdominal_organ", liver, 58 + 3 * fine, 25.0)
    spleen = ellipsoid(z, y, x, centre=(118, 50, 98), radii=(42, 36, 26))
    canvas.paint("abdominal_organ", torch.maximum(spleen, below + 5), 48 + 3 * fine, 70.0)
    stomach = ellipsoid(z, y, x, centre=(112, -10, 66), radii=(34, 46, 34))
    stomach = torch.maximum(stomach, below + 6)
    canvas.paint("soft_tissue", stomach, 40.0, 15.0)
    canvas.paint("air", torch.maximum(stomach + 4, y + 22), -980.0)
    canvas.paint("soft_tissue", torch.maximum(torch.maximum(stomach + 4, -22 - y), below), 15.0)


def _lungs(canvas, patient, z, y, x, great, coarse, fine):
    """Parenchyma with its gradient from front to back, and the oblique fissures."""
    hu = patient.lung_hu + 0.35 * y + 10 * coarse + 6 * fine
    for side in (-1, 1):
        lung = lung_distance(z, y, x, side=side, heart=patient.heart, dome=patient.dome)
        canvas.paint("lung", torch.maximum(lung, 3 - great), hu)


def _heart(canvas, patient, z, y, x, fine):
    """Four chambers, their walls and the open ways between them."""
    s = patient.heart
    blood, gain = patient.blood_hu, patient.gain
    z, y, x = (z - 30) / s, (y + 24) / s, (x - 14) / s
    rv = ellipsoid(z, y, x, centre=(2, -20, -8), radii=(34, 26, 42))
    ra = ellipsoid(z, y, x, centre=(-10, 4, -46), radii=(30, 25, 22))
    la = ellipsoid(z, y, x, centre=(-24, 40, -10), radii=(20, 19, 32))
    ax, cz, cy, cx = (0.42, -0.42, 0.80), 6.0, 6.0, 26.0
    t = (z - cz) * ax[0] + (y - cy) * ax[1] + (x - cx) * ax[2]
    r2 = (z - cz).square() + (y - cy).square() + (x - cx).square() - t.square()
    r = r2.clamp(min=0).sqrt()
    nil = torch.zeros(())
    lv = ellipsoid(nil, r, t, centre=(0, 0, 0), radii=(1, 32, 46))
    cavity = ellipsoid(nil, r, t, centre=(0, 0, -4), radii=(1, 21, 38))
    for wall, d in ((2.0, ra), (2.0, la), (3.5, rv)):
        canvas.paint("myocardium", (d - wall) * s, 45.0 + 3 * fine, 60.0)
    canvas.paint("heart_right", torch.minimum(ra, rv) * s, blood, gain["heart_right"])
    canvas.paint("heart_left", la * s, blood, gain["heart_left"])
    canvas.paint("myocardium", lv * s, 45.0 + 3 * fine, 60.0)
    mitral = ellipsoid(z, y, x, centre=(-12, 24, 4), radii=(14, 15, 15))
    canvas.paint("heart_left", torch.minimum(cavity, mitral) * s, blood, gain["heart_left"])


def _bones(canvas, patient, z, y, x, hull):
    """Vertebrae, ribs with their cartilage, sternum, shoulder blades and collar bones."""
    period = patient.period
    arc = y - 66 + 12 * (z / 130).square()
    level = z + patient.phase * period
    dz = level - (level / period).round() * period
    body = ((x / 18).square() + (arc / 15).square()).sqrt()
    body = (body - 1 + 0.08 * (1 - (dz / 11).square()).clamp(min=0)) * 16
    canvas.paint("soft_tissue", body, 85.0)
    vertebra = torch.maximum(body, dz.abs() - period / 2 + 2.5)
    back = arc - 25
    ring = ((x.square() + back.square()).sqrt() - 12).abs() - 3.5
    arch = torch.maximum(ring, dz.abs() - 8)
    wing = ellipsoid(dz, back, x.abs(), centre=(-3, 4, 24), radii=(5, 5.5, 16))
    spine = torch.maximum(x.abs() - 3, (dz - 0.5 * (back - 10)).abs() * 0.9 - 6)
    spine = torch.maximum(spine, (back - 20).abs() - 12)
    # Ribs fall from the spine to the front, along the outside of the pleura.
    slope = 0.42
    fall = level - period * 0.4 - slope * (70 - y)
    du = (fall - (fall / period).round() * period) / (1 + slope**2) ** 0.5
    rib = ((((hull - 6) / 4).square() + (du / 6).square()).sqrt() - 1) * 4.5
    rib = torch.maximum(rib, 20 - x.abs())
    bony = smooth_step(y + 0.25 * x.abs(), -66.0, -50.0)
    canvas.paint("soft_tissue", torch.maximum(rib, y + 45), 105.0, 4.0)
    rib = rib + 6 * (1 - bony)
    sternum = ellipsoid(z, hull, x, centre=(-14, 9, 0), radii=(78, 6.5, 19))
    sternum = torch.maximum(sternum, y + 40)
    blade = (hull - 21 + 0.05 * z).abs() - 2.5
    region = ellipsoid(z, y, x.abs(), centre=(-75, 62, 98), radii=(62, 34, 40))
    collar = ellipsoid(z + 0.25 * x.abs(), y, x.abs(), centre=(-105, -48, 55), radii=(7, 8, 42))
    bone = vertebra
    for d in (arch, wing, spine, rib, sternum, torch.maximum(blade, region), collar):
        bone = torch.minimum(bone, d)
    hu = 190 + 480 * torch.exp(bone.clamp(max=0) / 2.5)
    canvas.paint("bone", bone, hu)
    canal = (x.square() + back.square()).sqrt() - 8
    canvas.paint("soft_tissue", canal, 25.0)
