"""Event cameras: exact streams, files, voxel grids and back, segments, filters, pictures."""

from libimg.events.conventions import CONVENTIONS as CONVENTIONS
from libimg.events.conventions import Convention as Convention
from libimg.events.decode import decode_voxels as decode_voxels
from libimg.events.decode import event_scores as event_scores
from libimg.events.decode import transfer_labels as transfer_labels
from libimg.events.filters import background_activity_filter as background_activity_filter
from libimg.events.filters import hot_pixels as hot_pixels
from libimg.events.filters import stcf as stcf
from libimg.events.filters import support_age as support_age
from libimg.events.filters import time_surface_filter as time_surface_filter
from libimg.events.filters import time_surface_score as time_surface_score
from libimg.events.reader import EventFile as EventFile
from libimg.events.reader import read_events as read_events
from libimg.events.render import event_cloud as event_cloud
from libimg.events.render import event_frame as event_frame
from libimg.events.render import voxel_picture as voxel_picture
from libimg.events.resolution import fit_resolution as fit_resolution
from libimg.events.resolution import restore_resolution as restore_resolution
from libimg.events.segments import Clock as Clock
from libimg.events.segments import merge_segments as merge_segments
from libimg.events.segments import shared_clock as shared_clock
from libimg.events.segments import split_segments as split_segments
from libimg.events.stream import Events as Events
from libimg.events.stream import concatenate as concatenate
from libimg.events.voxels import count_outside as count_outside
from libimg.events.voxels import encode_voxels as encode_voxels
from libimg.events.voxels import encode_windows as encode_windows
from libimg.events.writer import EventWriter as EventWriter
from libimg.events.writer import write_events as write_events

__all__ = [
    "CONVENTIONS",
    "Clock",
    "Convention",
    "EventFile",
    "EventWriter",
    "Events",
    "background_activity_filter",
    "concatenate",
    "count_outside",
    "decode_voxels",
    "encode_voxels",
    "encode_windows",
    "event_cloud",
    "event_frame",
    "event_scores",
    "fit_resolution",
    "hot_pixels",
    "merge_segments",
    "read_events",
    "restore_resolution",
    "shared_clock",
    "split_segments",
    "stcf",
    "support_age",
    "time_surface_filter",
    "time_surface_score",
    "transfer_labels",
    "voxel_picture",
    "write_events",
]
