"""Surfaces of answers that are means: farther out than at 0."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from libimg.completion.asked import Question
from libimg.completion.evaluate import encode_case, field_reader
from libimg.completion.fields import best_levels
from libimg.completion.model import Completer

__all__ = ["fit_levels"]


@torch.no_grad()
def fit_levels(
    model: Completer, asked: Sequence[Question], *, inputs: int, points: int = 8192
) -> Float[Tensor, " k"]:
    """Choose the level of each class's surface, and set it in ``model.shape.levels``.

    A network that is trained for distances answers with their mean where it cannot know better,
    and the mean of surfaces that never lie at the same place is too small. Another level mends the
    size, with the highest mean Dice over the questions; the distances themselves stay as they are.
    A class that no case of the questions labels keeps the level it has.

    Args:
        model: in evaluation mode.
        asked: questions about cases of training and validation.
        inputs: points that the model gets.
        points: places in space at which each case is looked at.

    Returns:
        Millimetres outside of the model's own surface, ``(k,)``.

    Example:
        >>> from libimg.completion import Drop, learn_shape, phantom_case, questions
        >>> from libimg.nets import VecSetAutoencoder
        >>> case = phantom_case()
        >>> model = Completer(VecSetAutoencoder.preset("tiny", classes=10), grid=16).eval()
        >>> learn_shape(model, [case])
        >>> fit_levels(model, questions([case], drop=Drop(fewest=2, most=2)), inputs=64).shape
        torch.Size([10])
    """
    guesses, truths = [], []
    for question in asked:
        case = question.case
        latent, middle = encode_case(model, case, question.observed, inputs=inputs)
        half = case.sampling.half_mm
        read = field_reader(model, latent.mean, middle, half_mm=half, levelled=False)
        guesses.append(read(case.volume[:points]).T)
        truths.append(torch.where(case.labelled, case.volume_mm[:points], torch.nan).T)
    known = torch.stack([question.case.labelled for question in asked]).any(0)
    levels = best_levels(guesses, truths).to(model.shape.levels)
    levels = torch.where(known.to(levels.device), levels, model.shape.levels)
    model.shape.levels.copy_(levels)
    return levels
