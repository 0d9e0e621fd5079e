"""Virtual non-contrast: take the contrast medium out of labelled vessels of a real scan."""

import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import Bool, Float
from scipy import ndimage
from torch import Tensor

from libimg import _check

__all__ = ["virtual_noncontrast"]

Volume = npt.NDArray[np.float32]
Region = npt.NDArray[np.bool_]


def virtual_noncontrast(
    cta_hu: Float[Tensor, "d h w"],
    vessels: Bool[Tensor, "d h w"],
    *,
    blood_hu: float = 40.0,
    also_above_hu: float | None = None,
    keep: Bool[Tensor, "d h w"] | None = None,
    noise_hu: float = 0.0,
    generator: torch.Generator | None = None,
) -> Float[Tensor, "d h w"]:
    """Replace enhanced blood by plain blood, so that a contrast scan becomes an aligned pair.

    Inside the label the local enhancement (a Gaussian mean over about two voxels) is subtracted
    and the fine texture stays. In the layer of voxels on either side of the label's edge it is
    subtracted by the share of blood in the voxel, which follows from the values of blood and
    background nearby. What is much brighter than the labelled blood (calcium, metal) stays.

    Limits: enhanced voxels that are neither labelled nor reached by ``also_above_hu`` stay
    bright, and so does undiluted contrast medium; enhanced muscle and organs keep their value;
    spongy bone that touches a vessel looks like blood to ``also_above_hu``: pass a bone label
    as ``keep``. A pair made this way serves tests and pre-training; it is no measurement.

    Args:
        cta_hu: contrast scan, HU.
        vessels: labelled blood: vessels and heart chambers.
        blood_hu: blood without contrast, HU.
        also_above_hu: also treat voxels above this value that are connected to the label by
            such voxels and are not denser than the labelled blood; None for the label alone.
        keep: voxels that never change, such as a bone label.
        noise_hu: standard deviation of Gaussian noise added everywhere, so that the pair does
            not share all of its noise.
        generator: source of that noise, needed if ``noise_hu`` is not 0.

    Returns:
        The virtual scan in the dtype of ``cta_hu``; without noise, voxels further than one
        from the treated region are unchanged.

    Raises:
        ValueError: shapes differ, ``noise_hu`` is negative, or noise is asked for without a
            generator.

    Example:
        >>> scan = torch.full((9, 9, 9), -90.0)
        >>> scan[3:6, 3:6] = 340.0
        >>> plain = virtual_noncontrast(scan, scan > 100)
        >>> plain[4, 4, 4], plain[0, 0, 0]
        (tensor(40.), tensor(-90.))
    """
    _check.same_shape(cta_hu=cta_hu, vessels=vessels, keep=vessels if keep is None else keep)
    if noise_hu < 0 or (noise_hu > 0 and generator is None):
        msg = f"noise_hu must be 0, or above 0 with a generator, got {noise_hu}, {generator}"
        raise ValueError(msg)
    scan = np.array(cta_hu.detach().cpu().float().numpy())
    label = vessels.cpu().numpy()
    fixed = np.zeros_like(label) if keep is None else keep.cpu().numpy()
    label = label & ~fixed
    if label.any():
        brightest = _brightest(scan[label])
        if also_above_hu is not None:
            label = _grow(scan, label, fixed, lo=also_above_hu, hi=brightest)
        scan = np.where(fixed, scan, _subtract(scan, label, blood=blood_hu, brightest=brightest))
    plain = torch.from_numpy(scan).to(cta_hu)
    if noise_hu > 0:
        noise = torch.randn(plain.shape, generator=generator)
        plain = plain + noise_hu * noise.to(plain)
    return plain


def _brightest(values: Volume) -> float:
    """Highest value that blood has: median plus five robust standard deviations."""
    middle = np.median(values)
    return float(middle + 5 * 1.4826 * np.median(np.abs(values - middle)) + 1)


def _grow(scan: Volume, label: Region, fixed: Region, *, lo: float, hi: float) -> Region:
    """Add enhanced voxels that hang together with the label, with dense bone as a barrier."""
    dense = ndimage.binary_dilation(scan > hi)
    enhanced = (scan > lo) & ~dense & ~fixed
    enhanced = ndimage.binary_opening(enhanced) | (enhanced & label)
    grown: Region = ndimage.binary_propagation(label & enhanced, mask=enhanced) | label
    return grown


def _subtract(scan: Volume, label: Region, *, blood: float, brightest: float) -> Volume:
    """Subtract the local enhancement times the share of blood in each voxel."""
    inside = ndimage.binary_erosion(label, border_value=1)
    nearby = ndimage.binary_dilation(label)
    # Bright voxels speak for the blood; those at the edge only where there is nothing better.
    bright = ((scan - blood) / (brightest - blood)).clip(0, 1)
    weight = ((inside + 0.02 * label * bright**2) * (scan <= brightest)).astype(np.float32)
    enhanced = np.maximum(_local_mean(scan, weight, sigma=2.0, default=blood), blood)
    outside = (~ndimage.binary_dilation(nearby)).astype(np.float32)
    ground = _local_mean(scan, outside, sigma=2.0, default=0.0)
    contrast = enhanced - ground
    share = ((scan - ground) / np.where(np.abs(contrast) < 50, np.inf, contrast)).clip(0, 1)
    share = np.where(label, share, np.minimum(share, 0.5) * (scan < enhanced))
    plain = scan - np.where(nearby, share, 0) * (enhanced - blood)
    # Where a voxel holds nothing but blood, texture is what is left; calcium stays.
    texture = scan - enhanced
    spread = 1.4826 * np.median(np.abs(texture[inside])) if inside.any() else 0.0
    texture = np.where(scan <= brightest, texture.clip(-3 * spread, 3 * spread), texture)
    done: Volume = np.where(inside, blood + texture, plain).astype(np.float32)
    return done


def _local_mean(values: Volume, weight: Volume, *, sigma: float, default: float) -> Volume:
    """Gaussian mean of the weighted voxels; ``default`` where none is near."""
    top = ndimage.gaussian_filter(values * weight, sigma)
    bottom = ndimage.gaussian_filter(weight, sigma)
    mean: Volume = np.where(bottom > 1e-6, top / np.maximum(bottom, 1e-6), default)
    return mean
