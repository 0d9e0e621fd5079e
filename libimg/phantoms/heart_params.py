"""What differs from heart to heart: ranges with their sources, and how cases are drawn."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, get_args

import torch

from libimg.phantoms.fields import uniform
from libimg.phantoms.heart_ranges import LAA_TYPES, RANGES, LaaType

__all__ = ["HeartParams", "sample_heart"]


@dataclass(frozen=True)
class HeartParams:
    """One heart at end diastole. Lengths in mm, angles in degrees; `RANGES` bounds each.

    Attributes:
        lv_length_mm: left ventricle, mitral plane to apex, blood.
        lv_radius_mm: left ventricle, largest short-axis radius, blood.
        septum_mm: thickness of the wall towards the right ventricle.
        lateral_mm: thickness of the free wall.
        apex_mm: thickness at the apex.
        septum_flat: part by which the septal side of the left ventricle is flattened.
        yaw_deg: long axis of the ventricles about the body's axis, from its mean direction.
        pitch_deg: long axis, downwards.
        roll_deg: right ventricle about the long axis, from right-anterior towards superior.
        mitral_mm: radius of the mitral orifice.
        rv_depth_mm: septum to free wall of the right ventricle, blood.
        rv_height_mm: half height of the right ventricle along the septum.
        rv_length_mm: right ventricle, tricuspid plane to apex.
        rv_drop_mm: right ventricle towards the diaphragm, from its mean place.
        tricuspid_mm: radius of the tricuspid orifice.
        outflow_mm: radius below the pulmonary valve.
        la_width_mm: half width of the left atrium, right to left.
        la_depth_mm: half depth, front to back.
        la_height_mm: half height.
        la_right_mm: left atrium to the right, from its mean place.
        la_up_mm: left atrium upwards, from its mean place.
        ra_width_mm: half width of the right atrium, away from its valve.
        ra_depth_mm: half depth.
        ra_height_mm: half height.
        ra_back_mm: right atrium backwards, from its mean place.
        annulus_mm: radius of the aortic valve.
        sinus_mm: radius at the sinuses.
        ascending_mm: radius of the ascending aorta.
        descending_mm: radius of the descending aorta.
        ascending_right_mm: how far the ascending aorta leans to the right.
        arch_height_mm: top of the arch's centre line above the aortic valve.
        arch_depth_mm: descending aorta behind the aortic valve.
        arch_left_mm: descending aorta to the left, from its mean place.
        descending_end_mm: where the scan ends, relative to the aortic valve.
        trunk_mm: radius of the pulmonary trunk.
        trunk_length_mm: pulmonary valve to bifurcation.
        right_pa_mm: radius of the right pulmonary artery.
        left_pa_mm: radius of the left pulmonary artery.
        pa_length_mm: length of both branches.
        pa_up_mm: bifurcation upwards, from its mean place.
        laa_type: shape of the left atrial appendage.
        laa_length_mm: its centre line outside the atrium.
        laa_neck_mm: radius at its mouth.
        laa_bend_deg: its bend.
        laa_seed: its lobes.
        pv_mm: mean radius of the pulmonary veins.
        pv_length_mm: mean visible length.
        pv_common_left: the left veins share a trunk.
        pv_middle_right: a third vein on the right.
        pv_seed: course and calibre of each vein.
        left_main_mm: radius of the left main artery.
        left_main_length_mm: its length.
        lad_mm: radius of the left anterior descending artery at its origin.
        lcx_mm: radius of the circumflex artery at its origin.
        rca_mm: radius of the right coronary artery at its origin.
        coronary_end_mm: radius where the arteries end.
        lad_reach: part of the way to the apex.
        lcx_reach: part of the way round the left groove.
        rca_reach: part of the way round the right groove.
        coronary_seed: side branches and windings.
        turn_deg: whole heart about the three axes of the body.
        shift_mm: whole heart right, forwards, up.
        bend_mm: standard deviation of the smooth random deformation of everything.
        bend_seed: that deformation.

    Raises:
        ValueError: a value is outside its range; the message names it.

    Example:
        >>> params = sample_heart(torch.Generator().manual_seed(0))
        >>> HeartParams.from_dict(params.to_dict()) == params
        True
    """

    lv_length_mm: float
    lv_radius_mm: float
    septum_mm: float
    lateral_mm: float
    apex_mm: float
    septum_flat: float
    yaw_deg: float
    pitch_deg: float
    roll_deg: float
    mitral_mm: float
    rv_depth_mm: float
    rv_height_mm: float
    rv_length_mm: float
    rv_drop_mm: float
    tricuspid_mm: float
    outflow_mm: float
    la_width_mm: float
    la_depth_mm: float
    la_height_mm: float
    la_right_mm: float
    la_up_mm: float
    ra_width_mm: float
    ra_depth_mm: float
    ra_height_mm: float
    ra_back_mm: float
    annulus_mm: float
    sinus_mm: float
    ascending_mm: float
    descending_mm: float
    ascending_right_mm: float
    arch_height_mm: float
    arch_depth_mm: float
    arch_left_mm: float
    descending_end_mm: float
    trunk_mm: float
    trunk_length_mm: float
    right_pa_mm: float
    left_pa_mm: float
    pa_length_mm: float
    pa_up_mm: float
    laa_type: LaaType
    laa_length_mm: float
    laa_neck_mm: float
    laa_bend_deg: float
    laa_seed: int
    pv_mm: float
    pv_length_mm: float
    pv_common_left: bool
    pv_middle_right: bool
    pv_seed: int
    left_main_mm: float
    left_main_length_mm: float
    lad_mm: float
    lcx_mm: float
    rca_mm: float
    coronary_end_mm: float
    lad_reach: float
    lcx_reach: float
    rca_reach: float
    coronary_seed: int
    turn_deg: tuple[float, float, float]
    shift_mm: tuple[float, float, float]
    bend_mm: float
    bend_seed: int

    def __post_init__(self) -> None:
        for name, (lo, hi, _) in RANGES.items():
            value = getattr(self, name)
            for v in value if isinstance(value, tuple) else (value,):
                if not lo <= v <= hi:
                    msg = f"{name} must be between {lo:g} and {hi:g}, got {value}"
                    raise ValueError(msg)
        if self.laa_type not in get_args(LaaType):
            msg = f"laa_type must be one of {', '.join(get_args(LaaType))}, got {self.laa_type!r}"
            raise ValueError(msg)

    def to_dict(self) -> dict[str, Any]:
        """Return the values as numbers, strings and lists, fit for JSON."""
        return {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(self).items()}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "HeartParams":
        """Make a heart from `to_dict`.

        Raises:
            ValueError: a name is missing or unknown, or a value outside its range.
        """
        known = {field.name for field in fields(cls)}
        if wrong := known ^ set(values):
            msg = f"expected the fields of HeartParams; missing or unknown: {sorted(wrong)}"
            raise ValueError(msg)
        given: Any = {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}
        return cls(**given)


def sample_heart(generator: torch.Generator) -> HeartParams:
    """Draw a heart.

    Six hidden factors tie the chambers together, so that a missing one can be inferred in part:
    size of the body (everything), dilation and hypertrophy of the left ventricle (radius,
    length, wall, left atrium), load of the right heart (right ventricle and atrium, pulmonary
    arteries, flattened septum), enlargement of the left atrium (its three axes, veins, mouth of
    the appendage) and of the aorta (its four radii, its length and lean). About one heart in
    four is dilated, one in four hypertrophic, one in five has a loaded right heart, a large left
    atrium or a wide aorta. Each length then varies by 4 to 8 % on its own. Nothing visible
    tells the directions, places relative to the valves, courses, lobes, branches, variants and
    ends of the vessels, and the smooth deformation: they set the limit of any completion.

    Args:
        generator: the only source of randomness; on the CPU.

    Returns:
        The heart's parameters, all within their ranges.

    Reference:
        Ranges: see `RANGES`. Appendage types 48, 30, 19 and 3 %: Di Biase et al., JACC 2012.
        Pulmonary vein variants: Kato et al., Circulation 2003.

    Example:
        >>> params = sample_heart(torch.Generator().manual_seed(3))
        >>> 18 < params.lv_radius_mm < 40
        True
    """

    def u(lo: float = 0.0, hi: float = 1.0) -> float:
        return uniform(generator, lo, hi)

    def n(sd: float) -> float:
        draw = float(torch.randn((), generator=generator, dtype=torch.float64))
        return sd * max(-2.5, min(2.5, draw))

    def often(share: float, lo: float, hi: float, sd: float) -> float:
        ill, much, little = u() < share, u(lo, hi), n(sd)
        return much if ill else little

    def seed() -> int:
        return int(torch.randint(2**31, (), generator=generator))

    size = 1 + n(0.065)
    wide = often(0.25, 0.12, 0.35, 0.04)  # dilation of the left ventricle
    thick = often(0.25, 0.2, 0.65, 0.08)  # hypertrophy
    right = often(0.2, 0.12, 0.35, 0.05)  # load of the right heart
    atrial = 0.3 * wide + 0.15 * thick + often(0.2, 0.12, 0.3, 0.06)
    aortic = often(0.15, 0.12, 0.3, 0.06)
    draws: dict[str, float] = {
        "lv_length_mm": 80 * size * (1 + 0.5 * wide) * (1 - 0.08 * thick) * (1 + n(0.05)),
        "lv_radius_mm": 25.5 * size * (1 + wide) * (1 - 0.2 * thick) * (1 + n(0.04)),
        "septum_mm": 9 * size * (1 + thick) * (1 - 0.2 * wide) * (1 + n(0.08)),
        "lateral_mm": 8 * size * (1 + 0.8 * thick) * (1 - 0.2 * wide) * (1 + n(0.08)),
        "apex_mm": 5 * size * (1 + 0.4 * thick) * (1 + n(0.1)),
        "septum_flat": 0.03 + 0.5 * right + n(0.05),
        "yaw_deg": n(9),
        "pitch_deg": n(9),
        "roll_deg": n(9),
        "mitral_mm": 15.5 * size * (1 + 0.4 * wide) * (1 + n(0.05)),
        "rv_depth_mm": 26 * size * (1 + 1.2 * right) * (1 + n(0.08)),
        "rv_height_mm": 42 * size * (1 + 0.5 * right) * (1 + n(0.05)),
        "rv_length_mm": 68 * size * (1 + 0.4 * right) * (1 + n(0.05)),
        "rv_drop_mm": n(3),
        "tricuspid_mm": 17 * size * (1 + 0.6 * right) * (1 + n(0.05)),
        "outflow_mm": 13.5 * size * (1 + 0.5 * right) * (1 + n(0.06)),
        "la_width_mm": 34 * size * (1 + 0.7 * atrial) * (1 + n(0.06)),
        "la_depth_mm": 20.5 * size * (1 + atrial) * (1 + n(0.07)),
        "la_height_mm": 26 * size * (1 + 0.7 * atrial) * (1 + n(0.07)),
        "la_right_mm": n(4),
        "la_up_mm": n(3.5),
        "ra_width_mm": 23 * size * (1 + 0.9 * right) * (1 + n(0.07)),
        "ra_depth_mm": 27 * size * (1 + 0.8 * right) * (1 + n(0.07)),
        "ra_height_mm": 32 * size * (1 + 0.6 * right) * (1 + n(0.07)),
        "ra_back_mm": n(4),
        "annulus_mm": 11.8 * size * (1 + 0.3 * aortic) * (1 + n(0.05)),
        "sinus_mm": 16.5 * size * (1 + 0.7 * aortic) * (1 + n(0.05)),
        "ascending_mm": 15.5 * size * (1 + aortic) * (1 + n(0.05)),
        "descending_mm": 11.8 * size * (1 + 0.5 * aortic) * (1 + n(0.06)),
        "ascending_right_mm": 26 * size + 30 * aortic + n(4),
        "arch_height_mm": 76 * size + 20 * aortic + n(5),
        "arch_depth_mm": 76 * size + n(4),
        "arch_left_mm": n(5),
        "descending_end_mm": u(-40, 30),
        "trunk_mm": 13 * size * (1 + 0.7 * right) * (1 + n(0.06)),
        "trunk_length_mm": 42 * size * (1 + n(0.08)),
        "right_pa_mm": 10.2 * size * (1 + 0.7 * right) * (1 + n(0.07)),
        "left_pa_mm": 10 * size * (1 + 0.7 * right) * (1 + n(0.07)),
        "pa_length_mm": u(32, 62) * size,
        "pa_up_mm": n(4),
        "laa_length_mm": 35 * size * (1 + n(0.15)),
        "laa_neck_mm": 8.6 * size * (1 + 0.6 * atrial) * (1 + n(0.1)),
        "laa_bend_deg": n(20),
        "pv_mm": 7 * size * (1 + 0.4 * atrial) * (1 + n(0.07)),
        "pv_length_mm": u(13, 27),
        "left_main_mm": 2.2 * (1 + n(0.1)),
        "left_main_length_mm": 9 + n(2.5),
        "lad_mm": 1.85 * (1 + n(0.1)),
        "lcx_mm": 1.7 * (1 + n(0.13)),
        "rca_mm": 1.95 * (1 + n(0.13)),
        "coronary_end_mm": u(1.0, 1.2),
        "lad_reach": u(0.75, 1.0),
        "lcx_reach": u(0.55, 1.0),
        "rca_reach": u(0.7, 1.0),
        "bend_mm": u(1.2, 2.0),
    }
    kept = {k: max(RANGES[k][0], min(RANGES[k][1], v)) for k, v in draws.items()}
    pick, kinds = u(), list(LAA_TYPES)
    while len(kinds) > 1 and pick >= LAA_TYPES[kinds[0]]:
        pick -= LAA_TYPES[kinds.pop(0)]
    return HeartParams(
        **kept,
        laa_type=kinds[0],
        laa_seed=seed(),
        pv_common_left=u() < 0.12,
        pv_middle_right=u() < 0.18,
        pv_seed=seed(),
        coronary_seed=seed(),
        turn_deg=(n(4), n(4), n(4)),
        shift_mm=(n(10), n(10), n(10)),
        bend_seed=seed(),
    )
