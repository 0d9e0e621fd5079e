"""Shapes of lungs, diaphragm and heart as signed distances in the common anatomy (mm).

Axes: ``z`` to the feet, ``y`` to the back, ``x`` to the patient's left; any tensor shape.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from libimg.phantoms.fields import ellipsoid, smooth_min

__all__ = ["chambers", "diaphragm", "lung", "mediastinum", "pleura"]

HEART = (30.0, -24.0, 14.0)
"""Origin of the heart's own axes."""


def pleura(z: Tensor, y: Tensor, x: Tensor, *, side: int) -> Float[Tensor, "*at"]:
    """Outline of one half of the rib cage; ``side`` is -1 for the right, +1 for the left."""
    across = x * side - 70 - 0.08 * y
    along = y - 2
    above = (24 - z).clamp(min=0)
    level = (across / 63).abs().pow(2.4) + (along / 89).abs().pow(2.4) + (above / 138).pow(2.4)
    reach = (across.square() + along.square() + above.square()).sqrt()
    return reach * (1 - level.clamp(min=1e-6).pow(-1 / 2.4))


def diaphragm(y: Tensor, x: Tensor, *, side: int, top: float) -> Float[Tensor, "*at"]:
    """Height (``z``) of the dome under one lung."""
    return top + ((x * side - 58) / 70).square() * 36 + ((y + 18) / 95).square() * 34


def chambers(z: Tensor, y: Tensor, x: Tensor, *, size: float) -> dict[str, Float[Tensor, "*at"]]:
    """Blood of the four chambers, the outside of the left ventricle, and the whole heart."""
    z, y, x = ((p - o) / size for p, o in zip((z, y, x), HEART, strict=True))
    found = {
        "right_ventricle": ellipsoid(z, y, x, centre=(2, -20, -6), radii=(34, 26, 42)),
        "right_atrium": ellipsoid(z, y, x, centre=(-8, 6, -48), radii=(30, 25, 21)),
        "left_atrium": ellipsoid(z, y, x, centre=(-24, 38, -10), radii=(20, 18, 32)),
    }
    mitral = ellipsoid(z, y, x, centre=(-12, 24, 4), radii=(14, 15, 15))
    dz, dy, dx = z - 6, y - 6, x - 26  # the left ventricle points left, down and forward
    along = 0.42 * dz - 0.42 * dy + 0.80 * dx
    across = (dz.square() + dy.square() + dx.square() - along.square()).clamp(min=0).sqrt()
    nil = torch.zeros(())
    outer = ellipsoid(nil, across, along, centre=(0, 0, 0), radii=(1, 32, 46))
    inner = ellipsoid(nil, across, along, centre=(0, 0, -4), radii=(1, 21, 38))
    found["left_outside"] = outer
    found["left_ventricle"] = torch.minimum(inner, mitral)
    whole = smooth_min(found["right_ventricle"] - 3.5, found["right_atrium"] - 2, 14)
    whole = smooth_min(whole, found["left_atrium"] - 2, 14)
    found["whole"] = smooth_min(whole, outer, 14)
    return {name: distance * size for name, distance in found.items()}


def mediastinum(z: Tensor, y: Tensor, x: Tensor, *, heart: Tensor) -> Float[Tensor, "*at"]:
    """Space between the lungs: a column around the windpipe and spine, and the heart's fat."""
    wide = 7 + 14 * torch.sigmoid((-55 - z) / 12) + 7 * torch.sigmoid((y + 30) / 12)
    core = ellipsoid(z, y, x, centre=(8, -8, 2), radii=(36, 36, 34))  # no lung between chambers
    return torch.minimum(smooth_min((x - 3).abs() - wide, heart - 6, 20), core)


def lung(
    z: Tensor, y: Tensor, x: Tensor, *, side: int, top: float, middle: Tensor, hull: Tensor
) -> Float[Tensor, "*at"]:
    """One lung without its vessels, from its pleura, dome and the mediastinum."""
    base = 0.8 * (z - diaphragm(y, x, side=side, top=top))
    return torch.maximum(torch.maximum(hull, base), -middle)
