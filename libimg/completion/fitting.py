"""Reconstruction of one heart: latents, and on demand weights, fitted to its labels."""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from libimg import losses
from libimg.completion.batches import draw_queries
from libimg.completion.cases import Case
from libimg.completion.model import Completer

__all__ = ["fit_latent"]


def fit_latent(
    model: Completer,
    case: Case,
    code: Float[Tensor, "b m c"],
    middle: Float[Tensor, " 3"],
    *,
    steps: int = 200,
    queries: int = 2048,
    rate: float = 0.02,
    stay: float = 1e-3,
    weights: bool = False,
    seed: int = 0,
) -> Float[Tensor, "b m c"]:
    """Move latents until the decoder agrees with the labelled classes of a case.

    The encoder gives the start, as in MAP estimation with an auto-decoder (DeepSDF), which starts
    at zero.

    Args:
        model: the decoder; unchanged unless ``weights``.
        case: its labelled classes are fitted.
        code: latents to start from.
        middle: of the heart in the cube of the case's frame.
        steps: of Adam, at least 1.
        queries: points in each step, half of them near the classes.
        rate: of Adam; a tenth of it for weights.
        stay: weight of the mean squared distance from the start, which stands in for a prior.
        weights: also fit the decoder's weights, in place: a reconstruction of this one heart, no
            longer a model of all.
        seed: of the points.

    Raises:
        ValueError: ``steps`` is below 1.

    Example:
        >>> from libimg.completion import encode_case, learn_shape, phantom_case
        >>> from libimg.nets import VecSetAutoencoder
        >>> case = phantom_case()
        >>> model = Completer(VecSetAutoencoder.preset("tiny", classes=10), grid=16).eval()
        >>> learn_shape(model, [case])
        >>> latent, middle = encode_case(model, case, case.labelled, inputs=64)
        >>> code = fit_latent(model, case, latent.mean, middle, steps=2, queries=64)
        >>> code.shape == latent.mean.shape
        True
    """
    if steps < 1:
        msg = f"steps must be 1 or more, got {steps}"
        raise ValueError(msg)
    device, half = next(model.parameters()).device, case.sampling.half_mm
    generator = torch.Generator().manual_seed(seed)
    start = code.detach().clone()
    moved = start.clone().requires_grad_()
    groups: list[dict[str, Any]] = [{"params": [moved], "lr": rate}]
    own = [*model.net.unsqueeze.parameters(), *model.net.decoder.parameters()]
    own += [*model.net.field.parameters()]
    if weights:
        groups.append({"params": own, "lr": rate / 10})
    adam = torch.optim.Adam(groups)
    clamp = 0.75 * case.sampling.band_mm / half
    mask = case.labelled[None].to(device)
    falling = torch.optim.lr_scheduler.LambdaLR(adam, lambda step: min(1, 2 - 2 * step / steps))
    for _ in range(steps):
        places, distances = draw_queries(case, queries, generator)
        unit = (places - middle)[None].to(device)
        target = (distances / half)[None].to(device)
        error = losses.sdf_l1(model.decode(moved, unit), target, mask=mask, band=0.05, clamp=clamp)
        loss = error.mean() + stay * (moved - start).square().mean()
        adam.zero_grad()
        wanted = [moved, *own] if weights else [moved]
        for tensor, grad in zip(wanted, torch.autograd.grad(loss, wanted), strict=True):
            tensor.grad = grad
        adam.step()
        falling.step()
    return moved.detach()
