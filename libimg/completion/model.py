"""The network that completes: mean shape plus a correction, in the frame of what is observed."""

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from libimg.completion.cases import Case
from libimg.completion.centre import Centre, class_centroids, fit_centre
from libimg.completion.fields import best_levels, coarse_fields, mean_fields, read_coarse
from libimg.nets import Latent, LatentFlow, VecSetAutoencoder, sample_flow
from libimg.shapes import farthest_points

__all__ = ["Completer", "MeanShape", "learn_shape"]


class MeanShape(nn.Module):
    """Mean fields on a coarse grid, where each class lies from the middle; nothing to train.

    It also keeps how many times farther apart draws are put than the model would: 1, or what
    `fit_spread` found; and the level of each class's surface in mm: 0, or what `fit_levels` found.

    Args:
        classes: how many there are.
        grid: voxels along each side of the cube.

    Example:
        >>> shape = MeanShape(classes=2, grid=4)
        >>> shape.fill(torch.full((2, 4, 4, 4), 0.1), Centre(torch.zeros(2, 3), torch.ones(2)))
        >>> shape(torch.zeros(1, 1, 3))
        tensor([[[0.1000, 0.1000]]])
    """

    mean: Tensor
    offsets: Tensor
    weights: Tensor
    spread: Tensor
    levels: Tensor

    def __init__(self, *, classes: int, grid: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(classes, grid, grid, grid))
        self.register_buffer("offsets", torch.zeros(classes, 3))
        self.register_buffer("weights", torch.zeros(classes))
        self.register_buffer("spread", torch.ones(()))
        self.register_buffer("levels", torch.zeros(classes))

    def fill(self, mean: Float[Tensor, "k g g g"], centre: Centre) -> None:
        """Set the mean fields, in the unit of the cube, and the centre of the training cases."""
        self.mean.copy_(mean)
        self.offsets.copy_(centre.offsets)
        self.weights.copy_(centre.weights)

    @property
    def centre(self) -> Centre:
        """Where the classes lie from the middle."""
        return Centre(self.offsets.cpu(), self.weights.cpu())

    def forward(self, queries: Float[Tensor, "b q 3"]) -> Float[Tensor, "b q k"]:
        """Mean distances at points; outside the cube those at its nearest face."""
        return torch.stack([read_coarse(self.mean, part.to(self.mean)) for part in queries])


class Completer(nn.Module):
    """An autoencoder of shapes whose answer is added to the mean shape.

    The autoencoder's last layer begins at zero, so an untrained completer is the mean shape at
    the middle that is told from the observed classes: all that it learns comes on top of that.

    Args:
        net: between points and distances.
        grid: side of the coarse mean fields.
        flow: draws latents of whole hearts, given those of partial ones; None for one answer.

    Example:
        >>> net = VecSetAutoencoder.preset("tiny", classes=2)
        >>> model = Completer(net, grid=4)
        >>> model.shape.fill(torch.full((2, 4, 4, 4), 0.1), model.shape.centre)
        >>> points, classes = torch.rand(1, 8, 3), torch.zeros(1, 8, dtype=torch.long)
        >>> seen = torch.tensor([[True, False]])
        >>> model(points, classes, torch.zeros(1, 1, 3), presence=seen)[0].detach()
        tensor([[[0.1000, 0.1000]]])
    """

    def __init__(
        self, net: VecSetAutoencoder, *, grid: int, flow: LatentFlow | None = None
    ) -> None:
        super().__init__()
        self.net, self.flow = net, flow
        self.shape = MeanShape(classes=net.classes, grid=grid)

    def parts(self) -> dict[str, nn.Module]:
        """Return what a checkpoint holds, by name."""
        own: dict[str, nn.Module] = {"net": self.net, "shape": self.shape}
        return own if self.flow is None else own | {"flow": self.flow}

    def encode(
        self,
        points: Float[Tensor, "b n 3"],
        classes: Int[Tensor, "b n"],
        *,
        presence: Bool[Tensor, "b k"],
    ) -> Latent:
        """Encode points of the observed classes; latents that begin as points begin far apart."""
        anchors = None
        if self.net.queries == "points":
            anchors = farthest_points(points.float(), self.net.latents)
        return self.net.encode(points, classes, presence=presence, anchors=anchors)

    def decode(
        self,
        latent: Float[Tensor, "b m c"],
        queries: Float[Tensor, "b q 3"],
        *,
        chunk: int | None = None,
    ) -> Float[Tensor, "b q k"]:
        """Distances of all classes at points, unit of the cube, negative inside.

        Args:
            latent: of the autoencoder.
            queries: in the cube around the middle.
            chunk: queries at once.
        """
        features = self.net.expand(latent)
        parts = queries.split(chunk, 1) if chunk else (queries,)
        out = [self.shape(part) + self.net.read(features, part).float() for part in parts]
        return torch.cat(out, 1)

    def forward(
        self,
        points: Float[Tensor, "b n 3"],
        classes: Int[Tensor, "b n"],
        queries: Float[Tensor, "b q 3"],
        *,
        presence: Bool[Tensor, "b k"],
        generator: torch.Generator | None = None,
    ) -> tuple[Float[Tensor, "b q k"], Latent]:
        """Complete: distances at the queries, and the latents.

        Args:
            points: of the observed classes, in the cube around the middle.
            classes: of the points.
            queries: where to answer.
            presence: observed classes.
            generator: of a KL bottleneck's draw in training, on the device of the points.
        """
        latent = self.encode(points, classes, presence=presence)
        code = latent.sample(generator) if self.training else latent.mean
        return self.decode(code, queries), latent

    def sample(
        self, latent: Latent, *, number: int, generator: torch.Generator, steps: int = 16
    ) -> Float[Tensor, "n m c"]:
        """Draw latents of whole hearts for one partial one.

        By the flow if there is one; else from the Gaussians of a KL bottleneck. Each draw is then
        put ``shape.spread`` times as far from their middle.

        Args:
            latent: of one case.
            number: of draws.
            generator: of the draws, on the CPU.
            steps: of the flow.

        Raises:
            ValueError: there is neither, so that all draws would be the same.
        """
        middle, away = self.deviations(latent, number=number, generator=generator, steps=steps)
        return middle + self.shape.spread.to(away) * away

    @torch.no_grad()
    def deviations(
        self, latent: Latent, *, number: int, generator: torch.Generator, steps: int = 16
    ) -> tuple[Float[Tensor, "1 m c"], Float[Tensor, "n m c"]]:
        """Middle of all draws (of a flow: of 16 others, always the same), and draws less it.

        Args:
            latent: see `sample`, as are the others.
            number: see ``latent``.
            generator: see ``latent``.
            steps: see ``latent``.

        Raises:
            ValueError: there is neither a flow nor a KL bottleneck.
        """
        mean, flow = latent.mean, self.flow
        if flow is None:
            if latent.logvar is None:
                msg = "this network gives one answer: train with a flow, or with bottleneck kl"
                raise ValueError(msg)
            draw = torch.randn((number, *mean.shape[1:]), generator=generator).to(mean)
            return mean, draw * (0.5 * latent.logvar).exp()

        def draws(count: int, source: torch.Generator) -> Tensor:
            if mean.device.type != "cpu":
                seed = int(torch.randint(2**31, (1,), generator=source))
                source = torch.Generator(mean.device).manual_seed(seed)
            return sample_flow(flow, mean.expand(count, -1, -1), steps=steps, generator=source)

        middle = draws(16, torch.Generator().manual_seed(0)).mean(0, keepdim=True)
        return middle, draws(number, generator) - middle


def learn_shape(model: Completer, cases: Sequence[Case]) -> None:
    """Set mean fields and centre from training cases; what the model knows already stays.

    So a model that goes on with another data set keeps its frame, and only learns where the new
    classes lie.

    Args:
        model: new, or with classes of an earlier training.
        cases: with their grids, whose size is the model's.

    Example:
        >>> from libimg.completion import phantom_case
        >>> model = Completer(VecSetAutoencoder.preset("tiny", classes=10), grid=16)
        >>> learn_shape(model, [phantom_case().restrict(["LV", "RV"])])
        >>> (model.shape.weights > 0).nonzero()[:, 0]
        tensor([2, 4])
    """
    shape = model.shape
    known = shape.weights.cpu() > 0
    fresh = fit_centre([_seen(case) for case in cases])
    centre = shape.centre if bool(known.any()) else fresh
    fields, places = [], []
    for case in cases:
        middle = centre(_seen(case), case.labelled)
        field = coarse_fields(case, middle)
        field[~case.labelled] = torch.nan
        fields.append(field)
        places.append(_seen(case) - middle)
    half, band = cases[0].sampling.half_mm, cases[0].sampling.band_mm
    mean = mean_fields(fields, band=band)
    mean = (mean - best_levels((mean for _ in fields), fields)[:, None, None, None]) / half
    offsets = torch.stack(places).nanmean(0).nan_to_num(0.0)
    centre = Centre(
        torch.where(known[:, None], shape.offsets.cpu(), offsets),
        torch.where(known, shape.weights.cpu(), fresh.weights),
    )
    shape.fill(torch.where(known[:, None, None, None], shape.mean.cpu(), mean), centre)


def _seen(case: Case) -> Tensor:
    """Centroids of the present labelled classes, NaN for the others."""
    return torch.where(case.present[:, None], class_centroids(case.surface), torch.nan)
