"""Figures of merit: one value for each sample (and class), never averaged in silence."""

from libimg.metrics.image import bias as bias
from libimg.metrics.image import mae as mae
from libimg.metrics.image import psnr as psnr
from libimg.metrics.ranking import auc as auc
from libimg.metrics.segmentation import dice as dice
from libimg.metrics.segmentation import iou as iou
from libimg.metrics.sharpness import laplacian_ratio as laplacian_ratio
from libimg.metrics.sharpness import sharpness_ratio as sharpness_ratio
from libimg.metrics.structural import ms_ssim as ms_ssim
from libimg.metrics.structural import ssim as ssim

__all__ = [
    "auc",
    "bias",
    "dice",
    "iou",
    "laplacian_ratio",
    "mae",
    "ms_ssim",
    "psnr",
    "sharpness_ratio",
    "ssim",
]
