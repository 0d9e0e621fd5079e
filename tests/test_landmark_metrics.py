import json
import math
import statistics

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import t
from torch import Tensor

from libimg.metrics import (
    angle,
    bland_altman,
    cephalometric_angles,
    landmark_errors,
    landmark_report,
    missing_landmarks,
    surrogate_gap,
)

NAN = float("nan")
SEEDS = st.integers(0, 999)
MM = st.floats(0.05, 3)


def draw(seed: int, *shape: int, scale: float = 100.0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(shape, generator=generator, dtype=torch.float64) * scale


def face(seed: int, cases: int = 4) -> Tensor:
    """Sella, nasion, A and B of plausible faces to the right, in millimetres (row, column)."""
    middle = torch.tensor([[62.0, 80], [50, 150], [110, 150], [150, 143]], dtype=torch.float64)
    return middle + draw(seed, cases, 4, 2, scale=12) - 6


# --- radial errors -----------------------------------------------------------------------------


@given(seed=SEEDS, row=MM, column=MM, many=st.booleans())
def test_errors_are_the_definition(seed: int, row: float, column: float, many: bool) -> None:
    pred, truth = draw(seed, 3, 5, 2), draw(seed + 1, 3, 5, 2)
    spacing = [(row, column), (column, row), (1.0, 0.5)] if many else [(row, column)] * 3
    got = landmark_errors(pred, truth, spacing_mm=spacing if many else spacing[0])
    for i in range(3):
        for k in range(5):
            parts = [
                (float(pred[i, k, axis]) - float(truth[i, k, axis])) * spacing[i][axis]
                for axis in range(2)
            ]
            assert float(got[i, k]) == pytest.approx(math.hypot(*parts), rel=1e-12)


def test_spacing_of_all_or_of_each() -> None:
    pred, truth = draw(0, 2, 3, 2).float(), draw(1, 2, 3, 2).float()
    one = landmark_errors(pred, truth, spacing_mm=(0.3, 0.7))
    assert one.dtype == torch.float32
    for spacing in (torch.tensor([0.3, 0.7]), torch.tensor([[0.3, 0.7]] * 2), [(0.3, 0.7)] * 2):
        assert torch.equal(landmark_errors(pred, truth, spacing_mm=spacing), one)
    other = landmark_errors(pred, truth, spacing_mm=[(0.3, 0.7), (0.7, 0.3)])
    assert torch.equal(other[0], one[0])
    assert not torch.allclose(other[1], one[1])
    swapped = landmark_errors(pred.flip(-1), truth.flip(-1), spacing_mm=(0.7, 0.3))
    torch.testing.assert_close(swapped, one)


def lacking() -> tuple[Tensor, Tensor]:
    """Case 0: truth lacks point 1. Case 1: prediction lacks 0 (by half), both lack 2."""
    truth, pred = draw(0, 2, 3, 2), draw(1, 2, 3, 2)
    truth[0, 1] = pred[1, 0, 1] = truth[1, 2] = pred[1, 2] = NAN
    return pred, truth


def test_missing_points_are_skipped_penalised_or_refused() -> None:
    pred, truth = lacking()
    full = landmark_errors(pred.nan_to_num(), truth.nan_to_num(), spacing_mm=(1, 1))
    gone = missing_landmarks(pred, truth)
    assert gone.truth.tolist() == [[False, True, False], [False, False, True]]
    assert gone.prediction.tolist() == [[False, False, False], [True, False, False]]
    skipped = landmark_errors(pred, truth, spacing_mm=(1, 1))
    assert torch.equal(skipped.isnan(), gone.truth | gone.prediction)
    assert torch.equal(skipped[~skipped.isnan()], full[~skipped.isnan()])
    fined = landmark_errors(pred, truth, spacing_mm=(1, 1), missing="penalty", penalty_mm=50)
    assert fined[1, 0] == 50
    assert torch.equal(fined.isnan(), gone.truth)
    with pytest.raises(
        ValueError, match=r"3 landmarks are missing.*\[\[0, 1\], \[1, 0\], \[1, 2\]\]$"
    ):
        landmark_errors(pred, truth, spacing_mm=(1, 1), missing="raise")
    whole = landmark_errors(pred[:, 1:2], truth[:, 1:2].nan_to_num(), spacing_mm=(1, 1))
    assert torch.equal(
        landmark_errors(
            pred[:, 1:2], truth[:, 1:2].nan_to_num(), spacing_mm=(1, 1), missing="raise"
        ),
        whole,
    )


# --- report ------------------------------------------------------------------------------------


@given(
    seed=SEEDS,
    size=st.tuples(st.integers(1, 5), st.integers(1, 4)),
    holes=st.sampled_from([0.0, 0.3, 1.0]),
)
def test_report_is_the_definition(seed: int, size: tuple[int, int], holes: float) -> None:
    errors = draw(seed, *size, scale=5.0)
    errors[draw(seed + 1, *size, scale=1.0) < holes] = NAN
    names = [f"point {k}" for k in range(size[1])]
    report = landmark_report(errors, names=names, groups={"odd": names[1::2]})
    assert json.loads(json.dumps(report, allow_nan=False)) == report

    def check(found: dict[str, object], values: list[float]) -> None:
        known = [v for v in values if not math.isnan(v)]
        assert (found["points"], found["undefined"]) == (len(known), len(values) - len(known))
        assert found["mre_mm"] == (pytest.approx(statistics.fmean(known)) if known else None)
        spread = pytest.approx(statistics.stdev(known)) if len(known) > 1 else None
        assert found["sd_mm"] == spread
        for name, limit in {"2": 2, "2.5": 2.5, "3": 3, "4": 4}.items():
            rate = pytest.approx(sum(v <= limit for v in known) / len(known)) if known else None
            assert found["sdr"][name] == rate

    check(report["all"], errors.flatten().tolist())
    check(report["groups"]["odd"], errors[:, 1::2].flatten().tolist())
    assert list(report["landmarks"]) == names
    for k, name in enumerate(names):
        check(report["landmarks"][name], errors[:, k].tolist())
    for i, image in enumerate(report["images"]):
        check(image, errors[i].tolist())
    means = [image["mre_mm"] for image in report["images"] if image["points"]]
    assert report["mean_of_images"]["images"] == len(means)
    wanted = pytest.approx(statistics.fmean(means)) if means else None
    assert report["mean_of_images"]["mre_mm"] == wanted


def test_report_tells_the_two_means_apart() -> None:
    errors = torch.tensor([[1.0, 1, 1], [4, NAN, NAN]])
    report = landmark_report(errors)
    assert report["all"]["mre_mm"] == 1.75
    assert report["mean_of_images"]["mre_mm"] == 2.5
    assert list(report["landmarks"]) == ["0", "1", "2"]


def test_within_includes_the_threshold() -> None:
    errors = torch.tensor([[2.0, 2.5, 3.0, 4.0]])
    assert landmark_report(errors)["all"]["sdr"] == {"2": 0.25, "2.5": 0.5, "3": 0.75, "4": 1.0}


def test_report_counts_what_was_missing() -> None:
    pred, truth = lacking()
    gone = missing_landmarks(pred, truth)
    skipped = landmark_errors(pred, truth, spacing_mm=(1, 1))
    report = landmark_report(skipped, missing=gone)
    assert report["missing"] == {"truth": 2, "prediction": 1}
    assert (report["all"]["points"], report["all"]["undefined"]) == (3, 3)
    fined = landmark_errors(pred, truth, spacing_mm=(1, 1), missing="penalty", penalty_mm=50)
    assert landmark_report(fined)["all"]["points"] == 4
    assert landmark_report(fined)["missing"] is None


# --- surrogate ---------------------------------------------------------------------------------


def test_gap_is_paired() -> None:
    real = torch.tensor([[1.0, 9.0], [1.0, 2.0], [NAN, 1.0]])
    fake = torch.tensor([[2.0, NAN], [3.0, 5.0], [1.0, NAN]])
    gap = surrogate_gap(fake, real)
    torch.testing.assert_close(gap[:2], torch.tensor([1.0, 2.5]))
    assert gap[2].isnan()  # no landmark has both
    torch.testing.assert_close(surrogate_gap(real, fake), -gap, equal_nan=True)
    assert torch.equal(surrogate_gap(real[:2], real[:2]), torch.zeros(2))


# --- angles ------------------------------------------------------------------------------------


@given(turn=st.floats(-180, 180), opening=st.floats(0, 180), row=MM, column=MM, length=MM)
def test_angle_of_known_rays(
    turn: float, opening: float, row: float, column: float, length: float
) -> None:
    def ray(degrees: float, scale: float) -> Tensor:
        x = math.radians(degrees)
        mm = torch.tensor([[math.sin(x), math.cos(x)]], dtype=torch.float64) * scale
        return mm / torch.tensor([row, column], dtype=torch.float64) + 7

    vertex = torch.full((1, 2), 7.0, dtype=torch.float64)
    got = angle(ray(turn, length), vertex, ray(turn + opening, 2.0), spacing_mm=(row, column))
    assert float(got) == pytest.approx(opening, abs=1e-5)


def test_angle_of_nothing_is_undefined() -> None:
    a, v, b = torch.tensor([[[0.0, 0], [NAN, 1]], [[0, 0], [0, 0]], [[1, 1], [1, 1]]])
    assert angle(a, v, b, spacing_mm=(1, 1)).isnan().all()


@given(seed=SEEDS, squash=st.floats(0.4, 2.5), turn=st.floats(-30, 30))
def test_angles_do_not_depend_on_the_picture(seed: int, squash: float, turn: float) -> None:
    points = face(seed)
    found = cephalometric_angles(points, "SNAB", spacing_mm=(1, 1))
    assert ((found["SNA"] > 60) & (found["SNA"] < 110)).all()
    mirrored = points * torch.tensor([1, -1]) + torch.tensor([0.0, 300])
    x = math.radians(turn)
    turned = points @ torch.tensor(
        [[math.cos(x), -math.sin(x)], [math.sin(x), math.cos(x)]], dtype=torch.float64
    )
    for other in (mirrored, turned, points * 3 - 8):
        torch.testing.assert_close(cephalometric_angles(other, "SNAB", spacing_mm=(1, 1)), found)
    # a squash that the spacing knows of changes nothing ...
    squashed = points * torch.tensor([1, squash])
    known = cephalometric_angles(squashed, "SNAB", spacing_mm=(1, 1 / squash))
    torch.testing.assert_close(known, found)
    # ... and one that it does not know of does
    if not 0.9 < squash < 1.1:
        wrong = cephalometric_angles(squashed, "SNAB", spacing_mm=(1, 1))
        assert (
            (wrong["ANB"] - found["ANB"]).abs() / found["ANB"].abs().clamp(min=0.5)
        ).max() > 0.02


@given(seed=SEEDS)
def test_anb_is_signed_and_as_wide_as_the_plain_angle(seed: int) -> None:
    points = face(seed)
    found = cephalometric_angles(points, "SNAB", spacing_mm=(0.3, 0.4))
    assert torch.equal(found["ANB"], found["SNA"] - found["SNB"])
    plain = angle(points[:, 2], points[:, 1], points[:, 3], spacing_mm=(0.3, 0.4))
    torch.testing.assert_close(found["ANB"].abs(), plain)
    swapped = cephalometric_angles(points, "SNBA", spacing_mm=(0.3, 0.4))
    torch.testing.assert_close(swapped["ANB"], -found["ANB"])


def test_lower_jaw_ahead_is_below_zero() -> None:
    points = face(0, 1)
    points[:, 3, 1] = points[:, 2, 1] + 15  # point B in front of point A
    assert cephalometric_angles(points, "SNAB", spacing_mm=(1, 1))["ANB"] < 0


def test_landmarks_are_found_by_their_names() -> None:
    points = face(3)
    found = cephalometric_angles(points, ["S", "N", "A", "B"], spacing_mm=(1, 1))
    spare = draw(9, 4, 1, 2)
    moved = torch.cat((points[:, 2:], spare, points[:, :2]), 1)
    names = ["Subspinale", "B point", "Pogonion", "sella", "Nasion"]
    again = cephalometric_angles(moved, names, spacing_mm=(1, 1))
    assert all(torch.equal(again[key], found[key]) for key in ("SNA", "SNB", "ANB"))
    points[1, 3] = NAN  # B of the second case
    partly = cephalometric_angles(points, "SNAB", spacing_mm=(1, 1))
    assert torch.equal(partly["SNA"], found["SNA"])
    assert (
        partly["SNB"].isnan().tolist()
        == partly["ANB"].isnan().tolist()
        == [False, True, False, False]
    )


# --- agreement ---------------------------------------------------------------------------------

WRIGHT = [494, 395, 516, 434, 476, 557, 413, 442, 650, 433, 417, 656, 267, 478, 178, 423, 427]
MINI = [512, 430, 520, 428, 500, 600, 364, 380, 658, 445, 432, 626, 260, 477, 259, 350, 451]


def test_agreement_is_that_of_the_paper() -> None:
    """Peak flow by two meters: Bland and Altman 1986, tables and text."""
    found = bland_altman(torch.tensor(WRIGHT).double(), torch.tensor(MINI).double())
    assert found["cases"] == 17
    assert found["bias"] == pytest.approx(-2.1, abs=0.05)
    assert found["sd"] == pytest.approx(38.8, abs=0.05)
    assert (found["lower"], found["upper"]) == pytest.approx((-78.1, 73.9), abs=0.2)
    assert found["bias_interval"] == pytest.approx((-22.0, 17.8), abs=0.1)
    error = (found["upper_interval"][1] - found["upper"]) / t.ppf(0.975, 16)
    assert error == pytest.approx(38.8 * math.sqrt(3 / 17), rel=0.01)


@given(seed=SEEDS, n=st.integers(2, 30), shift=st.floats(-5, 5), confidence=st.floats(0.5, 0.99))
def test_agreement_laws(seed: int, n: int, shift: float, confidence: float) -> None:
    pred, truth = draw(seed, n, scale=10), draw(seed + 1, n, scale=10)
    found = bland_altman(pred, truth, confidence=confidence)
    turned = bland_altman(truth, pred, confidence=confidence)
    assert turned["bias"] == pytest.approx(-found["bias"])
    assert (turned["lower"], turned["upper"]) == pytest.approx((-found["upper"], -found["lower"]))
    assert turned["lower_interval"] == pytest.approx([-x for x in found["upper_interval"][::-1]])
    moved = bland_altman(pred + shift, truth, confidence=confidence)
    assert moved["upper"] == pytest.approx(found["upper"] + shift)
    assert moved["sd"] == pytest.approx(found["sd"])
    gaps = torch.cat((pred, torch.tensor([NAN, 1.0]))), torch.cat((truth, torch.tensor([1.0, NAN])))
    holed = bland_altman(*(x.double() for x in gaps), confidence=confidence)
    assert holed.pop("undefined") == 2
    assert found.pop("undefined") == 0
    assert holed == found


def test_interval_of_the_limits_covers_as_often_as_it_says() -> None:
    """600 experiments of 15 cases: the true limits, ±1.96, lie in the interval 95 % of the time."""
    draws = torch.randn(600, 15, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    zero = torch.zeros(15, dtype=torch.float64)
    found = [bland_altman(x, zero) for x in draws]
    for interval, true in (
        ("bias_interval", 0),
        ("upper_interval", 1.96),
        ("lower_interval", -1.96),
    ):
        covered = [low <= true <= high for low, high in (f[interval] for f in found)]
        assert 0.92 < sum(covered) / 600 < 0.98


def test_agreement_of_few() -> None:
    one = bland_altman(torch.tensor([3.0, NAN]), torch.tensor([1.0, 2.0]))
    assert (one["bias"], one["cases"], one["undefined"]) == (2.0, 1, 1)
    assert one["sd"] is one["lower"] is one["bias_interval"] is None
    none = bland_altman(torch.tensor([NAN]), torch.tensor([1.0]))
    assert none["bias"] is None
    assert none["cases"] == 0
    for found in (one, none):
        assert json.loads(json.dumps(found, allow_nan=False)) == found


# --- refusals ----------------------------------------------------------------------------------


def test_refusals(unchecked: None) -> None:
    points, errors = torch.zeros(3, 2, 2), torch.zeros(3, 2)
    with pytest.raises(ValueError, match=r"pred \(3, 2, 2\), truth \(2, 2, 2\)"):
        landmark_errors(points, points[:2], spacing_mm=(1, 1))
    with pytest.raises(ValueError, match=r"each of 3 cases, got shape \(2, 2\)"):
        landmark_errors(points, points, spacing_mm=[(1, 1), (1, 1)])
    for bad in (0.0, -1.0, NAN, math.inf):
        with pytest.raises(ValueError, match="spacing_mm must be above 0 and finite"):
            landmark_errors(points, points, spacing_mm=(1, bad))
    with pytest.raises(ValueError, match="missing must be one of 'skip', 'penalty', 'raise'"):
        landmark_errors(points, points, spacing_mm=(1, 1), missing="drop")
    with pytest.raises(ValueError, match="penalty_mm belongs to missing='penalty', got None"):
        landmark_errors(points, points, spacing_mm=(1, 1), missing="penalty")
    with pytest.raises(ValueError, match="penalty_mm belongs to missing='penalty', got 5"):
        landmark_errors(points, points, spacing_mm=(1, 1), penalty_mm=5)
    with pytest.raises(ValueError, match="penalty_mm must be above 0 and finite, got inf"):
        landmark_errors(points, points, spacing_mm=(1, 1), missing="penalty", penalty_mm=math.inf)
    with pytest.raises(ValueError, match=r"names must be 2 different ones, got \['a', 'a'\]"):
        landmark_report(errors, names=["a", "a"])
    with pytest.raises(ValueError, match=r"groups name landmarks that are not there: \['x'\]"):
        landmark_report(errors, names=["a", "b"], groups={"g": ["x"]})
    with pytest.raises(ValueError, match=r"thresholds_mm\[1\] must be above 0"):
        landmark_report(errors, thresholds_mm=(2, 0))
    for bad in (-1.0, math.inf):
        with pytest.raises(ValueError, match="errors must be finite and not negative"):
            landmark_report(torch.full((1, 1), bad))
    with pytest.raises(ValueError, match="expected one shape"):
        surrogate_gap(errors, errors[:2])
    with pytest.raises(ValueError, match="names must be 2, one for each landmark, got 3"):
        cephalometric_angles(points, "SNA", spacing_mm=(1, 1))
    with pytest.raises(ValueError, match=r"landmark A \(.*subspinale\) once in names, got it 0"):
        cephalometric_angles(torch.zeros(1, 3, 2), "SNB", spacing_mm=(1, 1))
    with pytest.raises(ValueError, match="got it 2 times"):
        cephalometric_angles(torch.zeros(1, 5, 2), ["S", "Sella", "N", "A", "B"], spacing_mm=(1, 1))
    with pytest.raises(ValueError, match="confidence must be between 0 and 1, got 95"):
        bland_altman(errors[:, 0], errors[:, 0], confidence=95)
