"""ResidualUNet3D of pytorch-3dunet in numpy, float64, from its published layers, slowly.

Level i: halve every axis by the largest of 2×2×2 voxels (not at the first), then a residual block
of layer order ``gcr``. Upwards: transposed convolution of stride 2, nearest voxels of the size of
the skip, sum with it, residual block. At last a 1×1×1 convolution. Weights have its names.
"""

from collections.abc import Mapping
from itertools import product

import numpy as np

Weights = Mapping[str, np.ndarray]
EPS = 1e-5


def convolve(x: np.ndarray, weight: np.ndarray, bias: np.ndarray | None = None) -> np.ndarray:
    """Odd kernel, stride 1, as many zeros around ``(c, d, h, w)`` as keep its size."""
    size, kernel = x.shape[1:], weight.shape[2:]
    wide = np.pad(x, [(0, 0), *((k // 2, k // 2) for k in kernel)])
    out = np.zeros((len(weight), *size))
    for at in product(*map(range, kernel)):
        part = tuple(slice(a, a + n) for a, n in zip(at, size, strict=True))
        out += np.einsum("oi,idhw->odhw", weight[(..., *at)], wide[(slice(None), *part)])
    return out if bias is None else out + bias[:, None, None, None]


def enlarge(x: np.ndarray, weight: np.ndarray, bias: np.ndarray | None) -> np.ndarray:
    """Transposed 3×3×3 convolution, stride 2, padding 1: voxel i adds to 2i - 1, 2i and 2i + 1."""
    size = [2 * n - 1 for n in x.shape[1:]]
    out = np.zeros((weight.shape[1], *(n + 2 for n in size)))
    for at in product(range(3), repeat=3):
        every = tuple(slice(a, a + n, 2) for a, n in zip(at, size, strict=True))
        out[(slice(None), *every)] += np.einsum("io,idhw->odhw", weight[(..., *at)], x)
    out = out[:, 1:-1, 1:-1, 1:-1]
    return out if bias is None else out + bias[:, None, None, None]


def nearest(x: np.ndarray, size: tuple[int, ...]) -> np.ndarray:
    """Voxel i of n is voxel ⌊i m / n⌋ of m."""
    for axis, n in enumerate(size, 1):
        x = x.take([i * x.shape[axis] // n for i in range(n)], axis)
    return x


def halve(x: np.ndarray) -> np.ndarray:
    """Take the largest of 2×2×2 voxels; an odd last one is left out."""
    x = x[tuple(slice(n // 2 * 2) if i else slice(n) for i, n in enumerate(x.shape))]
    corners = (x[:, a::2, b::2, c::2] for a, b, c in product(range(2), repeat=3))
    return np.maximum.reduce(list(corners))


def normalise(x: np.ndarray, weight: np.ndarray, bias: np.ndarray, groups: int) -> np.ndarray:
    """Group norm, one group where there are fewer channels than groups."""
    parts = np.split(x, groups if len(x) >= groups else 1)
    found = np.concatenate([(p - p.mean()) / np.sqrt(p.var() + EPS) for p in parts])
    return found * weight[:, None, None, None] + bias[:, None, None, None]


def block(x: np.ndarray, state: Weights, name: str, groups: int) -> np.ndarray:
    """Projection if there is one, (norm, convolution, ReLU), (norm, convolution), sum, ReLU."""
    if f"{name}.conv1.weight" in state:
        x = convolve(x, state[f"{name}.conv1.weight"], state[f"{name}.conv1.bias"])
    h = x
    for part in ("conv2", "conv3"):
        norm = (state[f"{name}.{part}.groupnorm.{kind}"] for kind in ("weight", "bias"))
        h = convolve(normalise(h, *norm, groups), state[f"{name}.{part}.conv.weight"])
        h = np.maximum(h if part == "conv2" else h + x, 0)
    return h


def residual_unet3d(x: np.ndarray, state: Weights, *, levels: int, groups: int) -> np.ndarray:
    """One volume ``(c, d, h, w)`` through the network, without activation at its end."""
    skips, h = [], x
    for i in range(levels):
        h = block(halve(h) if i else h, state, f"encoders.{i}.basic_module", groups)
        skips.append(h)
    skips.pop()
    for i in range(levels - 1):
        skip, name = skips.pop(), f"decoders.{i}.upsampling.upsample.conv_transposed"
        larger = enlarge(h, state[f"{name}.weight"], state.get(f"{name}.bias"))
        h = skip + nearest(larger, skip.shape[1:])
        h = block(h, state, f"decoders.{i}.basic_module", groups)
    return convolve(h, state["final_conv.weight"], state["final_conv.bias"])
