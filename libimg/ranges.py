"""Value ranges that travel with the data, so that no function has to guess one."""

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

__all__ = ["BYTE", "HU_FULL", "SIGNED", "UNIT", "ValueRange"]


@dataclass(frozen=True)
class ValueRange:
    """An interval of values with its unit.

    Args:
        lo: value that is black.
        hi: value that is white; above ``lo``.
        unit: name of the unit, such as ``"HU"``; empty for plain numbers.

    Raises:
        ValueError: ``lo`` is not below ``hi``, or one of them is not finite.

    Example:
        >>> import torch
        >>> lung = ValueRange.window(centre=-600, width=1500, unit="HU")
        >>> lung
        ValueRange(lo=-1350.0, hi=150.0, unit='HU')
        >>> lung.to(torch.tensor([-1350.0, -600.0, 150.0]), SIGNED)
        tensor([-1.,  0.,  1.])
    """

    lo: float
    hi: float
    unit: str = ""

    def __post_init__(self) -> None:
        if not (self.lo < self.hi and self.hi - self.lo < float("inf")):
            msg = f"a range needs finite lo < hi, got lo={self.lo}, hi={self.hi}"
            raise ValueError(msg)

    @classmethod
    def window(cls, *, centre: float, width: float, unit: str = "") -> "ValueRange":
        """Build the range of a display window given by its centre (level) and width."""
        return cls(centre - width / 2, centre + width / 2, unit)

    @property
    def span(self) -> float:
        """``hi - lo``: what PSNR and SSIM call the data range."""
        return float(self.hi - self.lo)

    def to(self, x: Float[Tensor, "..."], other: "ValueRange") -> Float[Tensor, "..."]:
        """Map ``x`` linearly so that this range becomes ``other``; values outside stay outside.

        Args:
            x: values in this range, any shape.
            other: the range to map to.

        Returns:
            A new tensor of the same shape and dtype. Nothing is clipped: see `clip`.
        """
        scale = other.span / self.span
        return x * scale + (other.lo - self.lo * scale)

    def clip(self, x: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
        """Limit ``x`` to ``[lo, hi]``."""
        return x.clamp(self.lo, self.hi)


HU_FULL = ValueRange(-1024, 3071, "HU")
"""The twelve-bit CT scale in Hounsfield units."""

SIGNED = ValueRange(-1, 1)
"""What networks with a symmetric output see."""

UNIT = ValueRange(0, 1)
"""Plain intensities."""

BYTE = ValueRange(0, 255)
"""Eight-bit images."""
