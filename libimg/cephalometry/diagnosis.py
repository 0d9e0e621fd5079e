"""The diagnosis of a run: sample size, smooth losses, the frame, and what the flags have to do."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import asdict
from typing import Any, NamedTuple

from jaxtyping import Float
from torch import Tensor

from libimg import diagnose
from libimg.cephalometry.causes import (
    Cause,
    blur_to_match,
    error_mm,
    paired_cause,
    ranked,
    sharpness_of,
    unpaired_cause,
)
from libimg.cephalometry.frames import Frame, box_of, framed
from libimg.cephalometry.pairs import HeadPair
from libimg.cephalometry.score import picture_scores, round_trip
from libimg.ranges import UNIT

__all__ = ["Diagnosis", "diagnose_heads"]

GAP = 2.0
"""Validation over training L1 from which a run memorises rather than learns."""
SHARP = 0.5
"""Share of the finest detail that the frame lets through which a traceable picture keeps."""
SQUARE = 1.05
"""Ratio of a pixel's sides in millimetres up to which angles may be measured in the picture."""

Pictures = Mapping[str, Float[Tensor, "1 h w"]]


class Diagnosis(NamedTuple):
    """What `diagnose_heads` found.

    Args:
        causes: ranked, the named ones first.
        flags: what the flags of the audit have to do with the failures.
        text: all of it as Markdown.

    Example:
        >>> Diagnosis([], {}, "Nothing was found.").text
        'Nothing was found.'
    """

    causes: list[Cause]
    flags: dict[str, Any]
    text: str


def diagnose_heads(
    pairs: Mapping[str, Mapping[str, HeadPair]],
    fakes: Mapping[str, Pictures],
    *,
    judge: Callable[[Tensor], Tensor],
    frame: Frame,
    judge_frame: Frame,
    weights: Mapping[str, float],
    flags: Mapping[str, Collection[str]],
    failed_mm: float,
) -> Diagnosis:
    """Measure what each cause costs.

    Args:
        pairs: ``held out`` and ``train`` to the cases.
        fakes: the generated X-rays of the same cases, in the judge's frame.
        judge: from pictures to landmarks.
        frame: that the generator works in.
        judge_frame: that everything is judged in.
        weights: of the run's losses.
        flags: of the audit, by held-out case.
        failed_mm: a case with a larger error has failed.

    Example:
        >>> from libimg.cephalometry import Heads, load_pair
        >>> heads, frame = Heads(size=(152, 124)), Frame(size=(48, 48))
        >>> pairs = {"train": ["head-000"], "held out": ["head-001", "head-002"]}
        >>> loaded = {s: {n: load_pair(heads, n) for n in names} for s, names in pairs.items()}
        >>> blurred = {
        ...     side: {n: framed(p, frame).xray * 0.5 for n, p in some.items()}
        ...     for side, some in loaded.items()
        ... }
        >>> found = diagnose_heads(
        ...     loaded,
        ...     blurred,
        ...     judge=lambda x: framed(loaded["train"]["head-000"], frame).points[None],
        ...     frame=frame,
        ...     judge_frame=frame,
        ...     weights={"l1": 100},
        ...     flags={"head-001": {"xray ruler"}},
        ...     failed_mm=4,
        ... )
        >>> sorted(cause.name for cause in found.causes)
        ['frame (letterbox)', 'sample size', 'smooth losses']
    """
    cases = {
        side: {name: framed(pair, judge_frame) for name, pair in some.items()}
        for side, some in pairs.items()
    }
    out, inside = cases["held out"], cases["train"]
    trip = {n: round_trip(p, frame, judge_frame) for n, p in pairs["held out"].items()}
    real = error_mm({name: case.xray for name, case in out.items()}, out, judge)
    through, fake = error_mm(trip, out, judge), error_mm(fakes["held out"], out, judge)
    seen = error_mm(fakes["train"], inside, judge)
    sharp, sharpest = sharpness_of(fakes["held out"], out), sharpness_of(trip, out)
    sigma, blurred = blur_to_match(out, sharp)
    smooth = error_mm(blurred, out, judge)
    l1 = {
        side: [picture_scores(fakes[side][n], case)["l1"] for n, case in some.items()]
        for side, some in cases.items()
    }
    gap = diagnose.generalisation_gap(l1["train"], l1["held out"], alarm=GAP)
    one = next(iter(pairs["held out"].values()))
    lost = diagnose.preprocessing_loss(
        one.xray[None],
        box_of(frame, one.xray.shape[1:]),
        data_range=UNIT,
        source_spacing_mm=one.spacing_mm,
    )
    rows, columns = (1 / n for n in lost.pixels_per_mm)
    ratio = max(lost.anisotropy, 1 / lost.anisotropy)
    kind = "letterbox" if frame.keep_aspect else "square squash"
    causes = [
        unpaired_cause(
            "sample size",
            list(fake.values()),
            list(seen.values()),
            evidence={"cases": len(inside), "L1 gap": gap.ratio, "mre seen": mean(seen)},
            text=f"Trained on {len(inside)} cases; the L1 of unseen ones is {gap.ratio:.2f} times "
            f"that of seen ones (alarm at {GAP:g}).",
            next="python tasks/photo2ceph.py curve",
            unhealthy=gap.rings is not False,
        ),
        paired_cause(
            "smooth losses",
            smooth,
            real,
            evidence={"sharpness": sharp, "through the frame": sharpest, "blur sigma px": sigma},
            text=f"The pictures have {sharp:.0%} of the finest detail of real X-rays (the frame "
            f"lets {sharpest:.0%} through), like a blur of {sigma:.1f} pixels; the gradient loss "
            f"has the weight {weights.get('gradient', 0):g} beside L1's {weights.get('l1', 0):g}.",
            next="python tasks/photo2ceph.py train --cfg.weights.gradient 10",
            unhealthy=sharp < SHARP * sharpest,
        ),
        paired_cause(
            f"frame ({kind})",
            through,
            real,
            evidence={
                "row mm": rows,
                "column mm": columns,
                "sides": ratio,
                "sharpness": sharpest,
                "angle error": lost.angle_error_deg,
            },
            text=f"The {kind} leaves pixels of {rows:.2f} x {columns:.2f} mm (angles measured in "
            f"the picture err by up to {lost.angle_error_deg:.0f} degrees) and {sharpest:.0%} of "
            "the finest detail, even of a perfect picture.",
            next="python tasks/photo2ceph.py train --cfg.frame.keep_aspect true",
            unhealthy=ratio > SQUARE,
        ),
    ]
    failed = {name for name, error in fake.items() if error > failed_mm}
    scores = {name: {"mre": error, "real mre": real[name]} for name, error in fake.items()}
    triage = diagnose.triage_table(scores, flags=flags, failed=failed)
    order = ranked(causes)
    lines = [
        f"Landmark error on generated X-rays {mean(fake):.2f} mm, on the real ones "
        f"{mean(real):.2f} mm; {len(failed)} of {len(fake)} cases are above {failed_mm:g} mm.\n"
    ]
    for number, cause in enumerate(order, start=1):
        state = "CAUSE" if cause.named else "not a cause"
        lines.append(f"{number}. **{cause.name}** ({state}): {cause.text} Next: `{cause.next}`")
    lines += ["", triage.markdown, "", triage.text]
    return Diagnosis(order, asdict(triage), "\n".join(lines))


def mean(values: Mapping[Any, float]) -> float:
    """Mean of the values."""
    return sum(values.values()) / len(values)
