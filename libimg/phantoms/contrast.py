"""Virtual non-contrast."""

from torch import Tensor


def virtual_noncontrast(cta_hu: Tensor, vessels: Tensor) -> Tensor:
    """Todo."""
    raise NotImplementedError
