"""One file with everything a run needs to go on: weights, optimisers, step, random state."""

import hashlib
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch
from torch import nn
from torch.optim import Optimizer

__all__ = [
    "Best",
    "checkpoint_config",
    "load_checkpoint",
    "load_shared",
    "module_hash",
    "save_checkpoint",
]


@runtime_checkable
class Stateful(Protocol):
    """Anything with ``state_dict`` and ``load_state_dict``."""

    def state_dict(self) -> Any:
        """Return the state."""

    def load_state_dict(self, state_dict: Any) -> Any:
        """Take a state over."""


class Best:
    """The best score so far, lower is better; it starts again when a new phase begins.

    Otherwise a GAN phase, which trades mean error for sharpness, could never win against the
    phase before it.

    Example:
        >>> best = Best()
        >>> [best.beats(score, phase) for score, phase in ((2.0, "a"), (3.0, "a"), (2.5, "b"))]
        [True, False, True]
    """

    def __init__(self) -> None:
        self.phase, self.score = "", math.inf

    def beats(self, score: float, phase: str) -> bool:
        """Take a score in and tell whether it is the best of its phase; NaN never is."""
        if phase != self.phase:
            self.phase, self.score = phase, math.inf
        better = score < self.score
        if better:
            self.score = score
        return better

    def state_dict(self) -> dict[str, Any]:
        """Return the state."""
        return {"phase": self.phase, "score": self.score}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Take a state over."""
        self.phase, self.score = state_dict["phase"], state_dict["score"]


def save_checkpoint(
    path: Path, parts: Mapping[str, Stateful], *, step: int, config: Mapping[str, Any]
) -> None:
    """Write a checkpoint so that ``path`` is always whole: the old file or the new one.

    Args:
        path: file to write; its folder is made.
        parts: modules and optimisers by name.
        step: number of finished steps.
        config: the resolved configuration, plain values only.

    Example:
        >>> import tempfile
        >>> net = nn.Linear(2, 2)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder) / "net.pt"
        ...     save_checkpoint(path, {"net": net}, step=5, config={"width": 2})
        ...     load_checkpoint(path, {"net": net}), checkpoint_config(path)
        (5, {'width': 2})
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    content = {
        "step": step,
        "config": dict(config),
        "parts": {name: part.state_dict() for name, part in parts.items()},
        "rng": torch.get_rng_state(),
    }
    temporary = path.with_name(f".{path.name}.part")
    torch.save(content, temporary)
    os.replace(temporary, path)  # noqa: PTH105


def read(path: Path) -> dict[str, Any]:
    """Read a checkpoint to the CPU, refusing what is not one."""
    if not path.is_file():
        msg = f"{path}: no such checkpoint"
        raise FileNotFoundError(msg)
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        msg = f"{path}: not a readable checkpoint ({type(error).__name__}: {error})"
        raise ValueError(msg) from error
    if not isinstance(content, dict) or not {"step", "config", "parts"} <= content.keys():
        msg = f"{path}: not a checkpoint of libimg (expected the keys step, config and parts)"
        raise ValueError(msg)
    return content


def checkpoint_config(path: Path) -> dict[str, Any]:
    """Return the configuration that a checkpoint was trained with.

    Example:
        See `save_checkpoint`; a file that is none is refused by name:

        >>> checkpoint_config(Path("nowhere.pt"))
        Traceback (most recent call last):
        FileNotFoundError: nowhere.pt: no such checkpoint
    """
    return dict(read(path)["config"])


def load_checkpoint(path: Path, parts: Mapping[str, Stateful], *, rng: bool = False) -> int:
    """Load the named parts from a checkpoint, all of them or none.

    Args:
        path: file written by `save_checkpoint`.
        parts: modules and optimisers to fill, by the names they were saved under.
        rng: also restore torch's global random state.

    Returns:
        The number of finished steps.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is no checkpoint, lacks a part, or holds another architecture; the
            message names the file and the first weights that differ.

    Example:
        See `save_checkpoint`; another architecture is refused before anything is loaded:

        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder) / "net.pt"
        ...     save_checkpoint(path, {"net": nn.Linear(2, 2)}, step=5, config={})
        ...     load_checkpoint(path, {"net": nn.Linear(3, 2)})
        Traceback (most recent call last):
        ValueError: ...net.pt: net has another architecture (1 differences, first: ...
    """
    content = read(path)
    missing = [name for name in parts if name not in content["parts"]]
    if missing:
        msg = f"{path}: holds {sorted(content['parts'])}, but not {missing}"
        raise ValueError(msg)
    for name, part in parts.items():
        if isinstance(part, nn.Module):
            _same_architecture(path, name, part.state_dict(), content["parts"][name])
        elif isinstance(part, Optimizer):
            _same_groups(path, name, part.state_dict(), content["parts"][name])
    for name, part in parts.items():
        part.load_state_dict(content["parts"][name])
    if rng:
        torch.set_rng_state(content["rng"])
    return int(content["step"])


def load_shared(path: Path, parts: Mapping[str, Stateful]) -> list[str]:
    """Load those of the named parts that a checkpoint has, so that a run starts from another.

    Args:
        path: file written by `save_checkpoint`.
        parts: modules to fill, by the names they were saved under.

    Returns:
        The names that were loaded.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is no checkpoint, has none of the parts, or holds another
            architecture.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder) / "first.pt"
        ...     save_checkpoint(path, {"G": nn.Linear(2, 2)}, step=5, config={})
        ...     load_shared(path, {"G": nn.Linear(2, 2), "D": nn.Linear(1, 1)})
        ['G']
    """
    there = read(path)["parts"]
    shared = {name: part for name, part in parts.items() if name in there}
    if not shared:
        msg = f"{path}: holds {sorted(there)}, and none of {sorted(parts)}"
        raise ValueError(msg)
    load_checkpoint(path, shared)
    return list(shared)


def _same_architecture(
    path: Path, name: str, ours: Mapping[str, torch.Tensor], theirs: Mapping[str, torch.Tensor]
) -> None:
    """Raise unless two state dicts have the same names and shapes."""
    differences = [f"{key} is only in the file" for key in theirs if key not in ours]
    differences += [f"{key} is missing in the file" for key in ours if key not in theirs]
    differences += [
        f"{key} is {tuple(theirs[key].shape)} in the file and {tuple(ours[key].shape)} here"
        for key in ours
        if key in theirs and ours[key].shape != theirs[key].shape
    ]
    if differences:
        msg = f"{path}: {name} has another architecture ({len(differences)} differences, first: "
        msg += f"{'; '.join(differences[:3])})"
        raise ValueError(msg)


def _same_groups(path: Path, name: str, ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> None:
    """Raise unless two optimisers have groups of the same numbers of weights."""
    here, there = (
        [len(group["params"]) for group in state.get("param_groups", ())]
        for state in (ours, theirs)
    )
    if here != there:
        msg = f"{path}: {name} has groups of {there} weights in the file and {here} here"
        raise ValueError(msg)


def module_hash(module: nn.Module) -> str:
    """SHA-256 of a network's weights and buffers: equal exactly when every bit is equal.

    Example:
        >>> net = nn.Linear(2, 2)
        >>> module_hash(net) == module_hash(net)
        True
    """
    digest = hashlib.sha256()
    for name, value in sorted(module.state_dict().items()):
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        digest.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()
