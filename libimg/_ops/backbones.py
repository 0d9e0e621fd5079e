"""Trained networks that images are compared by, from torchvision or from files."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn

from libimg._extras import optional

__all__ = ["VGG_LAYERS", "load_weights", "lpips_network", "vgg_network"]

VGG_LAYERS = (1, 6, 11, 20, 29)
"""relu1_1 to relu5_1 of torchvision's VGG19."""


def load_weights(net: nn.Module, path: Path) -> None:
    """Load a file of weights, naming it when it does not fit."""
    if not Path(path).is_file():
        msg = f"{path}: no such file of weights"
        raise FileNotFoundError(msg)
    try:
        net.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
    except Exception as error:
        msg = f"{path}: not weights of {type(net).__name__} ({error})"
        raise ValueError(msg) from error


def lpips_network(name: str, path: Path | None) -> nn.Module:
    """LPIPS; its linear layers come with the package, its backbone from torchvision or a file."""
    lpips = optional("lpips", extra="perceptual")
    models = optional("torchvision.models", extra="perceptual")
    kind = name.removeprefix("lpips-")
    make = {"alex": models.alexnet, "vgg": models.vgg16, "squeeze": models.squeezenet1_1}[kind]
    build: Callable[..., Any] = lambda offline: lpips.LPIPS(  # noqa: E731
        net="squeeze" if kind == "squeeze" else kind, pnet_rand=offline, verbose=False
    )
    if path is None:
        built: nn.Module = _download(name, lambda: build(False))
        return built
    whole = make(weights=None)
    load_weights(whole, path)
    blind: Any = build(True)
    index = 0
    for part in (getattr(blind.net, f"slice{i}") for i in range(1, blind.net.N_slices + 1)):
        for layer in part:
            layer.load_state_dict(whole.features[index].state_dict())
            index += 1
    filled: nn.Module = blind
    return filled


def vgg_network(name: str, path: Path | None) -> nn.Module:
    """VGG19 up to relu5_1."""
    models = optional("torchvision.models", extra="perceptual")
    if path is None:
        whole: Any = _download(
            name, lambda: models.vgg19(weights=models.VGG19_Weights.IMAGENET1K_V1)
        )
    else:
        whole = models.vgg19(weights=None)
        load_weights(whole, path)
    return nn.Sequential(
        *(
            nn.ReLU() if isinstance(layer, nn.ReLU) else layer
            for layer in whole.features[: VGG_LAYERS[-1] + 1]
        )
    )


def _download(name: str, build: Callable[[], nn.Module]) -> nn.Module:
    """Build with weights from torchvision; say what helps where there is no network."""
    file = {
        "lpips-alex": "alexnet-owt-7be5be79.pth",
        "lpips-vgg": "vgg16-397923af.pth",
        "lpips-squeeze": "squeezenet1_1-b8a52dc0.pth",
        "vgg19": "vgg19-dcbb9e9d.pth",
    }[name]
    try:
        return build()
    except OSError as error:
        msg = f"{name} needs torchvision's weights {file}, which cannot be downloaded here "
        msg += f"({error}). Fetch the file elsewhere and give weights_path="
        raise RuntimeError(msg) from error
