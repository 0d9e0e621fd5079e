"""Restoration of photographs: patches to train on, scores on a frozen grid, files and folders."""

from libimg.restoration.evaluate import evaluate_grid as evaluate_grid
from libimg.restoration.evaluate import frozen_grid as frozen_grid
from libimg.restoration.files import Outcome as Outcome
from libimg.restoration.files import restore_files as restore_files
from libimg.restoration.files import restore_picture as restore_picture
from libimg.restoration.photos import Patches as Patches
from libimg.restoration.photos import Photo as Photo
from libimg.restoration.photos import draw_patches as draw_patches
from libimg.restoration.photos import photographs as photographs

__all__ = [
    "Outcome",
    "Patches",
    "Photo",
    "draw_patches",
    "evaluate_grid",
    "frozen_grid",
    "photographs",
    "restore_files",
    "restore_picture",
]
