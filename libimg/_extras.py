"""Optional packages, imported where they are used."""

from importlib import import_module
from typing import Any

__all__ = ["optional"]


def optional(module: str, *, extra: str) -> Any:
    """Import ``module``; if it is not installed, say which extra brings it.

    A package that is there but fails to load raises its own error unchanged.

    Args:
        module: name to import, such as ``"lpips"`` or ``"matplotlib.pyplot"``.
        extra: the extra of libimg that installs it.

    Raises:
        ImportError: the package is not installed; the message holds the pip command.
    """
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        package = module.split(".")[0]
        if error.name != package:
            raise
        msg = f'{package} is needed here and not installed: pip install "libimg[{extra}]"'
        raise ImportError(msg) from error
