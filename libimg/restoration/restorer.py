"""Restoration networks as files: what they are, what they were made for, and ready to use."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from libimg import inference, nets

__all__ = [
    "Card",
    "Network",
    "Restorer",
    "build",
    "export_restorer",
    "load_restorer",
    "load_weights",
    "save_restorer",
]

SHIPPED = Path(__file__).resolve().parent / "weights" / "noise_jpeg.pt"
EXPORTED = (".onnx", ".pt2")


@dataclass(frozen=True, kw_only=True)
class Network:
    """A network, blind to noise level and quality.

    Args:
        name: ``resnet``, light, or ``unet``.
        widths: features, of the unet on each level; of the resnet the first number counts.
        blocks: residual blocks, of the unet on each level.
        bound: of the unet's features; they are kept in [-bound, bound].

    Example:
        >>> build(Network(name="resnet", widths=(8,), blocks=1)).multiple
        2
    """

    name: Literal["resnet", "unet"] = "unet"
    widths: tuple[int, ...] = (48, 96, 192)
    blocks: int = 2
    bound: float | None = None


@dataclass(frozen=True, kw_only=True)
class Card:
    """What a network was made for; it travels in every file of it.

    Args:
        sigma_range: of the noise it was trained on, in levels of 255.
        quality_range: of the JPEG it was trained on; None for none.
        trained_on: photographs, in words.
        multiple: height and width that it works in; other sizes are repeated up to it inside.
        parameters: their number.
        value_range: of input and output.

    Example:
        >>> Card.from_dict(Card(sigma_range=(0, 50)).to_dict()).sigma_range
        (0, 50)
    """

    sigma_range: tuple[float, float] = (0.0, 50.0)
    quality_range: tuple[int, int] | None = (10, 95)
    trained_on: str = ""
    multiple: int = 1
    parameters: int = 0
    value_range: tuple[float, float] = (0.0, 1.0)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, ready for JSON."""
        return {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(self).items()}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Card":
        """Build the card that `to_dict` gave; an unknown name raises ``TypeError``."""
        return cls(**_tuples(values))


@dataclass(frozen=True)
class Restorer:
    """A network ready to use: call it with ``(b, 3, h, w)`` in [0, 1], any size, any device.

    Attributes:
        model: the function behind it.
        card: what it was made for.

    Example:
        >>> Restorer(lambda x: x, Card())(torch.zeros(1, 3, 4, 5)).shape
        torch.Size([1, 3, 4, 5])
    """

    model: Callable[[Tensor], Tensor]
    card: Card

    def __call__(self, x: Tensor) -> Tensor:
        """Restore images; the answer is not clipped."""
        return self.model(x)


def build(network: Network) -> nn.Module:
    """Build a network for RGB; untrained, it is the identity.

    Example:
        >>> sum(p.numel() for p in build(Network()).parameters())
        2345859
    """
    if network.name == "resnet":
        return nets.RestorationResNet(width=network.widths[0], blocks=network.blocks)
    return nets.RestorationUNet(widths=network.widths, blocks=network.blocks, bound=network.bound)


def save_restorer(path: Path, net: nn.Module, *, network: Network, card: Card) -> None:
    """Write a network in half precision with its card; no optimizer, no random state.

    Args:
        path: file, ``.pt``; its folder is made.
        net: what `build` gave for ``network``, trained.
        network: its settings.
        card: what it was made for; number of parameters and multiple are filled in.

    Example:
        >>> import tempfile
        >>> network = Network(name="resnet", widths=(8,), blocks=1)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder) / "net.pt"
        ...     save_restorer(path, build(network), network=network, card=Card())
        ...     load_restorer(path).card.multiple
        2
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    weights = {name: value.detach().cpu().half() for name, value in net.state_dict().items()}
    content = {"network": asdict(network), "card": describe(net, card).to_dict()}
    torch.save({**content, "weights": weights}, path)


def describe(net: nn.Module, card: Card) -> Card:
    """Fill in what the network itself tells."""
    count = sum(p.numel() for p in net.parameters())
    return replace(card, parameters=count, multiple=int(getattr(net, "multiple", 1)))


def load_restorer(path: str | Path = "", *, device: str = "auto") -> Restorer:
    """Load a network that is ready to use.

    Args:
        path: what `save_restorer` wrote or a training of ``tasks/restore.py`` (``.pt``), or what
            `libimg.export` wrote (``.onnx``, ``.pt2``); the one that comes with libimg if empty.
        device: of a ``.pt``, such as ``"cpu"``; ``"auto"`` takes a GPU if there is one.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is not such a file; the message names it.

    Example:
        >>> load_restorer("nowhere.pt")
        Traceback (most recent call last):
        FileNotFoundError: nowhere.pt: no such file
    """
    file = _existing(path)
    if file.suffix in EXPORTED:
        from libimg.export import load_exported

        model, metadata = load_exported(file)
        return Restorer(model, Card.from_dict(metadata))
    net, _, card = read_restorer(file)
    where = inference.best_device() if device == "auto" else torch.device(device)
    net.to(where).to(memory_format=torch.channels_last)  # a third faster on a CPU
    return Restorer(inference.ready(net), card)


def export_restorer(path: Path, model: str | Path = "") -> dict[str, float]:
    """Write a network for use elsewhere and compare its answers with the original's.

    Args:
        path: ``.onnx`` and ``.pt2`` run without libimg; ``.pt`` is `save_restorer`'s.
        model: file of `save_restorer` or of a training; the one that comes with libimg if empty.

    Returns:
        Size to the largest difference found there, on the scale of [0, 1].

    Raises:
        ValueError: another suffix, or the file's answers differ; then nothing is written.

    Example:
        >>> import tempfile
        >>> network = Network(name="resnet", widths=(8,), blocks=1)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     first, second = Path(folder) / "a.pt", Path(folder) / "b.pt"
        ...     save_restorer(first, build(network), network=network, card=Card())
        ...     export_restorer(second, first)
        {'37 x 53': 0.0}
    """
    if path.suffix not in (*EXPORTED, ".pt"):
        msg = f"{path}: expected .onnx, .pt2 or .pt"
        raise ValueError(msg)
    net, network, card = read_restorer(_existing(model))
    if path.suffix in EXPORTED:
        from libimg.export import export

        found = export(net, path, metadata=card.to_dict())
        return {f"{h} x {w}": difference for (h, w), difference in found.items()}
    save_restorer(path, net, network=network, card=card)
    x = torch.rand(1, 3, 37, 53, generator=torch.Generator().manual_seed(0))
    change = load_restorer(path, device="cpu")(x) - inference.ready(net)(x)
    return {"37 x 53": float(change.abs().max())}


def load_weights(net: nn.Module, path: str | Path = "") -> None:
    """Fill a network with the weights of a file, to train it further.

    Args:
        net: what `build` gave.
        path: file of `save_restorer` or of a training; the one that comes with libimg if empty.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is not such a file, or one of another network; the message names it.

    Example:
        >>> load_weights(build(Network()), "nowhere.pt")
        Traceback (most recent call last):
        FileNotFoundError: nowhere.pt: no such file
    """
    file = _existing(path)
    other, network, _ = read_restorer(file)
    try:
        net.load_state_dict(other.state_dict())
    except RuntimeError as error:
        msg = f"{file}: holds another network, {network}"
        raise ValueError(msg) from error


def read_restorer(file: Path) -> tuple[nn.Module, Network, Card]:
    """Read a network with its settings and its card, in single precision on the CPU."""
    try:
        content = torch.load(file, map_location="cpu", weights_only=True)
        if "parts" in content:
            content = _of_training(content)
        network = Network(**_tuples(content["network"]))
        net = build(network)
        net.load_state_dict({name: value.float() for name, value in content["weights"].items()})
        card = describe(net, Card.from_dict(content["card"]))
    except Exception as error:
        msg = f"{file}: not a restoration network of libimg ({type(error).__name__}: {error})"
        raise ValueError(msg) from error
    return net, network, card


def _existing(path: str | Path) -> Path:
    file = Path(path) if path else SHIPPED
    if not file.is_file():
        msg = f"{file}: no such file"
        raise FileNotFoundError(msg)
    return file


def _of_training(checkpoint: Mapping[str, Any]) -> dict[str, Any]:
    """Take from a checkpoint of ``tasks/restore.py`` what `save_restorer` would write."""
    config = checkpoint["config"]
    drawn = config["degradation"]
    card = {name: drawn[name] for name in ("sigma_range", "quality_range")}
    card["trained_on"] = config["data"]["name"]
    weights = checkpoint["parts"]["net"]
    return {"network": config["network"], "card": card, "weights": weights}


def _tuples(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: tuple(v) if isinstance(v, list) else v for name, v in values.items()}
