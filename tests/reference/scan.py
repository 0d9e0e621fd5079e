"""The selective state-space recurrence from its definition: float64, one token at a time."""

import torch
from torch import Tensor


def sequential(
    x: Tensor, dt: Tensor, a: Tensor, b: Tensor, c: Tensor, d: Tensor | None = None
) -> Tensor:
    """``s_t = exp(dt_t a) s_{t-1} + dt_t x_t b_t^T``, ``y_t = s_t c_t + d x_t``."""
    x, dt, a, b, c = (v.double() for v in (x, dt, a, b, c))
    state = x.new_zeros(x.shape[0], *x.shape[2:], b.shape[-1])
    out = []
    for t in range(x.shape[1]):
        kept = torch.exp(dt[:, t] * a)[..., None, None] * state
        state = kept + torch.einsum("bh,bhp,bn->bhpn", dt[:, t], x[:, t], b[:, t])
        out.append(torch.einsum("bhpn,bn->bhp", state, c[:, t]))
    y = torch.stack(out, 1)
    return y if d is None else y + d.double()[:, None] * x
