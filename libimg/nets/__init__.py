"""Networks: U-Nets, registration network and refiner in 2-D and 3-D, and for event voxels."""

from libimg.nets.refiner import Refiner as Refiner
from libimg.nets.registration import RegistrationUNet as RegistrationUNet
from libimg.nets.residual_unet3d import ResidualUNet3D as ResidualUNet3D
from libimg.nets.residual_unet3d import load_3dunet_weights as load_3dunet_weights
from libimg.nets.residual_unet3d import prepare_inference as prepare_inference
from libimg.nets.umamba import UMamba as UMamba
from libimg.nets.unet import UNet as UNet

__all__ = [
    "Refiner",
    "RegistrationUNet",
    "ResidualUNet3D",
    "UMamba",
    "UNet",
    "load_3dunet_weights",
    "prepare_inference",
]
