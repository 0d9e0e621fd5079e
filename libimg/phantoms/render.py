"""Paint a patient at given points, tissue by tissue, each with a soft edge of one voxel."""

from collections.abc import Mapping
from types import MappingProxyType

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from libimg.phantoms.fields import ellipsoid, sample_lattice, smooth_min, smooth_step
from libimg.phantoms.organs import chambers, diaphragm, lung, mediastinum, pleura
from libimg.phantoms.patient import Patient
from libimg.phantoms.vessels import tube_distance

__all__ = ["LABELS", "render"]

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

SLAB = 200_000
"""Voxels painted at a time: what a processor keeps in its cache."""


class Scene:
    """Volumes under construction (``hu``, ``gain``, ``labels``) and what is known at each voxel."""

    def __init__(self, fields: dict[str, Tensor], *, voxel_mm: float) -> None:
        self.fields, self.voxel_mm = fields, voxel_mm

    def __getitem__(self, name: str) -> Tensor:
        return self.fields[name]

    def where(self, **ranges: tuple[float, float]) -> "Scene":
        """Part of the scene that holds every point whose coordinates are in the ranges."""
        cut = [slice(None)] * 3
        for name, (lo, hi) in ranges.items():
            axis = "zyx".index(name)
            least, most = self.fields[name].movedim(axis, 0).flatten(1).aminmax(dim=1)
            planes = ((most >= lo) & (least <= hi)).nonzero().flatten().tolist()
            cut[axis] = slice(planes[0], planes[-1] + 1) if planes else slice(0, 0)
        fields = {name: field[tuple(cut)] for name, field in self.fields.items()}
        return Scene(fields, voxel_mm=self.voxel_mm)

    def paint(self, name: str, distance: Tensor, hu: Tensor | float, gain: float = 0.0) -> None:
        """Cover what lies inside ``distance < 0``; voxels at the edge are shared."""
        share = (distance * (-1 / self.voxel_mm)).add_(0.5).clamp_(0, 1)
        self["hu"].lerp_(torch.as_tensor(hu).expand_as(share), share)
        self["gain"].lerp_(torch.tensor(gain).expand_as(share), share)
        self["labels"].masked_fill_(share >= 0.5, LABELS[name])


def render(
    patient: Patient, at: Float[Tensor, "3 d h w"], *, spacing_mm: tuple[float, float, float]
) -> tuple[Float[Tensor, "d h w"], Float[Tensor, "d h w"], UInt8[Tensor, "d h w"]]:
    """Evaluate the patient at the points ``at`` (mm): HU without contrast, enhancement, labels."""
    found = sample_lattice(patient.lattice, at)
    place = found[:3].add_(at / torch.tensor(patient.scale).view(3, 1, 1, 1))
    voxel = sum(spacing_mm) / 3
    fields = dict(zip(("z", "y", "x", "coarse", "fine"), found, strict=True))
    for name, segments in patient.tubes.items():
        margin = voxel / 2 + (3.0 if name == "great" else 0.5)
        fields[name] = tube_distance(segments, place, spacing_mm=spacing_mm, margin_mm=margin)
    fields["hu"] = torch.full_like(found[0], -1000)
    fields["gain"] = torch.zeros_like(found[0])
    fields["labels"] = torch.zeros_like(found[0], dtype=torch.uint8)
    thick = max(1, SLAB // found[0, 0].numel())
    for start in range(0, at.shape[1], thick):
        slab = {name: field[start : start + thick] for name, field in fields.items()}
        _paint_all(Scene(slab, voxel_mm=voxel), patient)
    return fields["hu"], fields["gain"], fields["labels"]


def _paint_all(scene: Scene, patient: Patient) -> None:
    """Paint from the outside to the inside; later tissues cover earlier ones."""
    z, y, x = scene["z"], scene["y"], scene["x"]
    right, left = (pleura(z, y, x, side=side) for side in (-1, 1))
    scene.fields |= {"right": right, "left": left, "hull": smooth_min(right, left, 60)}
    _wall(scene, patient)
    _abdomen(scene.where(z=(35, 1e3)), patient)
    _chest_contents(scene, patient)
    scene.paint("soft_tissue", scene["airway"] - 0.4, 20.0)
    scene.paint("airway", scene["airway"] + 0.7, -1000.0)
    for name in ("vein", "pulmonary_vein", "pulmonary_artery", "aorta"):
        scene.paint(name, scene[name], patient.blood_hu, patient.gain[name])
    _spine(scene.where(x=(-46, 46), y=(25, 1e3)), patient)
    _cage(scene, patient)


def _wall(scene: Scene, patient: Patient) -> None:
    """Skin, fat, muscle layers, and fat as the ground between the lungs."""
    z, y, x, hull, fine = (scene[name] for name in ("z", "y", "x", "hull", "fine"))
    slant = 18 * smooth_step(z, -60.0, -150.0)  # the front falls back towards the neck
    along, depth = y - 2 - slant, 112 - slant
    level = (x / 158).abs().pow(2.5) + (along / depth).abs().pow(2.5)
    body = (x.square() + along.square()).sqrt_()
    body = body * (1 - level.clamp_(min=1e-6).pow_(-0.4))
    scene.paint("soft_tissue", body, 10.0)
    scene.paint("fat", body + 2, -102 + 6 * fine)
    # Layers that follow the ribs, parted by fat that comes and goes.
    layer = (hull + 7 * scene["coarse"] - 11) / 16
    plane = (layer - layer.round()).abs() * 16 - 0.3 - 1.2 * (fine + 0.5 * scene["coarse"])
    muscle = torch.maximum(body + patient.fat + 3 * scene["coarse"], 9 - hull)
    muscle = torch.maximum(muscle, -plane)
    scene.paint("soft_tissue", muscle, 55 + 4 * fine, 4.0)
    scene.paint("soft_tissue", hull - 9.5, 52 + 4 * fine, 4.0)
    scene.paint("fat", hull + 1.2, -95 + 8 * fine)


def _abdomen(scene: Scene, patient: Patient) -> None:
    """Diaphragm, liver, spleen and a stomach with its bubble of air."""
    z, y, x, hull, fine = (scene[name] for name in ("z", "y", "x", "hull", "fine"))
    domes = [diaphragm(y, x, side=s, top=patient.domes[s > 0]) for s in (-1, 1)]
    below = 0.8 * (smooth_min(domes[0], domes[1], 12) - z)
    inner = torch.maximum(below + 3, hull + 3)
    scene.paint("soft_tissue", torch.maximum(below, hull + 1.2), 50.0, 5.0)
    scene.paint("fat", inner, -100 + 6 * fine)
    lobe = ellipsoid(z, y, x, centre=(128, -12, -62), radii=(95, 84, 128))
    scene.paint("abdominal_organ", torch.maximum(inner, lobe), 58 + 3 * fine, 25.0)
    spleen = torch.maximum(inner + 1, ellipsoid(z, y, x, centre=(118, 48, 98), radii=(42, 34, 24)))
    scene.paint("abdominal_organ", spleen, 48 + 3 * fine, 70.0)
    stomach = torch.maximum(
        inner + 2, ellipsoid(z, y, x, centre=(116, -14, 72), radii=(38, 44, 30))
    )
    scene.paint("soft_tissue", stomach, 40.0, 15.0)
    scene.paint("soft_tissue", stomach + 4, 15.0)
    scene.paint("air", torch.maximum(stomach + 4, y + 22), -980.0)


def _chest_contents(scene: Scene, patient: Patient) -> None:
    """Lungs with their fissures, and the heart between them."""
    z, y, x = scene["z"], scene["y"], scene["x"]
    heart = chambers(z, y, x, size=patient.heart)
    middle = mediastinum(z, y, x, heart=heart["whole"])
    scene.fields |= {f"heart_{name}": field for name, field in heart.items()}
    scene.fields["middle"] = middle
    for side, hull, reach in ((-1, "right", (-1e3, 30.0)), (1, "left", (-30.0, 1e3))):
        part = scene.where(x=reach)
        z, y, x = part["z"], part["y"], part["x"]
        fissure = (0.86 * (z + 0.6 * y - 2) + 5 * part["coarse"]).square() * -0.7
        hu = patient.lung_hu + 0.35 * y + 8 * part["coarse"] + 6 * part["fine"]
        hu += 90 * fissure.exp_()
        top = patient.domes[side > 0]
        space = lung(z, y, x, side=side, top=top, middle=part["middle"], hull=part[hull])
        part.paint("lung", torch.maximum(space, 3 - part["great"]), hu)
    part = scene.where(z=(-45, 95), y=(-90, 50), x=(-80, 100))
    blood, gain = patient.blood_hu, patient.gain
    muscle = 45 + 3 * part["fine"]
    for name, wall in (("right_atrium", 2.0), ("left_atrium", 2.0), ("right_ventricle", 3.5)):
        part.paint("myocardium", part[f"heart_{name}"] - wall, muscle, 60.0)
    right = torch.minimum(part["heart_right_atrium"], part["heart_right_ventricle"])
    part.paint("heart_right", right, blood, gain["heart_right"])
    part.paint("heart_left", part["heart_left_atrium"], blood, gain["heart_left"])
    part.paint("myocardium", part["heart_left_outside"], muscle, 60.0)
    part.paint("heart_left", part["heart_left_ventricle"], blood, gain["heart_left"])
    scene.paint("soft_tissue", scene["oesophagus"], 38.0, 15.0)


def _level(z: Tensor, patient: Patient) -> Tensor:
    """Height relative to the first vertebra."""
    return z + patient.phase * patient.period


def _bone_hu(distance: Tensor) -> Tensor:
    """Dense at the surface, spongy inside."""
    return 180 + 480 * torch.exp(distance.clamp(max=0) / 2.5)


def _spine(scene: Scene, patient: Patient) -> None:
    """Vertebrae with discs, arches, processes and the canal."""
    z, y, x, period = scene["z"], scene["y"], scene["x"], patient.period
    arc = y - 57 + 10 * (z / 130).square()
    level = _level(z, patient)
    dz = level - (level / period).round() * period
    column = ((x / 18).square() + (arc / 15).square()).sqrt()
    column = (column - 1 + 0.1 * (1 - (dz / 11).square()).clamp(min=0)) * 16
    back = arc - 23
    flank = ellipsoid(torch.zeros(()), back - 4, x.abs() - 27, centre=(0, 0, 0), radii=(1, 15, 20))
    scene.paint("soft_tissue", flank, 56 + 3 * scene["fine"], 4.0)
    scene.paint("soft_tissue", column, 80.0)
    bone = torch.maximum(column, dz.abs() - period / 2 + 2.5)
    ring = ((x.square() + back.square()).sqrt() - 11).abs() - 3
    bone = torch.minimum(bone, torch.maximum(ring, dz.abs() - 8))
    wing = ellipsoid(dz, back, x.abs(), centre=(-3, 3, 23), radii=(5, 5, 15))
    tip = torch.maximum(x.abs() - 2.8, (dz - 0.6 * (back - 10)).abs() * 0.86 - 5)
    tip = torch.maximum(tip, (back - 17).abs() - 8)
    bone = torch.minimum(torch.minimum(bone, wing), tip)
    scene.paint("bone", bone, _bone_hu(bone))
    scene.paint("soft_tissue", (x.square() + back.square()).sqrt() - 8, 25.0)


def _cage(scene: Scene, patient: Patient) -> None:
    """Ribs with their cartilage, sternum, shoulder blades and collar bones."""
    period, slope = patient.period, 0.42  # ribs fall from the spine to the front
    z, y, x, hull = scene["z"], scene["y"], scene["x"], scene["hull"]
    fall = _level(z, patient) - period * 0.4 - slope * (70 - y)
    du = (fall - (fall / period).round() * period) / (1 + slope**2) ** 0.5
    rib = (((hull - 6) / 4).square() + (du / 6).square()).sqrt()
    rib = torch.maximum(torch.maximum((rib - 1) * 4.5, 19 - x.abs()), -104 - z)
    ahead = smooth_step(y + 0.25 * x.abs(), -50.0, -66.0)
    front = scene.where(y=(-1e3, -30))
    gristle = torch.maximum(rib[:, : front["y"].shape[1]], front["y"] + 45)
    front.paint("soft_tissue", gristle, 105.0, 4.0)
    bony = rib + 6 * ahead
    scene.paint("bone", bony, _bone_hu(bony))
    part = scene.where(z=(-100, 75), y=(-1e3, -50), x=(-30, 30))
    z, y, x = part["z"], part["y"], part["x"]
    plate = (y + 90 + 0.12 * (z - 20).clamp(max=0)) / 6
    sternum = ellipsoid(z, plate * 6, x, centre=(-12, 0, 0), radii=(76, 6, 17))
    part.paint("bone", sternum, _bone_hu(sternum))
    part = scene.where(z=(-1e3, 0))
    z, y, x = part["z"], part["y"], part["x"].abs()
    blade = (part["hull"] - 20 + 0.05 * z).abs() - 2.2
    region = ellipsoid(z, y, x, centre=(-78, 62, 98), radii=(62, 34, 40))
    collar = ellipsoid(z + 0.25 * x, y, x, centre=(-105, -46, 55), radii=(6, 7, 42))
    bone = torch.minimum(torch.maximum(blade, region), collar)
    part.paint("bone", bone, _bone_hu(bone))
