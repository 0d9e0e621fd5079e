"""Networks: translation, registration, refinement, restoration, event voxels, shapes."""

from libimg.nets.heatmap import LandmarkUNet as LandmarkUNet
from libimg.nets.heatmap import heatmap_target as heatmap_target
from libimg.nets.heatmap import peak_probability as peak_probability
from libimg.nets.heatmap import soft_argmax as soft_argmax
from libimg.nets.latent_prior import Latent as Latent
from libimg.nets.latent_prior import LatentFlow as LatentFlow
from libimg.nets.latent_prior import flow_matching_loss as flow_matching_loss
from libimg.nets.latent_prior import sample_flow as sample_flow
from libimg.nets.refiner import Refiner as Refiner
from libimg.nets.registration import RegistrationUNet as RegistrationUNet
from libimg.nets.residual import RestorationResNet as RestorationResNet
from libimg.nets.residual import RestorationUNet as RestorationUNet
from libimg.nets.residual_unet3d import ResidualUNet3D as ResidualUNet3D
from libimg.nets.residual_unet3d import load_3dunet_weights as load_3dunet_weights
from libimg.nets.residual_unet3d import prepare_inference as prepare_inference
from libimg.nets.umamba import UMamba as UMamba
from libimg.nets.unet import UNet as UNet
from libimg.nets.vecset import VecSetAutoencoder as VecSetAutoencoder

__all__ = [
    "LandmarkUNet",
    "Latent",
    "LatentFlow",
    "Refiner",
    "RegistrationUNet",
    "ResidualUNet3D",
    "RestorationResNet",
    "RestorationUNet",
    "UMamba",
    "UNet",
    "VecSetAutoencoder",
    "flow_matching_loss",
    "heatmap_target",
    "load_3dunet_weights",
    "peak_probability",
    "prepare_inference",
    "sample_flow",
    "soft_argmax",
]
