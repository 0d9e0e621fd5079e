"""Several completions of one input: where they differ, and whether the truth lies among them."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from libimg import diagnose, metrics
from libimg.completion.asked import Question
from libimg.completion.evaluate import encode_case
from libimg.completion.model import Completer

__all__ = ["fit_spread", "sample_scores"]

SPREADS = (1.0, 1.5, 2.0, 3.0, 4.0, 6.0)


@torch.no_grad()
def sample_scores(
    model: Completer,
    asked: Sequence[Question],
    *,
    inputs: int,
    number: int = 8,
    points: int = 512,
    seed: int = 0,
) -> dict[str, Any]:
    """Draw several completions of each case: do they spread where it is unknown, and how well?

    Measured at points near each class, on the distances to that class, up to the band.

    Args:
        model: with a flow, or a KL bottleneck.
        asked: questions.
        inputs: points that the model gets.
        number: completions of each, at least 2.
        points: places near each class.
        seed: of the draws.

    Returns:
        ``observed`` and ``completed``: ``spread_mm`` (standard deviation of the draws),
        ``error_mm`` of their mean, ``best_mm`` (the best draw's), ``coverage`` of the truth by
        the draws (``coverage_if_calibrated`` beside it) and ``correlation`` of error and spread.

    Raises:
        ValueError: ``number`` is below 2, which have no spread.

    Example:
        >>> from libimg.completion import Drop, learn_shape, phantom_case, questions
        >>> from libimg.nets import LatentFlow, VecSetAutoencoder
        >>> net, case = VecSetAutoencoder.preset("tiny", classes=10), phantom_case()
        >>> flow = LatentFlow(channels=net.latent_channels, latents=net.latents)
        >>> model = Completer(net, grid=16, flow=flow).eval()
        >>> learn_shape(model, [case])
        >>> asked = questions([case], drop=Drop(fewest=2, most=2))
        >>> found = sample_scores(model, asked, inputs=64, number=3, points=20)
        >>> found["coverage_if_calibrated"], sorted(found["completed"])[:3]
        (0.5, ['best_mm', 'correlation', 'coverage'])
    """
    _several(number)
    rows: dict[str, dict[str, dict[str, float]]] = {"observed": {}, "completed": {}}
    for q in asked:
        case = q.case
        latent, middle = encode_case(model, case, q.observed, inputs=inputs, seed=seed)
        generator = torch.Generator().manual_seed(seed)
        codes = model.sample(latent, number=number, generator=generator)
        for own, class_name in enumerate(case.classes):
            if not bool(case.present[own]):
                continue
            places = case.near[own, :points] - middle
            which = torch.full((len(places), 1), own)
            drawn = _distances(model, codes, places, which, q)
            truth = case.near_mm[own, :points, own]
            error = (drawn.mean(0) - truth).abs()
            correlation = metrics.error_variance_correlation(drawn[None], truth[None])
            rows["observed" if bool(q.observed[own]) else "completed"][
                f"{q.name}: {class_name}"
            ] = {
                "spread_mm": float(drawn.std(0).mean()),
                "error_mm": float(error.mean()),
                "best_mm": float((drawn - truth).abs().mean(1).min()),
                "coverage": float(metrics.coverage(drawn[None], truth[None])),
                "correlation": float(correlation),
            }
    means = {
        group: {name: value["mean"] for name, value in diagnose.summarise(found).items()}
        for group, found in rows.items()
    }
    return {**means, "samples": number, "coverage_if_calibrated": (number - 1) / (number + 1)}


@torch.no_grad()
def fit_spread(
    model: Completer,
    asked: Sequence[Question],
    *,
    inputs: int,
    number: int = 8,
    points: int = 128,
    seed: int = 0,
) -> float:
    """Choose how many times farther apart draws are put, and set it in ``model.shape.spread``.

    A model trained on few cases draws hearts that are too alike. The factor with the least
    continuous ranked probability score on cases that were not trained on is the honest repair:
    the score rewards a spread that is due, and no more. It cannot repair a bias, nor make the
    draws differ in ways that the model does not know.

    Args:
        model: with a flow, or a KL bottleneck.
        asked: questions about validation cases.
        inputs: points that the model gets.
        number: completions of each, at least 2.
        points: places near each completed class (each class, if none is completed).
        seed: of the draws.

    Returns:
        The factor, from 1 to 6.

    Raises:
        ValueError: ``number`` is below 2, which have no spread.

    Example:
        >>> from libimg.completion import Drop, learn_shape, phantom_case, questions
        >>> from libimg.nets import LatentFlow, VecSetAutoencoder
        >>> net, case = VecSetAutoencoder.preset("tiny", classes=10), phantom_case()
        >>> flow = LatentFlow(channels=net.latent_channels, latents=net.latents)
        >>> model = Completer(net, grid=16, flow=flow).eval()
        >>> learn_shape(model, [case])
        >>> asked = questions([case], drop=Drop(fewest=2, most=2))
        >>> fit_spread(model, asked, inputs=64, number=2, points=20)
        1.0

    Reference:
        Gneiting and Raftery, Strictly proper scoring rules, JASA 102, 2007, equation 21, with
        the unbiased mean over pairs of draws.
    """
    _several(number)
    scores = dict.fromkeys(SPREADS, 0.0)
    for q in asked:
        case = q.case
        wanted = case.present & ~q.observed
        own = (wanted if bool(wanted.any()) else case.present).nonzero()[:, 0].tolist()
        latent, middle = encode_case(model, case, q.observed, inputs=inputs, seed=seed)
        places = torch.cat([case.near[c, :points] for c in own]) - middle
        which = torch.tensor(own).repeat_interleave(min(points, case.near.shape[1]))[:, None]
        truth = torch.cat([case.near_mm[c, :points, c] for c in own])
        generator = torch.Generator().manual_seed(seed + 1)
        about, away = model.deviations(latent, number=number, generator=generator)
        for spread in scores:
            drawn = _distances(model, about + spread * away, places, which, q)
            error = (drawn - truth).abs().mean()
            apart = (drawn[:, None] - drawn).abs().sum((0, 1)).mean() / (number * (number - 1))
            scores[spread] += float(error - apart / 2)
    best = min(scores, key=lambda spread: scores[spread])
    model.shape.spread.fill_(best)
    return best


def _several(number: int) -> None:
    if number < 2:
        msg = f"number must be 2 or more draws, or there is no spread, got {number}"
        raise ValueError(msg)


def _distances(
    model: Completer, codes: Tensor, places: Tensor, which: Tensor, question: Question
) -> Tensor:
    """Distances in mm of the draws at places, each to its own class: ``(draws, places)``."""
    half, band = question.case.sampling.half_mm, question.case.sampling.band_mm
    wide = places[None].expand(len(codes), -1, -1).to(codes)
    found = model.decode(codes, wide).cpu() * half
    return found.gather(2, which[None].expand(len(codes), -1, -1))[..., 0].clamp(-band, band)
