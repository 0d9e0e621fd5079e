"""Penalties that keep a discriminator smooth."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from libimg import _check
from libimg._types import PerSample

__all__ = ["r1_penalty"]


def r1_penalty(
    discriminator: Callable[[Tensor], Tensor | Sequence[Tensor]],
    real: Tensor,
    *,
    gamma: float = 10.0,
    interval: int = 1,
) -> PerSample:
    """R1: half γ times the squared gradient of the logits at real images.

    Args:
        discriminator: gives logits ``(b, …)`` or a list of them; all logits of a sample are summed.
        real: ``(b, c, *spatial)``; not written to, and its own graph is left out.
        gamma: weight γ.
        interval: for the lazy form, call this every ``interval`` steps; the penalty is that many
            times larger, so that its mean over the steps stays.

    Returns:
        ``(b,)``, float32 or wider, differentiable by the discriminator's weights.

    Raises:
        ValueError: ``interval`` is not above 0.

    Reference:
        Mescheder et al., ICML 2018, eq. 9; Karras et al., StyleGAN2, 2020, appendix B (lazy form).

    Example:
        >>> r1_penalty(lambda x: 3 * x.flatten(1).sum(1), torch.zeros(2, 1, 2, 2), gamma=2.0)
        tensor([36., 36.])
    """
    _check.positive(interval=interval)
    with torch.enable_grad(), torch.autocast(real.device.type, enabled=False):
        x = real.detach()
        x = (x.float() if x.dtype in (torch.float16, torch.bfloat16) else x).requires_grad_()
        logits = discriminator(x)
        parts = [logits] if isinstance(logits, Tensor) else list(logits)
        total = torch.stack([part.sum() for part in parts]).sum()
        (gradient,) = torch.autograd.grad(total, x, create_graph=True)
    return gradient.square().flatten(1).sum(1) * (gamma / 2 * interval)
