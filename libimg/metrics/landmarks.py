"""Landmark errors in millimetres: radial error, detection rate, and a surrogate's gap."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from libimg._check import one_of, positive, same_shape
from libimg._types import PerSample

__all__ = [
    "MissingLandmarks",
    "landmark_errors",
    "landmark_report",
    "missing_landmarks",
    "surrogate_gap",
]

Points = Float[Tensor, "b n 2"]
Spacing = Sequence[float] | Sequence[Sequence[float]] | Float[Tensor, "2"] | Float[Tensor, "b 2"]
"""Millimetres a pixel: ``(row, column)`` for all cases, or a row of two for each case."""

Missing = Literal["skip", "penalty", "raise"]


class MissingLandmarks(NamedTuple):
    """Which landmarks cannot be scored, and why.

    Attributes:
        truth: ``(b, n)``, true where the truth has no such point; there is nothing to score.
        prediction: ``(b, n)``, true where the truth has the point and the prediction lacks it.

    Example:
        >>> here = torch.tensor([[True, False]])
        >>> MissingLandmarks(truth=here, prediction=~here).truth.sum()
        tensor(1)
    """

    truth: Bool[Tensor, "b n"]
    prediction: Bool[Tensor, "b n"]


def missing_landmarks(pred: Points, truth: Points) -> MissingLandmarks:
    """Find the landmarks with a NaN coordinate.

    Args:
        pred: ``(b, n, 2)``.
        truth: ``(b, n, 2)``.

    Returns:
        Where the truth lacks a point, and where only the prediction does.

    Raises:
        ValueError: the shapes differ.

    Example:
        >>> truth = torch.tensor([[[1.0, 2.0], [float("nan"), 2.0], [3.0, 4.0]]])
        >>> missing_landmarks(torch.full((1, 3, 2), float("nan")), truth)
        MissingLandmarks(truth=tensor([[False,  True, False]]),
                         prediction=tensor([[ True, False,  True]]))
    """
    same_shape(pred=pred, truth=truth)
    no_truth, no_pred = (points.isnan().any(-1) for points in (truth, pred))
    return MissingLandmarks(no_truth, no_pred & ~no_truth)


def landmark_errors(
    pred: Points,
    truth: Points,
    *,
    spacing_mm: Spacing,
    missing: Missing = "skip",
    penalty_mm: float | None = None,
) -> Float[Tensor, "b n"]:
    """Radial error of every landmark: the distance of prediction and truth in millimetres.

    Args:
        pred: ``(b, n, 2)``: row and column in pixels, in array order; integers are pixel centres.
            NaN is a missing point.
        truth: ``(b, n, 2)``, likewise.
        spacing_mm: millimetres a pixel along ``(row, column)``, for all cases or ``(b, 2)``.
        missing: what becomes of points that lack a prediction. ``"skip"``: NaN, so that a detector
            is not judged where it is silent; ``"penalty"``: an error of ``penalty_mm``;
            ``"raise"``: refuse, missing truths included. A point that the truth lacks has nothing
            to be scored by: NaN under both of the others. `missing_landmarks` tells them apart.
        penalty_mm: error of a missing prediction, for ``"penalty"`` only.

    Returns:
        ``(b, n)`` in millimetres.

    Raises:
        ValueError: shapes differ, the spacing does not fit or is not above 0, the penalty is
            missing or not wanted, or points are missing under ``"raise"``, which names them.

    Example:
        >>> truth = torch.tensor([[[10.0, 10.0], [20.0, 20.0]]])
        >>> pred = torch.tensor([[[13.0, 14.0], [float("nan"), 20.0]]])
        >>> landmark_errors(pred, truth, spacing_mm=(0.1, 0.1))
        tensor([[0.5000,    nan]])

    Reference:
        Wang et al., "A benchmark for comparison of dental radiography analysis algorithms",
        Medical Image Analysis 2016 (ISBI 2015). Their tables, and CL-Detection 2023's, take one
        isotropic 0.1 mm a pixel or one scale a case; here rows and columns have their own.
    """
    one_of("missing", missing, ("skip", "penalty", "raise"))
    if (missing == "penalty") != (penalty_mm is not None):
        msg = f"penalty_mm belongs to missing='penalty', got {penalty_mm} and {missing!r}"
        raise ValueError(msg)
    lacking = missing_landmarks(pred, truth)
    scale = spacing_tensor(spacing_mm, pred)
    errors: Tensor = ((pred - truth) * scale[:, None]).norm(dim=-1)
    if penalty_mm is not None:
        if not 0 < penalty_mm < math.inf:
            msg = f"penalty_mm must be above 0 and finite, got {penalty_mm}"
            raise ValueError(msg)
        errors = torch.where(lacking.prediction, penalty_mm, errors)
    if missing == "raise":
        gone = (lacking.truth | lacking.prediction).nonzero().tolist()
        if gone:
            msg = f"{len(gone)} landmarks are missing, as (case, landmark): {gone[:8]}"
            msg += ", ..." if len(gone) > 8 else ""
            raise ValueError(msg)
    return errors


def landmark_report(
    errors: Float[Tensor, "b n"],
    *,
    names: Sequence[str] | None = None,
    groups: Mapping[str, Sequence[str]] | None = None,
    thresholds_mm: Sequence[float] = (2, 2.5, 3, 4),
    missing: MissingLandmarks | None = None,
) -> dict[str, Any]:
    """Mean radial error and successful detection rates, ready for JSON.

    Args:
        errors: ``(b, n)`` in millimetres from `landmark_errors`; NaN is undefined and left out.
        names: of the n landmarks; ``"0"``, ``"1"``, ... if None.
        groups: landmarks to summarise together, by name, such as those near the outline.
        thresholds_mm: of the detection rates.
        missing: from `missing_landmarks`, to report why points are undefined, or penalised.

    Returns:
        ``"all"``, ``"landmarks"`` (by name), ``"groups"`` (by name) and ``"images"`` (a list), each
        summary with ``mre_mm`` (mean over its points), ``sd_mm`` (n - 1), ``sdr`` (share of its
        points with an error of at most each threshold, in [0, 1]), ``points`` (that count) and
        ``undefined``. ``"mean_of_images"``: ``mre_mm`` and ``sd_mm`` over the images' own means,
        which weighs images alike however many points they have, with the number of ``images``
        that have one. ``"missing"``: counts of truths and predictions, None if not given. What is
        not defined, such as a mean of nothing, is None.

    Raises:
        ValueError: names do not fit, a group has an unknown one, a threshold is not above zero,
            or an error is negative or infinite.

    Example:
        >>> errors = torch.tensor([[1.0, 2.0], [3.0, float("nan")]])
        >>> report = landmark_report(errors, names=["S", "N"], thresholds_mm=(2,))
        >>> report["all"]
        {'mre_mm': 2.0, 'sd_mm': 1.0, 'sdr': {'2': 0.67}, 'points': 3, 'undefined': 1}
        >>> report["mean_of_images"], report["landmarks"]["N"]["mre_mm"]
        ({'mre_mm': 2.25, 'sd_mm': 1.06, 'images': 2}, 2.0)

    Reference:
        ISBI 2015 (Wang et al., Medical Image Analysis 2016) and CL-Detection 2023: MRE is the mean
        over all points, SD with n - 1. Both count errors below the threshold; here an error of
        exactly 2 mm is within 2 mm.
    """
    values = errors.detach().double().cpu()
    if bool((values.isinf() | (values < 0)).any()):
        msg = "errors must be finite and not negative; NaN is undefined"
        raise ValueError(msg)
    positive(**{f"thresholds_mm[{i}]": limit for i, limit in enumerate(thresholds_mm)})
    labels = [str(i) for i in range(errors.shape[1])] if names is None else list(names)
    if len(labels) != errors.shape[1] or len(set(labels)) != len(labels):
        msg = f"names must be {errors.shape[1]} different ones, got {labels}"
        raise ValueError(msg)
    unknown = {name for group in (groups or {}).values() for name in group} - set(labels)
    if unknown:
        msg = f"groups name landmarks that are not there: {sorted(unknown)}; there are {labels}"
        raise ValueError(msg)

    def summary(part: Tensor) -> dict[str, Any]:
        known = part[~part.isnan()]
        rates = {f"{t:g}": _mean((known <= t).double()) for t in thresholds_mm}
        return {
            "mre_mm": _mean(known),
            "sd_mm": _deviation(known),
            "sdr": rates,
            "points": len(known),
            "undefined": part.numel() - len(known),
        }

    of_images = values.nanmean(1)
    of_images = of_images[~of_images.isnan()]
    return {
        "all": summary(values),
        "mean_of_images": {
            "mre_mm": _mean(of_images),
            "sd_mm": _deviation(of_images),
            "images": len(of_images),
        },
        "landmarks": {name: summary(values[:, i]) for i, name in enumerate(labels)},
        "groups": {
            group: summary(values[:, [labels.index(name) for name in members]])
            for group, members in (groups or {}).items()
        },
        "images": [summary(row) for row in values],
        "missing": None
        if missing is None
        else {"truth": int(missing.truth.sum()), "prediction": int(missing.prediction.sum())},
    }


def surrogate_gap(
    errors_fake: Float[Tensor, "b n"], errors_real: Float[Tensor, "b n"]
) -> PerSample:
    """What a synthetic image costs a landmark detector: its mean error there less that on the real.

    Per case, over the landmarks that have an error on both images, so that each difference is
    paired. A detector that stays silent on bad fakes must not gain by it: give its silence an
    error (`landmark_errors` with ``missing="penalty"``).

    Args:
        errors_fake: ``(b, n)`` in millimetres, of a detector trained on real images only, on the
            synthetic images, against the truth.
        errors_real: ``(b, n)``: of the same detector on the real images of the same cases.

    Returns:
        ``(b,)`` ΔMRE in millimetres, above 0 where the synthetic image is worse; NaN for a case
        with no pair. Its mean with an interval: `libimg.diagnose.bootstrap_interval`.

    Raises:
        ValueError: the shapes differ.

    Example:
        >>> fake, real = torch.tensor([[2.0, 5.0]]), torch.tensor([[1.5, float("nan")]])
        >>> surrogate_gap(fake, real)
        tensor([0.5000])
    """
    same_shape(errors_fake=errors_fake, errors_real=errors_real)
    return (errors_fake - errors_real).nanmean(1)


def spacing_tensor(spacing_mm: Spacing, points: Float[Tensor, "b *n 2"]) -> Float[Tensor, "#b 2"]:
    """Return the spacing as one row for all cases, or one for each; raise if it does not fit."""
    spacing = torch.as_tensor(spacing_mm, dtype=points.dtype, device=points.device)
    if spacing.shape not in ((2,), (len(points), 2)):
        msg = f"spacing_mm must be (row, column) or one such for each of {len(points)} cases, "
        msg += f"got shape {tuple(spacing.shape)}"
        raise ValueError(msg)
    if not bool(((spacing > 0) & spacing.isfinite()).all()):
        msg = f"spacing_mm must be above 0 and finite, got {spacing.tolist()}"
        raise ValueError(msg)
    return spacing.reshape(-1, 2)


def _mean(values: Tensor) -> float | None:
    return float(values.mean()) if len(values) else None


def _deviation(values: Tensor) -> float | None:
    return float(values.std()) if len(values) > 1 else None
