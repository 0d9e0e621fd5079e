"""Shared by the benchmarks: interleaved timing, a table, a JSON file in ``benchmarks/results``.

Import it as ``from report import interleave, save, table`` from a script in this folder.
"""

import json
import platform
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import torch

__all__ = ["interleave", "machine", "save", "table"]

Row = Mapping[str, object]


def interleave(cases: Mapping[str, Callable[[], object]], repeats: int) -> dict[str, float]:
    """Time every case once per round, so that a busy machine slows all of them alike.

    Each timed run follows an untimed one of the same case: otherwise a case would be judged with
    the caches, and the still spinning threads, that the case before it left behind. Work on an
    accelerator is waited for.

    Args:
        cases: name to a function without arguments.
        repeats: number of timed rounds.

    Returns:
        Name to the median in milliseconds.

    Example:
        >>> sorted(interleave({"a": lambda: None, "b": lambda: None}, 3))
        ['a', 'b']
    """
    times: dict[str, list[float]] = {name: [] for name in cases}
    for _ in range(repeats):
        for name, run in cases.items():
            run()
            _wait()
            start = time.perf_counter()
            run()
            _wait()
            times[name].append(1e3 * (time.perf_counter() - start))
    return {name: statistics.median(values) for name, values in times.items()}


def machine() -> dict[str, object]:
    """Return what the figures depend on: versions, threads, processor and accelerator."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.is_file() else []
    models = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return {
        "torch": torch.__version__,
        "python": platform.python_version(),
        "threads": torch.get_num_threads(),
        "cpu": models[0] if models else platform.processor(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
    }


def save(name: str, rows: Sequence[Row], **facts: object) -> Path:
    """Write ``benchmarks/results/<name>.json``: the machine, further ``facts`` and the rows."""
    path = Path(__file__).resolve().parent / "results" / f"{name}.json"
    path.parent.mkdir(exist_ok=True)
    content = {"machine": machine(), **facts, "rows": [dict(row) for row in rows]}
    path.write_text(json.dumps(content, indent=2) + "\n")
    return path


def table(rows: Sequence[Row]) -> str:
    """Format rows as a Markdown table; the columns are the keys in order of appearance.

    Example:
        >>> print(table([{"case": "a", "ms": 1.234}, {"case": "b", "ms": None}]))
        | case | ms   |
        |------|------|
        | a    | 1.23 |
        | b    | -    |
    """
    columns = list(dict.fromkeys(key for row in rows for key in row))
    cells = [columns, *([_cell(row.get(key)) for key in columns] for row in rows)]
    widths = [max(len(line[i]) for line in cells) for i in range(len(columns))]
    lines = [
        "| " + " | ".join(c.ljust(w) for c, w in zip(line, widths, strict=True)) + " |"
        for line in cells
    ]
    rule = "|" + "|".join("-" * (w + 2) for w in widths) + "|"
    return "\n".join([lines[0], rule, *lines[1:]])


def _cell(value: object) -> str:
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:.3g}" if abs(value) < 100 else f"{value:.0f}"
    return str(value)


def _wait() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
