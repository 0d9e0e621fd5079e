"""Several completions of one input: where they differ, and whether the truth lies among them."""

from collections.abc import Sequence
from typing import Any

import torch

from libimg import diagnose, metrics
from libimg.completion.evaluate import Question, encode_case
from libimg.completion.model import Completer

__all__ = ["sample_scores"]


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
        number: completions of each.
        points: places near each class.
        seed: of the draws.

    Returns:
        ``observed`` and ``completed``: ``spread_mm`` (standard deviation of the draws),
        ``error_mm`` of their mean, ``best_mm`` (the best draw's), ``coverage`` of the truth by
        the draws (``coverage_if_calibrated`` beside it) and ``correlation`` of error and spread.
    """
    rows: dict[str, dict[str, dict[str, float]]] = {"observed": {}, "completed": {}}
    for q in asked:
        case, half, band = q.case, q.case.sampling.half_mm, q.case.sampling.band_mm
        latent, middle = encode_case(model, case, q.observed, inputs=inputs, seed=seed)
        generator = torch.Generator().manual_seed(seed)
        codes = model.sample(latent, number=number, generator=generator)
        for own, class_name in enumerate(case.classes):
            if not bool(case.present[own]):
                continue
            places = (case.near[own, :points] - middle)[None].expand(number, -1, -1).to(codes)
            drawn = (model.decode(codes, places)[..., own] * half).clamp(-band, band).cpu()
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
