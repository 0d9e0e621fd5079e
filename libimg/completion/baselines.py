"""What any network has to beat: mean shape, nearest case, a linear shape model."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from libimg.completion.batches import observed_middle
from libimg.completion.cases import Case
from libimg.completion.centre import Centre
from libimg.completion.fields import best_levels, coarse_fields, mean_fields

__all__ = ["Baselines", "fit_baselines"]

RIDGES = (1e-4, 1e-3, 1e-2, 3e-2, 0.1, 0.3, 1.0, 3.0, 10.0)
LEVELLED = 48  # training cases that set the linear model's level


@dataclass(frozen=True)
class Baselines:
    """Coarse fields of the training cases, all around their estimated middles.

    Each answer uses the observed classes of a case alone, at the middle estimated from them: what
    the network has, too. Means of distances are too small: the mean shape and the linear model
    are taken at the level that suits the training cases best (`best_levels`).

    Attributes:
        mean: ``(k, g, g, g)`` mm.
        levels: ``(k,)`` mm, of the mean's surfaces.
        rest: ``(n, k, g, g, g)`` the cases less the mean, 0 where unlabelled.
        gram: ``(k, n, n)`` products of the rests, class by class, mean over voxels.
        labelled: ``(n, k)``.
        centre: of the training cases.

    Example:
        >>> from libimg.completion import fit_centre, phantom_case
        >>> cases = [phantom_case(seed, spacing_mm=8.0) for seed in range(2)]
        >>> baselines = fit_baselines(cases, fit_centre([c.surface.mean(1) for c in cases]))
        >>> middle = observed_middle(cases[0], cases[0].labelled, baselines.centre)
        >>> found = baselines(coarse_fields(cases[0], middle), cases[0].labelled)
        >>> [(row, tuple(fields.shape)) for row, fields in found.items()][:2]
        [('mean shape', (10, 16, 16, 16)), ('nearest case', (10, 16, 16, 16))]
    """

    mean: Float[Tensor, "k g g g"]
    levels: Float[Tensor, " k"]
    rest: Float[Tensor, "n k g g g"]
    gram: Float[Tensor, "k n n"]
    labelled: Bool[Tensor, "n k"]
    centre: Centre

    def __call__(
        self, fields: Float[Tensor, "k g g g"], observed: Bool[Tensor, " k"]
    ) -> Mapping[str, Float[Tensor, "k g g g"]]:
        """Complete a case.

        Args:
            fields: `coarse_fields` of the case at its estimated middle; only observed classes
                are read.
            observed: which those are.

        Returns:
            ``"mean shape"``, ``"nearest case"`` and ``"linear model"``: fields of all classes.
            A class that the nearest case has no labels of comes from the mean.
        """
        seen = observed & self.labelled.any(0)
        delta = torch.where(seen[:, None, None, None], fields - self.mean, 0).flatten(1)
        size = delta.shape[1]
        cross = torch.stack([(r.flatten(1) * delta).sum(1) for r in self.rest]) / size
        near = self.gram.diagonal(dim1=1, dim2=2).T - 2 * cross + delta.square().mean(1)
        both = self.labelled & seen
        distance = torch.where(both, near, 0).sum(1) / both.sum(1)
        first = int(torch.where(both.any(1), distance, torch.inf).argmin())
        nearest = self.mean + self.rest[first]
        return {
            "mean shape": self.mean - self.levels[:, None, None, None],
            "nearest case": nearest,
            "linear model": self._linear(seen, torch.where(seen, cross, 0).sum(1)),
        }

    def _linear(self, seen: Tensor, cross: Tensor) -> Tensor:
        """Mean and a weighted sum of cases, at the level that suits them with each left out."""
        weights, left = self._ridge(seen, cross)
        linear: Tensor = self.mean + torch.tensordot(weights, self.rest, 1)
        some = slice(LEVELLED)
        share = (left / left.diagonal()[:, None].clamp(min=1e-6)).to(self.rest.dtype)[some]
        truths = (self._truth(i) for i in range(len(self.rest))[some])
        guesses = (
            self.mean + r - torch.tensordot(s, self.rest, 1)
            for r, s in zip(self.rest[some], share, strict=True)
        )
        return linear - best_levels(guesses, truths)[:, None, None, None]

    def _truth(self, index: int) -> Tensor:
        """Field of a training case, NaN where unlabelled."""
        known = self.labelled[index][:, None, None, None]
        return torch.where(known, self.mean + self.rest[index], torch.nan)

    def _ridge(self, seen: Tensor, cross: Tensor) -> tuple[Tensor, Tensor]:
        """Weights of the cases, and what they leave of each; least leave-one-out error decides."""
        n = len(self.rest)
        inside = self.gram[seen].sum(0).double()
        others = ~seen & self.labelled.any(0)
        outside = self.gram[others if bool(others.any()) else seen].sum(0).double()
        scale, unit = inside.diagonal().mean().clamp(min=1e-12), torch.eye(n, dtype=torch.float64)
        best = (torch.inf, torch.zeros(n, dtype=torch.float64), unit)
        for ridge in RIDGES:
            inverse = torch.linalg.inv(inside + ridge * scale * unit)
            left = unit - 1 / n - inside @ inverse  # 1 / n: the mean knows each case, too
            error = (left @ outside @ left.T).diagonal() / left.diagonal().square().clamp(min=1e-12)
            if float(error.mean()) < best[0]:
                best = (float(error.mean()), inverse @ cross.double(), left)
        return best[1].to(cross.dtype), best[2]


def fit_baselines(cases: Sequence[Case], centre: Centre, *, most: int = 256) -> Baselines:
    """Collect the coarse fields of the training cases.

    The linear model is a principal component analysis of all fields together, with the
    coefficients of highest probability given the observed classes (ridge regression); it is
    written with the cases themselves instead of their components, which is the same and lets the
    ridge be chosen by leaving one case out.

    Args:
        cases: with grids of one size.
        centre: of the training cases.
        most: cases that are used; the first ones if there are more.

    Raises:
        ValueError: there is no case, or the grids differ.

    Example:
        >>> from libimg.completion import fit_centre, phantom_case
        >>> cases = [phantom_case(seed, spacing_mm=8.0) for seed in range(2)]
        >>> fit_baselines(cases, fit_centre([c.surface.mean(1) for c in cases])).gram.shape
        torch.Size([10, 2, 2])
    """
    sizes = {case.sampling.grid for case in cases}
    if len(sizes) != 1:
        msg = f"cases: expected some with grids of one size, got sizes {sorted(sizes)}"
        raise ValueError(msg)
    used = cases[:most]
    band = used[0].sampling.band_mm
    fields = [coarse_fields(c, observed_middle(c, c.labelled, centre)) for c in used]
    for field, case in zip(fields, used, strict=True):
        field[~case.labelled] = torch.nan
    mean = mean_fields(fields, band=band)
    levels = best_levels((mean for _ in fields), fields)
    rest = torch.stack([torch.where(f.isfinite(), f - mean, 0) for f in fields])
    flat = rest.flatten(2).transpose(0, 1)
    gram = torch.stack([part @ part.T for part in flat]) / flat.shape[-1]
    labelled = torch.stack([case.labelled for case in used])
    return Baselines(mean, levels, rest, gram, labelled, centre)
