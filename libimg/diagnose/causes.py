"""Healthy ranges and causes of a picture that stays blurred under a discriminator, as data.

The order of the causes is the order of the decision: first whether everything is connected, then
what the architecture can do, what the discriminator looks at, whether the pairs lie on each other,
and last how strongly the discriminator pulls.
"""

from math import inf

from libimg.diagnose.findings import Cause, Check, Sign

__all__ = ["BLUR_CAUSES", "BLUR_CHECKS"]

EXACT, RULE, PHANTOM = "exact", "rule of thumb", "calibrated"

BLUR_CHECKS = (
    Check("sharpness/body", 0.8, 1.3, "top-octave power, fake over real", RULE),
    Check("baseline/gain_db", 0, inf, "PSNR above the look-up table", EXACT),
    Check("range/window_error", 0, 0.01, "target against its HU in the window", EXACT),
    Check("range/fill", 0.75, 1.01, "share of the range that the target fills", RULE),
    Check("range/outside", 0, 0.001, "share of the target beyond the range", EXACT),
    Check("wiring/real", 0, 0.05, "gain and offset between the target and what D gets", EXACT),
    Check("wiring/fake", 0, 0.01, "what D gets as fake, minus G's picture", EXACT),
    Check("gradient/reaches", 1, 1, "the adversarial gradient reaches the picture", EXACT),
    Check("weight_change/G", 1e-3, inf, "way of G from its start", RULE),
    Check("weight_change/D", 1e-2, inf, "way of D from its start", RULE),
    Check("lr/D", 1e-6, inf, "highest learning rate of D", RULE),
    Check("update_to_weight/D", 1e-5, 0.1, "mean step of D over its weights", RULE),
    Check("identity/psnr", 40, inf, "CTA to CTA through a fresh G, dB", RULE),
    Check("identity/sharpness", 0.9, 1.1, "the same, top-octave power", RULE),
    Check("D/blur_auc_fresh", 0.95, 1, "fresh D alone: real against 1 voxel of blur", RULE),
    Check("D/blur_auc", 0.6, 1, "trained D: real against 1 voxel of blur", PHANTOM),
    Check("D/auc", 0.2, 1, "trained D: real against fake, in pairs", PHANTOM),
    Check("D/plateau_drop", -1, 0.2, "AUC that D loses without clip plateaus", PHANTOM),
    Check("D/level_drop", -1, 0.2, "AUC that D loses without value levels", PHANTOM),
    Check("D/shift_reaction", 0, 1, "conditional D: |2 AUC - 1| of shifted real pairs", PHANTOM),
    Check("alignment/before", 0, 0.6, "misalignment of picture and CTA, voxels", PHANTOM),
    Check("alignment/after", 0, 0.6, "the same after R", PHANTOM),
    Check("R/shift_error", 0, 0.3, "error of R at a known shift of 3 voxels", RULE),
    Check("R/recovered", 0.15, 1.2, "share of a known shift of 1 voxel that R finds", PHANTOM),
    Check("flow/folding", 0, 0.005, "share of voxels where R folds", RULE),
    Check("gradient/ratio_body", 0.1, 1, "pull of D over that of the other losses", RULE),
    Check("gradient/ratio_lung", 0.1, 1, "the same in the lung", RULE),
)
"""Numbers, healthy ranges and where these come from."""

BLUR_CAUSES = (
    Cause(
        "wrong data range",
        (Sign("range/window_error", ">", 0.01),),
        "The target is not the CTA in the declared window.",
        "Follow the target from file to loss and print its range at each step.",
    ),
    Cause(
        "wrong data range",
        (Sign("wiring/real", ">", 0.1),),
        "D gets the real picture in another range than the losses have as target.",
        "Give D the very tensor that the losses see.",
    ),
    Cause(
        "wrong data range",
        (Sign("range/outside", ">", 0.001),),
        "The target leaves its range.",
        "Clip to the window before scaling.",
    ),
    Cause(
        "detached gradient",
        (Sign("weight/adversarial", ">", 0), Sign("gradient/reaches", "<", 0.5)),
        "The adversarial term has a weight and no gradient at the picture.",
        "Look for detach() or no_grad between G and D in the step of the generator.",
    ),
    Cause(
        "D judges the warped picture",
        (Sign("wiring/fake", ">", 0.01),),
        "D gets the picture after R: the interpolation of the warp blurs it and D sees that only.",
        "Give D the picture before the warp.",
    ),
    Cause(
        "D does not learn",
        (Sign("weight_change/D", "<", 1e-2),),
        "The weights of D have hardly moved since the start.",
        "Set a learning rate for D.",
    ),
    Cause(
        "G blurs by itself",
        (Sign("identity/psnr", "<", 40), Sign("identity/sharpness", "<", 0.5)),
        "The architecture cannot even copy its input.",
        "Add the output to the input, or a skip connection at full resolution.",
    ),
    Cause(
        "D cannot see blur",
        (Sign("D/blur_auc_fresh", "<", 0.95),),
        "A fresh D alone does not learn to tell real from blurred.",
        "Fewer strided layers or more features in D.",
    ),
    Cause(
        "D uses a trivial cue",
        (Sign("D/auc", ">", 0.75), Sign("D/plateau_drop", ">", 0.2)),
        "D tells real from fake by the plateaus of the clipped target.",
        "Widen the window, so that vessels are not clipped.",
    ),
    Cause(
        "D uses a trivial cue",
        (Sign("D/auc", ">", 0.75), Sign("D/level_drop", ">", 0.2)),
        "D tells real from fake by the few values that the targets take.",
        "Use targets of full bit depth, or R1 on D.",
    ),
    Cause(
        "pairs are misaligned and R is off",
        (Sign("R/on", "<", 0.5), Sign("alignment/before", ">", 0.6)),
        "G is taught by pictures that do not lie on its input; the best answer to that is blur.",
        "Switch R on.",
    ),
    Cause(
        "R is over-smoothed",
        (Sign("R/recovered", "<", 0.1), Sign("alignment/after", ">", 0.6)),
        "R is on and moves nearly nothing, so the pairs stay misaligned.",
        "Lower the weight of the smoothness.",
    ),
    Cause(
        "R folds",
        (Sign("flow/folding", ">", 0.02),),
        "R tears the picture to fit the target, and hides the errors of G.",
        "Raise the weight of the smoothness.",
    ),
    Cause(
        "conditional D looks at the misalignment",
        (Sign("D/shift_reaction", ">", 0.4), Sign("alignment/before", ">", 0.6)),
        "Real pairs are misaligned and generated ones are not: D learns that difference.",
        "Train D without the condition.",
    ),
    Cause(
        "adversarial weight too small",
        (Sign("gradient/ratio_body", "<", 0.02), Sign("gradient/reaches", ">", 0.5)),
        "D is decoration: its gradient is lost beside the other losses.",
        "Raise the adversarial weight.",
    ),
    Cause(
        "adversarial weight too small",
        (Sign("weight/adversarial", "<", 1e-12),),
        "D is there and its loss has no weight.",
        "Give the adversarial loss a weight.",
    ),
    Cause(
        "adversarial weight too large",
        (Sign("gradient/ratio_body", ">", 2),),
        "D overrules the target: details are invented.",
        "Lower the adversarial weight.",
    ),
)
"""Rules, upstream first."""
