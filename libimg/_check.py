"""Cheap checks of metadata (shape, dtype, choices); tensor values are never read here."""

from collections.abc import Sequence

from torch import Tensor

__all__ = ["one_of", "positive", "same_shape", "spatial"]


def same_shape(**tensors: Tensor) -> None:
    """Raise ``ValueError`` unless all the named tensors have one shape."""
    shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    if len(set(shapes.values())) > 1:
        got = ", ".join(f"{name} {shape}" for name, shape in shapes.items())
        msg = f"expected one shape, got {got}"
        raise ValueError(msg)


def positive(**values: float) -> None:
    """Raise ``ValueError`` unless every named number is above zero."""
    for name, value in values.items():
        if not value > 0:
            msg = f"{name} must be above 0, got {value}"
            raise ValueError(msg)


def one_of(name: str, value: object, choices: Sequence[object]) -> None:
    """Raise ``ValueError`` unless ``value`` is one of ``choices``."""
    if value not in choices:
        msg = f"{name} must be one of {', '.join(map(repr, choices))}, got {value!r}"
        raise ValueError(msg)


def spatial(name: str, x: Tensor, dims: Sequence[int] = (2, 3)) -> int:
    """Return the number of spatial axes of ``(b, c, *spatial)``; raise if not in ``dims``."""
    n = x.ndim - 2
    if n not in dims:
        wanted = " or ".join(f"{d}" for d in dims)
        msg = f"{name} must be (batch, channel, *spatial) with {wanted} spatial axes, "
        msg += f"got shape {tuple(x.shape)}"
        raise ValueError(msg)
    return n
