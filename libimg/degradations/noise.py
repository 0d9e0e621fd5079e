"""Additive white Gaussian noise, its strength in levels of 255."""

import torch
from jaxtyping import Float
from torch import Tensor

__all__ = ["gaussian_noise"]


def gaussian_noise(
    x: Float[Tensor, "*batch c h w"],
    sigma: float | Float[Tensor, " b"],
    *,
    generator: torch.Generator,
) -> Float[Tensor, "*batch c h w"]:
    """Add Gaussian noise; nothing is clipped or rounded.

    Args:
        x: images in [0, 1].
        sigma: standard deviation in levels of 255, as the literature gives it; one number, or one
            for each image of a batch. A number must be at least 0.
        generator: the only source of randomness, on the CPU or the device of ``x``. The noise is
            drawn in float32 on the generator's device, whatever the dtype and device of ``x``.

    Returns:
        Noisy images with the shape and dtype of ``x``; values may leave [0, 1].

    Raises:
        ValueError: ``sigma`` is negative or not finite, or its shape does not fit.

    Example:
        >>> x = torch.full((1, 1, 64, 64), 0.5)
        >>> noisy = gaussian_noise(x, 25, generator=torch.Generator().manual_seed(0))
        >>> round(float((noisy - x).std() * 255), 1)
        24.8

    Reference:
        Training and test protocol of DnCNN (Zhang et al., 2017), which does not clip.
    """
    noise = torch.randn(x.shape, generator=generator, device=generator.device)
    noise = noise.to(x.device, torch.promote_types(x.dtype, torch.float32))
    if isinstance(sigma, Tensor):
        if x.ndim != 4 or sigma.shape != x.shape[:1]:
            msg = f"sigma: expected one number for each image of {tuple(x.shape)}, "
            msg += f"got shape {tuple(sigma.shape)}"
            raise ValueError(msg)
        noise = noise * (sigma.to(noise) / 255).view(-1, 1, 1, 1)
    else:
        check_sigma(sigma)
        noise.mul_(sigma / 255)
    return noise.add_(x).to(x.dtype)


def check_sigma(*sigmas: float) -> None:
    """Raise ``ValueError`` unless every sigma is at least 0 and finite."""
    for sigma in sigmas:
        if not 0 <= sigma < float("inf"):
            msg = f"sigma must be at least 0 and finite, got {sigma}"
            raise ValueError(msg)
