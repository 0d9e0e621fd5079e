"""What differs from head to head, in millimetres, and what goes wrong when it is photographed."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

__all__ = ["HEAD_LANDMARKS", "HeadFaults", "HeadParams", "head_landmarks", "sample_head"]

HEAD_LANDMARKS = (
    "sella", "nasion", "orbitale", "porion", "subspinale", "supramentale", "pogonion", "menton",
    "gnathion", "gonion", "lower incisor", "upper incisor", "upper lip", "lower lip",
    "subnasale", "soft pogonion", "posterior nasal spine", "anterior nasal spine", "articulare",
)  # fmt: skip
"""The 19 landmarks of the ISBI 2015 challenge, in its order."""

MEAN = (
    (0, 0), (70, -6), (61, 22), (-19, 19), (67, 53), (61, 92), (63, 106), (53, 116),
    (59, 113), (-9, 82), (68, 73), (72, 75), (84, 66), (80, 82),
    (82, 51), (74, 107), (20, 45), (73, 47), (-17, 29),
)  # fmt: skip
"""Forward and down from sella in millimetres, an adult's means; SNA 82, SNB 79."""
MAXILLA = ("subspinale", "upper incisor", "posterior nasal spine", "anterior nasal spine")
MANDIBLE = ("supramentale", "pogonion", "menton", "gnathion", "gonion", "lower incisor")
SOFT = {
    "upper lip": ("upper incisor", (12.0, -9.0)),
    "lower lip": ("lower incisor", (12.5, 9.0)),
    "subnasale": ("subspinale", (15.0, -2.0)),
    "soft pogonion": ("pogonion", (11.5, 1.0)),
}
"""Soft points hang on bone; their thickness varies by itself."""
THICKNESS_MM = 2.0  # SD of the soft tissue's thickness
LIPS_MM = 8.0  # least distance of the lips, whatever the jaws do
WIDEST = 2.5  # SD at which every variation ends, so that all landmarks stay in the picture
TURNS = (0, 90, 180, 270)


@dataclass(frozen=True, kw_only=True)
class HeadFaults:
    """Shares of the heads that have what real collections have.

    Args:
        frame: a collimation frame around the X-ray; normal.
        ruler: a ruler beside the face; normal.
        border: a bar along a side hides the picture; a fault.
        orientation: turned by 90, 180 or 270 degrees, or mirrored; a fault.
        exposure: X-ray too dark or too bright; a fault.

    Example:
        >>> HeadFaults().border
        0.03
    """

    frame: float = 0.6
    ruler: float = 0.5
    border: float = 0.03
    orientation: float = 0.04
    exposure: float = 0.03


@dataclass(frozen=True, kw_only=True)
class HeadParams:
    """One head, its pose, its looks and its faults.

    Attributes:
        offsets: forward and down of each landmark from its mean place, in millimetres.
        scale: of the whole head.
        tilt: degrees, chin up is positive.
        shift_mm: of the head in the picture, to the right and down.
        misfit_mm: of the X-ray against the photograph, to the right and down.
        nose_mm: length of the nose beyond its mean.
        skin: RGB.
        hair: RGB.
        background: RGB.
        cloth: RGB.
        frame: a collimation frame is there.
        ruler: a ruler is there.
        border: side of a bar that hides the picture, or empty.
        turned: degrees anticlockwise.
        mirrored: left and right are exchanged.
        exposure: gain of the X-ray, 1 is right.
        seed: of texture and noise.

    Example:
        >>> HeadParams(offsets=((0.0, 0.0),) * 19).scale
        0.95
    """

    offsets: tuple[tuple[float, float], ...]
    scale: float = 0.95
    tilt: float = 0.0
    shift_mm: tuple[float, float] = (0.0, 0.0)
    misfit_mm: tuple[float, float] = (0.0, 0.0)
    nose_mm: float = 0.0
    skin: tuple[float, float, float] = (0.85, 0.66, 0.55)
    hair: tuple[float, float, float] = (0.25, 0.17, 0.12)
    background: tuple[float, float, float] = (0.55, 0.62, 0.70)
    cloth: tuple[float, float, float] = (0.3, 0.35, 0.5)
    frame: bool = False
    ruler: bool = False
    border: str = ""
    turned: int = 0
    mirrored: bool = False
    exposure: float = 1.0
    seed: int = 0

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, ready for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "HeadParams":
        """Build the head that `to_dict` gave; an unknown name raises ``TypeError``."""
        kept: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value
            for name, value in values.items()
        }
        return cls(**kept | {"offsets": tuple((x, y) for x, y in values["offsets"])})


def sample_head(generator: torch.Generator, *, faults: HeadFaults | None = None) -> HeadParams:
    """Draw a head.

    Jaws move as wholes, upper and lower partly together; the lower one also turns about its joint,
    and the face grows in length. Sella, porion and articulare vary by themselves, where no
    photograph shows it, and soft tissue varies in thickness: landmarks can be told from a
    photograph up to a few millimetres, whatever the method.

    Args:
        generator: draws everything.
        faults: how often what goes wrong; nothing does if None.

    Example:
        >>> head = sample_head(torch.Generator().manual_seed(0))
        >>> HeadParams.from_dict(head.to_dict()) == head
        True
    """
    # two calls: the cost of a call is most of the cost
    normals = iter(torch.randn(80, generator=generator).clamp(-WIDEST, WIDEST).tolist())
    uniforms = iter(torch.rand(24, generator=generator).tolist())

    def normal(sd: float) -> float:
        return sd * float(next(normals))

    def uniform(low: float, high: float) -> float:
        return low + (high - low) * float(next(uniforms))

    offset = {name: [normal(0.6), normal(0.6)] for name in HEAD_LANDMARKS}
    upper, long = normal(3.0), normal(4.0)
    lower, turn = 0.5 * upper + normal(3.5), math.radians(normal(3.5))
    hinge = MEAN[HEAD_LANDMARKS.index("articulare")]
    for name in MAXILLA:
        offset[name][0] += upper
        offset[name][1] += 0.25 * long
    for name in MANDIBLE:
        x, y = MEAN[HEAD_LANDMARKS.index(name)]
        dx, dy = x - hinge[0], y - hinge[1]
        offset[name][0] += lower + dx * (math.cos(turn) - 1) - dy * math.sin(turn)
        offset[name][1] += long + dx * math.sin(turn) + dy * (math.cos(turn) - 1)
    for name, sd in (("sella", 2.0), ("porion", 2.0), ("articulare", 1.5), ("orbitale", 1.5)):
        offset[name][0] += normal(sd)
        offset[name][1] += normal(sd)
    for name, (bone, _) in SOFT.items():
        offset[name][0] += offset[bone][0] + normal(THICKNESS_MM)
        offset[name][1] += offset[bone][1] + normal(0.5 * THICKNESS_MM)
    mean = mean_places()
    closed = mean["upper lip"][1] + offset["upper lip"][1] + LIPS_MM - mean["lower lip"][1]
    offset["lower lip"][1] = max(offset["lower lip"][1], closed)
    rates = faults or HeadFaults(frame=0, ruler=0, border=0, orientation=0, exposure=0)
    draws = {name: uniform(0, 1) < rate for name, rate in asdict(rates).items()}
    wrong, side, gain = int(uniform(0, 4)), int(uniform(0, 4)), uniform(0, 1) < 0.5
    tone, dark = uniform(0.4, 1.0), uniform(0.1, 1.0)
    return HeadParams(
        offsets=tuple((x, y) for x, y in offset.values()),
        scale=0.95 + normal(0.035),
        tilt=normal(3.0),
        shift_mm=(normal(3.0), normal(3.0)),
        misfit_mm=(normal(0.5), normal(0.5)),
        nose_mm=normal(2.5),
        skin=(0.95 * tone, 0.76 * tone, 0.64 * tone),
        hair=(0.55 * dark, 0.38 * dark, 0.25 * dark),
        background=(uniform(0.3, 0.9), uniform(0.3, 0.9), uniform(0.3, 0.9)),
        cloth=(uniform(0.1, 0.9), uniform(0.1, 0.9), uniform(0.1, 0.9)),
        frame=draws["frame"],
        ruler=draws["ruler"],
        border=("top", "bottom", "left", "right")[side] if draws["border"] else "",
        turned=TURNS[wrong] if draws["orientation"] else 0,
        mirrored=draws["orientation"] and wrong == 0,
        exposure=(0.35 if gain else 2.5) if draws["exposure"] else 1.0,
        seed=int(uniform(0, 2**31)),
    )


def head_landmarks(params: HeadParams) -> Float[Tensor, "19 2"]:
    """Landmarks forward and down from mean sella, in millimetres, before tilt and shift."""
    mean = torch.tensor(list(mean_places().values()), dtype=torch.float32)
    return mean + torch.tensor(params.offsets)


def mean_places() -> dict[str, tuple[float, float]]:
    """Mean places of the landmarks, soft points in front of their bone."""
    mean: dict[str, tuple[float, float]] = dict(zip(HEAD_LANDMARKS, MEAN, strict=True))
    for name, (bone, (x, y)) in SOFT.items():
        mean[name] = (mean[bone][0] + x, mean[bone][1] + y)
    return mean
