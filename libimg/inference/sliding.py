"""Sliding windows with blended overlaps."""

import math
from collections.abc import Callable, Sequence
from itertools import product
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from libimg._check import one_of, spatial
from libimg._extras import optional
from libimg._types import Image

__all__ = ["sliding_window"]


def sliding_window(
    x: Image,
    model: Callable[[Tensor], Tensor],
    *,
    window: int | Sequence[int],
    overlap: float = 0.25,
    batch: int = 4,
    blend: Literal["gaussian", "hann", "constant"] = "gaussian",
    progress: bool = False,
) -> Float[Tensor, "b o *spatial"]:
    """Apply ``model`` to overlapping windows and blend its outputs, without gradients.

    The last window of each axis is moved back so that it ends with the image. An image smaller
    than the window is padded at its far ends, by reflection or, where it is too small for that,
    by its edge values; the output is cropped again. Call ``model.eval()`` first if it matters.

    Args:
        x: ``(b, c, h, w)`` or ``(b, c, d, h, w)``.
        model: takes ``(n, c, *window)`` and returns ``(n, o, *window)``. It may run elsewhere, as
            in ``lambda v: net(v.to(device))``: its output is brought back to where ``x`` is.
        window: size in voxels, one for all axes or one for each.
        overlap: share of a window that the next one repeats, in [0, 1).
        batch: windows given to the model at once.
        blend: weight of a voxel in its window: ``"gaussian"``, sigma one eighth of the window and
            not below 0.001; ``"hann"``, a product of raised cosines, which hides the ends of a
            window in the corners of the image, too; or ``"constant"``.
        progress: show a progress bar (needs tqdm).

    Returns:
        ``(b, o, *spatial)`` in the dtype of ``x``, accumulated in float32 or wider.

    Raises:
        ValueError: an option is out of range, or the model does not keep the window's size.

    Example:
        >>> x = torch.arange(60.0).reshape(1, 1, 6, 10)
        >>> torch.allclose(sliding_window(x, lambda v: 2 * v, window=4, overlap=0.5), 2 * x)
        True

    Reference:
        Positions and weights are those of MONAI's ``sliding_window_inference``, which pads a
        small image by zeros unless told otherwise.
    """
    n = spatial("x", x)
    window = (window,) * n if isinstance(window, int) else tuple(window)
    one_of("blend", blend, ("gaussian", "hann", "constant"))
    if len(window) != n or min(window) < 1 or batch < 1 or not 0 <= overlap < 1:
        msg = f"expected {n} window sizes >= 1, batch >= 1 and overlap in [0, 1), "
        msg += f"got window={window}, batch={batch}, overlap={overlap}"
        raise ValueError(msg)
    missing = [max(0, w - s) for w, s in zip(window, x.shape[2:], strict=True)]
    reflect = all(m < s for m, s in zip(missing, x.shape[2:], strict=True))
    padding = [m for pad in reversed(missing) for m in (0, pad)]
    padded = F.pad(x, padding, mode="reflect" if reflect else "replicate") if any(padding) else x
    size = padded.shape[2:]
    axes = [_starts(s, w, overlap) for s, w in zip(size, window, strict=True)]
    cuts = [
        (slice(None), *(slice(a, a + w) for a, w in zip(corner, window, strict=True)))
        for corner in product(*axes)
    ]
    weight = _weight(window, blend).to(x.device, torch.promote_types(x.dtype, torch.float32))
    norm = torch.zeros(1, *size, dtype=weight.dtype, device=x.device)
    for cut in cuts:
        norm[cut] += weight
    jobs = [(sample, cut) for sample in range(len(x)) for cut in cuts]
    groups = [jobs[i : i + batch] for i in range(0, len(jobs), batch)]
    bar = optional("tqdm", extra="tasks").tqdm(groups, "windows") if progress else groups
    total: Tensor | None = None
    with torch.no_grad():
        for group in bar:
            out = model(torch.stack([padded[sample][cut] for sample, cut in group]))
            if out.shape[0] != len(group) or out.shape[2:] != window:
                msg = f"model must return ({len(group)}, channels, {window}), got {out.shape}"
                raise ValueError(msg)
            if total is None:
                total = norm.new_zeros(len(x), out.shape[1], *size)
            for (sample, cut), part in zip(group, out.to(weight), strict=True):
                total[sample][cut] += part * weight
    if total is None:
        msg = f"x must hold at least one sample, got shape {tuple(x.shape)}"
        raise ValueError(msg)
    inside = (slice(None), slice(None), *(slice(s) for s in x.shape[2:]))
    return (total / norm)[inside].to(x.dtype)


def _starts(size: int, window: int, overlap: float) -> list[int]:
    """Where windows begin along one axis."""
    step = max(1, int(window * (1 - overlap)))
    steps = math.ceil((size - window) / step)
    return [min(i * step, size - window) for i in range(steps + 1)]


def _weight(window: Sequence[int], blend: str) -> Float[Tensor, "*window"]:
    """Weight of each voxel of a window."""
    if blend == "hann":
        weight = torch.ones((), dtype=torch.float64)
        for n in window:
            position = (torch.arange(n, dtype=torch.float64) + 0.5) / n
            weight = weight[..., None] * (math.pi * position).sin().square()
        return weight
    square = torch.zeros((), dtype=torch.float64)
    for n in window:
        position = torch.arange(n, dtype=torch.float64) - (n - 1) / 2
        square = square[..., None] + (position / (n / 8)).square()
    return torch.exp(-square / 2).clamp_min(1e-3) if blend == "gaussian" else torch.ones(*window)
