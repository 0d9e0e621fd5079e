"""One random patient: proportions, blood and contrast values, vessels; no grid yet."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from libimg.phantoms.course import vessel_tubes
from libimg.phantoms.fields import smooth_lattice, uniform
from libimg.phantoms.vessels import Tubes

__all__ = ["Patient", "draw_patient"]


@dataclass(frozen=True)
class Patient:
    """What is drawn once for each case; lengths in mm, values in HU.

    Attributes:
        scale: size relative to the common anatomy along z, y, x.
        domes: height of the diaphragm under the right and the left lung.
        heart: relative size of the heart.
        fat: thickness of the fat under the skin.
        period: height of a vertebra with its disc.
        phase: where the first disc lies, as a part of ``period``.
        lung_hu: lung tissue half way between front and back.
        blood_hu: blood without contrast.
        gain: enhancement of each blood pool.
        lattice: bend along z, y, x (mm) and two textures, see `fields.sample_lattice`.
        tubes: vessels and airways by name.
    """

    scale: tuple[float, float, float]
    domes: tuple[float, float]
    heart: float
    fat: float
    period: float
    phase: float
    lung_hu: float
    blood_hu: float
    gain: dict[str, float]
    lattice: Float[Tensor, "5 k k k"]
    tubes: dict[str, Tubes]


def draw_patient(generator: torch.Generator) -> Patient:
    """Draw a patient; the grid it is rendered on later has no influence."""

    def u(lo: float, hi: float) -> float:
        return uniform(generator, lo, hi)

    bend = smooth_lattice(generator, channels=3, waves=4)
    bend = bend * torch.tensor([4.0, 3.0, 4.0]).view(3, 1, 1, 1)
    coarse = smooth_lattice(generator, channels=1, waves=12)
    fine = smooth_lattice(generator, channels=1, waves=28)
    artery, heart, domes = u(265, 420), u(0.9, 1.06), (u(44, 66), u(56, 76))
    return Patient(
        scale=(u(0.95, 1.05), u(0.95, 1.05), u(0.95, 1.03)),
        domes=domes,
        heart=heart,
        fat=u(8, 18),
        period=u(23, 26.5),
        phase=u(0, 1),
        lung_hu=u(-880, -840),
        blood_hu=u(35, 50),
        gain={
            "aorta": artery,
            "pulmonary_artery": artery * u(0.9, 1.05),
            "pulmonary_vein": artery * u(0.8, 0.95),
            "vein": artery * u(0.35, 0.75),
            "heart_left": artery * u(0.92, 1.0),
            "heart_right": artery * u(0.6, 0.9),
        },
        lattice=torch.cat([bend, coarse, fine]),
        tubes=vessel_tubes(generator, heart=heart, domes=domes),
    )
