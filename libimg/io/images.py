"""Photographs in and out of files; what was done to them on the way is said, not silent."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from libimg._extras import optional

__all__ = [
    "IMAGE_SUFFIXES",
    "Picture",
    "as_gray",
    "as_rgb",
    "list_images",
    "read_image",
    "restored",
    "write_image",
]

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp")
"""Endings of the images that are read and written."""
LOSSY = (".jpg", ".jpeg", ".webp")
MEGAPIXELS = 170.0
PNG_COLOUR_16 = (2, 6)  # colour types of a PNG that Pillow would cut to 8 bits


@dataclass(frozen=True)
class Picture:
    """An image and what has to be kept beside its colours.

    Attributes:
        image: ``(c, h, w)`` float32 in [0, 1], c 1 (gray) or 3 (RGB), upright.
        alpha: ``(1, h, w)`` in [0, 1], or None.
        bits: of a channel in the file, 8 or 16.
        notes: what was done on the way in, in words.
        info: colour profile and EXIF of the file without orientation, for writing.

    Example:
        >>> Picture(torch.zeros(1, 4, 6)).bits
        8
    """

    image: Float[Tensor, "c h w"]
    alpha: Float[Tensor, "1 h w"] | None = None
    bits: int = 8
    notes: tuple[str, ...] = ()
    info: dict[str, Any] = field(default_factory=dict, repr=False)


def list_images(path: Path) -> list[Path]:
    """List the images below a folder by name, or the one file that is given.

    Raises:
        FileNotFoundError: there is no such file or folder, or the folder has no image.

    Example:
        >>> list_images(Path("no/such/folder"))
        Traceback (most recent call last):
        FileNotFoundError: no/such/folder: no such file or folder
    """
    if not path.exists():
        msg = f"{path}: no such file or folder"
        raise FileNotFoundError(msg)
    if path.is_file():
        return [path]
    found = sorted(p for p in path.rglob("*") if p.suffix.lower() in IMAGE_SUFFIXES and p.is_file())
    if not found:
        msg = f"{path}: no image ({', '.join(IMAGE_SUFFIXES)}) in it"
        raise FileNotFoundError(msg)
    return found


def read_image(path: str | Path, *, megapixels: float = MEGAPIXELS) -> Picture:
    """Read a photograph upright, as gray or RGB in [0, 1].

    The EXIF orientation is applied, a palette looked up, transparency taken apart, 16 bits kept
    (gray and RGB), CMYK and other colours turned into RGB. `Picture.notes` says which of it
    happened. Of an animation the first frame is read.

    Args:
        path: file.
        megapixels: refuse larger images before they are unpacked. Pillow refuses those of more
            than twice ``PIL.Image.MAX_IMAGE_PIXELS``, 179 megapixels, by itself.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no image, is damaged, or has too many pixels; the message names it.
        ImportError: 16-bit RGB needs OpenCV.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder) / "a.png"
        ...     write_image(path, Picture(torch.full((3, 4, 6), 0.2)))
        ...     read_image(path).image[:, 0, 0]
        tensor([0.2000, 0.2000, 0.2000])
    """
    from PIL import Image, ImageOps, UnidentifiedImageError

    path = Path(path)
    if not path.is_file():
        msg = f"{path}: no such file"
        raise FileNotFoundError(msg)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            opened = Image.open(path)
        with opened as file:
            size = file.width * file.height / 1e6
            if size > megapixels:
                msg = f"{path}: {size:.0f} megapixels, more than the limit of {megapixels:g}"
                raise ValueError(msg)
            file.load()
            notes = [] if getattr(file, "n_frames", 1) == 1 else ["first frame of several"]
            upright = ImageOps.exif_transpose(file)
            if file.getexif().get(0x0112, 1) != 1:
                notes.append("EXIF orientation applied")
            kept = {
                "icc_profile": file.info.get("icc_profile"),
                "exif": upright.getexif().tobytes(),
            }
            info = {name: value for name, value in kept.items() if value}
            picture = _convert(upright, notes)
    except (Image.DecompressionBombError, UnidentifiedImageError, OSError, SyntaxError) as error:
        msg = f"{path}: cannot be read as an image ({error})"
        raise ValueError(msg) from error
    if _colour_16(path):
        picture = _read_16(path, picture)
    return replace(picture, info=info)


def write_image(path: str | Path, picture: Picture) -> None:
    """Write a photograph in the format of its suffix, rounded to its bits.

    Args:
        path: file; its folder is made. JPEG and WebP are written at quality 95.
        picture: values outside [0, 1] are clipped. 16 bits need PNG or TIFF (RGB: PNG) and are
            refused elsewhere; transparency needs PNG, TIFF or WebP.

    Raises:
        ValueError: an unknown suffix, or transparency or 16 bits that the format cannot hold.

    Example:
        >>> write_image("a.jpg", Picture(torch.zeros(3, 4, 6), alpha=torch.ones(1, 4, 6)))
        Traceback (most recent call last):
        ValueError: a.jpg: .jpg cannot hold transparency; write a PNG
    """
    from PIL import Image

    path = Path(path)
    suffix = path.suffix.lower()
    if suffix not in IMAGE_SUFFIXES:
        msg = f"{path}: expected one of {', '.join(IMAGE_SUFFIXES)}"
        raise ValueError(msg)
    if picture.alpha is not None and suffix in (".jpg", ".jpeg", ".bmp"):
        msg = f"{path}: {suffix} cannot hold transparency; write a PNG"
        raise ValueError(msg)
    deep, gray = picture.bits == 16, len(picture.image) == 1
    if deep and suffix != ".png" and not (gray and suffix in (".tif", ".tiff")):
        msg = f"{path}: {suffix} cannot hold 16 bits of this image; write a PNG"
        raise ValueError(msg)
    planes = [picture.image] if picture.alpha is None else [picture.image, picture.alpha]
    top = 65535 if deep else 255
    whole = (torch.cat(planes).clamp(0, 1) * top).round().permute(1, 2, 0).numpy()
    array = whole.astype(np.uint16 if deep else np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    if deep and array.shape[2] > 1:
        cv2 = optional("cv2", extra="tasks")
        order = {2: [0, 0, 0, 1], 3: [2, 1, 0], 4: [2, 1, 0, 3]}[array.shape[2]]
        coded = cv2.imencode(".png", np.ascontiguousarray(array[..., order]))[1]
        path.write_bytes(coded.tobytes())
        return
    image = Image.fromarray(array[..., 0] if array.shape[2] == 1 else array)
    options: dict[str, Any] = {"quality": 95} if suffix in LOSSY else {}
    image.save(path, **options, **picture.info)


def as_gray(image: Float[Tensor, "c h w"]) -> Float[Tensor, "1 h w"]:
    """Return the luma of an image in [0, 1], rounded to whole 255ths as a file would hold it.

    Example:
        >>> as_gray(torch.tensor([1.0, 0.0, 0.0]).view(3, 1, 1)).mul(255).round().item()
        76.0

    Reference:
        Weights of ITU-R BT.601, full range, as in JPEG.
    """
    if len(image) == 1:
        return image
    red, green, blue = image
    luma: Tensor = 0.299 * red + 0.587 * green + 0.114 * blue
    return luma.mul(255).round().div(255)[None]


def as_rgb(image: Float[Tensor, "c h w"]) -> Float[Tensor, "3 h w"]:
    """Repeat gray as three channels, for a network that takes colour.

    Example:
        >>> as_rgb(torch.zeros(1, 4, 6)).shape
        torch.Size([3, 4, 6])
    """
    return image.expand(3, -1, -1) if len(image) == 1 else image


def restored(picture: Picture, image: Float[Tensor, "3 h w"]) -> Picture:
    """Put a network's RGB in the place of a picture's image: gray again if it was gray.

    Args:
        picture: what the network was given, through `as_rgb`.
        image: what it answered.

    Example:
        >>> restored(Picture(torch.zeros(1, 4, 6)), torch.ones(3, 4, 6)).image.shape
        torch.Size([1, 4, 6])
    """
    gray = len(picture.image) == 1
    return replace(picture, image=image.mean(0, keepdim=True) if gray else image)


def _convert(file: Any, notes: list[str]) -> Picture:
    """Turn what Pillow has opened into gray or RGB with alpha apart."""
    mode = file.mode
    if mode in ("I;16", "I;16B", "I;16L", "I"):
        wide = np.asarray(file).astype(np.int64)
        if wide.min() < 0 or wide.max() > 65535:
            msg = f"integers of {wide.min()} to {wide.max()} are no 16-bit image"
            raise OSError(msg)
        notes.append("16 bits kept")
        return Picture(_planes(wide[..., None], 65535), bits=16, notes=tuple(notes))
    clear = mode in ("LA", "PA", "RGBA", "La", "RGBa") or "transparency" in file.info
    if mode == "P":
        notes.append("palette looked up")
    elif mode == "1":
        notes.append("black and white as gray")
    elif mode == "F":
        msg = "floating-point pixels have no known range"
        raise OSError(msg)
    elif mode not in ("L", "LA", "La", "RGB", "RGBA", "RGBa"):
        notes.append(f"{mode} turned into RGB")
    gray = mode in ("1", "L", "LA", "La")
    wanted: Sequence[str] = ("LA", "L") if gray else ("RGBA", "RGB")
    array = np.asarray(file.convert(wanted[0] if clear else wanted[1]))
    array = array[..., None] if array.ndim == 2 else array
    planes = _planes(array, 255)
    if not clear:
        return Picture(planes, notes=tuple(notes))
    notes.append("transparency kept apart")
    return Picture(planes[:-1], planes[-1:], notes=tuple(notes))


def _planes(array: Any, top: int) -> Float[Tensor, "c h w"]:
    return torch.from_numpy(np.array(array.transpose(2, 0, 1), np.float32)) / top


def _colour_16(path: Path) -> bool:
    """Tell from its head whether a file is a PNG of 16 bits with colour."""
    with path.open("rb") as file:
        head = file.read(26)
    return head[:8] == b"\x89PNG\r\n\x1a\n" and head[24] == 16 and head[25] in PNG_COLOUR_16


def _read_16(path: Path, picture: Picture) -> Picture:
    """Read a 16-bit colour PNG again with OpenCV, which keeps its bits."""
    cv2 = optional("cv2", extra="tasks")
    array = cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_UNCHANGED)
    planes = _planes(array[..., [2, 1, 0, 3][: array.shape[2]]], 65535)
    alpha = planes[3:] if len(planes) == 4 else None
    notes = (*picture.notes, "16 bits kept")
    return replace(picture, image=planes[:3], alpha=alpha, bits=16, notes=notes)
