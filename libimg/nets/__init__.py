"""Networks: translation, registration, refinement, restoration, event voxels."""

from libimg.nets.refiner import Refiner as Refiner
from libimg.nets.registration import RegistrationUNet as RegistrationUNet
from libimg.nets.residual import RestorationResNet as RestorationResNet
from libimg.nets.residual import RestorationUNet as RestorationUNet
from libimg.nets.residual_unet3d import ResidualUNet3D as ResidualUNet3D
from libimg.nets.residual_unet3d import load_3dunet_weights as load_3dunet_weights
from libimg.nets.residual_unet3d import prepare_inference as prepare_inference
from libimg.nets.umamba import UMamba as UMamba
from libimg.nets.unet import UNet as UNet

__all__ = [
    "Refiner",
    "RegistrationUNet",
    "ResidualUNet3D",
    "RestorationResNet",
    "RestorationUNet",
    "UMamba",
    "UNet",
    "load_3dunet_weights",
    "prepare_inference",
]
