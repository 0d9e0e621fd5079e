"""Restoration of photographs: networks as files, patches to train on, scores, files and folders."""

from libimg.restoration.evaluate import degrade as degrade
from libimg.restoration.evaluate import evaluate_grid as evaluate_grid
from libimg.restoration.evaluate import frozen_grid as frozen_grid
from libimg.restoration.evaluate import paper_grid as paper_grid
from libimg.restoration.evaluate import restore as restore
from libimg.restoration.files import Outcome as Outcome
from libimg.restoration.files import restore_files as restore_files
from libimg.restoration.files import restore_picture as restore_picture
from libimg.restoration.photos import Patches as Patches
from libimg.restoration.photos import Photo as Photo
from libimg.restoration.photos import draw_patches as draw_patches
from libimg.restoration.photos import middle as middle
from libimg.restoration.photos import photographs as photographs
from libimg.restoration.restorer import Card as Card
from libimg.restoration.restorer import Network as Network
from libimg.restoration.restorer import Restorer as Restorer
from libimg.restoration.restorer import build as build
from libimg.restoration.restorer import export_restorer as export_restorer
from libimg.restoration.restorer import load_restorer as load_restorer
from libimg.restoration.restorer import load_weights as load_weights
from libimg.restoration.restorer import save_restorer as save_restorer
from libimg.restoration.sheets import failure_sheet as failure_sheet
from libimg.restoration.sheets import photo_sheet as photo_sheet

__all__ = [
    "Card",
    "Network",
    "Outcome",
    "Patches",
    "Photo",
    "Restorer",
    "build",
    "degrade",
    "draw_patches",
    "evaluate_grid",
    "export_restorer",
    "failure_sheet",
    "frozen_grid",
    "load_restorer",
    "load_weights",
    "middle",
    "paper_grid",
    "photo_sheet",
    "photographs",
    "restore",
    "restore_files",
    "restore_picture",
    "save_restorer",
]
