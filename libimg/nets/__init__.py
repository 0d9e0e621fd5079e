"""Networks: U-Net, registration network and refiner, each in two and three dimensions."""

from libimg.nets.refiner import Refiner as Refiner
from libimg.nets.registration import RegistrationUNet as RegistrationUNet
from libimg.nets.unet import UNet as UNet

__all__ = ["Refiner", "RegistrationUNet", "UNet"]
