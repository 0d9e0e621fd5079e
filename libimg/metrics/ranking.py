"""Area under the ROC curve."""

import torch
from jaxtyping import Float
from torch import Tensor

__all__ = ["auc"]


def auc(positive: Float[Tensor, "..."], negative: Float[Tensor, "..."]) -> float:
    """Chance that a positive score lies above a negative one; ties count one half.

    Args:
        positive: scores of the class that should score high, any shape.
        negative: scores of the other class, any shape.

    Returns:
        A number in [0, 1]; 0.5 when the scores tell nothing, NaN when a class is empty.

    Reference:
        Mann and Whitney 1947; Hanley and McNeil, Radiology 143, 1982.

    Example:
        >>> auc(torch.tensor([2.0, 3.0]), torch.tensor([1.0, 2.0]))
        0.875
    """
    high, low = positive.detach().flatten().double(), negative.detach().flatten().double()
    if high.numel() == 0 or low.numel() == 0:
        return float("nan")
    low = low.sort().values
    below = torch.searchsorted(low, high, right=False)
    not_above = torch.searchsorted(low, high, right=True)
    return float((below + not_above).double().mean() / 2 / low.numel())
