"""Moving textured scenes as an event camera sees them, with the cause of every event."""

import math
from dataclasses import astuple, dataclass
from enum import IntEnum
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int8, Int64, UInt8
from torch import Tensor

from libimg import _check
from libimg.events.stream import Events, trusted
from libimg.phantoms.fields import uniform

__all__ = [
    "Body",
    "EventLabel",
    "Flare",
    "Ghost",
    "LabelledEvents",
    "Scene",
    "contrast_events",
    "render_scene",
    "sample_scene",
    "scene",
]
