"""Where the middle of a heart is, told from any part of it."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

__all__ = ["Centre", "class_centroids", "fit_centre"]


@dataclass(frozen=True)
class Centre:
    """Where each class lies on average from the middle of a heart, and how sure that is.

    The box of a whole heart is not known where classes are missing. So the middle is estimated
    from the classes that are there: their centroids less their mean offsets, weighted by how
    little the offset varies over the training cases. Training, evaluation and use all take this
    estimate, from the observed classes only.

    Args:
        offsets: ``(k, 3)``, from the middle to the centroid, unit of the cube.
        weights: ``(k,)``, inverse variance of the offset; 0 for a class never seen.

    Example:
        >>> centre = Centre(torch.tensor([[1.0, 0, 0], [0, 1, 0]]), torch.tensor([1.0, 3.0]))
        >>> centroids = torch.tensor([[5.0, 0.0, 0.0], [4.0, 1.0, 0.0]])
        >>> centre(centroids, torch.tensor([True, True]))
        tensor([4., 0., 0.])
    """

    offsets: Float[Tensor, "k 3"]
    weights: Float[Tensor, " k"]

    def __call__(
        self, centroids: Float[Tensor, "k 3"], observed: Bool[Tensor, " k"]
    ) -> Float[Tensor, " 3"]:
        """Estimate the middle.

        Args:
            centroids: of the classes; those that are not observed, or NaN, are not read.
            observed: classes that may be used.

        Raises:
            ValueError: no observed class has a centroid.
        """
        usable = observed & centroids.isfinite().all(1)
        if not bool(usable.any()):
            msg = "none of the observed classes has a voxel: nothing says where the heart is"
            raise ValueError(msg)
        weights = self.weights[usable].clamp(min=1e-6)
        shifts = centroids[usable] - self.offsets[usable]
        return (weights / weights.sum()) @ shifts


def class_centroids(points: Float[Tensor, "k s 3"]) -> Float[Tensor, "k 3"]:
    """Mean of the surface points of each class, NaN where there are none.

    Example:
        >>> class_centroids(torch.tensor([[[0.0, 0.0, 0.0], [2.0, 0.0, 4.0]]]))
        tensor([[1., 0., 2.]])
    """
    return points.mean(1)


def fit_centre(centroids: Sequence[Float[Tensor, "k 3"]], *, rounds: int = 20) -> Centre:
    """Fit offsets and weights to training cases, whatever classes each of them has.

    Middles and offsets are fitted in turn (Procrustes analysis with translations only), starting
    from the frames of the cases, so that cases with other label sets share one middle.

    Args:
        centroids: of each case, in its own frame, NaN where a class is missing.
        rounds: of the fit.

    Raises:
        ValueError: there is no case.

    Example:
        >>> first = torch.tensor([[0.1, 0.0, 0.0], [0.3, 0.0, 0.0]])
        >>> centre = fit_centre([first, first + 0.5])
        >>> one, other = torch.tensor([True, False]), torch.tensor([False, True])
        >>> centre(first + 2, one) - centre(first, other)
        tensor([2., 2., 2.])
    """
    if not centroids:
        msg = "centroids: expected at least one case, got none"
        raise ValueError(msg)
    places = torch.stack(list(centroids))
    there = places.isfinite().all(-1)
    filled = torch.where(there[..., None], places, 0)
    count = there.sum(0).clamp(min=1)
    offsets = filled.sum(0) / count[:, None]
    rest = filled
    for _ in range(rounds):
        # every class counts the same here: weighted by its own fit, one of them takes over
        shifts = torch.where(there[..., None], filled - offsets, 0).sum(1)
        middles = shifts / there.sum(1, keepdim=True).clamp(min=1)
        rest = torch.where(there[..., None], places - (middles - middles.mean(0))[:, None], 0)
        offsets = rest.sum(0) / count[:, None]
    spread = torch.where(there[..., None], rest - offsets, 0).square().sum((0, 2))
    # a variance of 1e-4 (1 mm) more, so that no single class decides alone
    return Centre(offsets, there.any(0) / (spread / (3 * count) + 1e-4))
