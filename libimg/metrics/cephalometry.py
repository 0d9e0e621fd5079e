"""Cephalometric angles, and how well two measurements of them agree."""

import math
from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from scipy.stats import t
from torch import Tensor

from libimg._check import same_shape
from libimg._types import PerSample
from libimg.metrics.landmarks import Spacing, spacing_tensor

__all__ = ["angle", "bland_altman", "cephalometric_angles"]

NAMES = {
    "S": ("s", "sella", "sella turcica"),
    "N": ("n", "na", "nasion"),
    "A": ("a", "a point", "a-point", "point a", "subspinale"),
    "B": ("b", "b point", "b-point", "point b", "supramentale"),
}
"""Names, in lower case, under which the landmarks of the angles are found."""

WIDTH = 1.96
"""Limits of agreement: standard deviations on both sides that hold 95 % of a normal."""


def angle(
    a: Float[Tensor, "b 2"],
    vertex: Float[Tensor, "b 2"],
    b: Float[Tensor, "b 2"],
    *,
    spacing_mm: Spacing,
) -> PerSample:
    """Angle at ``vertex`` between the rays to ``a`` and to ``b``, measured in millimetres.

    Args:
        a: ``(b, 2)``: row and column in pixels, in array order.
        vertex: ``(b, 2)``, likewise.
        b: ``(b, 2)``, likewise.
        spacing_mm: millimetres a pixel along ``(row, column)``, for all cases or ``(b, 2)``.

    Returns:
        ``(b,)`` degrees in [0, 180], the same for a mirrored image; NaN where a point is missing
        or a ray has no length.

    Raises:
        ValueError: shapes differ, or the spacing does not fit or is not above 0.

    Example:
        >>> right, origin, down = torch.tensor([[[0.0, 5]], [[0, 0]], [[5, 5]]])
        >>> angle(right, origin, down, spacing_mm=(1, 1))
        tensor([45.])
    """
    same_shape(a=a, vertex=vertex, b=b)
    scale = spacing_tensor(spacing_mm, vertex)
    u, v = ((point - vertex) * scale for point in (a, b))
    cross = u[:, 0] * v[:, 1] - u[:, 1] * v[:, 0]
    degrees = torch.atan2(cross.abs(), (u * v).sum(1)).rad2deg()
    return torch.where((u != 0).any(1) & (v != 0).any(1), degrees, math.nan)


def cephalometric_angles(
    points: Float[Tensor, "b n 2"], names: Sequence[str], *, spacing_mm: Spacing
) -> dict[str, PerSample]:
    """Measure SNA, SNB and ANB: how far forward the jaws are under the base of the skull.

    Args:
        points: ``(b, n, 2)``: row and column in pixels, in array order; NaN is missing.
        names: of the n landmarks, among them S, N, A and B, or sella, nasion, subspinale (or A
            point) and supramentale (or B point), in any case.
        spacing_mm: millimetres a pixel along ``(row, column)``, for all cases or ``(b, 2)``.

    Returns:
        Degrees, ``(b,)`` each, for faces to the left or to the right. ``"SNA"`` and ``"SNB"``: at
        nasion, from sella to point A of the upper and B of the lower jaw; ``"ANB"``:
        ``SNA - SNB``, below 0 where the lower jaw is ahead (class III). NaN where a point that an
        angle needs is missing.

    Raises:
        ValueError: names do not fit, lack a landmark or have it twice, or the spacing is wrong.

    Example:
        >>> points = torch.tensor([[[62.0, 80], [50, 150], [110, 150], [150, 143]]])
        >>> cephalometric_angles(points, ["S", "N", "A", "B"], spacing_mm=(1, 1))
        {'SNA': tensor([80.3]), 'SNB': tensor([76.3]), 'ANB': tensor([4.0])}

    Reference:
        Steiner, "Cephalometrics for you and me", American Journal of Orthodontics 1953. ANB is
        the signed difference; the plain angle at N would lose which jaw is ahead.
    """
    if len(names) != points.shape[1]:
        msg = f"names must be {points.shape[1]}, one for each landmark, got {len(names)}"
        raise ValueError(msg)
    found = {}
    for landmark, aliases in NAMES.items():
        places = [i for i, name in enumerate(names) if name.strip().lower() in aliases]
        if len(places) != 1:
            msg = f"expected landmark {landmark} ({', '.join(aliases[1:])}) once in names, "
            msg += f"got it {len(places)} times in {list(names)}"
            raise ValueError(msg)
        found[landmark] = points[:, places[0]]
    sna, snb = (
        angle(found["S"], found["N"], found[jaw], spacing_mm=spacing_mm) for jaw in ("A", "B")
    )
    return {"SNA": sna, "SNB": snb, "ANB": sna - snb}


def bland_altman(pred: PerSample, truth: PerSample, *, confidence: float = 0.95) -> dict[str, Any]:
    """Limits between which 95 % of the differences of two measurements are expected.

    Args:
        pred: ``(b,)`` in any unit; NaN is undefined.
        truth: ``(b,)`` in the same unit.
        confidence: of the three intervals, which tell how well bias and limits are known.

    Returns:
        Ready for JSON, in the unit of the measurements: ``bias`` (mean of prediction less truth),
        ``sd`` of the differences (n - 1), ``lower`` and ``upper`` limit of agreement
        (``bias ± 1.96·sd``), ``bias_interval``, ``lower_interval`` and ``upper_interval``, their
        ``confidence``, ``cases`` (pairs that count) and ``undefined`` (pairs with a NaN, left
        out). None for what fewer than two pairs, or none for the bias, cannot tell.

    Raises:
        ValueError: the shapes differ, or ``confidence`` is not between 0 and 1.

    Example:
        >>> pred, truth = torch.tensor([82.0, 79, 85, 81]), torch.tensor([80.0, 80, 81, 80])
        >>> found = bland_altman(pred, truth)
        >>> found["bias"], found["lower"], found["upper"], found["upper_interval"]
        (1.5, -2.58, 5.58, [-0.67, 11.83])

    Reference:
        Bland and Altman, Lancet 1986 and Statistical Methods in Medical Research 1999: intervals
        by Student's t with n - 1 degrees of freedom; standard errors ``sd / √n`` of the bias and
        ``sd·√(1/n + 1.96² / (2(n - 1)))`` of the limits (1999), for which 1986 has the close
        ``sd·√(3/n)``.
    """
    same_shape(pred=pred, truth=truth)
    if not 0 < confidence < 1:
        msg = f"confidence must be between 0 and 1, got {confidence}"
        raise ValueError(msg)
    difference = (pred.detach().double() - truth.detach().double()).cpu()
    known = difference[~difference.isnan()]
    n = len(known)
    found: dict[str, Any] = dict.fromkeys(
        ("bias", "sd", "lower", "upper", "bias_interval", "lower_interval", "upper_interval")
    )
    if n:
        found["bias"] = float(known.mean())
    if n > 1:
        sd = found["sd"] = float(known.std())
        quantile = float(t.ppf((1 + confidence) / 2, n - 1))
        limit = sd * math.sqrt(1 / n + WIDTH**2 / (2 * (n - 1)))
        for name, sign in (("bias", 0), ("lower", -1), ("upper", 1)):
            middle = found[name] = found["bias"] + sign * WIDTH * sd
            half = quantile * (limit if sign else sd / math.sqrt(n))
            found[f"{name}_interval"] = [middle - half, middle + half]
    return {**found, "confidence": confidence, "cases": n, "undefined": len(difference) - n}
