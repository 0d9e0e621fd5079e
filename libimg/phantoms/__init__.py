"""Procedural cases with known truth, so that everything can be tried without data."""

from libimg.phantoms.camera import EventLabel as EventLabel
from libimg.phantoms.camera import LabelledEvents as LabelledEvents
from libimg.phantoms.chest import LABELS as LABELS
from libimg.phantoms.chest import ChestCase as ChestCase
from libimg.phantoms.chest import chest as chest
from libimg.phantoms.contrast import virtual_noncontrast as virtual_noncontrast
from libimg.phantoms.heart import HEART_CLASSES as HEART_CLASSES
from libimg.phantoms.heart import HeartCase as HeartCase
from libimg.phantoms.heart import HeartParams as HeartParams
from libimg.phantoms.heart import heart_labels as heart_labels
from libimg.phantoms.heart import sample_heart as sample_heart
from libimg.phantoms.scenes import Scene as Scene
from libimg.phantoms.scenes import render_scene as render_scene
from libimg.phantoms.scenes import sample_scene as sample_scene
from libimg.phantoms.scenes import scene as scene

__all__ = [
    "HEART_CLASSES",
    "LABELS",
    "ChestCase",
    "EventLabel",
    "HeartCase",
    "HeartParams",
    "LabelledEvents",
    "Scene",
    "chest",
    "heart_labels",
    "render_scene",
    "sample_heart",
    "sample_scene",
    "scene",
    "virtual_noncontrast",
]
