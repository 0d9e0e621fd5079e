"""Configuration of a task: frozen dataclasses, YAML files and overrides on the command line."""

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from libimg._extras import optional

__all__ = ["cli", "load_config"]

T = TypeVar("T")


def load_config(kind: type[T], settings: Mapping[str, Any] | Path) -> T:
    """Build a configuration dataclass from plain values, such as those kept in a checkpoint.

    Args:
        kind: a dataclass whose fields are typed.
        settings: nested plain values, or a YAML file of them.

    Returns:
        An instance of ``kind``; fields that are not given keep their defaults.

    Raises:
        ValueError: a key is unknown or a value has the wrong type; the message names it.

    Example:
        >>> from libimg.train import RunConfig
        >>> load_config(RunConfig, {"seed": 3}).seed
        3
    """
    jsonargparse = optional("jsonargparse", extra="tasks")
    where = str(settings) if isinstance(settings, Path) else kind.__name__
    parser = jsonargparse.ArgumentParser(exit_on_error=False)
    parser.add_argument("--cfg", type=kind)
    try:
        if isinstance(settings, Path):
            content = optional("yaml", extra="tasks").safe_load(settings.read_text("utf-8"))
        else:
            content = dict(settings)
        parsed = parser.parse_object({"cfg": content})
    except jsonargparse.ArgumentError as error:
        msg = f"{where}: {error}"
        raise ValueError(msg) from error
    return parser.instantiate(parsed).cfg  # type: ignore[no-any-return]


def cli(
    commands: Mapping[str, Callable[..., object]],
    *,
    default: Path,
    positional: bool = False,
    args: Sequence[str] | None = None,
) -> None:
    """Run a task from the command line.

    The first command is the default one. Its ``cfg`` starts from the file ``default`` unless
    ``--cfg FILE`` names another; single values follow as ``--cfg.run.seed 1``. Misspelt keys are
    refused. What went wrong is printed as one line; set ``LIBIMG_DEBUG=1`` for the traceback.

    Args:
        commands: name to function, in the order of the help text.
        default: configuration file of the default command.
        positional: arguments without a default are given by their place, not by ``--name``.
        args: words of the command line; those of the process if None.

    Example:
        >>> def greet(name: str) -> None:
        ...     print(f"hello {name}")
        >>> words = ["greet", "--name", "Ada"]
        >>> cli({"train": print, "greet": greet}, default=Path("x.yaml"), args=words)
        hello Ada
    """
    jsonargparse = optional("jsonargparse", extra="tasks")
    words = list(sys.argv[1:] if args is None else args)
    main = next(iter(commands))
    if not words or (words[0].startswith("--") and words[0] not in ("--help", "--print_shtab")):
        words.insert(0, main)
    if words[0] == main and "--cfg" not in words and "--help" not in words:
        words[1:1] = ["--cfg", str(default)]
    try:
        jsonargparse.auto_cli(dict(commands), args=words, as_positional=positional)
    except (ValueError, OSError, ImportError) as error:
        if os.environ.get("LIBIMG_DEBUG"):
            raise
        sys.exit(f"error: {error}")
