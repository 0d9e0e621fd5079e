"""Event denoising: paired recordings, files through networks, scores, real noise, another host."""

from libimg.denoising.codec import Codec as Codec
from libimg.denoising.codec import encode_segment as encode_segment
from libimg.denoising.codec import limit_to_input as limit_to_input
from libimg.denoising.codec import recording_clock as recording_clock
from libimg.denoising.codec import swap_polarity as swap_polarity
from libimg.denoising.codec import toward_keeping as toward_keeping
from libimg.denoising.evaluate import evaluate_pairs as evaluate_pairs
from libimg.denoising.evaluate import event_panel as event_panel
from libimg.denoising.evaluate import on_device as on_device
from libimg.denoising.evaluate import rank_events as rank_events
from libimg.denoising.evaluate import restore_stream as restore_stream
from libimg.denoising.host3d import decode_predictions as decode_predictions
from libimg.denoising.host3d import write_3dunet as write_3dunet
from libimg.denoising.host3d import write_3dunet_configs as write_3dunet_configs
from libimg.denoising.overlay import Overlays as Overlays
from libimg.denoising.overlay import overlay_noise as overlay_noise
from libimg.denoising.pairs import CLEAN as CLEAN
from libimg.denoising.pairs import NOISY as NOISY
from libimg.denoising.pairs import EventData as EventData
from libimg.denoising.pairs import VoxelPairs as VoxelPairs
from libimg.denoising.pairs import draw_crops as draw_crops
from libimg.denoising.pairs import event_pairs as event_pairs
from libimg.denoising.pairs import write_scene_pairs as write_scene_pairs
from libimg.denoising.restore import restore_events as restore_events
from libimg.denoising.restore import restore_file as restore_file
from libimg.denoising.scoring import FILTER_SCORES as FILTER_SCORES
from libimg.denoising.scoring import FILTERS as FILTERS
from libimg.denoising.scoring import grid_scores as grid_scores
from libimg.denoising.scoring import label_by_truth as label_by_truth
from libimg.denoising.scoring import network_scores as network_scores
from libimg.denoising.scoring import score_kept as score_kept
from libimg.denoising.scoring import score_stream as score_stream

__all__ = [
    "CLEAN",
    "FILTERS",
    "FILTER_SCORES",
    "NOISY",
    "Codec",
    "EventData",
    "Overlays",
    "VoxelPairs",
    "decode_predictions",
    "draw_crops",
    "encode_segment",
    "evaluate_pairs",
    "event_pairs",
    "event_panel",
    "grid_scores",
    "label_by_truth",
    "limit_to_input",
    "network_scores",
    "on_device",
    "overlay_noise",
    "rank_events",
    "recording_clock",
    "restore_events",
    "restore_file",
    "restore_stream",
    "score_kept",
    "score_stream",
    "swap_polarity",
    "toward_keeping",
    "write_3dunet",
    "write_3dunet_configs",
    "write_scene_pairs",
]
