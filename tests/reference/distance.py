"""Signed distance by its definition: every voxel against every voxel of the other side, float64."""

from collections.abc import Sequence

import numpy as np

__all__ = ["brute_force"]


def brute_force(
    labels: np.ndarray,
    classes: Sequence[int],
    spacing: Sequence[float],
    *,
    reach: float,
    faces: bool,
    closed: bool,
) -> np.ndarray:
    """``(classes, d, h, w)``; ``reach`` stands where there is no other side, and is the limit."""
    step, least = np.array(spacing, np.float64), min(spacing)
    flat, ball = ((step - least) / 2, least / 2) if faces else (0 * step, 0.0)
    real = np.pad(np.ones_like(labels, bool), 1)
    known = np.ones_like(real) if closed else real
    out = []
    for label in classes:
        mask = np.pad(labels == label, 1)
        field = np.zeros(mask.shape)
        for side, sign in ((mask, -1), (~mask, 1)):
            away = np.argwhere(side & real)[:, None] - np.argwhere(~side & known)
            away = np.maximum(np.abs(away * step) - flat, 0)
            distance = np.sqrt((away**2).sum(-1)) - ball
            field[side & real] = sign * distance.min(1, initial=np.inf).clip(max=reach)
        out.append(field[1:-1, 1:-1, 1:-1])
    return np.stack(out)
