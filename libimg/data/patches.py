"""Patches, slices and slices with their neighbours, drawn and then cut."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Shaped
from torch import Tensor

from libimg import _check

__all__ = ["Patch", "neighbours", "sample_batch", "sample_patch"]


@dataclass(frozen=True)
class Patch:
    """Where a patch lies.

    Args:
        start: first index along each spatial axis.
        size: length along each.
    """

    start: tuple[int, ...]
    size: tuple[int, ...]

    def crop(self, x: Shaped[Tensor, "..."]) -> Shaped[Tensor, "..."]:
        """Cut the patch out of the last axes of ``x``.

        Where the patch is longer than the image, the border values go on at the far end.

        Example:
            >>> Patch((1, 0), (2, 2)).crop(torch.arange(6).view(3, 2))
            tensor([[2, 3],
                    [4, 5]])
        """
        axes = range(x.ndim - len(self.size), x.ndim)
        missing = [max(n - x.shape[axis], 0) for axis, n in zip(axes, self.size, strict=True)]
        for axis, first, n in zip(axes, self.start, self.size, strict=True):
            index = torch.arange(first, first + n, device=x.device)
            if any(missing):
                x = x.index_select(axis, index.clamp(max=x.shape[axis] - 1))
            else:
                x = x.narrow(axis, first, n)
        return x


def sample_patch(shape: Sequence[int], *, size: Sequence[int], generator: torch.Generator) -> Patch:
    """Draw where a patch lies, every position being equally likely.

    Args:
        shape: spatial shape of the image.
        size: of the patch; longer than the image starts at 0.
        generator: the only source of randomness.

    Raises:
        ValueError: the two have different lengths or a size is below 1.

    Example:
        >>> sample_patch((8, 8), size=(8, 12), generator=torch.Generator())
        Patch(start=(0, 0), size=(8, 12))
    """
    if len(shape) != len(size) or min(size) < 1:
        msg = f"size must hold {len(shape)} lengths of at least 1, got {tuple(size)}"
        raise ValueError(msg)
    start = [
        int(torch.randint(max(full - part, 0) + 1, (), generator=generator))
        for full, part in zip(shape, size, strict=True)
    ]
    return Patch(tuple(start), tuple(size))


def neighbours(
    volume: Shaped[Tensor, "d h w"], index: int, *, count: int
) -> Shaped[Tensor, "n h w"]:
    """Return a slice between its neighbours, as channels (2.5-D).

    Args:
        volume: ``(d, h, w)``.
        index: the middle slice.
        count: slices on each side; beyond the ends the last slice is repeated.

    Returns:
        ``(2 * count + 1, h, w)``.

    Raises:
        ValueError: there is no such slice.

    Example:
        >>> neighbours(torch.arange(4).view(4, 1, 1), 0, count=1).flatten()
        tensor([0, 0, 1])
    """
    depth = volume.shape[0]
    if not 0 <= index < depth or count < 0:
        msg = f"index must be in [0, {depth}) and count at least 0, got {index} and {count}"
        raise ValueError(msg)
    around = torch.arange(index - count, index + count + 1, device=volume.device)
    return volume[around.clamp(0, depth - 1)]


def sample_batch(
    cases: Sequence[Mapping[str, Shaped[Tensor, "d h w"]]],
    *,
    mode: Literal["2d", "2.5d", "3d"],
    size: Sequence[int],
    batch: int,
    generator: torch.Generator,
    neighbours: int = 1,
    neighbour_keys: Sequence[str] = (),
) -> dict[str, Tensor]:
    """Draw a batch of patches, the same place in every volume of a case.

    Args:
        cases: volumes by name, all of a case in one shape.
        mode: slices, slices with neighbours, or 3-D patches.
        size: of a patch: two lengths for slices, three in 3-D.
        batch: number of patches; cases and places are drawn with replacement.
        generator: the only source of randomness.
        neighbours: slices on each side in 2.5-D.
        neighbour_keys: names that get neighbours in 2.5-D; the others give their one slice.

    Returns:
        ``(batch, c, *size)`` by name, c being 1, or 2 * neighbours + 1.

    Raises:
        ValueError: there is no case, the volumes of a case differ in shape, or ``size`` does not
            fit the mode.
    """
    _check.one_of("mode", mode, ("2d", "2.5d", "3d"))
    _check.positive(batch=batch)
    dims = 3 if mode == "3d" else 2
    if len(size) != dims or not cases:
        msg = f"expected at least one case and a size of {dims} lengths in {mode}, "
        msg += f"got {len(cases)} cases and size {tuple(size)}"
        raise ValueError(msg)
    drawn: dict[str, list[Tensor]] = {name: [] for name in cases[0]}
    for _ in range(batch):
        case = cases[int(torch.randint(len(cases), (), generator=generator))]
        _check.same_shape(**case)
        shape = next(iter(case.values())).shape
        z = int(torch.randint(shape[0], (), generator=generator))
        patch = sample_patch(shape[-dims:], size=size, generator=generator)
        for name, volume in case.items():
            if mode == "3d":
                part = volume[None]
            else:
                count = neighbours if mode == "2.5d" and name in neighbour_keys else 0
                part = _around(volume, z, count=count)
            drawn[name].append(patch.crop(part))
    return {name: torch.stack(parts) for name, parts in drawn.items()}


_around = neighbours
