"""Event cameras: exact streams, files, voxel grids and back, segments, filters, pictures."""

from libimg.events.conventions import CONVENTIONS as CONVENTIONS
from libimg.events.conventions import Convention as Convention
from libimg.events.decode import decode_voxels as decode_voxels
from libimg.events.decode import event_scores as event_scores
from libimg.events.decode import transfer_labels as transfer_labels
from libimg.events.stream import Events as Events
from libimg.events.stream import concatenate as concatenate
from libimg.events.voxels import count_outside as count_outside
from libimg.events.voxels import encode_voxels as encode_voxels
from libimg.events.voxels import encode_windows as encode_windows

__all__ = [
    "CONVENTIONS",
    "Convention",
    "Events",
    "concatenate",
    "count_outside",
    "decode_voxels",
    "encode_voxels",
    "encode_windows",
    "event_scores",
    "transfer_labels",
]
