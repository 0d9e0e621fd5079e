"""What the autoencoder and the flow are trained for, and how held-out cases are judged."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from libimg import losses
from libimg.completion.batches import Batch, draw_batch
from libimg.completion.cases import Case, Sampling
from libimg.completion.model import Completer
from libimg.nets import flow_matching_loss

__all__ = ["Weights", "flow_loss", "held_error", "shape_loss"]

NEAR_MM = 5.0


@dataclass(frozen=True, kw_only=True)
class Weights:
    """What each part of the loss weighs beside the distances.

    Args:
        band: distances below 5 mm count this many times more.
        surface: distance that is answered on surfaces.
        overlap: depth by which classes reach into each other.
        eikonal: slope of the distances, by finite differences.
        kl: of a KL bottleneck.

    Example:
        >>> Weights(eikonal=1e-3).band
        3.0
    """

    band: float = 3.0
    surface: float = 0.1
    overlap: float = 0.1
    eikonal: float = 0.0
    kl: float = 1e-4


def shape_loss(
    model: Completer, batch: Batch, weights: Weights, plan: Sampling, noise: torch.Generator
) -> Float[Tensor, ""]:
    """Distances of the labelled classes, surfaces, overlap, slope and KL.

    Args:
        model: in training mode.
        batch: of `draw_batch`, on the device of the model.
        weights: of the parts.
        plan: scale and band of the cases.
        noise: of a KL bottleneck's draw, on that device.

    Example:
        >>> from libimg.completion import learn_shape, phantom_case
        >>> from libimg.nets import VecSetAutoencoder
        >>> net, case = VecSetAutoencoder.preset("tiny", classes=10), phantom_case()
        >>> model = Completer(net, grid=16)
        >>> learn_shape(model, [case])
        >>> how = {"centre": model.shape.centre, "batch": 2, "inputs": 64, "queries": 64}
        >>> batch = draw_batch([[case]], generator=torch.Generator().manual_seed(0), **how)
        >>> loss = shape_loss(model, batch, Weights(), case.sampling, torch.Generator())
        >>> loss.shape, loss.requires_grad
        (torch.Size([]), True)
    """
    q = batch.queries.shape[1]
    places = torch.cat([batch.queries, batch.on_surface], 1)
    seen: Any = {"presence": batch.presence, "generator": noise}
    found, latent = model(batch.points, batch.classes, places, **seen)
    near: Any = {"band": NEAR_MM / plan.half_mm, "band_weight": weights.band}
    near |= {"mask": batch.labelled, "clamp": 0.75 * plan.band_mm / plan.half_mm}
    loss = losses.sdf_l1(found[:, :q], batch.distances, **near)
    loss = loss + weights.surface * losses.surface_l1(found[:, q:], batch.on_class)
    loss = loss + weights.overlap * losses.class_overlap(found, mask=batch.labelled)
    if weights.eikonal:
        with torch.autocast(places.device.type, enabled=False):  # differences are too small for it
            slope = losses.finite_difference_gradient(
                lambda points: model.decode(latent.mean.float(), points),
                batch.on_surface[:, ::4],
                step=0.5 / plan.half_mm,
            )
        loss = loss + weights.eikonal * losses.eikonal(slope, mask=batch.labelled)
    if latent.logvar is not None:
        loss = loss + weights.kl * latent.kl()
    return loss.mean()


def flow_loss(model: Completer, batch: Batch, noise: torch.Generator) -> Float[Tensor, ""]:
    """Error of the flow from noise to the whole heart's latents, given the partial ones.

    Args:
        model: with a flow; the autoencoder gets no gradient.
        batch: of `draw_batch`, on the device of the model.
        noise: on that device.

    Example:
        >>> from libimg.completion import learn_shape, phantom_case
        >>> from libimg.nets import LatentFlow, VecSetAutoencoder
        >>> net, case = VecSetAutoencoder.preset("tiny", classes=10), phantom_case()
        >>> model = Completer(net, grid=16, flow=LatentFlow(channels=32, latents=40))
        >>> learn_shape(model, [case])
        >>> how = {"centre": model.shape.centre, "batch": 2, "inputs": 64, "queries": 64}
        >>> batch = draw_batch([[case]], generator=torch.Generator().manual_seed(0), **how)
        >>> bool(flow_loss(model, batch, torch.Generator()) > 0)
        True
    """
    with torch.no_grad():
        part = model.encode(batch.points, batch.classes, presence=batch.presence)
        whole = model.encode(batch.whole, batch.whole_classes, presence=batch.whole_presence)
    flow: Any = model.flow
    return flow_matching_loss(flow, whole.mean, part.mean, generator=noise).mean()


@torch.no_grad()
def held_error(
    model: Completer, held: Sequence[Sequence[Case]], how: Mapping[str, Any], *, flow: bool
) -> float:
    """Error on held-out cases, the same ones and the same points at each call.

    Args:
        model: left in training mode.
        held: cases of each data set.
        how: options of `draw_batch`; batch size, augmentation and generator are replaced.
        flow: judge the flow by its own loss, not the autoencoder.

    Returns:
        Mean error in mm of the distances within the band, of the classes to be completed, or of
        all labelled ones if none is missing.

    Example:
        >>> from libimg.completion import learn_shape, phantom_case
        >>> from libimg.nets import VecSetAutoencoder
        >>> net, case = VecSetAutoencoder.preset("tiny", classes=10), phantom_case()
        >>> model = Completer(net, grid=16)
        >>> learn_shape(model, [case])
        >>> how = {"centre": model.shape.centre, "batch": 2, "inputs": 64, "queries": 64}
        >>> held_error(model, [[case]], how, flow=False) < 3.0
        True
    """
    device = next(model.parameters()).device
    still = {"batch": 8, "max_degrees": 0.0, "scale_range": (1.0, 1.0), "jitter_mm": 0.0}
    still["generator"] = torch.Generator().manual_seed(0)
    drawn = draw_batch(held, **{**how, **still})
    batch = Batch(*(tensor.to(device) for tensor in drawn))
    model.eval()
    if flow:
        score = float(flow_loss(model, batch, torch.Generator(device).manual_seed(0)))
    else:
        found, _ = model(batch.points, batch.classes, batch.queries, presence=batch.presence)
        asked = batch.labelled & ~batch.presence
        mask = asked if bool(asked.any()) else batch.labelled
        keep = mask[:, None] & batch.distances.isfinite()
        score = float((found - batch.distances).abs()[keep].mean())
        score *= held[0][0].sampling.half_mm
    model.train()
    return score
