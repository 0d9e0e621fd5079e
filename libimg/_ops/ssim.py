"""The one SSIM that losses and metrics share: Gaussian window, valid region, exact gradient."""

import warnings
from collections.abc import Sequence
from functools import lru_cache
from types import ModuleType
from typing import Any, Protocol, cast, runtime_checkable

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from libimg import _check
from libimg._ops import windows
from libimg._ops.reduce import masked_mean
from libimg._types import Image, Mask, PerSample

__all__ = ["MS_WEIGHTS", "Bounds", "ms_ssim_mean", "ssim_map", "ssim_mean"]

MS_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
Floats = tuple[float, ...]


@runtime_checkable
class Bounds(Protocol):
    """What SSIM needs of a `libimg.ranges.ValueRange`."""

    @property
    def lo(self) -> float:
        """Value of black."""

    @property
    def span(self) -> float:
        """White minus black."""


def ssim_map(
    x: Image,
    y: Image,
    *,
    data_range: float | Bounds,
    window: int = 11,
    sigma: float = 1.5,
    k1: float = 0.01,
    k2: float = 0.03,
    luminance: bool = True,
) -> Float[Tensor, "b c *valid"]:
    """Structural similarity at every place where the window fits.

    Both images are mapped by ``(value - lo) / span`` first: the luminance term means nothing for
    values of either sign, and float32 keeps its digits. Float32 on the CPU takes compiled loops,
    several times faster; everything else takes torch operations with the same sums. The gradient
    is analytic; a gradient of the gradient goes through torch operations.

    Args:
        x: ``(b, c, h, w)`` or ``(b, c, d, h, w)``, finite; half precision is computed in float32.
        y: the same shape.
        data_range: values lie in ``[0, data_range]``, or in the given range.
        window: taps of the Gaussian; odd.
        sigma: its standard deviation in voxels.
        k1: stabiliser of the luminance term.
        k2: stabiliser of the contrast and structure term.
        luminance: leave out the luminance term if False.

    Returns:
        ``(b, c, *)``, each spatial axis shorter by ``window - 1``; at most 1.

    Raises:
        ValueError: shapes differ, an axis is shorter than the window, an argument is out of range.
    """
    _check.same_shape(pred=x, target=y)
    _check.spatial("pred", x)
    if not (x.is_floating_point() and y.is_floating_point()):
        msg = f"pred and target must be floating point, got {x.dtype} and {y.dtype}"
        raise ValueError(msg)
    if isinstance(data_range, Bounds):
        lo, span = float(data_range.lo), float(data_range.span)
    else:
        lo, span = 0.0, float(data_range)
    _check.positive(data_range=span)
    taps = windows.gaussian(window, sigma)
    _fits(x, window, scales=1)
    dtype = torch.promote_types(torch.promote_types(x.dtype, y.dtype), torch.float32)
    c1 = k1**2 if luminance else 1.0
    bounds, terms = (lo, 1 / span), (c1, k2**2, float(luminance))
    x, y = x.to(dtype), y.to(dtype)
    if not torch.is_grad_enabled():
        x, y = x.detach(), y.detach()
    if y.requires_grad and not x.requires_grad:
        x, y = y, x
    out: Tensor = _Similarity.apply(x, y, taps, bounds, terms)  # type: ignore[no-untyped-call]
    return out


def ssim_mean(
    x: Image, y: Image, *, data_range: float | Bounds, mask: Mask | None, window: int, sigma: float
) -> tuple[PerSample, Bool[Tensor, " b"] | None]:
    """Mean of `ssim_map`, weighted by the mask at the window centres.

    Returns:
        The mean ``(b,)`` and whether the mask has any weight there ``(b,)``, None without mask.
    """
    _mask_fits(mask, x)
    similarity = ssim_map(x, y, data_range=data_range, window=window, sigma=sigma)
    mask = None if mask is None else windows.crop(mask, window // 2)
    return _mean(similarity, mask), _covered(mask)


def ms_ssim_mean(
    x: Image,
    y: Image,
    *,
    data_range: float | Bounds,
    mask: Mask | None,
    weights: Sequence[float],
    window: int,
    sigma: float,
) -> tuple[PerSample, Bool[Tensor, " b"] | None]:
    """Product over the scales of the mean structure to the power of the scale's weight.

    Returns:
        The index ``(b,)`` and whether the mask has weight at every scale ``(b,)``.
    """
    if not weights:
        msg = "weights must hold one number for each scale, got none"
        raise ValueError(msg)
    _check.positive(**{f"weights[{i}]": weight for i, weight in enumerate(weights)})
    _check.same_shape(pred=x, target=y)
    pool = F.avg_pool2d if _check.spatial("pred", x) == 2 else F.avg_pool3d
    windows.gaussian(window, sigma)
    _fits(x, window, scales=len(weights))
    _mask_fits(mask, x)
    x, y = (z.float() if z.dtype in (torch.float16, torch.bfloat16) else z for z in (x, y))
    index = torch.ones((), dtype=x.dtype, device=x.device)
    covered = None
    for scale, weight in enumerate(weights):
        last = scale == len(weights) - 1
        similarity = ssim_map(
            x, y, data_range=data_range, window=window, sigma=sigma, luminance=last
        )
        inside = None if mask is None else windows.crop(mask, window // 2)
        mean, here = _mean(similarity, inside), _covered(inside)
        covered = here if covered is None or here is None else covered & here
        positive = mean > 0  # the slope of a power is infinite at 0
        index = index * torch.where(positive, mean, 1.0) ** weight * positive
        if not last:
            x, y = pool(x, 2), pool(y, 2)
            mask = None if mask is None else pool(mask.to(x.dtype), 2)
    return index, covered


class _Similarity(torch.autograd.Function):
    """SSIM map with its gradient: only E[x], E[y], E[x²+y²], E[xy] are filtered."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, y: Tensor, taps: Floats, bounds: Floats, terms: Floats
    ) -> Tensor:
        """Return the map; keep its slopes by E[x²+y²], E[xy], E[x] (and E[y]) for the way back."""
        maps = 4 if ctx.needs_input_grad[1] else 3 if ctx.needs_input_grad[0] else 0
        ctx.settings, ctx.loops = (taps, bounds, terms), _loops_for(x)
        if ctx.loops:
            options = {"taps": taps, "bounds": bounds, "terms": terms, "maps": maps}
            out, slope = ctx.loops.forward(x, y, **options)
            ctx.save_for_backward(x, y, slope)
            return cast("Tensor", out)
        out, slopes = _compare(x, y, taps, bounds, terms, maps)
        ctx.save_for_backward(x, y, *slopes)
        return out

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        """Filter the weighted slopes once more, with the window turned around."""
        x, y, *slopes = ctx.saved_tensors
        taps, bounds, terms = ctx.settings
        dy: Tensor | None
        if torch.is_grad_enabled() and not torch.compiler.is_compiling():  # create_graph=True
            inputs = (x, y)[: 1 + ctx.needs_input_grad[1]]
            out, _ = _compare(x, y, taps, bounds, terms, 0)
            dx, dy = (*torch.autograd.grad(out, inputs, grad, create_graph=True), None)[:2]
        elif ctx.loops:
            dx, dy = ctx.loops.backward(*slopes, grad, x, y, taps=taps, bounds=bounds)
        else:
            square, product, *own = (windows.spread(slope * grad, taps) for slope in slopes)
            u, v, scale = _centred(x, bounds), _centred(y, bounds), bounds[1]
            dx = scale * (own[0] + 2 * u * square + v * product)
            dy = scale * (own[1] + 2 * v * square + u * product) if len(own) > 1 else None
        return dx, dy, None, None, None


class _SerialMean(torch.autograd.Function):
    """Mean of each sample in one thread.

    After a parallel sum, the threads of torch would spin for milliseconds on the cores that the
    loops of the backward pass need.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        """Mean over all but the first axis."""
        ctx.shape = x.shape
        return torch.from_numpy(x.detach().numpy().reshape(len(x), -1).mean(1))

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        """Every value has the same share."""
        share: Tensor = grad * (len(grad) / ctx.shape.numel())
        return share.view(-1, *[1] * (len(ctx.shape) - 1)).expand(ctx.shape)


def _mean(similarity: Image, mask: Mask | None) -> PerSample:
    if mask is None and _loops_for(similarity):
        return cast("Tensor", _SerialMean.apply(similarity))  # type: ignore[no-untyped-call]
    return masked_mean(similarity, mask)


def _compare(
    x: Tensor, y: Tensor, taps: Floats, bounds: Floats, terms: Floats, maps: int
) -> tuple[Tensor, list[Tensor]]:
    u, v, (c1, c2, light) = _centred(x, bounds), _centred(y, bounds), terms
    pairs = (u, v, u * u + v * v, u * v)
    mx, my, square, product = (windows.correlate(pair, taps) for pair in pairs)
    p, q = mx + 0.5, my + 0.5
    a1, b1 = light * 2 * p * q + c1, light * (p * p + q * q) + c1
    a2, b2 = 2 * (product - mx * my) + c2, square - mx * mx - my * my + c2
    each = 1 / (b1 * b2)
    s = a1 * a2 * each
    slopes = [-s * b1 * each, 2 * a1 * each] if maps else []
    for (m, r), (n, t) in (((mx, p), (my, q)), ((my, q), (mx, p)))[: max(maps - 2, 0)]:
        slopes.append(2 * each * (light * (t * a2 - s * r * b2) - n * a1 + s * m * b1))
    return s, slopes


def _centred(x: Tensor, bounds: Floats) -> Tensor:
    """Map to ``[-0.5, 0.5]``: variances do not feel the shift and lose fewer digits."""
    return (x - bounds[0]) * bounds[1] - 0.5


def _loops_for(x: Tensor) -> ModuleType | None:
    """The loops for float32 on the CPU; None where torch operations serve."""
    if x.device.type != "cpu" or x.dtype != torch.float32 or torch.compiler.is_compiling():
        return None
    return _loops()


@lru_cache(maxsize=1)
def _loops() -> ModuleType | None:
    try:
        from libimg._ops import ssim_cpu
    except ImportError as error:
        warnings.warn(
            f"SSIM runs slower: numba does not load ({error})", RuntimeWarning, stacklevel=2
        )
        return None
    return ssim_cpu


def _covered(mask: Mask | None) -> Bool[Tensor, " b"] | None:
    return None if mask is None else mask.flatten(1).sum(1) > 0


def _mask_fits(mask: Mask | None, x: Image) -> None:
    if mask is None:
        return
    expected = (x.shape[0], mask.shape[1] if mask.shape[1] in (1, x.shape[1]) else 1, *x.shape[2:])
    if tuple(mask.shape) != expected:
        msg = f"mask must be (b, 1 or c, *spatial) for pred {tuple(x.shape)}, "
        msg += f"got {tuple(mask.shape)}"
        raise ValueError(msg)


def _fits(x: Image, window: int, *, scales: int) -> None:
    size, factor = min(x.shape[2:]), 2 ** (scales - 1)
    if size // factor >= window:
        return
    msg = f"pred {tuple(x.shape)} is too small: "
    if scales == 1:
        msg += f"a window of {window} needs {window} voxels along every axis, got {size}; take a "
        msg += "smaller odd window, or move a thin axis into the batch"
    else:
        msg += f"a window of {window} on {scales} scales needs {window * factor} voxels along "
        msg += f"every axis, got {size}; give fewer weights (scales) or a smaller odd window"
    raise ValueError(msg)
