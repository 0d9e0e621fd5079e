import json
import math
import sys
import types
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from libimg import _check
from libimg._extras import optional
from tests.strategies import image_shapes


@given(shape=image_shapes(), other=image_shapes())
def test_same_shape(shape: tuple[int, ...], other: tuple[int, ...]) -> None:
    a, b = torch.empty(shape), torch.empty(other)
    _check.same_shape(a=a)
    _check.same_shape(a=a, twin=a.clone())
    if shape != other:
        with pytest.raises(ValueError, match="expected one shape") as error:
            _check.same_shape(pred=a, target=b)
        assert f"pred {shape}, target {other}" in str(error.value)


@given(value=st.floats(allow_nan=True, allow_infinity=True))
def test_positive(value: float) -> None:
    if value > 0:
        _check.positive(sigma=value)
    else:
        with pytest.raises(ValueError, match="sigma must be above 0, got"):
            _check.positive(fine=1, sigma=value)


def test_positive_refuses_nan() -> None:
    with pytest.raises(ValueError, match="nan"):
        _check.positive(sigma=math.nan)


def test_one_of() -> None:
    _check.one_of("mode", "hinge", ("lsgan", "hinge"))
    _check.one_of("norm", None, ("group", None))
    with pytest.raises(ValueError, match=r"mode must be one of 'lsgan', 'hinge', got 'wgan'"):
        _check.one_of("mode", "wgan", ("lsgan", "hinge"))


@given(shape=image_shapes(dims=(1, 2, 3, 4)))
def test_spatial(shape: tuple[int, ...]) -> None:
    x, n = torch.empty(shape), len(shape) - 2
    assert _check.spatial("x", x, dims=(n,)) == n
    if n in (2, 3):
        assert _check.spatial("x", x) == n
    else:
        with pytest.raises(ValueError, match="moving must be") as error:
            _check.spatial("moving", x)
        assert "2 or 3 spatial axes" in str(error.value)
        assert str(shape) in str(error.value)


@pytest.mark.parametrize("shape", [(), (3,), (2, 3)])
def test_spatial_refuses_what_has_no_spatial_axis(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="got shape"):
        _check.spatial("x", torch.empty(shape))


def test_checks_never_read_values() -> None:
    """Meta tensors have no values to read."""
    x = torch.empty(2, 1, 4, 4, device="meta")
    _check.same_shape(a=x, b=x)
    assert _check.spatial("x", x) == 2


def test_optional_gives_the_module() -> None:
    assert optional("json", extra="tasks") is json
    assert optional("importlib.metadata", extra="tasks").__name__ == "importlib.metadata"


def test_optional_names_the_extra() -> None:
    with pytest.raises(ImportError) as error:
        optional("no_such_package.part", extra="perceptual")
    assert 'no_such_package is needed here and not installed: pip install "libimg[perceptual]"' in (
        str(error.value)
    )


def test_optional_does_not_hide_a_broken_package(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "broken_package.py").write_text("import a_dependency_that_is_gone\n")
    (tmp_path / "failing_package.py").write_text("raise OSError('bad library')\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(ModuleNotFoundError, match="a_dependency_that_is_gone"):
        optional("broken_package", extra="perceptual")
    with pytest.raises(OSError, match="bad library"):
        optional("failing_package", extra="perceptual")


def test_optional_does_not_call_a_missing_submodule_a_missing_package(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The package is there: its own error says what is wrong."""
    monkeypatch.setitem(sys.modules, "old_package", types.ModuleType("old_package"))
    with pytest.raises(ModuleNotFoundError, match="not a package"):
        optional("old_package.new_part", extra="tasks")
