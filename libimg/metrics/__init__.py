"""Figures of merit: one value for each sample (and class), never averaged in silence."""

from libimg.metrics.cephalometry import angle as angle
from libimg.metrics.cephalometry import bland_altman as bland_altman
from libimg.metrics.cephalometry import cephalometric_angles as cephalometric_angles
from libimg.metrics.completion import ClassSummary as ClassSummary
from libimg.metrics.completion import Summary as Summary
from libimg.metrics.completion import coverage as coverage
from libimg.metrics.completion import error_variance_correlation as error_variance_correlation
from libimg.metrics.completion import summarise_classes as summarise_classes
from libimg.metrics.eight_bit import psnr_8bit as psnr_8bit
from libimg.metrics.eight_bit import psnr_b as psnr_b
from libimg.metrics.eight_bit import to_8bit as to_8bit
from libimg.metrics.eight_bit import to_y as to_y
from libimg.metrics.event_distance import event_chamfer as event_chamfer
from libimg.metrics.event_distance import event_gaussian_distance as event_gaussian_distance
from libimg.metrics.event_structure import EsrControls as EsrControls
from libimg.metrics.event_structure import StructuralRatio as StructuralRatio
from libimg.metrics.event_structure import esr_controls as esr_controls
from libimg.metrics.event_structure import event_structural_ratio as event_structural_ratio
from libimg.metrics.event_structure import (
    mean_event_structural_ratio as mean_event_structural_ratio,
)
from libimg.metrics.event_voxels import event_f1 as event_f1
from libimg.metrics.event_voxels import event_precision_recall as event_precision_recall
from libimg.metrics.event_voxels import pooled_mse as pooled_mse
from libimg.metrics.event_voxels import voxel_mse as voxel_mse
from libimg.metrics.event_voxels import voxel_psnr as voxel_psnr
from libimg.metrics.events import BestF1 as BestF1
from libimg.metrics.events import EventRates as EventRates
from libimg.metrics.events import best_f1 as best_f1
from libimg.metrics.events import event_auc as event_auc
from libimg.metrics.events import event_rates as event_rates
from libimg.metrics.events import relative_plausibility as relative_plausibility
from libimg.metrics.events import retention as retention
from libimg.metrics.events import signal_to_noise as signal_to_noise
from libimg.metrics.image import bias as bias
from libimg.metrics.image import mae as mae
from libimg.metrics.image import psnr as psnr
from libimg.metrics.landmarks import MissingLandmarks as MissingLandmarks
from libimg.metrics.landmarks import landmark_errors as landmark_errors
from libimg.metrics.landmarks import landmark_report as landmark_report
from libimg.metrics.landmarks import missing_landmarks as missing_landmarks
from libimg.metrics.landmarks import surrogate_gap as surrogate_gap
from libimg.metrics.perceptual import lpips as lpips
from libimg.metrics.point_sets import chamfer as chamfer
from libimg.metrics.point_sets import f_score as f_score
from libimg.metrics.presets import SSIM_PRESETS as SSIM_PRESETS
from libimg.metrics.presets import ssim_preset as ssim_preset
from libimg.metrics.ranking import auc as auc
from libimg.metrics.segmentation import dice as dice
from libimg.metrics.segmentation import iou as iou
from libimg.metrics.sharpness import laplacian_ratio as laplacian_ratio
from libimg.metrics.sharpness import sharpness_ratio as sharpness_ratio
from libimg.metrics.structural import ms_ssim as ms_ssim
from libimg.metrics.structural import ssim as ssim
from libimg.metrics.surface import average_surface_distance as average_surface_distance
from libimg.metrics.surface import hausdorff95 as hausdorff95
from libimg.metrics.surface import surface_dice as surface_dice
from libimg.metrics.surface_distance import SurfaceDistances as SurfaceDistances
from libimg.metrics.surface_distance import surface_distances as surface_distances

__all__ = [
    "SSIM_PRESETS",
    "BestF1",
    "ClassSummary",
    "EsrControls",
    "EventRates",
    "MissingLandmarks",
    "StructuralRatio",
    "Summary",
    "SurfaceDistances",
    "angle",
    "auc",
    "average_surface_distance",
    "best_f1",
    "bias",
    "bland_altman",
    "cephalometric_angles",
    "chamfer",
    "coverage",
    "dice",
    "error_variance_correlation",
    "esr_controls",
    "event_auc",
    "event_chamfer",
    "event_f1",
    "event_gaussian_distance",
    "event_precision_recall",
    "event_rates",
    "event_structural_ratio",
    "f_score",
    "hausdorff95",
    "iou",
    "landmark_errors",
    "landmark_report",
    "laplacian_ratio",
    "lpips",
    "mae",
    "mean_event_structural_ratio",
    "missing_landmarks",
    "ms_ssim",
    "pooled_mse",
    "psnr",
    "psnr_8bit",
    "psnr_b",
    "relative_plausibility",
    "retention",
    "sharpness_ratio",
    "signal_to_noise",
    "ssim",
    "ssim_preset",
    "summarise_classes",
    "surface_dice",
    "surface_distances",
    "surrogate_gap",
    "to_8bit",
    "to_y",
    "voxel_mse",
    "voxel_psnr",
]
