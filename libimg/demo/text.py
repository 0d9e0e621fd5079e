"""What the page says, as HTML; names of files and reasons are escaped."""

import math
from collections.abc import Sequence
from html import escape

from libimg.demo.work import Limits, Restored
from libimg.restoration import Card

__all__ = ["caption", "introduction", "listed", "report"]


def introduction(card: Card, limits: Limits) -> str:
    """Say what the network is and what the page takes."""
    parts = [f"{card.parameters / 1e6:.2f} M parameters"] if card.parameters else []
    parts += [f"trained on {card.trained_on}"] if card.trained_on else []
    low, high = card.sigma_range
    parts.append(f"noise of {low:g} to {high:g} of 255")
    if card.quality_range is None:
        parts.append("no JPEG")
    else:
        parts.append("JPEG quality {} to {}".format(*card.quality_range))
    model = escape(", ".join(parts))
    return (
        f"<p><b>The network:</b> {model}.<br>"
        f"<b>The page</b> takes up to {limits.files} images of {limits.megabytes:g} MB and "
        f"{limits.megapixels:g} megapixels each: PNG, JPEG, TIFF, BMP, WebP. They stay on this "
        "machine and are deleted when the page is closed down.</p>"
    )


def listed(notes: Sequence[str]) -> str:
    """Write plain notes, one on a line."""
    return "".join(f"<p class='note'>{escape(note)}</p>" for note in notes)


def caption(result: Restored) -> str:
    """Describe one result in a line."""
    height, width = result.size
    parts = [f"<b>{escape(result.name)}</b>", f"{width} x {height} pixels"]
    parts.append(f"restored in {result.seconds:.2f} s")
    if result.psnr is not None:
        before, after = result.psnr
        text = f"PSNR {_decibel(before)} degraded, <b>{_decibel(after)} restored</b>"
        if math.isfinite(before) and math.isfinite(after):
            text += f" ({after - before:+.2f} dB)"
        parts.append(text)
    return f"<p class='caption'>{' · '.join(parts)}</p>{listed(result.notes)}"


def report(results: Sequence[Restored], failed: Sequence[str]) -> str:
    """Count what was done and name what was not."""
    if not results and not failed:
        return "<p class='note'>Choose an image first, or click one of the examples.</p>"
    count = len(results)
    seconds = sum(result.seconds for result in results)
    text = f"{count} {'image' if count == 1 else 'images'} restored in {seconds:.2f} s"
    gains = [r.psnr[1] - r.psnr[0] for r in results if r.psnr is not None]
    if gains and all(math.isfinite(gain) for gain in gains):
        text += f", mean gain {sum(gains) / len(gains):+.2f} dB"
    wrong = "".join(f"<p class='failed'>{escape(line)}</p>" for line in failed)
    return f"<p>{text}.</p>{wrong}"


def _decibel(value: float) -> str:
    return f"{value:.2f} dB" if math.isfinite(value) else "∞ dB (identical)"
