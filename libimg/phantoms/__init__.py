"""Procedural cases with known truth, so that everything can be tried without data."""

from libimg.phantoms.camera import EventLabel as EventLabel
from libimg.phantoms.camera import LabelledEvents as LabelledEvents
from libimg.phantoms.chest import LABELS as LABELS
from libimg.phantoms.chest import ChestCase as ChestCase
from libimg.phantoms.chest import chest as chest
from libimg.phantoms.contrast import virtual_noncontrast as virtual_noncontrast
from libimg.phantoms.scenes import Scene as Scene
from libimg.phantoms.scenes import render_scene as render_scene
from libimg.phantoms.scenes import sample_scene as sample_scene
from libimg.phantoms.scenes import scene as scene

__all__ = [
    "LABELS",
    "ChestCase",
    "EventLabel",
    "LabelledEvents",
    "Scene",
    "chest",
    "render_scene",
    "sample_scene",
    "scene",
    "virtual_noncontrast",
]
