"""What differs from heart to heart: every length, angle and seed of one case."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, get_args

from libimg.phantoms.heart_ranges import RANGES, LaaType

__all__ = ["HeartParams"]


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
        >>> import torch
        >>> from libimg.phantoms import sample_heart
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
