"""Pictures that look the same: perceptual hashes and groups of near ones."""

from collections.abc import Mapping

import numpy as np
from jaxtyping import Float
from scipy import fft
from torch import Tensor
from torch.nn import functional

__all__ = ["duplicates", "perceptual_hash"]

SIDE = 64  # before the transform: JPEG blocks and noise are averaged out
KEPT = 16  # 16 x 16 of the lowest frequencies; with 8 x 8 two heads in profile may collide
BITS = KEPT * KEPT
ORDER = tuple((i, j) for i in range(KEPT + 1) for j in range(KEPT + 1) if i + j > 0)[:BITS]
"""The lowest frequencies without the constant term."""
BLOCK = 512  # rows of the distance table at a time: 4,000 pictures then need 16 MB


def perceptual_hash(image: Float[Tensor, "c h w"]) -> int:
    """Hash of what a picture shows: 256 signs of its lowest frequencies.

    Size, JPEG, brightness and contrast hardly change it; turning, mirroring and cropping do.

    Args:
        image: ``(c, h, w)``, c is 1 or 3, any range.

    Returns:
        256 bits; compare by the number of bits that differ.

    Raises:
        ValueError: neither 1 nor 3 channels, fewer than 16 pixels along a side, or a value that is
            not finite.

    Example:
        >>> import torch
        >>> image = torch.rand(1, 90, 70, generator=torch.Generator().manual_seed(0))
        >>> perceptual_hash(image) == perceptual_hash(0.5 * image + 0.1)
        True

    Reference:
        The pHash of Zauner, "Implementation and benchmarking of perceptual image hash functions",
        2010. The constant term is left out, so that brightness never decides the median.
    """
    channels, height, width = image.shape
    if channels not in (1, 3) or min(height, width) < KEPT:
        msg = f"image must have 1 or 3 channels and {KEPT} or more pixels a side, "
        msg += f"got shape {tuple(image.shape)}"
        raise ValueError(msg)
    gray = image.float().mean(0)[None, None]
    small = functional.interpolate(gray, (SIDE, SIDE), mode="area")[0, 0].double().cpu().numpy()
    if not np.isfinite(small).all():
        msg = "image: expected finite values, got NaN or infinity"
        raise ValueError(msg)
    waves = fft.dctn(small, norm="ortho")
    kept = waves[tuple(np.array(ORDER).T)]
    signs = kept > np.median(kept)
    return int("".join("01"[int(sign)] for sign in signs), 2)


def duplicates(hashes: Mapping[str, int], *, distance: int = 24) -> tuple[tuple[str, ...], ...]:
    """Group pictures whose hashes differ in few bits; a group is a chain of near ones.

    Args:
        hashes: name to the number of `perceptual_hash`.
        distance: most bits that differ. Heads in profile look alike: with 24 of 256 a copy of
            another size, quality or brightness is found, and two heads are kept apart.

    Raises:
        ValueError: the distance is negative, or a hash does not have 256 bits.

    Example:
        >>> duplicates({"a": 0b1111, "b": 0b1110, "c": 2**40 - 1})
        (('a', 'b'),)
    """
    if distance < 0:
        msg = f"distance must be at least 0, got {distance}"
        raise ValueError(msg)
    wrong = [name for name, value in hashes.items() if not 0 <= value < 2**BITS]
    if wrong:
        msg = f"hashes: {wrong[0]} does not have {BITS} bits, got {hashes[wrong[0]]}"
        raise ValueError(msg)
    names = list(hashes)
    raw = b"".join(value.to_bytes(BITS // 8, "big") for value in hashes.values())
    bits = np.unpackbits(np.frombuffer(raw, np.uint8)).reshape(-1, BITS).astype(np.float32)
    leader = list(range(len(names)))

    def root(i: int) -> int:
        while leader[i] != i:
            i = leader[i]
        return i

    for start in range(0, len(names), BLOCK):
        ours = bits[start : start + BLOCK]
        differ = ours @ (1 - bits.T) + (1 - ours) @ bits.T
        for i, j in zip(*np.nonzero(differ <= distance), strict=True):
            one, other = root(start + int(i)), root(int(j))
            leader[max(one, other)] = min(one, other)
    groups: dict[int, list[str]] = {}
    for i, name in enumerate(names):
        groups.setdefault(root(i), []).append(name)
    return tuple(tuple(group) for group in groups.values() if len(group) > 1)
