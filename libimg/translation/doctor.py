"""Measure what decides why a translation stays blurred: quick tests of its networks."""

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor, nn

from libimg import diagnose, losses, metrics
from libimg.ranges import SIGNED
from libimg.registration import warp
from libimg.train import Phase, value_at
from libimg.translation.ct import CtConfig, draw_batch, hold_out
from libimg.translation.steps import (
    Losses,
    discriminator_loss,
    generate,
    generator_terms,
    middle,
    register,
    weighted_sum,
)

__all__ = ["examine_networks"]

Networks = Mapping[str, nn.Module]
Cases = Mapping[str, dict[str, Tensor]]


def examine_networks(
    networks: Networks,
    start: Networks,
    cases: Cases,
    *,
    make: Callable[[str], nn.Module],
    config: CtConfig,
    phase: Phase,
    epoch: float,
    how: Losses,
    maker_step: Callable[..., dict[str, Tensor]] = generator_terms,
    judge_step: Callable[..., dict[str, Tensor]] = discriminator_loss,
    patches: int = 32,
    steps: int = 200,
    seed: int = 0,
) -> tuple[dict[str, float], dict[str, str]]:
    """Run the quick tests of a trained G, R and D; the weights stay as they are.

    The two steps are those that train, so that what is wrong in the code between the networks
    shows as well.

    Args:
        networks: all networks of the run, trained; left in eval mode.
        start: the same networks with their first weights.
        cases: of training and validation, see `ct_pairs`.
        make: builds a fresh network by its name.
        config: how the cases are split and cut.
        phase: that the run is in.
        epoch: how far the run is; the weights of the losses follow from it.
        how: see `Losses`.
        maker_step: computes the terms of G and R.
        judge_step: computes the loss of D.
        patches: patches of held-out cases that are looked at; twice as many to train on.
        steps: training steps of each test that trains a fresh network.
        seed: of the patches and of the fresh networks.

    Returns:
        The numbers by name, as `libimg.diagnose.BLUR_CHECKS` knows them, and what could not be
        measured with the reason.

    Example:
        >>> from libimg.translation import CtConfig, NetworksConfig, build_networks, ct_pairs
        >>> config = CtConfig(
        ...     train_cases=1, val_cases=1, shape=(8, 24, 24), size=(24, 24), motion=(0, 1, 1)
        ... )
        >>> make = lambda name: build_networks(NetworksConfig(), spatial_dims=2)[name]
        >>> networks = {name: make(name) for name in ("G", "D")}
        >>> numbers, notes = examine_networks(
        ...     networks,
        ...     networks,
        ...     ct_pairs(config),
        ...     make=make,
        ...     config=config,
        ...     phase=Phase(name="GAN", epochs=1, train=("G", "D"), weights={"l1": 1}),
        ...     epoch=0,
        ...     how=Losses(),
        ...     patches=2,
        ...     steps=1,
        ... )
        >>> numbers["weight_change/D"], numbers["identity/psnr"], numbers["R/on"]
        (0.0, inf, 0.0)
        >>> [f.cause.name for f in diagnose.find_causes(numbers, diagnose.BLUR_CAUSES)][0]
        'D does not learn'
    """
    generator = torch.Generator().manual_seed(seed)
    learn, watch = hold_out(cases, count=config.val_cases)
    batch = draw_batch(replace(config, batch=patches), watch, generator=generator)
    lesson = draw_batch(replace(config, batch=2 * patches), learn, generator=generator)
    active = {n: network.eval() for n, network in networks.items() if n in phase.networks}
    weights = {name: value_at(value, epoch) for name, value in phase.weights.items()}
    with torch.no_grad():
        y = generate(active, batch["input"])
    numbers, notes = _baseline(y, batch, learn, config), dict[str, str]()
    for name in set(phase.train) & active.keys():
        numbers[f"weight_change/{name}"] = diagnose.weight_change(active[name], start[name])
    numbers |= _alignment(active, y, batch)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        numbers |= _architecture(make, active, lesson, batch, config, how, steps, generator)
    gone = "is off, or no part of the phase that the run is in"
    if "R" not in active:
        notes["R/..., flow/..., alignment/after"] = f"R {gone}"
    if "D" not in active:
        notes["D/..., wiring/..., gradient/..."] = f"D {gone}"
        return numbers, notes
    terms = partial(maker_step, active, batch=batch, weights=weights, how=how)
    step = partial(judge_step, active, y, batch, {}, how=how)
    numbers |= _judging(active["D"], y, batch, step, terms)
    if not how.conditional:
        notes["D/shift_reaction"] = "D is not conditional"
    if set(phase.train) - {"D"}:
        numbers |= _pull(active, y, batch, weights, terms)
    else:
        notes["gradient/..."] = "D alone trains in the phase that the run is in"
    return numbers, notes


def _baseline(
    y: Tensor, batch: Mapping[str, Tensor], learn: Cases, config: CtConfig
) -> dict[str, float]:
    """Compare with a table that sees one voxel at a time, and the target with its HU."""
    table = diagnose.fit_lookup_table(
        [(case["input"], case["target"], case["is/body"]) for case in learn.values()],
        value_range=SIGNED,
    )
    psnr = partial(metrics.psnr, target=batch["target"], data_range=SIGNED, mask=batch["body"])
    wrong = [
        (case["target"] - config.hu.to(config.hu.clip(case["cta"]), SIGNED)).abs().mean()
        for case in learn.values()
    ]
    sharpness = metrics.sharpness_ratio(y, batch["target"], mask=batch["body"])
    values = diagnose.range_probe(batch["target"], y, lo=SIGNED.lo, hi=SIGNED.hi)
    return {
        "sharpness/body": float(sharpness.nanmean()),
        "baseline/gain_db": float((psnr(y) - psnr(table(middle(batch["input"])))).nanmean()),
        "range/window_error": float(torch.stack(wrong).mean()),
        **{f"range/{name}": value for name, value in values.items()},
    }


def _alignment(networks: Networks, y: Tensor, batch: Mapping[str, Tensor]) -> dict[str, float]:
    """Measure how far picture and target lie apart, before and after R."""
    side = min(y.shape[2:])
    search = partial(diagnose.local_shifts, reach=3, block=min(16, side - 6), mask=batch["body"])
    found = search(y, batch["target"])
    numbers = {"alignment/before": found["shift"], "alignment/gain": found["gain"]}
    numbers["R/on"] = float("R" in networks)
    if "R" in networks:
        with torch.no_grad():
            out = register(networks, y, batch["target"])
        known = partial(diagnose.known_shift_probe, networks["R"], batch["target"])
        numbers["alignment/after"] = search(out["moved"], batch["target"])["shift"]
        numbers["R/shift_error"] = known(shift=3.0, mask=batch["body"])["error"]
        numbers["R/recovered"] = known(shift=1.0, mask=batch["body"])["recovered"]
        vitals = diagnose.flow_vitals(out["flow"], mask=batch["body"])
        numbers |= {f"flow/{name}": value for name, value in vitals.items()}
        numbers["flow/roughness"] = float(losses.flow_smoothness(out["flow"]).mean())
    return numbers


def _architecture(
    make: Callable[[str], nn.Module],
    networks: Networks,
    lesson: Mapping[str, Tensor],
    batch: Mapping[str, Tensor],
    config: CtConfig,
    how: Losses,
    steps: int,
    generator: torch.Generator,
) -> dict[str, float]:
    """Train a fresh G to copy, and a fresh D to see blur."""
    copied = diagnose.identity_probe(
        partial(make, "G"),
        lesson["target"],
        batch["target"],
        data_range=SIGNED,
        channels=config.channels,
        steps=steps,
        generator=generator,
    )
    numbers = {f"identity/{name}": value for name, value in copied.items()}
    if "D" in networks:
        numbers["D/blur_auc_fresh"] = diagnose.blur_probe(
            partial(make, "D"),
            how.seen(lesson, lesson["target"]),
            how.seen(batch, batch["target"]),
            steps=steps,
            rate=2e-3,
            generator=generator,
        )
    return numbers


def _judging(
    judge: nn.Module,
    y: Tensor,
    batch: Mapping[str, Tensor],
    step: Callable[[], object],
    terms: Callable[..., object],
) -> dict[str, float]:
    """See what D gets, and what it reacts to."""
    with torch.no_grad():
        real, fake = diagnose.inputs_seen(judge, step)[:2]
        # a motion that only a wrong wire can bring to D
        flow = torch.full_like(y[:, :1], 1.5).repeat(1, y.ndim - 2, *[1] * (y.ndim - 2))
        out = {"y": y, "flow": flow, "moved": warp(y, flow)}
        made = diagnose.inputs_seen(judge, partial(terms, out))
    deviation = float(batch["target"].std())
    numbers = {"wiring/real": _rescaled(real[:, -1:], batch["target"])}
    numbers["wiring/fake"] = max(_distance(x, y, deviation) for x in (fake, *made))
    cues = diagnose.cue_probe(judge, real, fake)
    numbers |= {f"D/{name}": cues[name] for name in ("auc", "plateaus", "levels")}
    numbers["D/plateau_drop"] = cues["auc"] - cues["without_plateaus"]
    numbers["D/level_drop"] = cues["auc"] - cues["without_levels"]
    numbers["D/blur_auc"] = diagnose.blur_auc(judge, real)
    if real.shape[1] > 1:
        numbers["D/shift_reaction"] = abs(2 * diagnose.shift_auc(judge, real) - 1)
    return numbers


def _pull(
    networks: Networks,
    y: Tensor,
    batch: Mapping[str, Tensor],
    weights: Mapping[str, float],
    terms: Callable[..., dict[str, Tensor]],
) -> dict[str, float]:
    """Measure how strongly D pulls at the picture, beside all other losses."""
    weight = weights.get("adversarial", 0.0)
    numbers = {"weight/adversarial": weight, "gradient/ratio_body": 0.0}
    if not weight:
        return numbers
    y = y.clone().requires_grad_()
    found = terms(register(networks, y, batch["target"]))
    ratios = diagnose.gradient_vitals(
        weighted_sum(found, weights, only="adversarial"),
        weighted_sum(found, weights, without="adversarial feature"),
        y,
        masks={"body": batch["body"], "lung": batch["lung"], "all": torch.ones_like(y)},
    )
    numbers |= {f"gradient/ratio_{name}": value for name, value in ratios.items()}
    return numbers | {"gradient/reaches": float(ratios["all"] > 0)}


def _rescaled(seen: Tensor, expected: Tensor) -> float:
    """How far the best line from what D should get to what it got is from the identity.

    Voxels at the ends of what D got are left out: a clipped picture is not a rescaled one.
    """
    if seen.shape != expected.shape:
        return math.inf
    inside = (seen > seen.min()) & (seen < seen.max())
    x, y = expected[inside].double(), seen[inside].double()
    spread = (x - x.mean()).square().sum()
    if not spread > 0:
        return math.inf
    gain = float(((x - x.mean()) * (y - y.mean())).sum() / spread)
    return abs(gain - 1) + abs(float(y.mean()) - gain * float(x.mean()))


def _distance(seen: Tensor, expected: Tensor, deviation: float) -> float:
    """Mean distance of what D got from what it should get, over the spread of the target."""
    if seen[:, -1:].shape != expected.shape:
        return math.inf
    return float((seen[:, -1:] - expected).abs().mean()) / max(deviation, 1e-9)
