"""Range and source of everything that varies in a heart."""

from typing import Final, Literal

__all__ = ["LAA_TYPES", "RANGES", "LaaType"]

LaaType = Literal["chicken_wing", "cactus", "windsock", "cauliflower"]

LAA_TYPES: Final[dict[LaaType, float]] = {
    "chicken_wing": 0.48,
    "cactus": 0.30,
    "windsock": 0.19,
    "cauliflower": 0.03,
}
"""How often each shape of appendage is met (Di Biase et al., JACC 2012)."""

ASE = "Lang et al., JASE 2015"
CMR = "made to give the volumes of Maceira et al., JCMR 2006 and EHJ 2006"
ATRIA = "made to give the volumes of Maceira et al., JCMR 2010 and 2013"
FREE = "chosen; no population figure known to us"
DODGE = "Dodge et al., Circulation 1992 (half the diameters)"
LAA = "Veinot et al., Circulation 1997; Ernst et al., PACE 1995"
PA = "Truong et al., Circ Cardiovasc Imaging 2012 (half the diameters)"
PV = "Kato et al., Circulation 2003 (half the diameters)"

RANGES: Final[dict[str, tuple[float, float, str]]] = {
    "lv_length_mm": (62, 104, CMR),
    "lv_radius_mm": (18, 37, ASE + ", table 2, short axis 38 to 58 mm and above"),
    "septum_mm": (5.5, 17, ASE + ", table 6"),
    "lateral_mm": (5, 15, ASE + ", table 6"),
    "apex_mm": (3, 9, FREE),
    "septum_flat": (0, 0.25, FREE),
    "yaw_deg": (-24, 24, FREE),
    "pitch_deg": (-24, 24, FREE),
    "roll_deg": (-24, 24, FREE),
    "mitral_mm": (11, 21, FREE),
    "rv_depth_mm": (16, 44, CMR),
    "rv_height_mm": (30, 60, CMR),
    "rv_length_mm": (50, 95, ASE + ", table 8, 59 to 83 mm and above"),
    "rv_drop_mm": (-8, 8, FREE),
    "tricuspid_mm": (12, 24, ASE + ", table 8, basal diameter 25 to 41 mm and above"),
    "outflow_mm": (9, 19, ASE + ", table 8, 21 to 35 mm across"),
    "la_width_mm": (24, 50, ATRIA),
    "la_depth_mm": (13, 32, ASE + ", 27 to 40 mm front to back, and above"),
    "la_height_mm": (17, 38, ATRIA),
    "la_right_mm": (-10, 10, FREE),
    "la_up_mm": (-9, 9, FREE),
    "ra_width_mm": (15, 36, ATRIA),
    "ra_depth_mm": (18, 42, ATRIA),
    "ra_height_mm": (21, 48, ATRIA),
    "ra_back_mm": (-10, 10, FREE),
    "annulus_mm": (9, 16, ASE + ", table 14, 23 ± 2 and 26 ± 3 mm across"),
    "sinus_mm": (12, 24, ASE + ", table 14, 30 ± 3 and 34 ± 3 mm across, and above"),
    "ascending_mm": (11, 24, ASE + ", table 14, 27 ± 4 and 30 ± 4 mm across, and above"),
    "descending_mm": (8.5, 17, FREE),
    "ascending_right_mm": (10, 46, FREE),
    "arch_height_mm": (55, 105, FREE),
    "arch_depth_mm": (55, 98, FREE),
    "arch_left_mm": (-13, 13, FREE),
    "descending_end_mm": (-40, 30, FREE),
    "trunk_mm": (9.5, 20, PA),
    "trunk_length_mm": (28, 60, FREE),
    "right_pa_mm": (7, 16, FREE),
    "left_pa_mm": (7, 16, FREE),
    "pa_length_mm": (26, 76, FREE),
    "pa_up_mm": (-10, 10, FREE),
    "laa_length_mm": (16, 51, LAA),
    "laa_neck_mm": (5, 14, LAA),
    "laa_bend_deg": (-50, 50, FREE),
    "pv_mm": (4.5, 10, PV),
    "pv_length_mm": (13, 27, FREE),
    "left_main_mm": (1.6, 3, DODGE),
    "left_main_length_mm": (2, 16, FREE),
    "lad_mm": (1.35, 2.4, DODGE),
    "lcx_mm": (1.1, 2.3, DODGE),
    "rca_mm": (1.3, 2.6, DODGE),
    "coronary_end_mm": (1.0, 1.2, DODGE),
    "lad_reach": (0.75, 1, FREE),
    "lcx_reach": (0.55, 1, FREE),
    "rca_reach": (0.7, 1, FREE),
    "turn_deg": (-10, 10, FREE),
    "shift_mm": (-25, 25, FREE),
    "bend_mm": (0, 2, FREE),
}
"""Name: lowest and highest value, and where they come from."""
