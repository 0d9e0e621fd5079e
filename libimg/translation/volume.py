"""Translate whole volumes with networks for slices, slices with neighbours, or patches."""

from collections.abc import Mapping, Sequence
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from libimg import data, diagnose, inference
from libimg.ranges import SIGNED, ValueRange
from libimg.registration import warp
from libimg.translation.ct import CtConfig
from libimg.translation.steps import generate

__all__ = ["registration_report", "translate_hu", "translate_volume"]

Augmentation = Literal["none", "flip", "rotate", "both"]


@torch.no_grad()
def translate_volume(
    networks: Mapping[str, nn.Module],
    x: Float[Tensor, "d h w"],
    *,
    dims: Literal["2d", "2.5d", "3d"],
    size: Sequence[int],
    neighbours: int = 1,
    batch: int = 8,
    tta: Augmentation = "none",
) -> Float[Tensor, "d h w"]:
    """Translate a volume, wherever the networks live.

    Args:
        networks: ``G`` and perhaps ``G2``, in eval mode.
        x: the volume in [-1, 1].
        dims: what the networks were trained on. Slices go in whole; 3-D goes in overlapping
            patches, blended.
        size: patch size in 3-D.
        neighbours: slices on each side in 2.5-D.
        batch: slices or patches at a time.
        tta: average over a left-right flip (for networks trained with flips), rotations by ±3
            degrees (which blur: they interpolate), both or neither.

    Returns:
        ``(d, h, w)`` on the device of ``x``.
    """
    device = next(networks["G"].parameters()).device

    def model(part: Tensor) -> Tensor:
        return generate(networks, part).to(part.dtype)

    def run(part: Tensor) -> Tensor:
        flips = (part.ndim - 3,) if tta in ("flip", "both") else ()
        rotations = (-3.0, 3.0) if tta in ("rotate", "both") else ()
        return inference.tta(part.to(device), model, flips=flips, rotations=rotations)

    if dims == "3d":
        window = tuple(size)
        whole = inference.sliding_window(x[None, None], run, window=window, overlap=0.25, batch=1)
        return whole[0, 0].to(x.device)
    count = neighbours if dims == "2.5d" else 0
    slices = []
    for start in range(0, len(x), batch):
        indices = range(start, min(start + batch, len(x)))
        stack = torch.stack([data.neighbours(x, i, count=count) for i in indices])
        slices.append(run(stack)[:, 0].to(x.device))
    return torch.cat(slices)


def translate_hu(
    networks: Mapping[str, nn.Module],
    ncct: Float[Tensor, "d h w"],
    *,
    config: CtConfig,
    tta: Augmentation = "none",
) -> Float[Tensor, "d h w"]:
    """Translate a volume in HU; what lies beyond the window keeps its distance from it.

    Args:
        networks: ``G`` and perhaps ``G2``, in eval mode.
        ncct: HU.
        config: window and patches that the networks were trained with.
        tta: see `translate_volume`.
    """
    inside = config.hu.clip(ncct)
    y = translate_volume(
        networks,
        config.hu.to(inside, SIGNED),
        dims=config.dims,
        size=config.size,
        neighbours=config.neighbours,
        tta=tta,
    )
    return SIGNED.to(y, config.hu) + (ncct - inside)


@torch.no_grad()
def registration_report(
    network: nn.Module,
    fake: Float[Tensor, "d h w"],
    case: Mapping[str, Tensor],
    *,
    window: ValueRange,
    dims: Literal["2d", "2.5d", "3d"],
    batch: int = 8,
) -> dict[str, float]:
    """Measure what R finds between a translated volume and its CTA, inside the body.

    Args:
        network: R.
        fake: HU, in the geometry of the NCCT.
        case: ``cta`` (HU), ``is/body`` and, if it is known, the true ``flow`` (3, d, h, w).
        window: HU that become [-1, 1].
        dims: 3-D, or slice by slice; then only the motion within the slice counts.
        batch: slices at a time.

    Returns:
        ``mae_before`` and ``mae_after`` the warp (HU), ``mean`` and ``p95`` length (voxels),
        ``folding`` (share), and with a known truth ``error`` and ``error_of_zero_flow``: mean
        distance to the true flow, of R's and of none at all (voxels).
    """
    device = next(network.parameters()).device
    moving, fixed = (window.to(window.clip(v), SIGNED) for v in (fake, case["cta"]))
    if dims == "3d":
        pairs = [(moving[None, None], fixed[None, None])]
    else:
        cuts = [slice(start, start + batch) for start in range(0, len(fake), batch)]
        pairs = [(moving[cut, None], fixed[cut, None]) for cut in cuts]
    flow = torch.cat([network(a.to(device), b.to(device)).to(fake.device) for a, b in pairs])
    masks = case["is/body"][None, None] if dims == "3d" else case["is/body"][:, None]
    images = fake[None, None] if dims == "3d" else fake[:, None]
    target = case["cta"][None, None] if dims == "3d" else case["cta"][:, None]
    report = {
        "mae_before": float((images - target).abs()[masks].mean()),
        "mae_after": float((warp(images, flow) - target).abs()[masks].mean()),
    }
    report |= diagnose.flow_vitals(flow, mask=masks)
    if "flow" in case:
        true = case["flow"][None] if dims == "3d" else case["flow"][1:].transpose(0, 1)
        for name, found in (("error", flow), ("error_of_zero_flow", torch.zeros_like(flow))):
            distance = (found - true).square().sum(1, keepdim=True).sqrt()
            report[name] = float(distance[masks].mean())
    return report
