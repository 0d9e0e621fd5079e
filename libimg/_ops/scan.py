"""Selective state-space recurrence as matrix products over chunks of the sequence."""

import math

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

__all__ = ["selective_scan"]

STEP = 64.0  # log-decays are split into multiples of 1 / STEP, whose sums are exact, and a rest


def selective_scan(
    x: Float[Tensor, "b l h p"],
    dt: Float[Tensor, "b l h"],
    a: Float[Tensor, " h"],
    b: Float[Tensor, "b l n"],
    c: Float[Tensor, "b l n"],
    *,
    d: Float[Tensor, " h"] | None = None,
    chunk: int = 64,
) -> Float[Tensor, "b l h p"]:
    """Run ``s_t = exp(dt_t·a)·s_{t-1} + dt_t·x_t·b_tᵀ``, ``y_t = s_t·c_t + d·x_t`` over a sequence.

    Nothing is approximated: inside a chunk the recurrence is a product with a triangular matrix of
    decays, and the states between chunks obey the same recurrence, one level up. Time grows
    linearly with the length, and the number of operations in a row with its logarithm.
    Every decay is the exponential of a masked difference of cumulative sums, never above 1, and
    precise behind steps that forget everything.

    Args:
        x: sequences of ``h`` heads with ``p`` channels each, ``(b, l, h, p)``, any length.
        dt: step sizes of each head, not negative, ``(b, l, h)``.
        a: rate of each head, not positive, ``(h,)``.
        b: what a token writes into ``n`` states, ``(b, l, n)``, for all heads.
        c: what a token reads from them, ``(b, l, n)``.
        d: weight of the token itself, ``(h,)``; None for none.
        chunk: tokens in a chunk; changes speed and memory, ``chunk·h`` numbers a token, alone.

    Returns:
        ``(b, l, h, p)`` in the dtype of ``x``. States are float32 or wider, under autocast, too.

    Raises:
        ValueError: shapes do not fit or ``chunk`` is below 1.

    Example:
        >>> one = torch.ones(1, 4, 1, 1)
        >>> half = -torch.tensor([2.0]).log()
        >>> selective_scan(one, one[..., 0], half, one[..., 0], one[..., 0]).flatten()
        tensor([1.0000, 1.5000, 1.7500, 1.8750])

    Reference:
        Dao, Gu, "Transformers are SSMs", ICML 2024 (Mamba-2), sections 6 and 7, with one group.
    """
    length, heads = x.shape[1:3]
    shapes = tuple(map(tuple, (dt.shape, a.shape, b.shape, c.shape)))
    if shapes != (x.shape[:3], (heads,), (*x.shape[:2], b.shape[-1]), b.shape):
        msg = "expected x (b, l, h, p), dt (b, l, h), a (h,), b and c (b, l, n), got "
        msg += f"{tuple(x.shape)}, {', '.join(map(str, shapes))}"
        raise ValueError(msg)
    if chunk < 1:
        msg = f"chunk must be at least 1, got {chunk}"
        raise ValueError(msg)
    if not length:
        return x
    kind = torch.promote_types(x.dtype, torch.float32)
    with torch.autocast(x.device.type, enabled=False):
        wide, step, rate, b, c = (v.to(kind) for v in (x, dt, a, b, c))
        parts = _split((wide * step[..., None]).movedim(2, 1), 2, min(chunk, length))
        log = _split((step * rate).movedim(2, 1), 2, min(chunk, length))
        write, read = (_split(v[:, None], 2, min(chunk, length)) for v in (b, c))
        y = _chunks(parts, log, write, read, max(chunk, 2)).flatten(2, 3)[:, :, :length]
        y = y.movedim(1, 2)
        if d is not None:
            y = y + d.to(kind)[:, None] * wide
    return y.to(x.dtype)


def _chunks(x: Tensor, log: Tensor, b: Tensor, c: Tensor, group: int) -> Tensor:
    """Scan ``(b, h, k, q, p)``, all ``k`` chunks at once."""
    log, decay = _decays(log)
    y: Tensor = (c @ b.mT * decay) @ x
    if x.shape[2] == 1:
        return y
    states = b.mT @ (decay[..., -1, :, None] * x)
    before = _before(log.sum(-1), states.flatten(3), group).unflatten(3, states.shape[3:])
    since = decay[..., 0] * log[..., :1].exp()
    y = y + since[..., None] * (c @ before)
    return y


def _before(log: Tensor, new: Tensor, group: int) -> Tensor:
    """State at the start of each chunk, ``(b, h, k, s)``, from what each one adds to it."""
    count = new.shape[2]
    log, decay = _decays(_split(log, 2, min(group, count)))
    after: Tensor = decay @ _split(new, 2, min(group, count))
    if after.shape[2] > 1:
        before = _before(log.sum(-1), after[..., -1, :], group)
        since = decay[..., 0] * log[..., :1].exp()
        after = after + since[..., None] * before[..., None, :]
    last: Tensor = F.pad(after.flatten(2, 3)[:, :, : count - 1], (0, 0, 1, 0))
    return last


def _split(x: Tensor, axis: int, size: int) -> Tensor:
    """Cut an axis into pieces of one size, the last one filled with zeros."""
    rest = -x.shape[axis] % size
    if rest:
        x = F.pad(x, [0, 0] * (x.ndim - 1 - axis) + [0, rest])
    parts: Tensor = x.unflatten(axis, (-1, size))
    return parts


def _decays(log: Tensor) -> tuple[Tensor, Tensor]:
    """Log-decays held above underflow, and ``exp(log_{j+1} + ... + log_i)`` for ``j <= i``, else 0.

    Sums of the multiples of 1 / STEP are exact and sums of the rests are small, so a weak decay
    behind a strong one keeps its digits.
    """
    log = log.clamp(min=math.log(torch.finfo(log.dtype).tiny))
    coarse = (log.detach() * STEP).round() / STEP
    whole, rest = coarse.cumsum(-1), (log - coarse).cumsum(-1)
    later = torch.ones(log.shape[-1:] * 2, dtype=torch.bool, device=log.device).triu(1)
    masked = (whole[..., None] - whole[..., None, :]).masked_fill_(later, -math.inf)
    return log, (masked + (rest[..., None] - rest[..., None, :])).exp()
