"""Muon: momentum made orthogonal for convolutions and matrices, Adam for the other weights."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.optim import Optimizer

__all__ = ["Muon", "orthogonalise"]

QUINTIC = (3.4445, -4.775, 2.0315)
STEPS = 5
LIKE_ADAM = 0.2  # root mean square of an update of Adam, about


class Muon(Optimizer):
    """Optimizer of a whole network, with one learning rate for both kinds of weights.

    A weight with two axes or more is seen as a matrix (output channels, all the rest); its
    update is the momentum with all singular values brought to about 1, scaled so that it is as
    large as an update of Adam. Biases, norms and what ``adam`` names take Adam's step.

    Args:
        module: the network.
        lr: learning rate, as for Adam.
        adam: beginnings of the names of parameters that take Adam's step, too; the first and the
            last layer as a rule.
        momentum: of the matrices, in [0, 1).
        betas: of Adam.
        weight_decay: share of the weights, times ``lr``, that is taken off at each step.

    Raises:
        ValueError: an option is out of range, or a name in ``adam`` fits no parameter.

    Example:
        >>> net = nn.Sequential(nn.Conv2d(1, 8, 3), nn.Conv2d(8, 8, 3), nn.Conv2d(8, 1, 3))
        >>> optimizer = Muon(net, lr=1e-3, adam=("0.", "2."))
        >>> net(torch.ones(1, 1, 9, 9)).square().sum().backward()
        >>> optimizer.step()

    Reference:
        Jordan et al., "Muon: An optimizer for hidden layers in neural networks", 2024; scale of
        Liu et al., "Muon is Scalable for LLM Training", 2025. ``torch.optim.Muon`` does the
        same to matrices alone and not to convolutions.
    """

    def __init__(
        self,
        module: nn.Module,
        *,
        lr: float,
        adam: Sequence[str] = (),
        momentum: float = 0.95,
        betas: tuple[float, float] = (0.9, 0.99),
        weight_decay: float = 0.0,
    ) -> None:
        if lr < 0 or weight_decay < 0 or not all(0 <= v < 1 for v in (momentum, *betas)):
            msg = "expected lr and weight_decay >= 0, momentum and betas in [0, 1), got "
            msg += f"{lr}, {weight_decay}, {momentum} and {betas}"
            raise ValueError(msg)
        named = [(name, p) for name, p in module.named_parameters() if p.requires_grad]
        for start in adam:
            if not any(name.startswith(start) for name, _ in named):
                msg = f"adam: no parameter begins with {start!r}"
                raise ValueError(msg)
        flat = [p for name, p in named if p.ndim < 2 or name.startswith(tuple(adam))]
        chosen = {id(p) for p in flat}
        wide = [p for _, p in named if id(p) not in chosen]
        defaults = {"lr": lr, "momentum": momentum, "betas": betas, "weight_decay": weight_decay}
        groups = [{"params": wide, "kind": "muon"}, {"params": flat, "kind": "adam"}]
        super().__init__([group for group in groups if group["params"]], defaults)

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:  # type: ignore[override]
        """Update all weights that have a gradient."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            weights = [p for p in group["params"] if p.grad is not None]
            for p in weights:
                p.mul_(1 - group["lr"] * group["weight_decay"])
            (self._muon if group["kind"] == "muon" else self._adam)(weights, group)
        return loss

    def _muon(self, weights: list[Tensor], group: dict[str, Any]) -> None:
        alike: dict[tuple[int, int], list[tuple[Tensor, Tensor]]] = {}
        for p in weights:
            state, slope = self.state[p], torch.as_tensor(p.grad)
            if not state:
                state["momentum"] = torch.zeros_like(p)
            kept = state["momentum"].lerp_(slope, 1 - group["momentum"])
            ahead = torch.lerp(slope, kept, group["momentum"]).flatten(1)
            alike.setdefault((ahead.shape[0], ahead.shape[1]), []).append((p, ahead))
        for (rows, columns), found in alike.items():
            updates = orthogonalise(torch.stack([ahead for _, ahead in found]))
            scale = LIKE_ADAM * max(rows, columns) ** 0.5
            for (p, _), update in zip(found, updates, strict=True):
                p.add_(update.view_as(p), alpha=-group["lr"] * scale)

    def _adam(self, weights: list[Tensor], group: dict[str, Any]) -> None:
        slow, slower = group["betas"]
        for p in weights:
            state, slope = self.state[p], torch.as_tensor(p.grad)
            if not state:
                state.update(step=0, first=torch.zeros_like(p), second=torch.zeros_like(p))
            state["step"] += 1
            first = state["first"].lerp_(slope, 1 - slow)
            second = state["second"].lerp_(slope.square(), 1 - slower)
            size = (second / (1 - slower ** state["step"])).sqrt_().add_(1e-8)
            p.addcdiv_(first, size, value=-group["lr"] / (1 - slow ** state["step"]))


def orthogonalise(matrices: Float[Tensor, "*batch m n"]) -> Float[Tensor, "*batch m n"]:
    """Bring all singular values near 1 (0.7 to 1.2) by five Newton-Schulz steps.

    Args:
        matrices: any shape and scale; zero stays zero. Computed in float32 or wider on a CPU, in
            bfloat16 on a GPU.

    Example:
        >>> orthogonalise(torch.tensor([[3.0, 0.0], [0.0, 2.0]])).diagonal().round().tolist()
        [1.0, 1.0]

    Reference:
        Jordan et al., 2024, its coefficients and number of steps.
    """
    wide = torch.promote_types(matrices.dtype, torch.float32)
    x = matrices.to(wide if matrices.device.type == "cpu" else torch.bfloat16)
    tall = x.shape[-2] > x.shape[-1]
    x = x.mT if tall else x
    x = x / x.norm(dim=(-2, -1), keepdim=True).clamp_min(1e-7)
    a, b, c = QUINTIC
    for _ in range(STEPS):
        gram = x @ x.mT
        x = a * x + (b * gram + c * gram @ gram) @ x
    out: Tensor = x.mT if tall else x
    return out.to(matrices.dtype)
