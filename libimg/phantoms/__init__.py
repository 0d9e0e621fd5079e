"""Procedural cases with known truth, so that everything can be tried without data."""

from libimg.phantoms.camera import EventLabel as EventLabel
from libimg.phantoms.camera import LabelledEvents as LabelledEvents
from libimg.phantoms.chest import LABELS as LABELS
from libimg.phantoms.chest import ChestCase as ChestCase
from libimg.phantoms.chest import chest as chest
from libimg.phantoms.contrast import virtual_noncontrast as virtual_noncontrast
from libimg.phantoms.head import Head as Head
from libimg.phantoms.head import head as head
from libimg.phantoms.head import render_head as render_head
from libimg.phantoms.head_params import HEAD_LANDMARKS as HEAD_LANDMARKS
from libimg.phantoms.head_params import HeadFaults as HeadFaults
from libimg.phantoms.head_params import HeadParams as HeadParams
from libimg.phantoms.head_params import sample_head as sample_head
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
    "HEAD_LANDMARKS",
    "HEART_CLASSES",
    "LABELS",
    "ChestCase",
    "EventLabel",
    "Head",
    "HeadFaults",
    "HeadParams",
    "HeartCase",
    "HeartParams",
    "LabelledEvents",
    "Scene",
    "chest",
    "head",
    "heart_labels",
    "render_head",
    "render_scene",
    "sample_head",
    "sample_heart",
    "sample_scene",
    "scene",
    "virtual_noncontrast",
]
