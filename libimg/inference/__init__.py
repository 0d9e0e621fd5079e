"""Running a trained model: in windows over a large image, and averaged over its variants."""

from libimg.inference.sliding import sliding_window as sliding_window
from libimg.inference.tta import tta as tta
from libimg.inference.tta import tta_variants as tta_variants

__all__ = ["sliding_window", "tta", "tta_variants"]
