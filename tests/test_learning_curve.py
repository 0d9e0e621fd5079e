"""Learning curves and the gap between training and validation."""

import math

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy.optimize import curve_fit

from libimg.diagnose import generalisation_gap, learning_curve
from libimg.diagnose.learning_curve import _RATES, _fit

SIZES = [80, 160, 320]


def law(n: float, a: float, b: float, c: float) -> float:
    return a + b * (n / SIZES[0]) ** -c


def noisy(
    a: float, b: float, c: float, *, seed: int, repeats: int = 3, scatter: float = 0.03
) -> list[list[float]]:
    rng = np.random.default_rng(seed)
    draws = 1 + scatter * rng.standard_normal((len(SIZES), repeats))
    return [[law(n, a, b, c) * float(z) for z in row] for n, row in zip(SIZES, draws, strict=True)]


@given(a=st.floats(0, 2), b=st.floats(0.5, 2), rate=st.integers(60, len(_RATES) - 1))
def test_a_law_without_noise_is_found(a: float, b: float, rate: int) -> None:
    c = float(_RATES[rate])
    errors = [[law(n, a, b, c)] * 2 for n in SIZES]
    curve = learning_curve(SIZES, errors, predict_at=600, samples=50)
    truth = law(600, a, b, c)
    assert (curve.rate, curve.floor) == pytest.approx((c, a), abs=1e-6)
    assert curve.predicted == pytest.approx(truth)
    assert curve.at(80) == pytest.approx(a + b)
    assert curve.at(600) == pytest.approx(curve.predicted)
    assert curve.interval == pytest.approx((truth, truth))
    assert curve.gain == pytest.approx(1 - truth / law(320, a, b, c))


def test_fit_agrees_with_scipy_within_its_bounds() -> None:
    rng = np.random.default_rng(0)
    x = np.array([1, 2, 4, 8, 16.0]) / 16
    for _ in range(10):
        y = rng.uniform(0, 0.5) + rng.uniform(0.2, 1) * x ** -rng.uniform(0.2, 1.5)
        y *= 1 + 0.05 * rng.standard_normal(5)
        weights = rng.uniform(0.5, 2, 5)
        a, b, c = _fit(x, y[None], weights)
        ours = (weights * (y - a - b * x**-c) ** 2).sum()
        best = min(
            (weights * (y - p[0] - p[1] * x ** -p[2]) ** 2).sum()
            for start in (0.2, 0.7, 1.5)
            for p, _ in [
                curve_fit(
                    lambda n, a, b, c: a + b * n**-c,
                    x,
                    y,
                    p0=(0.1, 0.5, start),
                    sigma=weights**-0.5,
                    bounds=([0, 0, _RATES[0]], [np.inf, np.inf, _RATES[-1]]),
                )
            ]
        )
        assert -1e-9 <= ours - best <= 1e-5 * (weights * y**2).sum()


def test_fit_meets_the_conditions_of_nonnegative_least_squares() -> None:
    from scipy.optimize import nnls

    rng = np.random.default_rng(1)
    x = np.array([0.25, 0.5, 1.0])
    y, weights = rng.uniform(0, 1, (40, 3)), np.array([1.0, 2.0, 0.5])
    a, b, rate = _fit(x, y, weights)
    assert a.min() == 0  # both bounds are met in this sample
    assert b.min() == 0
    misfit = (weights * (y - a[:, None] - b[:, None] * x ** -rate[:, None]) ** 2).sum(1)
    for row, ours in zip(y, misfit, strict=True):
        root = np.sqrt(weights)
        best = min(nnls(np.stack([root, root * x**-c], 1), root * row)[1] ** 2 for c in _RATES)
        assert ours == pytest.approx(best, abs=1e-9)


@pytest.mark.parametrize(("repeats", "scatter"), [(3, 0.03), (5, 0.1), (20, 0.03)])
def test_the_interval_holds_the_truth_as_often_as_it_says(repeats: int, scatter: float) -> None:
    rng = np.random.default_rng(repeats)
    held = floors = 0
    for seed in range(100):
        a, c = rng.uniform(0, 0.6), rng.uniform(0.2, 1.2)
        errors = noisy(a, 1 - a, c, seed=seed, repeats=repeats, scatter=scatter)
        curve = learning_curve(SIZES, errors, predict_at=600, samples=300, seed=seed)
        held += curve.interval[0] <= law(600, a, 1 - a, c) <= curve.interval[1]
        floors += curve.floor_interval[0] <= a <= curve.floor_interval[1]
    assert held >= 90
    assert floors >= 88


def test_data_method_and_undecided() -> None:
    short_of_data = learning_curve(SIZES, noisy(0, 1, 0.6, seed=0, repeats=20), predict_at=640)
    assert short_of_data.verdict == "data"
    assert short_of_data.gain_interval[0] >= 0.1
    assert "from n=320 to n=640" in short_of_data.text
    assert "Verdict: data" in short_of_data.text
    at_the_floor = learning_curve(SIZES, noisy(0.5, 0.02, 1, seed=0, repeats=20), predict_at=640)
    assert at_the_floor.verdict == "method"
    assert at_the_floor.gain_interval[1] < 0.1
    two_noisy_runs = noisy(0.3, 0.7, 0.5, seed=0, repeats=2, scatter=0.1)
    assert learning_curve(SIZES, two_noisy_runs, predict_at=640).verdict == "undecided"


def test_a_target_decides_by_the_interval_of_the_error() -> None:
    errors = noisy(0.3, 0.7, 0.8, seed=1, repeats=20)
    curve = learning_curve(SIZES, errors, predict_at=600)
    low, high = curve.interval
    for target, verdict in ((high + 0.01, "data"), (low - 0.01, "method"), (high, "data")):
        again = learning_curve(SIZES, errors, predict_at=600, target=target)
        assert (again.verdict, again.interval) == (verdict, curve.interval)
        assert "the target is" in again.text
    middle = learning_curve(SIZES, errors, predict_at=600, target=(low + high) / 2)
    assert middle.verdict == "undecided"


@given(factor=st.floats(0.01, 100))
def test_the_unit_of_the_error_does_not_matter(factor: float) -> None:
    errors = noisy(0.3, 0.7, 0.8, seed=2)
    plain = learning_curve(SIZES, errors, predict_at=600, samples=50)
    scaled = learning_curve(
        SIZES, [[factor * e for e in some] for some in errors], predict_at=600, samples=50
    )
    assert scaled.predicted == pytest.approx(factor * plain.predicted)
    assert scaled.interval == pytest.approx(tuple(factor * end for end in plain.interval))
    assert scaled.gain_interval == pytest.approx(plain.gain_interval)
    assert scaled.verdict == plain.verdict


def test_shared_cases_narrow_the_gain_and_not_the_error() -> None:
    """A hard case is hard at every size: that scatter does not blur the fall of the curve."""
    rng = np.random.default_rng(3)
    hard = rng.uniform(0.2, 2, 40)
    errors = [
        [float(law(n, 0.2, 0.8, 0.5) * h * z) for h, z in zip(hard, row, strict=True)]
        for n, row in zip(SIZES, 1 + 0.02 * rng.standard_normal((3, 40)), strict=True)
    ]
    apart = learning_curve(SIZES, errors, predict_at=600)
    shared = learning_curve(SIZES, errors, predict_at=600, same_cases=True)

    def width(interval: tuple[float, float]) -> float:
        return interval[1] - interval[0]

    assert width(shared.gain_interval) < width(apart.gain_interval) / 3
    assert width(shared.interval) > 0.1
    assert shared.predicted == apart.predicted


def test_rising_errors_and_errors_of_zero() -> None:
    rising = learning_curve(SIZES, [[1.0, 1.1], [1.2, 1.1], [1.3, 1.2]], predict_at=600)
    assert (rising.fall, rising.gain) == (0, 0)
    none = learning_curve(SIZES, [[0.0, 0.0]] * 3, predict_at=600)
    assert (none.predicted, none.gain, none.interval, none.verdict) == (0, 0, (0, 0), "method")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sizes": [80, 160], "errors": [[1.0, 1.0]] * 2}, "at least three"),
        ({"sizes": [80, 320, 160]}, "rising"),
        ({"sizes": [0, 80, 160]}, "above 0"),
        ({"errors": [[1.0, 1.0]] * 2}, "one list for each of 3 sizes, got 2"),
        ({"errors": [[1.0, 1.0], [1.0], [1.0, 1.0]]}, "errors at 160"),
        ({"errors": [[1.0, 1.0], [1.0, math.nan], [1.0, 1.0]]}, "errors at 160"),
        ({"errors": [[1.0, 1.0], [1.0, -1.0], [1.0, 1.0]]}, "errors at 160"),
        ({"errors": [[1.0, 1.0], [1.0] * 3, [1.0, 1.0]], "same_cases": True}, "as many errors"),
        ({"predict_at": 320}, "above the largest size 320"),
        ({"level": 1.0}, "level"),
        ({"samples": 0}, "samples"),
    ],
)
def test_learning_curve_refuses(change: dict, message: str) -> None:
    case = {"sizes": SIZES, "errors": [[1.0, 1.1]] * 3, "predict_at": 600, **change}
    sizes, errors = case.pop("sizes"), case.pop("errors")
    with pytest.raises(ValueError, match=message):
        learning_curve(sizes, errors, **case)


def test_gap_of_the_brief() -> None:
    """The log says 3.84 at weight 100: unweighted it would hide the gap altogether."""
    gap = generalisation_gap([3.84], [0.2033], train_weight=100)
    assert gap.ratio == pytest.approx(0.2033 / 0.0384)
    assert gap.rings is True
    assert all(math.isnan(end) for end in gap.interval)
    wrong = generalisation_gap([3.84], [0.2033])
    assert wrong.rings is False
    assert "not the same number" in wrong.text


def test_gap_states() -> None:
    rng = np.random.default_rng(0)
    train = (0.04 * (1 + 0.2 * rng.standard_normal(60))).tolist()
    for factor, rings in ((5, True), (1.1, False), (2, None)):
        validation = [factor * error for error in train]
        gap = generalisation_gap(train, validation)
        assert gap.rings is rings
        assert gap.ratio == pytest.approx(factor)
        assert gap.interval[0] < gap.ratio < gap.interval[1]
    assert "undecided" in gap.text


@given(
    train=st.lists(st.floats(0.01, 10), min_size=2, max_size=6),
    validation=st.lists(st.floats(0, 10), min_size=2, max_size=6),
    factor=st.floats(0.1, 10),
)
def test_gap_is_a_ratio(train: list[float], validation: list[float], factor: float) -> None:
    assume(sum(validation) > 0.01)
    gap = generalisation_gap(train, validation, samples=50)
    scaled = generalisation_gap(
        [factor * x for x in train], [factor * x for x in validation], samples=50
    )
    assert gap.ratio == pytest.approx(np.mean(validation) / np.mean(train))
    assert scaled.ratio == pytest.approx(gap.ratio)
    assert scaled.interval == pytest.approx(gap.interval)
    weighted = generalisation_gap([factor * x for x in train], validation, train_weight=factor)
    assert weighted.ratio == pytest.approx(gap.ratio)


def test_gap_interval_holds_the_truth() -> None:
    rng = np.random.default_rng(0)
    held = 0
    for seed in range(100):
        train, validation = rng.gamma(4, 0.01, 40), rng.gamma(4, 0.05, 40)
        low, high = generalisation_gap(
            train.tolist(), validation.tolist(), samples=400, seed=seed
        ).interval
        held += low <= 5 <= high
    assert 87 <= held <= 99


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"train": []}, "train"),
        ({"validation": []}, "validation"),
        ({"validation": [math.nan]}, "validation"),
        ({"train": [-1.0, 2.0]}, "train"),
        ({"train": [0.0, 0.0]}, "no ratio"),
        ({"alarm": 0.0}, "alarm"),
        ({"train_weight": math.inf}, "train_weight"),
        ({"level": 0.0}, "level"),
    ],
)
def test_gap_refuses(change: dict, message: str) -> None:
    case = {"train": [1.0, 2.0], "validation": [2.0, 3.0], **change}
    train, validation = case.pop("train"), case.pop("validation")
    with pytest.raises(ValueError, match=message):
        generalisation_gap(train, validation, **case)
