"""What a generated X-ray is worth: for the eye, and for someone who places landmarks on it."""

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from libimg import data, diagnose, metrics
from libimg.cephalometry.frames import Frame, Framed, box_of, framed
from libimg.cephalometry.pairs import HeadPair
from libimg.ranges import SIGNED

__all__ = ["evaluate_heads", "into", "picture_scores", "round_trip", "sharpness"]

Picture = Float[Tensor, "1 h w"]
Detect = Callable[[Tensor], Tensor]
REACH_MM = 15.0  # what people look at when they place a landmark
PICTURE_SCORES = ("l1", "psnr", "ssim", "sharpness")


def into(
    picture: Float[Tensor, "1 h w"], box: data.Letterbox, other: data.Letterbox
) -> Float[Tensor, "1 H W"]:
    """Bring a picture from one frame into another, by way of the grid of its file.

    Nothing is resampled where the two are the same.

    Example:
        >>> square, tall = (data.letterbox((8, 8), target=target) for target in ((4, 4), (8, 4)))
        >>> into(torch.ones(1, 4, 4), square, tall).shape
        torch.Size([1, 8, 4])
    """
    if box == other:
        return picture
    source = box.source_image(picture[None], fill=-1.0)
    return (other.image(source) * other.mask())[0]


def round_trip(pair: HeadPair, frame: Frame, judge: Frame) -> Float[Tensor, "1 H W"]:
    """Return the true X-ray after a frame: what a perfect network would reach in it.

    Example:
        >>> from libimg.cephalometry import Heads, load_pair
        >>> pair = load_pair(Heads(size=(152, 124)), "head-000")
        >>> round_trip(pair, Frame(size=(32, 32)), Frame(size=(48, 48))).shape
        torch.Size([1, 48, 48])
    """
    size = pair.xray.shape[1:]
    box = box_of(frame, size)
    return into(framed(pair, frame).xray, box, box_of(judge, size))


def evaluate_heads(
    pictures: Mapping[str, Mapping[str, Picture]],
    points: Mapping[str, Mapping[str, Tensor]],
    cases: Mapping[str, Framed],
    *,
    judge: Detect,
    names: Sequence[str],
) -> dict[str, Any]:
    """Score methods on the same cases.

    Args:
        pictures: method to case to X-ray in the judge's frame; ``real`` must be among them.
        points: method to case to landmarks ``(n, 2)``, for methods without a picture.
        cases: the truth in the judge's frame.
        judge: from pictures to landmarks; it has only seen real X-rays.
        names: of the landmarks.

    Returns:
        ``rows``: method to ``mean`` and ``cases`` of L1 and PSNR in [-1, 1], SSIM, sharpness,
        ``mre`` (mm), ``sdr2`` (share within 2 mm) and ``delta_mre`` against the real X-ray;
        ``landmarks``: method to the report of `libimg.metrics.landmark_report`; ``angles``: method
        to Bland-Altman of SNA, SNB and ANB.

    Example:
        >>> from libimg.cephalometry import Heads, load_pair
        >>> pair = load_pair(Heads(size=(152, 124)), "head-000")
        >>> case = framed(pair, Frame(size=(48, 48)))
        >>> how = {"judge": lambda x: case.points[None], "names": pair.names}
        >>> found = evaluate_heads({"real": {"a": case.xray}}, {}, {"a": case}, **how)
        >>> found["rows"]["real"]["mean"]["mre"]["mean"]
        0.0
    """
    found = {
        method: {name: judge(picture[None])[0] for name, picture in made.items()}
        for method, made in pictures.items()
    }
    found |= {method: dict(made) for method, made in points.items()}
    truth = torch.stack([case.points for case in cases.values()])
    spacing = torch.tensor([case.spacing_mm for case in cases.values()])
    errors = {
        method: metrics.landmark_errors(
            torch.stack([made[name] for name in cases]), truth, spacing_mm=spacing, missing="skip"
        )
        for method, made in found.items()
    }
    rows: dict[str, Any] = {}
    for method, error in errors.items():
        row = {}
        for index, (name, case) in enumerate(cases.items()):
            made = pictures.get(method)
            scores = picture_scores(made[name], case) if made else {}
            row[name] = {key: scores.get(key, math.nan) for key in PICTURE_SCORES}
            row[name] |= _landmark_scores(error[index], errors["real"][index])
        rows[method] = {"mean": diagnose.summarise(row), "cases": row}
    angles = partial(metrics.cephalometric_angles, names=names, spacing_mm=spacing)
    true_angles = angles(truth)
    return {
        "range": {"lo": SIGNED.lo, "hi": SIGNED.hi, "unit": SIGNED.unit},
        "rows": rows,
        "landmarks": {
            method: metrics.landmark_report(error, names=names) for method, error in errors.items()
        },
        "angles": {
            method: {
                angle: metrics.bland_altman(value, true_angles[angle])
                for angle, value in angles(torch.stack([made[n] for n in cases])).items()
            }
            for method, made in found.items()
        },
    }


def picture_scores(picture: Float[Tensor, "1 h w"], case: Framed) -> dict[str, float]:
    """Score one X-ray against the truth inside the picture; padding has no say.

    Example:
        >>> from libimg.cephalometry import Heads, load_pair
        >>> pair = load_pair(Heads(size=(152, 124)), "head-000")
        >>> case = framed(pair, Frame(size=(48, 48)))
        >>> picture_scores(case.xray, case)["ssim"]
        1.0
    """
    one, true, mask = picture[None], case.xray[None], case.inside[None]
    return {
        "l1": float(metrics.mae(one, true, mask=mask)),
        "psnr": float(metrics.psnr(one, true, data_range=SIGNED, mask=mask)),
        "ssim": float(metrics.ssim(one, true, data_range=SIGNED, mask=windows_inside(mask))),
        "sharpness": sharpness(picture, case),
    }


def windows_inside(mask: Float[Tensor, "1 1 h w"]) -> Float[Tensor, "1 1 h w"]:
    """Pixels whose window of SSIM, 11 wide, lies inside: padding has no say in the others."""
    outside = F.max_pool2d(1 - mask, 11, stride=1, padding=5)
    return 1 - outside


def sharpness(picture: Float[Tensor, "1 h w"], case: Framed) -> float:
    """Power of the top octave against that of the real X-ray, within `REACH_MM` of a landmark.

    Elsewhere frame and ruler would decide: their edges are the sharpest of the picture.

    Example:
        >>> from libimg.cephalometry import Heads, load_pair
        >>> pair = load_pair(Heads(size=(152, 124)), "head-000")
        >>> case = framed(pair, Frame(size=(48, 48)))
        >>> sharpness(0.5 * case.xray, case)
        0.25
    """
    rows, columns = (torch.arange(n, dtype=torch.float32) for n in picture.shape[1:])
    known = case.points[~case.points.isnan().any(1)]
    down = (rows[:, None, None] - known[:, 0]) * case.spacing_mm[0]
    across = (columns[:, None] - known[:, 1]) * case.spacing_mm[1]
    near = (down.square() + across.square() < REACH_MM**2).any(2)
    mask = near[None, None] & case.inside[None].bool()
    return float(metrics.sharpness_ratio(picture[None], case.xray[None], mask=mask))


def _landmark_scores(error: Tensor, real: Tensor) -> dict[str, float]:
    known = ~error.isnan()
    return {
        "mre": float(error[known].mean()),
        "sdr2": float((error[known] <= 2).float().mean()),
        "delta_mre": float((error - real)[known].mean()),
    }
