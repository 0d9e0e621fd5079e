"""Baselines without a network: what any model has to beat."""

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from libimg.ranges import ValueRange

__all__ = ["LookupTable", "fit_lookup_table"]


@dataclass(frozen=True)
class LookupTable:
    """The best translation that sees one voxel at a time.

    Args:
        centres: ``(n,)`` input values, rising, evenly spaced.
        values: ``(n,)`` output at each of them.

    Example:
        >>> table = LookupTable(torch.tensor([0.0, 1.0]), torch.tensor([10.0, 30.0]))
        >>> table(torch.tensor([-5.0, 0.25, 1.0]))
        tensor([10., 15., 30.])
    """

    centres: Float[Tensor, " n"]
    values: Float[Tensor, " n"]

    def __call__(self, x: Float[Tensor, "*spatial"]) -> Float[Tensor, "*spatial"]:
        """Translate ``x`` by linear interpolation; outside the table the ends go on flat."""
        last, values = len(self.centres) - 1, self.values.to(x.device)
        first, end = float(self.centres[0]), float(self.centres[-1])
        position = ((x.float() - first) * (last / (end - first))).clamp(0, last)
        low = position.floor().clamp(max=last - 1).long()
        return torch.lerp(values[low], values[low + 1], position - low).to(x.dtype)


def fit_lookup_table(
    pairs: Iterable[tuple[Float[Tensor, "*s"], Float[Tensor, "*s"], Bool[Tensor, "*s"]]],
    *,
    value_range: ValueRange,
    bins: int = 128,
) -> LookupTable:
    """Fit the table of conditional means E[target | source value] over training cases.

    A network that does not beat this table has learnt a change of contrast and no anatomy.

    Args:
        pairs: (source, target, mask) of each case, in the unit of ``value_range``; only voxels in
            the mask count.
        value_range: range of the source that the table covers; values outside go to the ends.
        bins: entries of the table, at least 2. Entries that no voxel falls in are interpolated
            from their neighbours.

    Returns:
        The fitted table, a function of tensors of any shape.

    Raises:
        ValueError: no voxel lies in a mask, or ``bins`` is below 2.

    Example:
        >>> x = torch.linspace(-1, 1, 1000)
        >>> table = fit_lookup_table([(x, 2 * x + 1, x < 2)], value_range=ValueRange(-1, 1))
        >>> table(torch.tensor([0.0, 0.5]))
        tensor([1.00, 2.00])
    """
    if bins < 2:
        msg = f"bins must be at least 2, got {bins}"
        raise ValueError(msg)
    total, count = torch.zeros(bins, dtype=torch.float64), torch.zeros(bins, dtype=torch.float64)
    centres = torch.linspace(value_range.lo, value_range.hi, bins, dtype=torch.float64)
    for source, target, mask in pairs:
        scaled = (source[mask].double() - value_range.lo) / value_range.span * (bins - 1)
        index = scaled.round().clamp(0, bins - 1).long()
        total.index_add_(0, index, target[mask].double())
        count.index_add_(0, index, torch.ones_like(index, dtype=torch.float64))
    seen = count > 0
    if not seen.any():
        msg = "pairs: expected at least one voxel in a mask, got none"
        raise ValueError(msg)
    means = LookupTable(centres, _fill(total / count.clamp(min=1), seen))
    return LookupTable(means.centres.float(), means.values.float())


def _fill(values: Tensor, seen: Tensor) -> Tensor:
    """Interpolate the entries that were not seen; the ends go on flat."""
    import numpy as np

    index = np.arange(len(values))
    known = seen.numpy()
    return torch.from_numpy(np.interp(index, index[known], values.numpy()[known]))
