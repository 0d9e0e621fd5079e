"""Running a trained model: on any device, in windows over a large image, over its variants."""

from libimg.inference.ready import best_device as best_device
from libimg.inference.ready import ready as ready
from libimg.inference.sliding import sliding_window as sliding_window
from libimg.inference.tta import tta as tta
from libimg.inference.tta import tta_variants as tta_variants

__all__ = ["best_device", "ready", "sliding_window", "tta", "tta_variants"]
