"""Noise and real JPEG, each drawn as a record and replayed bit for bit; JPEG with gradients.

Images are in [0, 1], gray or RGB; sigma is in levels of 255, quality is libjpeg's.
"""

from libimg.degradations.blur import Blur as Blur
from libimg.degradations.blur import BlurParams as BlurParams
from libimg.degradations.blur import Resample as Resample
from libimg.degradations.blur import ResampleParams as ResampleParams
from libimg.degradations.blur import gaussian_blur as gaussian_blur
from libimg.degradations.blur import resample as resample
from libimg.degradations.differentiable import differentiable_jpeg as differentiable_jpeg
from libimg.degradations.differentiable import quantisation_tables as quantisation_tables
from libimg.degradations.jpeg import jpeg as jpeg
from libimg.degradations.jpeg import to_bytes as to_bytes
from libimg.degradations.noise import gaussian_noise as gaussian_noise
from libimg.degradations.pipeline import Degradation as Degradation
from libimg.degradations.pipeline import DegradationParams as DegradationParams
from libimg.degradations.schedule import curriculum as curriculum
from libimg.degradations.schedule import histogram as histogram

__all__ = [
    "Blur",
    "BlurParams",
    "Degradation",
    "DegradationParams",
    "Resample",
    "ResampleParams",
    "curriculum",
    "differentiable_jpeg",
    "gaussian_blur",
    "gaussian_noise",
    "histogram",
    "jpeg",
    "quantisation_tables",
    "resample",
    "to_bytes",
]
