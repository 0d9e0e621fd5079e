"""Photographs to lateral X-rays for landmarks: pairs, frames, the judge, scores and reports."""

from libimg.cephalometry.audit import audit_heads as audit_heads
from libimg.cephalometry.audit import audit_text as audit_text
from libimg.cephalometry.audit import flags_of as flags_of
from libimg.cephalometry.causes import Cause as Cause
from libimg.cephalometry.causes import blur_to_match as blur_to_match
from libimg.cephalometry.causes import error_mm as error_mm
from libimg.cephalometry.causes import paired_cause as paired_cause
from libimg.cephalometry.causes import ranked as ranked
from libimg.cephalometry.causes import sharpness_of as sharpness_of
from libimg.cephalometry.causes import unpaired_cause as unpaired_cause
from libimg.cephalometry.compare import compare_heads as compare_heads
from libimg.cephalometry.compare import run_panel as run_panel
from libimg.cephalometry.compare import translate_photo as translate_photo
from libimg.cephalometry.detector import Detector as Detector
from libimg.cephalometry.detector import build_detector as build_detector
from libimg.cephalometry.detector import fit_detector as fit_detector
from libimg.cephalometry.detector import points_of as points_of
from libimg.cephalometry.diagnosis import Diagnosis as Diagnosis
from libimg.cephalometry.diagnosis import diagnose_heads as diagnose_heads
from libimg.cephalometry.frames import Frame as Frame
from libimg.cephalometry.frames import Framed as Framed
from libimg.cephalometry.frames import box_of as box_of
from libimg.cephalometry.frames import draw_framed as draw_framed
from libimg.cephalometry.frames import framed as framed
from libimg.cephalometry.frames import stack as stack
from libimg.cephalometry.frames import within as within
from libimg.cephalometry.landmark_files import read_landmarks as read_landmarks
from libimg.cephalometry.landmark_files import read_spacing as read_spacing
from libimg.cephalometry.landmark_files import write_landmarks as write_landmarks
from libimg.cephalometry.pairs import HeadPair as HeadPair
from libimg.cephalometry.pairs import Heads as Heads
from libimg.cephalometry.pairs import fingerprints as fingerprints
from libimg.cephalometry.pairs import landmark_names as landmark_names
from libimg.cephalometry.pairs import load_pair as load_pair
from libimg.cephalometry.pairs import load_pairs as load_pairs
from libimg.cephalometry.pairs import pair_names as pair_names
from libimg.cephalometry.pairs import write_heads as write_heads
from libimg.cephalometry.pictures import head_panel as head_panel
from libimg.cephalometry.pictures import marked as marked
from libimg.cephalometry.report import Section as Section
from libimg.cephalometry.report import write_report as write_report
from libimg.cephalometry.score import evaluate_heads as evaluate_heads
from libimg.cephalometry.score import into as into
from libimg.cephalometry.score import picture_scores as picture_scores
from libimg.cephalometry.score import round_trip as round_trip
from libimg.cephalometry.score import sharpness as sharpness
from libimg.cephalometry.split import Split as Split
from libimg.cephalometry.split import detector_of as detector_of
from libimg.cephalometry.split import divide as divide
from libimg.cephalometry.split import framed_pairs as framed_pairs
from libimg.cephalometry.telling import compare_runs as compare_runs
from libimg.cephalometry.telling import tell as tell

__all__ = [
    "Cause",
    "Detector",
    "Diagnosis",
    "Frame",
    "Framed",
    "HeadPair",
    "Heads",
    "Section",
    "Split",
    "audit_heads",
    "audit_text",
    "blur_to_match",
    "box_of",
    "build_detector",
    "compare_heads",
    "compare_runs",
    "detector_of",
    "diagnose_heads",
    "divide",
    "draw_framed",
    "error_mm",
    "evaluate_heads",
    "fingerprints",
    "fit_detector",
    "flags_of",
    "framed",
    "framed_pairs",
    "head_panel",
    "into",
    "landmark_names",
    "load_pair",
    "load_pairs",
    "marked",
    "pair_names",
    "paired_cause",
    "picture_scores",
    "points_of",
    "ranked",
    "read_landmarks",
    "read_spacing",
    "round_trip",
    "run_panel",
    "sharpness",
    "sharpness_of",
    "stack",
    "tell",
    "translate_photo",
    "unpaired_cause",
    "within",
    "write_heads",
    "write_landmarks",
    "write_report",
]
