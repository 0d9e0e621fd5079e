"""Losses: lower is better, one value per sample, masks divided by their own sum."""

from libimg._ops.reduce import masked_mean as masked_mean
from libimg.losses.adversarial import feature_matching as feature_matching
from libimg.losses.adversarial import gan_discriminator as gan_discriminator
from libimg.losses.adversarial import gan_generator as gan_generator
from libimg.losses.flow import bending_energy as bending_energy
from libimg.losses.flow import flow_smoothness as flow_smoothness
from libimg.losses.gradient import gradient_difference as gradient_difference
from libimg.losses.heatmap import heatmap_loss as heatmap_loss
from libimg.losses.multiscale import multi_scale as multi_scale
from libimg.losses.perceptual import PerceptualLoss as PerceptualLoss
from libimg.losses.pixel import charbonnier as charbonnier
from libimg.losses.pixel import huber as huber
from libimg.losses.pixel import l1 as l1
from libimg.losses.pixel import mse as mse
from libimg.losses.pixel import psnr as psnr
from libimg.losses.sdf import class_overlap as class_overlap
from libimg.losses.sdf import eikonal as eikonal
from libimg.losses.sdf import field_gradient as field_gradient
from libimg.losses.sdf import finite_difference_gradient as finite_difference_gradient
from libimg.losses.sdf import sdf_l1 as sdf_l1
from libimg.losses.sdf import surface_l1 as surface_l1
from libimg.losses.structural import ms_ssim as ms_ssim
from libimg.losses.structural import ssim as ssim

__all__ = [
    "PerceptualLoss",
    "bending_energy",
    "charbonnier",
    "class_overlap",
    "eikonal",
    "feature_matching",
    "field_gradient",
    "finite_difference_gradient",
    "flow_smoothness",
    "gan_discriminator",
    "gan_generator",
    "gradient_difference",
    "heatmap_loss",
    "huber",
    "l1",
    "masked_mean",
    "ms_ssim",
    "mse",
    "multi_scale",
    "psnr",
    "sdf_l1",
    "ssim",
    "surface_l1",
]
