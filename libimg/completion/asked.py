"""What models are asked: a case, and the classes that they may see of it."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool
from torch import Tensor

from libimg.completion.batches import Drop, draw_observed
from libimg.completion.cases import Case

__all__ = ["Question", "questions"]


@dataclass(frozen=True)
class Question:
    """A case and the classes that a model may see of it.

    Attributes:
        case: with its labels.
        observed: ``(k,)``.
        name: of the question, different for each.

    Example:
        >>> from libimg.completion import phantom_case
        >>> case = phantom_case()
        >>> Question(case, case.labelled, "all of heart_0").name
        'all of heart_0'
    """

    case: Case
    observed: Bool[Tensor, " k"]
    name: str


def questions(cases: Sequence[Case], *, drop: Drop, each: int = 1, seed: int = 0) -> list[Question]:
    """Fix what a model is asked: the same for every model, by seed and name of the case.

    Args:
        cases: to be completed.
        drop: which classes are taken away.
        each: questions for each case.
        seed: of the draws.

    Example:
        >>> from libimg.completion import phantom_case
        >>> drop = Drop(fewest=1, most=1, scheme_share=0)
        >>> [q.name for q in questions([phantom_case()], drop=drop, each=2)]
        ['heart_0 (1) without Myocardium', 'heart_0 (2) without Coronary']
    """
    found = []
    for number, case in enumerate(cases):
        for turn in range(each):
            generator = torch.Generator().manual_seed(1000 * (seed + number) + turn)
            observed = draw_observed(case, drop, generator=generator)
            missing = [n for n, o in zip(case.classes, observed, strict=True) if not o]
            less = f" without {', '.join(missing)}" if missing else ""
            number_of = f" ({turn + 1})" if each > 1 else ""
            found.append(Question(case, observed, f"{case.name}{number_of}{less}"))
    return found
