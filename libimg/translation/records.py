"""The log of a run, read back."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

__all__ = ["examine_log", "read_log"]


def read_log(path: Path) -> list[dict[str, Any]]:
    r"""Read ``metrics.jsonl``; a last line that a kill has cut off is left out.

    Args:
        path: the file.

    Returns:
        One record for each validation, at least one.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: no line is whole, or a line that is not the last is damaged.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder) / "metrics.jsonl"
        ...     _ = path.write_text('{"step": 10, "D/auc": 0.7}\n{"step": 20, "D/a')
        ...     read_log(path)
        [{'step': 10, 'D/auc': 0.7}]
    """
    if not path.is_file():
        msg = f"{path}: no such log; is this the folder of a run?"
        raise FileNotFoundError(msg)
    records: list[dict[str, Any]] = []
    lines = path.read_text(encoding="utf-8").splitlines()
    for number, line in enumerate(lines, start=1):
        try:
            record = json.loads(line)
            records.append({"step": record["step"], **record})
        except (ValueError, KeyError, TypeError) as error:
            if number < len(lines):
                msg = f"{path}: line {number} of {len(lines)} is damaged ({error})"
                raise ValueError(msg) from error
    if not records:
        msg = f"{path}: expected at least one whole line, got none; no validation was reached"
        raise ValueError(msg)
    return records


def examine_log(records: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Take the numbers about learning out of a log.

    Args:
        records: what `read_log` returned.

    Returns:
        For each network that ever learnt, ``lr/…`` (the highest) and ``update_to_weight/…`` (the
        mean).

    Example:
        >>> examine_log([{"step": 1, "lr/D": 0.0}, {"step": 2, "lr/D": 4e-4}])
        {'lr/D': 0.0004}
    """
    numbers: dict[str, float] = {}
    for name in dict.fromkeys(key for record in records for key in record):
        if name.startswith(("lr/", "update_to_weight/")):
            values = [float(record[name]) for record in records if name in record]
            highest = name.startswith("lr/")
            numbers[name] = max(values) if highest else sum(values) / len(values)
    return numbers
