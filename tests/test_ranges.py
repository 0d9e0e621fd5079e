import dataclasses
import itertools
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from libimg.ranges import BYTE, HU_FULL, SIGNED, UNIT, ValueRange
from tests.strategies import seeds

KNOWN = [HU_FULL, SIGNED, UNIT, BYTE, ValueRange.window(centre=-600, width=1500, unit="HU")]
FLOATS = [torch.float16, torch.bfloat16, torch.float32, torch.float64]


@st.composite
def ranges(draw: st.DrawFn) -> ValueRange:
    lo = draw(st.floats(-2000, 2000))
    return ValueRange(lo, lo + draw(st.floats(0.5, 5000)))


def values(inside: ValueRange, seed: int, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    """Values in a range and, one in five, up to a span beyond it."""
    unit = torch.rand(3, 7, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return (inside.lo + (unit * 1.25 - 0.125) * inside.span).to(dtype)


@given(a=ranges(), b=ranges(), seed=seeds)
def test_there_and_back(a: ValueRange, b: ValueRange, seed: int) -> None:
    x = values(a, seed)
    size = a.span + abs(a.lo) + abs(b.lo) * a.span / b.span
    torch.testing.assert_close(b.to(a.to(x, b), a), x, rtol=0, atol=1e-14 * size)


@given(a=ranges(), b=ranges(), c=ranges(), seed=seeds)
def test_two_steps_are_one(a: ValueRange, b: ValueRange, c: ValueRange, seed: int) -> None:
    x = values(a, seed)
    size = c.span + abs(c.lo) + (abs(a.lo) / a.span + abs(b.lo) / b.span) * c.span
    torch.testing.assert_close(b.to(a.to(x, b), c), a.to(x, c), rtol=0, atol=1e-14 * size)


@given(a=ranges(), b=ranges(), seed=seeds)
def test_map_is_affine(a: ValueRange, b: ValueRange, seed: int) -> None:
    x, y = values(a, seed), values(a, seed + 1)
    size = b.span + abs(b.lo) + abs(a.lo) / a.span * b.span
    mixed = a.to(0.3 * x + 0.7 * y, b)
    torch.testing.assert_close(
        mixed, 0.3 * a.to(x, b) + 0.7 * a.to(y, b), rtol=0, atol=1e-14 * size
    )


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize(("a", "b"), list(itertools.permutations(KNOWN, 2)))
def test_ends_meet_ends(a: ValueRange, b: ValueRange, dtype: torch.dtype) -> None:
    """To one rounding of the span; between the plain ranges exactly."""
    moved = a.to(torch.tensor([a.lo, a.hi], dtype=dtype), b).double()
    plain = a.span <= 255 and b.span <= 255
    atol = 0 if plain else torch.finfo(dtype).eps * b.span
    torch.testing.assert_close(
        moved, torch.tensor([b.lo, b.hi], dtype=torch.float64), rtol=0, atol=atol
    )


def test_half_units_between_known_ranges() -> None:
    x = torch.tensor([-1024.0, 3071.0])
    assert HU_FULL.to(x, SIGNED).tolist() == [-1.0, 1.0]
    assert SIGNED.to(torch.tensor([-1.0, 0.0, 1.0]), BYTE).tolist() == [0.0, 127.5, 255.0]
    assert BYTE.to(torch.tensor([51.0]), UNIT).item() == pytest.approx(0.2)


@pytest.mark.parametrize("dtype", FLOATS)
def test_dtype_shape_and_argument_are_kept(dtype: torch.dtype) -> None:
    x = values(SIGNED, 0, dtype)
    before = x.clone()
    for out in (SIGNED.to(x, HU_FULL), SIGNED.clip(x)):
        assert out.dtype == dtype
        assert out.shape == x.shape
        assert out.data_ptr() != x.data_ptr()
    assert torch.equal(x, before)


@given(a=ranges(), seed=seeds)
def test_clip(a: ValueRange, seed: int) -> None:
    x = values(a, seed)
    clipped = a.clip(x)
    assert torch.equal(a.clip(clipped), clipped)
    assert clipped.min() >= a.lo
    assert clipped.max() <= a.hi
    inside = (x >= a.lo) & (x <= a.hi)
    assert torch.equal(clipped[inside], x[inside])


def test_mapping_does_not_clip_and_lets_gradients_through() -> None:
    x = torch.tensor([-2.0, 3.0], requires_grad=True)
    out = UNIT.to(x, BYTE)
    assert out.tolist() == [-510.0, 765.0]
    out.sum().backward()
    assert x.grad is not None
    assert x.grad.tolist() == [255.0, 255.0]


@given(centre=st.floats(-2000, 2000), width=st.floats(1, 5000))
def test_window_is_centre_and_width(centre: float, width: float) -> None:
    window = ValueRange.window(centre=centre, width=width, unit="HU")
    assert (window.lo + window.hi) / 2 == pytest.approx(centre, abs=1e-9)
    assert window.span == pytest.approx(width)
    assert window.unit == "HU"


@pytest.mark.parametrize(
    ("lo", "hi"),
    [(1, 1), (2, 1), (math.nan, 1), (0, math.nan), (-math.inf, 0), (0, math.inf), (0.0, -0.0)],
)
def test_bad_ranges_are_refused(lo: float, hi: float) -> None:
    with pytest.raises(ValueError, match="lo < hi"):
        ValueRange(lo, hi)


@pytest.mark.parametrize("width", [0.0, -5.0, math.nan])
def test_bad_windows_are_refused(width: float) -> None:
    with pytest.raises(ValueError, match="lo < hi"):
        ValueRange.window(centre=0, width=width)


def test_ranges_are_values() -> None:
    assert ValueRange(0, 255) == BYTE
    assert len({ValueRange(0, 1), UNIT, ValueRange(0, 1, "HU")}) == 2
    with pytest.raises(dataclasses.FrozenInstanceError):
        UNIT.lo = 3  # type: ignore[misc]
