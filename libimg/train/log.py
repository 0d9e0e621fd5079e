"""Numbers of a run: one JSON line for each validation, and the same in TensorBoard."""

import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from libimg._extras import optional

__all__ = ["Log", "write_json"]


def plain(value: Any) -> Any:
    """Turn what JSON cannot hold (NaN, infinities, tuples, paths) into what it can."""
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return str(value) if isinstance(value, Path) else value


def write_text(path: Path, text: str) -> None:
    """Write a file in one piece."""
    temporary = path.with_name(f".{path.name}.part")
    temporary.write_text(text, encoding="utf-8")
    os.replace(temporary, path)  # noqa: PTH105


def write_json(path: Path, content: Any) -> None:
    """Write JSON in one piece: a reader sees the old file or the whole new one.

    Args:
        path: file to write; its folder is made.
        content: nested plain values; NaN and infinities become text, tuples lists, paths text.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     write_json(Path(folder) / "metrics.json", {"psnr": math.inf})
        ...     json.loads((Path(folder) / "metrics.json").read_text())
        {'psnr': 'inf'}
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, json.dumps(plain(content), indent=2) + "\n")


class Log:
    """``metrics.jsonl`` and TensorBoard events of one run.

    Args:
        folder: folder of the run.
        step: finished steps of a resumed run: later lines, written by a run that was killed
            before its next checkpoint, are removed so that no step is logged twice.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     log = Log(Path(folder))
        ...     log.write(10, {"loss": 0.5, "phase": "G"})
        ...     log.close()
        ...     print(log.path.read_text().strip())
        {"step": 10, "loss": 0.5, "phase": "G"}
    """

    def __init__(self, folder: Path, *, step: int = 0) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.path = folder / "metrics.jsonl"
        if self.path.exists():
            lines = self.path.read_text(encoding="utf-8").splitlines()
            kept = [line for line in lines if _step(line) <= step]
            write_text(self.path, "".join(f"{line}\n" for line in kept))
        optional("tensorboard", extra="tasks")
        from torch.utils.tensorboard import SummaryWriter

        self._board: Any = SummaryWriter(str(folder), purge_step=step + 1 if step else None)

    def write(self, step: int, values: Mapping[str, Any]) -> None:
        """Append one line; numbers also go to TensorBoard under their own names."""
        line = json.dumps(plain({"step": step, **values}))
        with self.path.open("a", encoding="utf-8") as file:
            file.write(line + "\n")
        for name, value in values.items():
            if isinstance(value, int | float) and not isinstance(value, bool):
                self._board.add_scalar(name, value, step)
        self._board.flush()

    def close(self) -> None:
        """Finish the TensorBoard file."""
        self._board.close()


def _step(line: str) -> float:
    """Read the step of a log line; a line cut off by a kill counts as after everything."""
    try:
        return float(json.loads(line)["step"])
    except (ValueError, KeyError, TypeError):
        return math.inf
