"""Optimisers of a paired translation, and their learning rates by phase."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import nn
from torch.optim import Optimizer

from libimg.train import Phase, Run, cosine

__all__ = ["Rates", "build_optimizers", "set_rates"]


@dataclass(frozen=True, kw_only=True)
class Rates:
    """Learning rate of each network at the start of a phase; half a cosine brings it down."""

    G: float = 1e-3
    G2: float = 1e-3
    R: float = 1e-3
    D: float = 4e-4


def build_optimizers(
    run: Run, networks: Mapping[str, nn.Module], phases: Sequence[Phase]
) -> dict[str, Optimizer]:
    """Build one AdamW for G, G2 and R (``"makers"``) and one for D (``"judge"``).

    A network that trains in no phase, such as G under G2, is in neither.

    Args:
        run: puts them into its checkpoints.
        networks: by name.
        phases: what trains when.
    """
    learning = {name for phase in phases for name in phase.train}
    made = {}
    for side, members in (("makers", ("G", "G2", "R")), ("judge", ("D",))):
        groups = [
            {"params": list(networks[name].parameters()), "name": name}
            for name in members
            if name in learning
        ]
        if groups:
            adam = torch.optim.AdamW(groups, lr=0.0, betas=(0.5, 0.99), weight_decay=1e-4)
            made[side] = run.optimizer(side, adam)
    return made


def set_rates(
    optimizers: Mapping[str, Optimizer], rates: Rates, *, share: float
) -> dict[str, float]:
    """Set every learning rate for the current share of its phase, and return them as ``lr/…``.

    Example:
        >>> net = nn.Linear(1, 1)
        >>> opt = torch.optim.SGD([{"params": list(net.parameters()), "name": "G"}], lr=0.0)
        >>> set_rates({"makers": opt}, Rates(G=0.1), share=0.02)
        {'lr/G': 0.1}
    """
    shown = {}
    for optimizer in optimizers.values():
        for group in optimizer.param_groups:
            group["lr"] = getattr(rates, group["name"]) * cosine(share, warmup=0.02)
            shown[f"lr/{group['name']}"] = group["lr"]
    return shown
