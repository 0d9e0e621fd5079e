"""Procedural cases with known truth, so that everything can be tried without data."""

from libimg.phantoms.chest import LABELS as LABELS
from libimg.phantoms.chest import ChestCase as ChestCase
from libimg.phantoms.chest import chest as chest
from libimg.phantoms.contrast import virtual_noncontrast as virtual_noncontrast

__all__ = ["LABELS", "ChestCase", "chest", "virtual_noncontrast"]
