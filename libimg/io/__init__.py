"""Files in and out: volumes with their geometry, photographs with what belongs to them."""

from libimg.io.images import IMAGE_SUFFIXES as IMAGE_SUFFIXES
from libimg.io.images import Picture as Picture
from libimg.io.images import as_gray as as_gray
from libimg.io.images import as_rgb as as_rgb
from libimg.io.images import list_images as list_images
from libimg.io.images import read_image as read_image
from libimg.io.images import restored as restored
from libimg.io.images import write_image as write_image
from libimg.io.volumes import Volume as Volume
from libimg.io.volumes import case_name as case_name
from libimg.io.volumes import list_volumes as list_volumes
from libimg.io.volumes import read_volume as read_volume
from libimg.io.volumes import write_volume as write_volume

__all__ = [
    "IMAGE_SUFFIXES",
    "Picture",
    "Volume",
    "as_gray",
    "as_rgb",
    "case_name",
    "list_images",
    "list_volumes",
    "read_image",
    "read_volume",
    "restored",
    "write_image",
    "write_volume",
]
