"""Independent, property-tested PyTorch components for images, volumes, events and shapes.

Subpackages load on first use, so ``import libimg`` costs nothing:

>>> import libimg
>>> libimg.ranges.SIGNED.span
2.0
"""

from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from libimg import cephalometry as cephalometry
    from libimg import completion as completion
    from libimg import data as data
    from libimg import degradations as degradations
    from libimg import demo as demo
    from libimg import denoising as denoising
    from libimg import diagnose as diagnose
    from libimg import events as events
    from libimg import export as export
    from libimg import figures as figures
    from libimg import gan as gan
    from libimg import inference as inference
    from libimg import io as io
    from libimg import losses as losses
    from libimg import metrics as metrics
    from libimg import nets as nets
    from libimg import phantoms as phantoms
    from libimg import ranges as ranges
    from libimg import registration as registration
    from libimg import restoration as restoration
    from libimg import shapes as shapes
    from libimg import train as train
    from libimg import translation as translation

__version__ = "0.1.0"

__all__ = [
    "__version__",
    "cephalometry",
    "completion",
    "data",
    "degradations",
    "demo",
    "denoising",
    "diagnose",
    "events",
    "export",
    "figures",
    "gan",
    "inference",
    "io",
    "losses",
    "metrics",
    "nets",
    "phantoms",
    "ranges",
    "registration",
    "restoration",
    "shapes",
    "train",
    "translation",
]


def __getattr__(name: str) -> ModuleType:
    """Import a subpackage when it is first asked for (PEP 562)."""
    if name in __all__:
        return import_module(f"libimg.{name}")
    msg = f"module 'libimg' has no attribute {name!r}"
    raise AttributeError(msg)


def __dir__() -> list[str]:
    """List the subpackages before they are loaded."""
    return sorted(__all__)
