"""Exponential moving average of a network's weights."""

import copy
from typing import Any

import torch
from torch import nn

__all__ = ["Ema"]


class Ema(nn.Module):
    """A copy of a network whose weights follow it slowly.

    Args:
        module: the network that is followed.
        decay: share of the old average kept at each update, in [0, 1).

    Example:
        >>> net = nn.Linear(1, 1)
        >>> average = Ema(net, decay=0.9)
        >>> average.update(net)
    """

    def __init__(self, module: nn.Module, *, decay: float = 0.999) -> None:
        super().__init__()
        if not 0 <= decay < 1:
            msg = f"decay must be in [0, 1), got {decay}"
            raise ValueError(msg)
        self.decay = decay
        self.module = copy.deepcopy(module).eval().requires_grad_(False)

    @torch.no_grad()
    def update(self, module: nn.Module) -> None:
        """Move the average towards ``module``; buffers are copied."""
        for ours, theirs in zip(self.module.parameters(), module.parameters(), strict=True):
            ours.lerp_(theirs.to(ours), 1 - self.decay)
        for kept, new in zip(self.module.buffers(), module.buffers(), strict=True):
            kept.copy_(new)

    def forward(self, *args: Any) -> Any:
        """Run the averaged network."""
        return self.module(*args)

    def train(self, mode: bool = True) -> "Ema":
        """Stay in eval mode: an average is only ever used, never trained."""
        return self
