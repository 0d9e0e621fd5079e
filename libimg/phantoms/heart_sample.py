"""Hearts drawn so that one part tells something, and not everything, about the others."""

import torch

from libimg.phantoms.fields import uniform
from libimg.phantoms.heart_params import HeartParams
from libimg.phantoms.heart_ranges import LAA_TYPES, RANGES

__all__ = ["sample_heart"]


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

    Volumes of 20 hearts (seeds 0 to 19 at 2.5 mm), mean ± standard deviation in ml: Myocardium
    116 ± 25, LA 88 ± 26, LV 135 ± 38, RA 96 ± 25, RV 146 ± 34, Aorta 141 ± 43, PA 62 ± 17,
    LAA 8.5 ± 3.8, Coronary 2.9 ± 0.6, PV 16 ± 6.

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
