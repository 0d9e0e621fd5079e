"""Scores of event denoisers from labels: rates, F1, AUC, signal to noise, relative plausibility."""

import math
from typing import Literal, NamedTuple

import torch
from jaxtyping import Bool, Float, Real
from torch import Tensor

from libimg._check import one_of, same_shape
from libimg.metrics.ranking import auc

__all__ = [
    "BestF1",
    "EventRates",
    "best_f1",
    "event_auc",
    "event_rates",
    "relative_plausibility",
    "retention",
    "signal_to_noise",
]


class EventRates(NamedTuple):
    """What a filter did to signal and to noise; a share of nothing is NaN.

    Args:
        precision: share of the kept events that are signal.
        recall: share of the signal that is kept.
        f1: harmonic mean of both; 1 if there is no signal and nothing is kept.
        noise_removed: share of the noise that is removed.
        retention: share of all events that are kept.

    Example:
        >>> EventRates(precision=0.5, recall=1, f1=2 / 3, noise_removed=0, retention=1).recall
        1
    """

    precision: float
    recall: float
    f1: float
    noise_removed: float
    retention: float


class BestF1(NamedTuple):
    """The best a threshold can do.

    Args:
        f1: highest F1 of any threshold.
        threshold: keep what scores this or more; the highest such threshold.
        precision: share of the kept events that are positive there.
        recall: share of the positive events that are kept there.

    Example:
        >>> BestF1(f1=0.5, threshold=2.0, precision=0.5, recall=0.5).threshold
        2.0
    """

    f1: float
    threshold: float
    precision: float
    recall: float


def event_rates(kept: Bool[Tensor, " n"], is_signal: Bool[Tensor, " n"]) -> EventRates:
    """Count what a filter kept of the signal and of the noise.

    Args:
        kept: which events the filter let through.
        is_signal: which events are signal.

    Raises:
        ValueError: the lengths differ.

    Example:
        >>> kept, is_signal = torch.tensor([[1, 1, 1, 0], [1, 1, 0, 0]]).bool()
        >>> event_rates(kept, is_signal)
        EventRates(precision=0.66, recall=1.0, f1=0.8, noise_removed=0.5, retention=0.75)
    """
    true, false, signal = _counts(kept, is_signal)
    noise = len(kept) - signal
    return EventRates(
        precision=_share(true, true + false),
        recall=_share(true, signal),
        f1=_share(2 * true, true + false + signal) if true + false + signal else 1.0,
        noise_removed=_share(noise - false, noise),
        retention=_share(true + false, len(kept)),
    )


def retention(kept: Bool[Tensor, " n"]) -> float:
    """Share of the events that are kept, NaN for no events; belongs beside every other score.

    Args:
        kept: which events the filter let through.

    Example:
        >>> retention(torch.tensor([True, False, False, False]))
        0.25
    """
    return _share(int(kept.sum()), len(kept))


def signal_to_noise(kept: Bool[Tensor, " n"], is_signal: Bool[Tensor, " n"]) -> float:
    """Signal over noise among the kept events, ``10·log10(TP / FP)``.

    It knows nothing of the signal that is lost: report it with the recall.

    Args:
        kept: which events the filter let through.
        is_signal: which events are signal.

    Returns:
        Decibels; infinite if no noise is kept, minus infinite if nothing but noise is, NaN if
        nothing is kept.

    Raises:
        ValueError: the lengths differ.

    Example:
        >>> signal_to_noise(torch.ones(11).bool(), torch.arange(11) > 0)
        10.0

    Reference:
        The score of DVSCLEAN in Fang et al., AEDNet: Asynchronous Event Denoising, ACM MM 2022. A
        released scorer has plus infinity where nothing is kept.
    """
    true, false, _ = _counts(kept, is_signal)
    if not true or not false:
        return math.inf if true else -math.inf if false else math.nan
    return 10 * math.log10(true / false)


def event_auc(
    scores: Real[Tensor, " n"],
    is_signal: Bool[Tensor, " n"],
    *,
    positive: Literal["signal", "noise"],
) -> float:
    """Area under the ROC curve of one score for each event.

    Args:
        scores: for instance the support of an event or a network's output; not NaN.
        is_signal: which events are signal.
        positive: the class whose scores should be high. Projects disagree: v2e labels signal as
            1, EDformer noise. The other choice gives one minus the area.

    Returns:
        A number in [0, 1], ties counting one half; NaN when a class is empty.

    Raises:
        ValueError: the lengths differ, a score is NaN, or ``positive`` is unknown.

    Example:
        >>> scores, is_signal = torch.tensor([3, 2, 1, 0]), torch.tensor([1, 0, 1, 0]).bool()
        >>> event_auc(scores, is_signal, positive="signal")
        0.75

    Reference:
        As `auc`. Areas compare within one recording and one way of adding noise only.
    """
    one_of("positive", positive, ("signal", "noise"))
    high = is_signal if positive == "signal" else ~is_signal
    scores = _checked(scores, high)
    return auc(scores[high], scores[~high])


def best_f1(scores: Real[Tensor, " n"], labels: Bool[Tensor, " n"]) -> BestF1:
    """Highest F1 of all thresholds on a score.

    The threshold is chosen with the labels in hand: it bounds what a filter can reach, and is
    none of its results.

    Args:
        scores: one for each event, not NaN.
        labels: which events should score high.

    Returns:
        NaN in every place if no event should.

    Raises:
        ValueError: the lengths differ or a score is NaN.

    Example:
        >>> best_f1(torch.tensor([4, 3, 2, 1]), torch.tensor([1, 0, 1, 0]).bool())
        BestF1(f1=0.8, threshold=2.0, precision=0.66, recall=1.0)
    """
    high, order = _checked(scores, labels).sort(descending=True)
    wanted = int(labels.sum())
    if not wanted:
        return BestF1(math.nan, math.nan, math.nan, math.nan)
    last = torch.ones_like(labels)
    last[:-1] = high[1:] != high[:-1]  # events of one score stay together
    kept = last.nonzero()[:, 0]
    true = labels[order].cumsum(0)[kept]
    f1 = 2 * true.double() / (kept + 1 + wanted)
    best = int(f1.argmax())
    hits, number = int(true[best]), int(kept[best]) + 1
    return BestF1(float(f1[best]), float(high[number - 1]), hits / number, hits / wanted)


def relative_plausibility(probability: Float[Tensor, " n"], kept: Bool[Tensor, " n"]) -> float:
    """Mean log-likelihood that a filter falls short of the best decisions (RPMD); lower is better.

    With ``L(keep) = (Σ_kept log P + Σ_dropped log(1 - P)) / n`` the result is
    ``L(P > ½) - L(kept)``: 0 for the best decisions, never below.

    Args:
        probability: chance that an event happens at this place, polarity and frame, in [0, 1]:
            the event probability mask ``min(1, τ·|J_t| / ε)`` of a frame and the camera's motion.
            One for each distinct event; merging those of one pixel, polarity and frame is up to
            the caller.
        kept: which of them the filter let through.

    Returns:
        The difference in nats an event; NaN for no events. Logarithms of 0 are taken of the
        smallest normal float64, so one impossible event costs 708.4 / n.

    Raises:
        ValueError: the lengths differ or a probability is not in [0, 1].

    Example:
        >>> probability = torch.tensor([0.9, 0.2])
        >>> relative_plausibility(probability, torch.tensor([True, True]))
        0.69

    Reference:
        Baldwin et al., Event Probability Mask and Event Denoising CNN, CVPR 2020.
    """
    same_shape(probability=probability, kept=kept)
    if not ((probability >= 0) & (probability <= 1)).all():
        msg = "probability must lie in [0, 1], got values outside or NaN"
        raise ValueError(msg)
    p = probability.detach().double()
    keep, drop = (q.clamp(min=torch.finfo(q.dtype).tiny).log() for q in (p, 1 - p))
    best = torch.where(p > 0.5, keep, drop)
    return float((best - torch.where(kept, keep, drop)).mean())


def _counts(kept: Tensor, is_signal: Tensor) -> tuple[int, int, int]:
    """Kept signal, kept noise, all signal."""
    same_shape(kept=kept, is_signal=is_signal)
    true = int((kept & is_signal).sum())
    return true, int(kept.sum()) - true, int(is_signal.sum())


def _share(part: int, whole: int) -> float:
    return part / whole if whole else math.nan


def _checked(scores: Tensor, labels: Tensor) -> Float[Tensor, " n"]:
    same_shape(scores=scores, labels=labels)
    scores = scores.detach()
    scores = scores if scores.is_floating_point() else scores.double()
    if scores.isnan().any():
        msg = f"scores must not be NaN, got {int(scores.isnan().sum())} of {len(scores)}"
        raise ValueError(msg)
    return scores
