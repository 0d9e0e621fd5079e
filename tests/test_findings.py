"""Rules from numbers to causes: every cause of the table can be found, and only where it shows."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libimg.diagnose import (
    BLUR_CAUSES,
    BLUR_CHECKS,
    Cause,
    Check,
    Sign,
    find_causes,
    findings_report,
    outside,
)

HEALTHY = {
    "sharpness/body": 1.0,
    "baseline/gain_db": 2.0,
    "range/window_error": 0.0,
    "range/fill": 0.95,
    "range/outside": 0.0,
    "wiring/real": 0.0,
    "wiring/fake": 0.0,
    "gradient/reaches": 1.0,
    "weight/adversarial": 0.1,
    "weight_change/G": 0.3,
    "weight_change/D": 0.3,
    "lr/D": 4e-4,
    "update_to_weight/D": 1e-3,
    "identity/psnr": math.inf,
    "identity/sharpness": 1.0,
    "D/blur_auc_fresh": 1.0,
    "D/blur_auc": 0.9,
    "D/auc": 0.7,
    "D/plateau_drop": 0.0,
    "D/level_drop": 0.0,
    "D/shift_reaction": 0.1,
    "alignment/before": 0.3,
    "alignment/after": 0.1,
    "R/on": 1.0,
    "R/shift_error": 0.2,
    "R/recovered": 0.9,
    "flow/folding": 0.0,
    "gradient/ratio_body": 0.3,
    "gradient/ratio_lung": 0.3,
}
"""The numbers of an imagined run in which all is well."""


def names(numbers: dict[str, float]) -> list[str]:
    return [finding.cause.name for finding in find_causes(numbers, BLUR_CAUSES)]


def test_nothing_is_found_in_a_healthy_run() -> None:
    assert names(HEALTHY) == []
    assert outside(HEALTHY, BLUR_CHECKS) == []
    report = findings_report(HEALTHY, checks=BLUR_CHECKS, causes=BLUR_CAUSES)
    assert "Verdict: healthy" in report
    assert "OUTSIDE" not in report
    assert "Outside its range" not in report


@pytest.mark.parametrize("cause", BLUR_CAUSES, ids=lambda cause: cause.name)
def test_the_signs_of_a_cause_alone_name_it_first(cause: Cause) -> None:
    changed = dict(HEALTHY)
    for sign in cause.signs:
        if not sign.holds(changed[sign.number]):
            changed[sign.number] = sign.limit + (-1e-3 if sign.side == "<" else 1e-3)
    assert names(changed)[0] == cause.name


@pytest.mark.parametrize("cause", BLUR_CAUSES, ids=lambda cause: cause.name)
def test_each_sign_is_needed(cause: Cause) -> None:
    for left_out in cause.signs:
        held = {s.number: s.limit + (-1e-3 if s.side == "<" else 1e-3) for s in cause.signs}
        del held[left_out.number]
        assert find_causes(held, [cause]) == []
        assert find_causes({**held, left_out.number: math.nan}, [cause]) == []


def test_every_number_of_a_rule_has_a_healthy_range_on_the_other_side() -> None:
    ranges = {check.number: check for check in BLUR_CHECKS}
    for cause in BLUR_CAUSES:
        for sign in cause.signs:
            if sign.number in ranges:
                check = ranges[sign.number]
                end = check.low if sign.side == "<" else check.high
                assert sign.limit <= end if sign.side == "<" else sign.limit >= min(end, 0.4)


def test_upstream_comes_first() -> None:
    dead = HEALTHY | {"weight_change/D": 0.0, "gradient/ratio_body": 0.001}
    assert names(dead) == ["D does not learn", "adversarial weight too small"]
    misaligned = HEALTHY | {"R/on": 0.0, "alignment/before": 2.0, "gradient/ratio_body": 5.0}
    assert names(misaligned)[0] == "pairs are misaligned and R is off"


def test_two_rules_of_one_name_are_one_finding() -> None:
    both = HEALTHY | {"range/window_error": 0.5, "range/outside": 0.5}
    assert names(both) == ["wrong data range"]


@given(st.floats(1e-6, 1e6), st.floats(1e-6, 1e6))
def test_strength_counts_how_far_beyond(value: float, limit: float) -> None:
    for side, ratio in (("<", limit / value), (">", value / limit)):
        found = find_causes({"n": value}, [Cause("c", (Sign("n", side, limit),))])  # type: ignore[arg-type]
        assert bool(found) == (ratio > 1)
        if found:
            assert found[0].strength == pytest.approx(min(ratio, 100.0))


def test_report_shows_evidence_notes_and_the_next_command() -> None:
    numbers = {"a": 0.001, "b": math.inf, "d": 2.0}
    checks = [
        Check("a", 0.1, 1, "pull", "x"),
        Check("b", 40, math.inf, "dB"),
        Check("c", 0, 0, "not measured"),
        Check("d", -math.inf, 3, "ceiling"),
    ]
    cause = Cause("weak", (Sign("a", "<", 0.02),), "It is weak.", "Raise it.")
    text = findings_report(
        numbers,
        checks=checks,
        causes=[cause],
        notes={"c": "it is off"},
        commands={"weak": "python raise.py"},
    )
    for words in (
        "Verdict: weak.",
        "1. weak (a 0.001 < 0.02). It is weak.",
        "Next: Raise it.\npython raise.py",
        "Not measured: c: it is off.",
        "0.1 to 1",
        "at least 40",
        "at most 3",
    ):
        assert words in text
    quiet = findings_report({"a": 0.05}, checks=checks[:1], causes=[cause])
    assert "no sign of a known cause alone: a" in quiet
