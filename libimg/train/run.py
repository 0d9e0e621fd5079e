"""One training run: device, precision, processes, folder, exact resume."""

import hashlib
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from libimg._extras import optional
from libimg.train.checkpoint import checkpoint_config, load_checkpoint, save_checkpoint
from libimg.train.log import Log, plain

__all__ = ["Run", "RunConfig"]

_FREE = frozenset(f"run.{key}" for key in ("name", "folder", "accelerator", "devices", "progress"))
"""Settings that may change when a run is resumed, because the weights do not depend on them."""


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """Where and how a run happens.

    Args:
        name: folder of the run below ``folder``.
        folder: parent of all runs.
        seed: everything random follows from it and from the step number.
        accelerator: ``auto`` takes a GPU if there is one.
        devices: number of processes, each with a share of every batch.
        precision: ``32-true``, ``bf16-mixed`` or ``16-mixed``.
        clip: largest norm of an optimiser's gradient; 0 switches clipping off.
        progress: show the progress bar.

    Example:
        >>> RunConfig(name="first", devices=2).precision
        '32-true'
    """

    name: str = "default"
    folder: str = "outputs"
    seed: int = 0
    accelerator: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    devices: int = 1
    precision: Literal["32-true", "bf16-mixed", "16-mixed"] = "32-true"
    clip: float = 1.0
    progress: bool = True


class Run:
    """A run on lightning-fabric that resumes exactly.

    Gradients are averaged over the processes in `update` itself, after ``backward``, and not by
    hooks in a wrapped module. So a network may run any number of times a step, be frozen in one
    phase and train in the next, or take part in a double backward (R1), on one process or many.

    Everything random at a step comes from `generator`, which depends on the seed and the step
    alone: a run that was killed needs no data position, and a batch is the same however many
    processes share it.

    Args:
        config: see `RunConfig`.
        settings: the whole resolved configuration of the task, kept in every checkpoint. A folder
            that holds a run with other settings is refused.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     config = RunConfig(folder=folder, accelerator="cpu", progress=False)
        ...     run = Run(config, settings={"rate": 0.5})
        ...     net = run.module("net", nn.Linear(1, 1))
        ...     sgd = run.optimizer("net", torch.optim.SGD(net.parameters(), lr=0.5))
        ...     start = run.resume()
        ...     for step in run.steps(3):
        ...         x = torch.rand(4, 1, generator=run.generator(step))
        ...         numbers = run.update(sgd, (net(x) - x).square().mean())
        ...     run.save("last.pt", step=3)
        ...     run.close()
        >>> start, run.step
        (0, 3)
    """

    def __init__(self, config: RunConfig, *, settings: Mapping[str, Any]) -> None:
        fabric = optional("lightning_fabric", extra="tasks")
        self.config = config
        self.settings: dict[str, Any] = plain(settings)
        self.folder = Path(config.folder) / config.name
        self.fabric = fabric.Fabric(
            accelerator=config.accelerator,
            devices=config.devices,
            precision=config.precision,
            strategy="ddp" if config.devices > 1 else "auto",
        )
        self.fabric.launch()
        self.step = 0
        self.parts: dict[str, Any] = {}
        self._log: Log | None = None
        torch.manual_seed(config.seed)

    @property
    def device(self) -> torch.device:
        """The device of this process."""
        return torch.device(self.fabric.device)

    @property
    def main(self) -> bool:
        """Whether this process writes the files."""
        return bool(self.fabric.is_global_zero)

    def autocast(self) -> Any:
        """Context in which networks run in the precision of the run."""
        return self.fabric.autocast()

    def generator(self, step: int, *, stream: str = "data") -> torch.Generator:
        """Return the random state of a step: the same on every process and after a restart."""
        text = f"{self.config.seed} {stream} {step}".encode()
        seed = int.from_bytes(hashlib.sha256(text).digest()[:8], "big") >> 1
        return torch.Generator().manual_seed(seed)

    def share(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Take this process's part of a batch to its device.

        Raises:
            ValueError: the batch cannot be divided by the number of processes.
        """
        world, rank = self.fabric.world_size, self.fabric.global_rank
        shared = {}
        for name, value in batch.items():
            if len(value) % world:
                msg = f"{name}: a batch of {len(value)} cannot be shared by {world} processes"
                raise ValueError(msg)
            part = len(value) // world
            shared[name] = value[rank * part : (rank + 1) * part].to(self.device)
        return shared

    def module(self, name: str, module: nn.Module) -> nn.Module:
        """Put a network on the device and into the checkpoint."""
        self.parts[name] = module.to(self.device)
        return module

    def optimizer(self, name: str, optimizer: Optimizer) -> Optimizer:
        """Put an optimiser into the checkpoint and give it the precision of the run."""
        self.parts[f"{name}.optimizer"] = optimizer
        wrapped: Optimizer = self.fabric.setup_optimizers(optimizer)
        return wrapped

    def update(
        self, optimizer: Optimizer, loss: Tensor, *, measure: bool = False
    ) -> dict[str, float]:
        """Zero, backward, average over processes, clip, step.

        Weights that were frozen when ``loss`` was computed have no gradient and do not move.

        Args:
            optimizer: what `optimizer` returned. Give its parameter groups a ``name``.
            loss: scalar.
            measure: also return ``gradient_norm/<name>`` (before clipping) and
                ``update_to_weight/<name>`` = |Δw| / |w| of each group that moved.
        """
        groups = {str(g.get("name", i)): g["params"] for i, g in enumerate(optimizer.param_groups)}
        optimizer.zero_grad(set_to_none=True)
        self.fabric.backward(loss)
        moving = [w for group in groups.values() for w in group if w.grad is not None]
        self._average(moving)
        before = {id(w): w.detach().clone() for w in moving} if measure else {}
        limit = self.config.clip or math.inf
        norm = self.fabric.clip_gradients(
            nn.Module(),
            optimizer,
            max_norm=limit,
            error_if_nonfinite=self.config.precision != "16-mixed",  # there the scaler skips it
        )
        clipped = max(1.0, float(norm) / limit) if measure else 1.0
        measured = {}
        for name, group in groups.items() if measure else ():
            norm_now = _norm([w.grad for w in group if w.grad is not None])
            measured[f"gradient_norm/{name}"] = norm_now * clipped
        optimizer.step()
        for name, group in groups.items() if measure else ():
            old = [(w.detach(), before[id(w)]) for w in group if id(w) in before]
            if old:
                moved, size = _norm([w - b for w, b in old]), _norm([b for _, b in old])
                measured[f"update_to_weight/{name}"] = moved / max(size, 1e-12)
            else:
                del measured[f"gradient_norm/{name}"]
        return measured

    def _average(self, weights: list[Tensor]) -> None:
        """Replace each gradient by its mean over the processes, in one message."""
        gradients = [w.grad for w in weights if w.grad is not None]
        if self.fabric.world_size == 1 or not gradients:
            return
        flat = torch.cat([gradient.reshape(-1) for gradient in gradients])
        mean = self.fabric.all_reduce(flat, reduce_op="mean")
        parts = mean.split([gradient.numel() for gradient in gradients])
        for gradient, part in zip(gradients, parts, strict=True):
            gradient.copy_(part.view_as(gradient))

    def resume(self) -> int:
        """Go on from ``last.pt`` if the folder has one, and write ``config.yaml``.

        Returns:
            The number of finished steps, 0 for a new run.

        Raises:
            ValueError: the folder holds a run with other settings.
        """
        last = self.folder / "last.pt"
        if last.exists():
            here, there = _flat(self.settings), _flat(checkpoint_config(last))
            keys = sorted(
                key
                for key in here.keys() | there.keys()
                if key not in _FREE and here.get(key) != there.get(key)
            )
            if keys:
                shown = "; ".join(f"{k}: {there.get(k)} there, {here.get(k)} now" for k in keys[:3])
                msg = f"{last}: a run with other settings ({len(keys)} differ: {shown}). "
                msg += "Choose another run.name, or remove the folder to start again"
                raise ValueError(msg)
            self.step = load_checkpoint(last, self.parts, rng=True)
        if self.main:
            self._log = Log(self.folder, step=self.step)
            text = optional("yaml", extra="tasks").safe_dump(self.settings, sort_keys=False)
            (self.folder / "config.yaml").write_text(text, encoding="utf-8")
        return self.step

    def steps(self, total: int) -> Iterator[int]:
        """Count from the first unfinished step to ``total``, with a progress bar."""
        tqdm = optional("tqdm", extra="tasks").tqdm
        shown = self.config.progress and self.main and self.step < total
        with tqdm(total=total, initial=self.step, disable=not shown, unit="step") as bar:
            while self.step < total:
                yield self.step
                self.step += 1
                bar.update()

    def log(self, step: int, values: Mapping[str, Any]) -> None:
        """Write one line of numbers (main process only)."""
        if self._log is not None:
            self._log.write(step, values)

    def save(self, name: str, *, step: int) -> None:
        """Write a checkpoint of all parts after ``step`` finished steps (main process only)."""
        if self.main:
            save_checkpoint(self.folder / name, self.parts, step=step, config=self.settings)

    def close(self) -> None:
        """Finish the log files."""
        if self._log is not None:
            self._log.close()


def _norm(tensors: list[Tensor]) -> float:
    """Euclidean norm of several tensors together."""
    return math.sqrt(sum(float(t.detach().float().square().sum()) for t in tensors))


def _flat(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Flatten nested settings to dotted names."""
    flat: dict[str, Any] = {}
    for key, value in settings.items():
        name = f"{prefix}{key}"
        flat |= _flat(value, f"{name}.") if isinstance(value, Mapping) else {name: value}
    return flat
