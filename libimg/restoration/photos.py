"""Photographs to train and test on, and random patches of them, degraded on the way."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from libimg._extras import optional
from libimg.degradations import Degradation, DegradationParams
from libimg.io import as_gray, as_rgb, list_images, read_image

__all__ = ["Patches", "Photo", "draw_patches", "middle", "photographs"]

BUILT_IN = {
    "train": ("chelsea", "rocket", "immunohistochemistry", "retina", "hubble_deep_field", "brick",
              "grass", "gravel", "moon", "coins"),
    "test": ("astronaut", "coffee", "camera"),
}  # fmt: skip
"""Photographs that scikit-image carries."""
LONGEST = 1024  # pixels of a built-in photograph along a side: the retina is cut to its middle


class Photo(NamedTuple):
    """A clean photograph.

    Args:
        name: of its file, without suffix, with the folders above it.
        image: ``(c, h, w)`` whole levels, c 1 (gray) or 3 (RGB).

    Example:
        >>> Photo("a", torch.zeros(3, 4, 6, dtype=torch.uint8)).name
        'a'
    """

    name: str
    image: UInt8[Tensor, "c h w"]


class Patches(NamedTuple):
    """A batch to train on.

    Args:
        degraded: ``(b, 3, patch, patch)`` in [0, 1].
        clean: the same places before.
        params: what was done to each; to one of its channels where the patch is gray.

    Example:
        >>> Patches(torch.zeros(1, 3, 4, 4), torch.zeros(1, 3, 4, 4), []).params
        []
    """

    degraded: Float[Tensor, "b 3 h w"]
    clean: Float[Tensor, "b 3 h w"]
    params: list[DegradationParams]


def photographs(folder: str | Path = "", *, part: Literal["train", "test"]) -> list[Photo]:
    """Load all photographs of a folder, or those that scikit-image carries.

    Args:
        folder: of images in any of the formats of `libimg.io.read_image`; transparency is left
            out. Empty: built-in ones, different for both parts.
        part: which of the built-in ones.

    Returns:
        Photographs by name, in memory, 8 bits.

    Raises:
        FileNotFoundError: there is no such folder, or no image in it.
        ValueError: a file cannot be read; the message names it.

    Example:
        >>> [photo.name for photo in photographs(part="test")]
        ['astronaut', 'coffee', 'camera']
    """
    if folder:
        above = Path(folder) if Path(folder).is_dir() else Path(folder).parent
        return [
            Photo(
                path.relative_to(above).with_suffix("").as_posix(),
                (read_image(path).image * 255).round().byte(),
            )
            for path in list_images(Path(folder))
        ]
    data = optional("skimage.data", extra="tasks")
    found = []
    for name in BUILT_IN[part]:
        array = np.asarray(getattr(data, name)())
        image = torch.from_numpy(array.copy())
        image = image[None] if image.ndim == 2 else image.permute(2, 0, 1)
        top, left = (max(0, n - LONGEST) // 2 for n in image.shape[1:])
        cut = image[:, top : top + LONGEST, left : left + LONGEST]
        found.append(Photo(name, cut.contiguous()))
    return found


def middle(photo: Photo, *, size: int = 192) -> Photo:
    """Cut the middle of a photograph, for validation.

    Args:
        photo: any size.
        size: largest height and width.

    Example:
        >>> middle(Photo("a", torch.zeros(3, 20, 30, dtype=torch.uint8)), size=10).image.shape
        torch.Size([3, 10, 10])
    """
    top, left = (max(0, n - size) // 2 for n in photo.image.shape[1:])
    return Photo(photo.name, photo.image[:, top : top + size, left : left + size])


def draw_patches(
    photos: Sequence[Photo],
    *,
    patch: int,
    batch: int,
    degradation: Degradation,
    gray_share: float = 0.0,
    gray_degradation: Degradation | None = None,
    generator: torch.Generator,
) -> Patches:
    """Draw random patches, turned and mirrored at random, and degrade each by its own record.

    A gray patch is degraded as the one channel that it is, so that a network that takes RGB learns
    what it meets when it is given gray photographs: the same noise in all three channels, and a
    JPEG without chroma.

    Args:
        photos: to draw from, all equally often.
        patch: height and width.
        batch: number of patches.
        degradation: what to draw.
        gray_share: share of the patches that are turned gray.
        gray_degradation: what to draw for these; the same as for colour if None.
        generator: draws everything.

    Raises:
        ValueError: a photograph is smaller than the patch; the message names it.

    Example:
        >>> photos = [Photo("a", torch.zeros(3, 20, 30, dtype=torch.uint8))]
        >>> generator = torch.Generator().manual_seed(0)
        >>> how = {"degradation": Degradation(), "generator": generator}
        >>> draw_patches(photos, patch=16, batch=2, **how).degraded.shape
        torch.Size([2, 3, 16, 16])
    """
    clean, degraded, params = [], [], []
    for index in torch.randint(len(photos), (batch,), generator=generator).tolist():
        name, image = photos[index]
        if min(image.shape[1:]) < patch:
            msg = f"{name}: patch must fit into the photographs, got {patch} for "
            msg += f"{tuple(image.shape[1:])}"
            raise ValueError(msg)
        random = torch.rand(5, generator=generator).tolist()
        top, left = (
            int(r * (n - patch + 1)) for r, n in zip(random, image.shape[1:], strict=False)
        )
        part = image[:, top : top + patch, left : left + patch].float() / 255
        part = torch.rot90(part, int(random[2] * 4), (1, 2))
        part = part.flip(2) if random[3] < 0.5 else part
        gray = random[4] < gray_share
        part = as_gray(part) if gray else as_rgb(part)
        record = (gray_degradation or degradation if gray else degradation).sample(generator)
        clean.append(as_rgb(part))
        degraded.append(as_rgb(Degradation.apply(part, record)))
        params.append(record)
    return Patches(torch.stack(degraded), torch.stack(clean), params)
