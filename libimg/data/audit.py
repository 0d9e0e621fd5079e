"""Checks of pictures before anything is trained on them: flags with their evidence.

A flag is a question to a person. None of them leaves a case out by itself.
"""

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Literal

from jaxtyping import Float
from scipy import stats
from torch import Tensor

from libimg._ops import proportions
from libimg.data import audit_checks as checks
from libimg.data.head_pose import head_pose

__all__ = ["Flag", "FlagRow", "audit_image", "audit_pair", "flag_precision"]

SMALLEST = 256  # pixels of the shorter side: below, a millimetre is hardly more than a pixel
EMPTY = 0.3  # share of empty levels between the ends from which a contrast was stretched
CLIPPED = 0.3  # share of pixels at the ends of the range; a dark background is not counted
DARK, BRIGHT = 0.35, 0.85  # 95th and 30th percentile: too dark, too bright
FLAT = 0.12  # distance of the 95th and the 5th percentile


@dataclass(frozen=True)
class Flag:
    """Something that stands out.

    Attributes:
        kind: border, device_frame, ruler, orientation, exposure, size, bit_depth or pair_size.
        fault: whether it is a fault; a note otherwise, such as a frame that is as it should be.
        evidence: the numbers that decided, with their thresholds.
        text: one sentence.

    Example:
        >>> Flag("size", True, {"height": 90.0}, "Too small.").fault
        True
    """

    kind: str
    fault: bool
    evidence: dict[str, float] = field(default_factory=dict)
    text: str = ""


@dataclass(frozen=True)
class FlagRow:
    """What one kind of flag has to do with the failures.

    Attributes:
        flagged: cases with the flag.
        failed: of these, failed.
        precision: share of the flagged that failed, with its Wilson interval.
        base: share of all cases that failed.
        enrichment: rate of failure with the flag over that without, with its interval.
        p: Fisher's exact test, two-sided.
        text: one sentence.

    Example:
        >>> flag_precision({"a": {"ruler"}}, {"a"}, cases={"a", "b"})["ruler"].precision
        1.0
    """

    flagged: int
    failed: int
    precision: float
    precision_interval: tuple[float, float]
    base: float
    enrichment: float
    enrichment_interval: tuple[float, float]
    p: float
    text: str


def audit_image(
    image: Float[Tensor, "c h w"],
    *,
    bits: int = 8,
    expected_size: tuple[int, int] | None = None,
    facing: Literal["left", "right"] | None = "right",
) -> tuple[Flag, ...]:
    """Check one picture.

    Args:
        image: ``(1 or 3, h, w)`` in [0, 1].
        bits: of the file.
        expected_size: height and width that it should have.
        facing: where the face of a head in profile looks; None leaves the orientation out.

    Returns:
        Flags; an empty tuple where nothing stands out.

    Raises:
        ValueError: neither 1 nor 3 channels, fewer than 16 pixels along a side, or values that are
            not finite.

    Example:
        >>> import torch
        >>> blank = torch.full((1, 300, 260), 0.5)
        >>> [flag.kind for flag in audit_image(blank, facing=None)]
        ['exposure']
    """
    small = checks.small_copy(image)
    flags = [*_edges(small), *_ruler(small, scale=max(image.shape[1:]) / max(small.shape[1:]))]
    if facing is not None:
        flags += _orientation(small, facing=facing)
    flags += [*_exposure(small), *_size(image, expected_size), *_bit_depth(image, bits)]
    return tuple(flags)


def audit_pair(first: Float[Tensor, "c h w"], second: Float[Tensor, "k H W"]) -> tuple[Flag, ...]:
    """Check whether two pictures of a pair have the same size.

    Example:
        >>> import torch
        >>> audit_pair(torch.zeros(3, 20, 20), torch.zeros(1, 20, 30))[0].text
        'The pair has 20 x 20 and 20 x 30 pixels.'
    """
    a, b = tuple(first.shape[1:]), tuple(second.shape[1:])
    if a == b:
        return ()
    evidence = {"height": a[0], "width": a[1], "other height": b[0], "other width": b[1]}
    text = f"The pair has {a[0]} x {a[1]} and {b[0]} x {b[1]} pixels."
    return (Flag("pair_size", True, {k: float(v) for k, v in evidence.items()}, text),)


def flag_precision(
    flags: Mapping[str, Collection[str]],
    failed: Collection[str],
    *,
    cases: Collection[str] | None = None,
) -> dict[str, FlagRow]:
    """Tell which flags have to do with failures.

    How often a flag is up says nothing: a frame that nearly every picture has is on nearly every
    failure. What counts is whether failures are more frequent with it than without.

    Args:
        flags: case to its kinds of flags.
        failed: cases that failed.
        cases: all cases that could fail; those of ``flags`` if None.

    Returns:
        Kind to its row, the smallest p first.

    Raises:
        ValueError: a failed case is not among the cases.

    Example:
        >>> names = [f"{i:02d}" for i in range(80)]
        >>> flags = {name: ["orientation"] for name in names[22:30]}
        >>> print(flag_precision(flags, names[:25], cases=names)["orientation"].text)
        orientation: 3 of 8 flagged cases failed (38 % [14, 69]), 31 % of all; 1.23 [0.47, 3.21]
        times the rate without it: no evidence that it explains failures.
    """
    every = set(flags if cases is None else cases)
    lost = set(failed)
    strange = sorted(lost - every)
    if strange:
        msg = f"failed: not among the cases: {', '.join(strange[:5])}"
        raise ValueError(msg)
    kinds = sorted({kind for name, some in flags.items() if name in every for kind in some})
    rows = {}
    for kind in kinds:
        up = {name for name in every if kind in flags.get(name, ())}
        rows[kind] = _row(kind, len(up), len(up & lost), len(every), len(lost))
    return dict(sorted(rows.items(), key=lambda item: (item[1].p, item[0])))


def _row(kind: str, flagged: int, both: int, cases: int, failed: int) -> FlagRow:
    """Count one kind."""
    low, high = proportions.wilson(both, flagged)
    rest, lost = cases - flagged, failed - both
    ratio, least, most = proportions.rate_ratio(both, flagged, lost, rest)
    p = float(stats.fisher_exact([[both, flagged - both], [lost, rest - lost]])[1])
    share, base = both / flagged, failed / cases
    known = not math.isnan(ratio)
    word = "explains failures" if known and least > 1 else "no evidence that it explains failures"
    text = f"{kind}: {both} of {flagged} flagged cases failed ({share:.0%} [{low:.0%}, {high:.0%}])"
    text = text.replace("%]", "]").replace("%, ", ", ").replace("%", " %")
    text += f", {base:.0%} of all".replace("%", " %")
    text += f"; {ratio:.2f} [{least:.2f}, {most:.2f}] times the rate without it" if known else ""
    return FlagRow(
        flagged, both, share, (low, high), base, ratio, (least, most), p, f"{text}: {word}."
    )


def _edges(small: Tensor) -> list[Flag]:
    """Bars and frames."""
    sides = checks.margins(small)
    found = []
    thick = {side: share for side, share in sides.items() if share > checks.FRAME}
    thin = {side: share for side, share in sides.items() if 0 < share <= checks.FRAME}
    if len(thin) >= 3 or (len(thin) == 2 and thick):
        widest = max(thin.values())
        text = f"A frame around the picture, up to {widest:.1%} wide: normal."
        found.append(Flag("device_frame", False, {**thin, "at most": checks.FRAME}, text))
    if 0 < len(thick) < 3:
        where = " and ".join(f"{share:.0%} at the {side}" for side, share in thick.items())
        text = f"A bar of one value hides {where}."
        found.append(Flag("border", True, {**thick, "more than": checks.FRAME}, text))
    return found


def _ruler(small: Tensor, *, scale: float) -> list[Flag]:
    """Equidistant ticks near a side."""
    side, spacing, strength = checks.ticks(small)
    if not side:
        return []
    evidence = {"spacing px": spacing * scale, "periodic": strength, "at least": checks.PERIODIC}
    text = f"A ruler at the {side}, a tick each {spacing * scale:.1f} pixels: normal."
    return [Flag("ruler", False, evidence, text)]


def _orientation(small: Tensor, *, facing: Literal["left", "right"]) -> list[Flag]:
    """Turned or mirrored heads."""
    pose = head_pose(small, facing=facing)
    evidence = pose.scores | {"margin": pose.margin}
    if pose.best == "upright":
        return []
    text = f"Looks {pose.best}: {pose.scores[pose.best]:.2f} against {pose.scores['upright']:.2f}."
    if not pose.sure:
        text = f"Unsure. {text}"
    return [Flag("orientation", pose.sure, evidence, text)]


def _exposure(small: Tensor) -> list[Flag]:
    """Too dark, too bright, flat or clipped."""
    low, part, high = checks.percentiles(small, (0.05, 0.3, 0.95))
    clipped = checks.clipped(small)
    evidence = {"p5": low, "p30": part, "p95": high, "clipped": clipped}
    words = [
        word
        for word, wrong in (
            (f"too dark (p95 {high:.2f} below {DARK})", high < DARK),
            (f"too bright (p30 {part:.2f} above {BRIGHT})", part > BRIGHT),
            (f"flat (p95 - p5 {high - low:.2f} below {FLAT})", high - low < FLAT),
            (f"clipped ({clipped:.0%} above {CLIPPED:.0%})", clipped > CLIPPED),
        )
        if wrong
    ]
    return [Flag("exposure", True, evidence, f"Exposure: {', '.join(words)}.")] if words else []


def _size(image: Tensor, expected: tuple[int, int] | None) -> list[Flag]:
    """Another size than expected, or a small one."""
    height, width = image.shape[1:]
    evidence = {"height": float(height), "width": float(width)}
    if expected is not None and expected != (height, width):
        evidence |= {"expected height": float(expected[0]), "expected width": float(expected[1])}
        text = f"{height} x {width} pixels instead of {expected[0]} x {expected[1]}."
        return [Flag("size", True, evidence, text)]
    if min(height, width) < SMALLEST:
        text = f"Only {height} x {width} pixels."
        return [Flag("size", False, evidence | {"at least": float(SMALLEST)}, text)]
    return []


def _bit_depth(image: Tensor, bits: int) -> list[Flag]:
    """Fewer levels than the file could hold."""
    used, between = checks.levels(image, bits=bits)
    evidence = {"bits": float(bits), "levels": float(used), "between the ends": float(between)}
    if bits > 8 and used <= 256:
        return [Flag("bit_depth", False, evidence, f"{bits} bits with {used} levels: 8 bits.")]
    if bits <= 8 and used > 16 and 1 - used / between > EMPTY:
        text = f"{used} of {between} levels are used: the contrast was stretched."
        return [Flag("bit_depth", False, evidence | {"at most empty": EMPTY}, text)]
    return []
