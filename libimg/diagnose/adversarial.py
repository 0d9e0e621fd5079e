"""The numbers that decide whether a discriminator does anything for the picture."""

import torch
from jaxtyping import Float
from torch import Tensor

from libimg import gan, metrics, registration
from libimg._types import Flow, Image, Mask

__all__ = ["discriminator_vitals", "flow_vitals", "gradient_vitals", "saturated_share"]


def discriminator_vitals(
    real_logits: Tensor | list[Tensor], fake_logits: Tensor | list[Tensor]
) -> dict[str, float]:
    """Mean logit of real and fake patches, and how well the logits separate them.

    Args:
        real_logits: logits on real images, any shape; a list for several scales.
        fake_logits: the same for generated images.

    Returns:
        ``real_mean``, ``fake_mean`` and ``auc``. An AUC near 0.5 is a discriminator that has
        learnt nothing; one at 1 with a vanishing gradient has found a trivial cue.

    Example:
        >>> discriminator_vitals(torch.ones(2, 1, 4, 4), torch.zeros(2, 1, 4, 4))
        {'real_mean': 1.0, 'fake_mean': 0.0, 'auc': 1.0}
    """
    real, fake = _flat(real_logits), _flat(fake_logits)
    return {
        "real_mean": float(real.mean()),
        "fake_mean": float(fake.mean()),
        "auc": metrics.auc(real, fake),
    }


def gradient_vitals(
    adversarial: Float[Tensor, ""],
    reconstruction: Float[Tensor, ""],
    output: Image,
    *,
    masks: dict[str, Mask],
) -> dict[str, float]:
    """Ratio of the adversarial to the reconstruction gradient at the output, by region.

    Args:
        adversarial: weighted adversarial loss, a scalar that depends on ``output``.
        reconstruction: weighted sum of all other losses.
        output: the generated image, part of the graph of both.
        masks: regions by name.

    Returns:
        One ratio for each region. Healthy is 0.1 to 1; below 0.02 the discriminator decorates;
        exactly 0 means that its gradient never reaches the output.

    Example:
        >>> y = torch.ones(1, 1, 2, 2, requires_grad=True)
        >>> gradient_vitals(0.25 * y.sum(), y.sum(), y, masks={"body": torch.ones_like(y)})
        {'body': 0.25}
    """
    return {
        name: float(gan.gradient_ratio(adversarial, reconstruction, output, mask=mask))
        for name, mask in masks.items()
    }


def flow_vitals(flow: Flow, *, mask: Mask | None = None) -> dict[str, float]:
    """Length and folding of a displacement field inside a mask.

    Args:
        flow: ``(b, n, *spatial)`` in voxels.
        mask: ``(b, 1, *spatial)``; everywhere if None.

    Returns:
        ``mean``, ``p95`` (voxels) and ``folding`` (share of voxels, 0 to 1).

    Example:
        >>> flow_vitals(torch.full((1, 2, 8, 8), 3.0))
        {'mean': 4.24, 'p95': 4.24, 'folding': 0.0}
    """
    length = flow.detach().float().square().sum(1, keepdim=True).sqrt()
    inside = length if mask is None else length[mask.bool()]
    empty = inside.numel() == 0
    folding = registration.folding_fraction(flow.detach(), mask=mask)
    return {
        "mean": float("nan") if empty else float(inside.mean()),
        "p95": float("nan") if empty else _quantile(inside, 0.95),
        "folding": float(folding.mean()),
    }


def saturated_share(
    x: Image, *, lo: float = -1.0, hi: float = 1.0, margin: float = 0.01
) -> Float[Tensor, " b"]:
    """Share of values at or beyond the ends of the range, where a clipped target has plateaus.

    Args:
        x: ``(b, c, *spatial)``.
        lo: lower end.
        hi: upper end.
        margin: how near an end counts, as a share of half the range.

    Returns:
        ``(b,)`` in [0, 1].

    Example:
        >>> saturated_share(torch.tensor([[[[-1.0, 0.0], [0.5, 2.0]]]]))
        tensor([0.50])
    """
    reach = margin * (hi - lo) / 2
    return ((x <= lo + reach) | (x >= hi - reach)).float().flatten(1).mean(1)


def _flat(logits: Tensor | list[Tensor]) -> Tensor:
    """All logits in one row, in float32."""
    parts = [logits] if isinstance(logits, Tensor) else logits
    return torch.cat([part.detach().float().flatten() for part in parts])


def _quantile(values: Tensor, q: float) -> float:
    """Quantile by sorting: `torch.quantile` refuses more than 16 million values."""
    ordered = values.flatten().sort().values
    return float(ordered[round(q * (len(ordered) - 1))])
