"""Outlines to pictures: attenuation for the X-ray, colour and shade for the photograph."""

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from libimg.phantoms.head_outline import Line
from libimg.phantoms.head_params import HeadParams

__all__ = ["Canvas", "paint_photo", "paint_xray"]

Array = npt.NDArray[Any]
FINER = 2  # shapes are drawn at twice the size and averaged, for smooth edges
DOSE = 50_000.0  # photons a square millimetre without a head
EXPOSED = 1.35  # attenuation that is nearly white on the film


class Canvas(NamedTuple):
    """Size in pixels and size of a pixel in millimetres."""

    size: tuple[int, int]
    spacing_mm: tuple[float, float]

    def fill(self, line: Line) -> Array:
        """Cover the inside of a closed line."""
        return self._draw(line, 0)

    def stroke(self, line: Line, width_mm: float) -> Array:
        """Cover a line of a width; thinner than a pixel is fainter, not thinner."""
        pixels = width_mm * FINER / self.spacing_mm[1]
        cover: Array = self._draw(line, max(1, round(pixels))) * np.float32(min(1.0, pixels))
        return cover

    def blur(self, x: Array, sigma_mm: float) -> Array:
        """Blur by a Gaussian."""
        sigma = [sigma_mm / side for side in self.spacing_mm]
        blurred: Array = ndimage.gaussian_filter(x, sigma, truncate=3)
        return blurred

    def _draw(self, line: Line, width: int) -> Array:
        from PIL import Image, ImageDraw

        height, wide = self.size
        image = Image.new("L", (wide * FINER, height * FINER))
        pen = ImageDraw.Draw(image)
        places = [(float(x), float(y)) for x, y in (line + 0.5) * FINER - 0.5]
        if width:
            pen.line(places, fill=255, width=width, joint="curve")
        else:
            pen.polygon(places, fill=255)
        small = image.reduce(FINER)
        cover: Array = np.asarray(small, np.float32) / 255
        return cover


def paint_xray(
    canvas: Canvas, at: Mapping[str, Line], params: HeadParams, rng: np.random.Generator
) -> Array:
    """Paint the X-ray ``(1, h, w)`` in [0, 1]: attenuation along the beam, film, noise, frame."""
    fill, stroke, blur = canvas.fill, canvas.stroke, canvas.blur
    skin = fill(at["skin"])
    depth = _depth(canvas, skin, 38.0)
    total = 0.10 * skin + 0.34 * depth
    brain, vault = fill(at["brain"]), fill(at["vault"])
    total += 0.20 * brain + blur(0.30 * np.maximum(vault - brain, 0), 0.5)
    total += blur(0.16 * fill(at["face"]), 1.2)
    maxilla, mandible = fill(at["maxilla"]), fill(at["mandible"])
    total += blur(0.22 * maxilla, 0.5) + blur(0.26 * mandible, 0.4)
    edges = {
        "mandible": (0.34, 1.2), "maxilla": (0.22, 0.9), "palate": (0.30, 1.2),
        "base": (0.26, 3.0), "sella": (0.36, 1.2), "clinoid": (0.34, 1.6), "orbit": (0.24, 1.3),
        "nasion": (0.34, 1.4), "porion": (0.26, 1.2), "canal": (-0.10, 2.0), "vault": (0.2, 1.6),
    }  # fmt: skip
    for name, (strength, width) in edges.items():
        total += strength * stroke(at[name], width)
    for name, line in at.items():
        if "molar" in name:
            total += 0.34 * fill(line)
        elif "incisor" in name:
            total += 0.42 * fill(line)
        elif "vertebra" in name:
            total += blur(0.26 * fill(line), 0.6) + 0.14 * stroke(line, 1.0)
    for name, loss in (("sinus", 0.10), ("frontal", 0.16), ("airway", 0.20), ("porion", 0.16)):
        total -= blur(loss * fill(at[name]) * (skin > 0), 0.8)
    total = blur(np.maximum(total, 0), 0.25)
    total += 0.02 * _cloud(canvas, rng, 9.0) * skin
    area = canvas.spacing_mm[0] * canvas.spacing_mm[1]
    dose = DOSE * area / params.exposure
    counts = rng.poisson(dose * np.exp(-total)).astype(np.float32) / np.float32(dose)
    film = -np.log(np.maximum(counts, 1e-3)) / EXPOSED * np.float32(params.exposure)
    picture = np.clip(0.06 + 0.9 * film, 0, 1)
    return _acquired(canvas, picture, params)[None]


def paint_photo(
    canvas: Canvas, at: Mapping[str, Line], params: HeadParams, rng: np.random.Generator
) -> Array:
    """Paint the photograph ``(3, h, w)`` in [0, 1]: skin in a lamp's light, hair, cloth, noise."""
    fill, stroke, blur = canvas.fill, canvas.stroke, canvas.blur
    height, width = canvas.size
    ramp = (
        np.linspace(0.85, 1.1, width, dtype=np.float32)
        * np.linspace(1.05, 0.9, height, dtype=np.float32)[:, None]
    )
    picture = _colour(params.background) * ramp
    skin, tint = fill(at["skin"]), _colour(params.skin)
    relief = _depth(canvas, skin, 30.0)
    down, forward = np.gradient(blur(relief, 2.0), *canvas.spacing_mm)
    light = np.clip(0.74 + 0.32 * relief + 3.0 * forward - 2.0 * down, 0.2, 1.25)
    light = light.astype(np.float32) * (1 + 0.02 * _cloud(canvas, rng, 4))
    eye, ear = at["eye"], at["ear"]
    iris = eye.mean(0) + (eye - eye.mean(0)) * (0.45, 0.9) + np.array((0.3 * np.ptp(eye[:, 0]), 0))
    inner = ear.mean(0) + (ear - ear.mean(0)) * 0.6
    strands, hair = _cloud(canvas, rng, 1.2, along=9.0), _colour(params.hair)
    weave = _cloud(canvas, rng, 3)
    layers = (
        (tint * light, skin),
        (_colour((0.78, 0.42, 0.42)) * params.skin[0] * light, blur(fill(at["mouth"]), 0.5) * skin),
        (tint * 0.35, blur(fill(at["nostril"]), 0.6) * skin * 0.8),
        (_colour((0.93, 0.93, 0.93)), fill(eye) * 0.9),
        (_colour((0.2, 0.2, 0.22)), fill(iris)),
        (hair, stroke(at["brow"], 3.0) * 0.8),
        (hair * (1 + 0.25 * strands) * (0.7 + 0.5 * relief), blur(fill(at["hair"]), 0.8)),
        (tint * light * 0.9, fill(ear)),
        (tint * 0.6, blur(stroke(inner, 2.0), 0.4) * 0.8),
        (_colour(params.cloth) * (1 + 0.1 * weave), fill(at["cloth"])),
    )  # fmt: skip
    for colour, cover in layers:
        picture = picture + (colour - picture) * cover
    picture = picture + rng.normal(0, 0.012, picture.shape).astype(np.float32)
    photo: Array = np.clip(picture, 0, 1).astype(np.float32)
    return photo


def _acquired(canvas: Canvas, picture: Array, params: HeadParams) -> Array:
    """Add frame, ruler and the bar of a border fault."""
    height, width = canvas.size
    rows, columns = (
        (np.arange(n, dtype=np.float32) + 0.5) * side
        for n, side in zip(canvas.size, canvas.spacing_mm, strict=True)
    )
    rng = np.random.default_rng(params.seed + 1)
    if params.ruler:
        x = columns[-1] - 14
        tall = np.where((rows % 10) < 0.8, 7.0, np.where((rows % 5) < 0.8, 4.0, 0.0))
        span = (rows > 40) & (rows < 190)
        ticks = (columns >= x) & (columns < x + tall[:, None]) & span[:, None]
        line = (np.abs(columns - x) < 0.5) & span[:, None]
        picture = np.where(ticks | line, np.float32(0.92), picture)
    if params.frame:
        wide = rng.uniform(4, 8)
        edge = (rows < wide)[:, None] | (rows > rows[-1] - wide)[:, None]
        edge = edge | (columns < wide) | (columns > columns[-1] - wide)
        picture = np.where(edge, np.float32(rng.choice([0.01, 0.97])), picture)
    if params.border:
        share = rng.uniform(0.1, 0.2)
        down, across = np.arange(height)[:, None] / height, np.arange(width) / width
        hidden = {
            "top": down < share,
            "bottom": down >= 1 - share,
            "left": across < share,
            "right": across >= 1 - share,
        }
        picture = np.where(hidden[params.border], np.float32(rng.choice([0.0, 1.0])), picture)
    return picture


def _depth(canvas: Canvas, inside: Array, reach_mm: float) -> Array:
    """Rounded relief: 0 at the edge of a shape, 1 from a depth on."""
    distance = ndimage.distance_transform_edt(inside > 0.5, sampling=canvas.spacing_mm)
    share = np.clip(distance / reach_mm, 0, 1)
    relief: Array = np.sqrt(1 - (1 - share) ** 2).astype(np.float32)
    return relief


def _cloud(canvas: Canvas, rng: np.random.Generator, mm: float, *, along: float = 0.0) -> Array:
    """Smooth noise of unit deviation, drawn on a coarse grid; ``along`` stretches it downward."""
    lengths = (max(along, mm), mm)
    sides = zip(canvas.size, canvas.spacing_mm, lengths, strict=True)
    coarse = [max(4, min(n, math.ceil(2 * n * side / length))) for n, side, length in sides]
    noise = ndimage.gaussian_filter(rng.normal(size=coarse).astype(np.float32), 1.0)
    noise = noise / (noise.std() + 1e-9)
    zoom = [n / c for n, c in zip(canvas.size, coarse, strict=True)]
    cloud: Array = ndimage.zoom(noise, zoom, order=1, grid_mode=True, mode="nearest")
    return cloud


def _colour(rgb: tuple[float, float, float]) -> Array:
    return np.array(rgb, np.float32)[:, None, None]
