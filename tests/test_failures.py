"""Kinds of pixels, gain by kind and strength, worst crops, rate of images made worse."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from libimg.diagnose import (
    KINDS,
    CaseFailures,
    Crop,
    case_failures,
    failure_report,
    markdown_table,
    pixel_kinds,
)
from libimg.figures import Tile, panel
from libimg.ranges import BYTE, UNIT

FLAT, EDGE, TEXTURE = range(3)


def images(shape: tuple[int, ...], seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(shape, generator=generator, dtype=torch.float64)


def scene() -> Tensor:
    """A flat left, an edge at column 20, fine noise from column 40: ``(1, 48, 64)``."""
    x = torch.full((1, 48, 64), 0.2, dtype=torch.float64)
    x[..., 20:] = 0.7
    x[..., 40:] += 0.5 * images((1, 48, 24)) - 0.25
    return x


# kinds


def kinds_oracle(image: np.ndarray, flat: float, edge: float, sigma: float) -> np.ndarray:
    """Structure tensor of ``(c, h, w)`` pixel by pixel, with eigenvalues by numpy."""
    channels, height, width = image.shape
    inner = np.zeros((height - 2, width - 2, 2, 2))
    weights = np.array([1, 2, 1]) / 4
    for r in range(1, height - 1):
        for c in range(1, width - 1):
            for k in range(channels):
                near = image[k, r - 1 : r + 2, c - 1 : c + 2]
                down = ((near[2] - near[0]) / 2 * weights).sum()
                right = ((near[:, 2] - near[:, 0]) / 2 * weights).sum()
                g = np.array([down, right])
                inner[r - 1, c - 1] += np.outer(g, g) / channels
    radius = math.ceil(3 * sigma)
    span = range(-radius, radius + 1)
    total = sum(math.exp(-(i * i) / 2 / sigma**2) for i in span) ** 2
    kinds = np.zeros((height, width), dtype=int)
    for r in range(height):
        for c in range(width):
            mean = np.zeros((2, 2))
            for i in span:
                for j in span:
                    row = min(max(r - 1 + i, 0), height - 3)
                    column = min(max(c - 1 + j, 0), width - 3)
                    weight = math.exp(-(i * i + j * j) / 2 / sigma**2) / total
                    mean += weight * inner[row, column]
            low, high = np.linalg.eigvalsh(mean)
            if math.sqrt(low + high) >= flat:
                kinds[r, c] = EDGE if (high - low) / (high + low) >= edge else TEXTURE
    return kinds


@settings(max_examples=4)
@given(seed=st.integers(0, 99), channels=st.sampled_from([1, 3]), sigma=st.sampled_from([0.8, 1.5]))
def test_kinds_follow_the_definition(seed: int, channels: int, sigma: float) -> None:
    x = images((2, channels, 8, 11), seed) * torch.linspace(0, 0.6, 11)
    got = pixel_kinds(x, data_range=1.0, flat_below=0.05, edge_above=0.5, sigma=sigma)
    for i in range(2):
        expected = kinds_oracle(x[i].numpy(), 0.05, 0.5, sigma)
        np.testing.assert_array_equal(got[i].numpy(), expected)
    assert {0, 1, 2} >= set(got.flatten().tolist()) > {0}


def test_kinds_of_known_pictures() -> None:
    kinds = pixel_kinds(scene()[None], data_range=1.0)[0]
    assert kinds.dtype == torch.uint8
    assert (kinds[:, :14] == FLAT).all()
    assert (kinds[:, 19:21] == EDGE).all()
    assert (kinds[:, 44:] == TEXTURE).double().mean() > 0.95
    ramp = torch.linspace(0, 1, 64, dtype=torch.float64).expand(1, 1, 32, 64)
    assert (pixel_kinds(ramp, data_range=1.0) == FLAT).all()  # 0.016 a pixel
    assert (pixel_kinds(ramp, data_range=0.7) == EDGE).all()  # 0.023 a pixel, all one direction
    noise = pixel_kinds(images((1, 1, 128, 128)), data_range=1.0)
    assert (noise == EDGE).double().mean().item() == pytest.approx(0.02, abs=0.01)


def test_an_edge_between_colours_of_one_brightness_is_an_edge() -> None:
    x = torch.zeros(1, 3, 24, 24)
    x[:, 0, :, :12], x[:, 1, :, 12:] = 0.5, 0.5
    assert (pixel_kinds(x, data_range=1.0)[..., 11:13] == EDGE).all()
    assert (pixel_kinds(x.mean(1, keepdim=True), data_range=1.0) == FLAT).all()


@given(seed=st.integers(0, 99))
def test_kinds_turn_with_the_image_and_know_its_range(seed: int) -> None:
    x = images((1, 1, 12, 16), seed) * torch.linspace(0, 0.5, 16)
    kinds = pixel_kinds(x, data_range=1.0)
    assert torch.equal(pixel_kinds(x.flip(-1), data_range=1.0), kinds.flip(-1))
    assert torch.equal(pixel_kinds(x.rot90(1, (2, 3)), data_range=1.0), kinds.rot90(1, (1, 2)))
    assert torch.equal(pixel_kinds(x * 256, data_range=256.0), kinds)
    assert torch.equal(pixel_kinds(1 - x, data_range=UNIT), kinds)
    half = pixel_kinds(x.half(), data_range=1.0)
    assert (half == kinds).double().mean() > 0.9


# one image


@pytest.mark.parametrize("shape", [(3, 40, 50), (1, 33, 20)])
def test_errors_are_those_of_the_pixels(shape: tuple[int, ...]) -> None:
    clean = images(shape) * torch.linspace(0, 0.3, shape[-1])
    degraded, restored = clean + 0.1 * images(shape, 1), clean - 0.05 * images(shape, 2)
    case = case_failures(
        *(x * 255 for x in (clean, degraded, restored)),
        name="a",
        sigma=25,
        quality=40,
        data_range=BYTE,
        crop=16,
        keep=100,
    )
    kinds = pixel_kinds(clean[None], data_range=1.0)[0].numpy()
    for x, sums in ((degraded, case.degraded_error), (restored, case.restored_error)):
        error = ((x - clean) ** 2).mean(0).numpy()
        assert sums == pytest.approx([error[kinds == k].sum() for k in range(3)])
    assert case.pixels == tuple((kinds == k).sum() for k in range(3))
    mse = [((x - clean) ** 2).mean() for x in (degraded, restored)]
    assert case.gain == pytest.approx(10 * math.log10(mse[0] / mse[1]))
    assert not case.worse
    covered = torch.zeros(shape[1:])
    for crop in case.crops:
        covered[crop.window] += 1
        assert clean[crop.window].shape == (shape[0], 16, 16)
        before, after = (
            ((x[crop.window] - clean[crop.window]) ** 2).mean() for x in (degraded, restored)
        )
        assert crop.gain == pytest.approx(10 * math.log10(before / after))
    assert covered.min() == 1  # nothing of the image is left out
    gains = [crop.gain for crop in case.crops]
    assert gains == sorted(gains)


def test_the_worst_crop_is_found_where_the_harm_was_done() -> None:
    clean = scene()
    degraded, restored = clean + 0.1, clean + 0.02
    restored = restored.clone()
    restored[:, 30:40, 36:44] += 0.5
    case = case_failures(
        clean, degraded, restored, name="a", sigma=5, quality=None, data_range=1.0, crop=16, keep=3
    )
    assert {(crop.top, crop.left) for crop in case.crops[:2]} == {(32, 32), (16, 32)}
    assert case.crops[1].gain < 0
    assert case.crops[2].gain == pytest.approx(20 * math.log10(5))
    small = case_failures(
        clean, degraded, restored, name="a", sigma=5, quality=None, data_range=1.0, crop=500
    )
    assert [(c.top, c.left, c.height, c.width) for c in small.crops] == [(0, 0, 48, 64)]
    assert small.crops[0].gain == pytest.approx(small.gain)


def test_gain_of_errors_that_are_zero() -> None:
    gains = [Crop("a", 0, 0, 8, 8, *pair).gain for pair in ((0.0, 0.0), (0.1, 0.0), (0.0, 0.1))]
    assert gains == [0.0, math.inf, -math.inf]
    x = images((1, 16, 16))
    same = case_failures(x, x, x, name="a", sigma=0, quality=None, data_range=1.0)
    assert not same.worse  # equal is not worse
    assert case_failures(x, x, x + 1e-3, name="a", sigma=0, quality=None, data_range=1.0).worse


# the report


def record(
    name: str,
    sigma: float,
    quality: int | None,
    before: tuple[float, ...],
    after: tuple[float, ...],
) -> CaseFailures:
    """Ten flat and ten texture pixels, no edge."""
    crops = tuple(Crop(name, 0, 8 * i, 8, 8, 0.1, 0.1 * a + i / 100) for i, a in enumerate(after))
    return CaseFailures(name, sigma, quality, (10, 0, 10), before, after, crops)


CASES = [
    record("a", 25, 40, (1.0, 0.0, 3.0), (0.1, 0.0, 2.0)),
    record("b", 30, 50, (3.0, 0.0, 1.0), (0.1, 0.0, 1.5)),
    record("c", 0, 10, (0.1, 0.0, 0.1), (0.2, 0.0, 0.1)),
    record("d", 75, None, (4.0, 0.0, 4.0), (1.0, 0.0, 1.0)),
]


def test_cells_pool_the_errors_of_their_cases() -> None:
    report = failure_report(CASES)
    cells = {(cell.sigma, cell.quality, cell.kind): cell for cell in report.cells}
    assert len(cells) == len(report.cells) == 3 * (len(KINDS) + 1)
    flat = cells["[20, 35)", "[40, 65)", "flat"]
    assert flat.gain == pytest.approx(10 * math.log10(4.0 / 0.2))
    assert (flat.images, flat.worse, flat.pixels) == (2, 0, 20)
    texture = cells["[20, 35)", "[40, 65)", "texture"]
    assert texture.gain == pytest.approx(10 * math.log10(4.0 / 3.5))
    assert texture.worse_rate == 0.5
    both = cells["[20, 35)", "[40, 65)", "all"]
    assert both.gain == pytest.approx(10 * math.log10(8.0 / 3.7))
    assert both.worse == 0
    edge = cells["[35, 75]", "none", "edge"]
    assert (edge.images, edge.pixels) == (0, 0)
    assert math.isnan(edge.gain)
    assert math.isnan(edge.worse_rate)
    assert cells["none", "[1, 20)", "all"].worse == 1
    assert sum(c.pixels for c in report.cells if c.kind == "all") == 20 * len(CASES)


def test_rate_of_worse_images_and_worst_crops() -> None:
    report = failure_report(iter(CASES), worst=3)
    assert (report.images, report.worse, report.worse_rate) == (4, ("c",), 0.25)
    gains = [crop.gain for crop in report.crops]
    assert gains == sorted(gains)
    assert len(gains) == 3
    every = failure_report(CASES, worst=99)
    assert len(every.crops) == 2 * len(CASES)  # two of each, no more
    assert every.crops[:3] == report.crops


def test_rows_make_a_table_light_before_heavy() -> None:
    rows = failure_report(CASES).rows()
    assert list(rows) == [
        "sigma none, quality [1, 20)",
        "sigma [20, 35), quality [40, 65)",
        "sigma [35, 75], quality none",
    ]
    table = markdown_table(rows, columns=[*KINDS, "all", "worse"])
    assert "| sigma [35, 75], quality none     | 6.02  | nan  | 6.02    | 6.02  | 0.000 |" in table


def test_bins_hold_their_lower_end_and_the_last_its_upper_end() -> None:
    pairs = [(10, 20), (9.99, 19), (75, 100), (35, 90), (34.9, 89), (35, None), (0, None)]
    cases = [record(f"{i}", *pair, (1.0, 0, 1), (1.0, 0, 1)) for i, pair in enumerate(pairs)]
    assert list(failure_report(cases).rows()) == [
        "sigma none, quality none",
        "sigma [0, 10), quality [1, 20)",
        "sigma [10, 20), quality [20, 40)",
        "sigma [20, 35), quality [65, 90)",
        "sigma [35, 75], quality none",
        "sigma [35, 75], quality [90, 100]",
    ]


@given(order=st.permutations(CASES))
def test_the_order_of_the_cases_changes_nothing(order: list[CaseFailures]) -> None:
    report, expected = failure_report(order), failure_report(CASES)
    assert list(report.rows()) == list(expected.rows())
    assert report.crops[0] == expected.crops[0]
    for ours, theirs in zip(report.cells, expected.cells, strict=True):
        assert (ours.kind, ours.worse, ours.pixels) == (theirs.kind, theirs.worse, theirs.pixels)
        assert ours.gain == pytest.approx(theirs.gain, nan_ok=True)


def test_the_sheet_of_worst_crops_can_be_drawn(tmp_path) -> None:
    pytest.importorskip("matplotlib")
    pictures = {"a": (scene(), scene() + 0.1, scene() + 0.2)}
    cases = [
        case_failures(*x, name=name, sigma=15, quality=80, data_range=1.0, crop=16)
        for name, x in pictures.items()
    ]
    crops = failure_report(cases).crops
    rows = [[Tile(x[crop.window][0], UNIT) for x in pictures[crop.name]] for crop in crops]
    labels = [f"{crop.name} {crop.gain:+.1f} dB" for crop in crops]
    path = panel(tmp_path / "s.png", rows, columns=["clean", "input", "restored"], labels=labels)
    assert path.stat().st_size > 1000


# refusals


def test_bad_input_is_named() -> None:
    x = images((1, 16, 16))
    options = {"name": "a.png", "sigma": 5.0, "quality": 50, "data_range": 1.0}
    for change, words in (
        ({"sigma": -1.0}, "a.png: expected sigma >= 0"),
        ({"quality": 0}, r"a.png: .* quality in 1 to 100 or None, got 5.0, 0"),
        ({"data_range": 0.0}, "data_range must be above 0"),
        ({"crop": 0}, "crop must be above 0"),
    ):
        with pytest.raises(ValueError, match=words):
            case_failures(x, x, x, **{**options, **change})
    with pytest.raises(ValueError, match=r"a.png: degraded and restored must be finite"):
        case_failures(x, x, x.where(x < 0.9, math.nan), **options)
    with pytest.raises(ValueError, match="at least 3 pixels a side"):
        pixel_kinds(x[None, :, :2], data_range=1.0)
    with pytest.raises(ValueError, match="cases: expected at least one, got none"):
        failure_report([])
    with pytest.raises(ValueError, match=r"one name each, got \['a'\] again"):
        failure_report([CASES[0], CASES[0]])
    with pytest.raises(ValueError, match=r"d: sigma 75 lies outside the edges \(0, 50\)"):
        failure_report(CASES, sigma_edges=(0, 50))
    with pytest.raises(ValueError, match=r"quality_edges must be at least two rising .* \(50, 1\)"):
        failure_report(CASES, quality_edges=(50, 1))


@pytest.mark.usefixtures("unchecked")
def test_refuses_different_shapes() -> None:
    x = images((1, 16, 16))
    with pytest.raises(ValueError, match="expected one shape, got clean"):
        case_failures(x, x[..., :1], x, name="a", sigma=1, quality=None, data_range=1.0)
