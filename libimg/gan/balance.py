"""How strongly the adversarial loss pulls, and weights that follow from it."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from jaxtyping import Float
from torch import Tensor, nn

from libimg._types import Image, Mask

__all__ = ["adaptive_weight", "frozen", "gradient_ratio"]


def gradient_ratio(
    adversarial: Float[Tensor, ""],
    reconstruction: Float[Tensor, ""],
    output: Image,
    *,
    mask: Mask | None = None,
) -> Float[Tensor, ""]:
    """Norm of the adversarial gradient over that of the reconstruction, at the output.

    Args:
        adversarial: weighted scalar loss.
        reconstruction: weighted scalar loss.
        output: the generated image, in the graph of both.
        mask: region ``(b, 1 or c, *spatial)`` in which the gradients are compared.

    Returns:
        A scalar without a graph. 0 if the adversarial loss does not depend on the output, the
        sign of a detached graph; infinite if only the reconstruction does not; NaN if neither.
        The graph and all ``.grad`` stay as they were.

    Example:
        >>> y = torch.ones(1, 1, 2, 2, requires_grad=True)
        >>> gradient_ratio(0.1 * y.sum(), y.sum(), y)
        tensor(0.10)
    """
    norms = []
    for loss in (adversarial, reconstruction):
        gradient = None
        if loss.requires_grad:
            (gradient,) = torch.autograd.grad(loss, output, retain_graph=True, allow_unused=True)
        if gradient is None:
            gradient = torch.zeros_like(output)
        gradient = gradient.detach().float()
        norms.append((gradient if mask is None else gradient * mask.to(gradient.dtype)).norm())
    ratio: Tensor = norms[0] / norms[1]
    return ratio


def adaptive_weight(
    reconstruction: Float[Tensor, ""],
    adversarial: Float[Tensor, ""],
    weight: Float[Tensor, "..."],
    *,
    epsilon: float = 1e-4,
    limit: float = 1e4,
) -> Float[Tensor, ""]:
    """Weight that makes both losses pull equally hard on the last layer.

    Args:
        reconstruction: unweighted scalar loss.
        adversarial: unweighted scalar loss.
        weight: weight of the generator's last layer.
        epsilon: added to the adversarial norm.
        limit: largest weight.

    Returns:
        ‖∂L_rec/∂w‖ / (‖∂L_adv/∂w‖ + ε), at most ``limit``, without a graph.

    Reference:
        Esser, Rombach, Ommer, Taming Transformers (VQGAN), CVPR 2021, eq. 7.

    Example:
        >>> w = torch.ones(3, requires_grad=True)
        >>> adaptive_weight(4 * w.sum(), 2 * w.sum(), w)
        tensor(2.00)
    """
    (rec,) = torch.autograd.grad(reconstruction, weight, retain_graph=True)
    (adv,) = torch.autograd.grad(adversarial, weight, retain_graph=True)
    weight_of_adversarial: Tensor = (rec.norm() / (adv.norm() + epsilon)).clamp(0, limit)
    return weight_of_adversarial.detach()


@contextmanager
def frozen(module: nn.Module) -> Iterator[nn.Module]:
    """Let gradients flow through a network but not into its weights.

    Example:
        >>> judge = nn.Linear(1, 1)
        >>> with frozen(judge):
        ...     judge(torch.ones(1, 1, requires_grad=True)).sum().backward()
        >>> judge.weight.grad is None, judge.weight.requires_grad
        (True, True)
    """
    before = [(weight, weight.requires_grad) for weight in module.parameters()]
    try:
        yield module.requires_grad_(False)
    finally:
        for weight, wanted in before:
            weight.requires_grad_(wanted)
