"""Farthest point sampling in plain torch: a fixed number, the same on every device."""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

__all__ = ["farthest_points"]


@torch.no_grad()
def farthest_points(
    points: Float[Tensor, "*b p 3"],
    n: int,
    *,
    generator: torch.Generator | None = None,
    start: int | None = None,
    valid: Bool[Tensor, "*b p"] | None = None,
) -> Int[Tensor, "*b n"]:
    """Choose ``n`` points one by one, each the farthest from all chosen before it.

    Every distance is made of separately rounded differences, squares and sums, and ties go to the
    lowest index: one start gives the same indices on a CPU and a GPU, in a batch and alone.

    Args:
        points: ``(p, 3)`` or a batch ``(b, p, 3)``, in any unit, finite.
        n: number of indices, at most ``p``.
        generator: draws the first point of each cloud; a CPU generator gives the same on a GPU.
        start: index of the first point instead; without both it is the first valid one.
        valid: ``(b, p)``, False for padding, which is never chosen.

    Returns:
        ``(b, n)`` indices, the first of which is the start. They differ unless points coincide or
        a cloud has fewer than ``n`` valid points: then its first valid point is repeated (index 0
        if it has none), so that the shape holds; ``valid.sum(-1)`` tells.

    Raises:
        ValueError: ``n`` is not within 1 to ``p``, ``start`` is no index, both ``generator`` and
            ``start`` are given, or ``start`` with ``valid`` (it could be padding).

    Example:
        >>> line = torch.tensor([[0.0, 0.0, 0.0], [1.0, 0.0, 0.0], [5.0, 0.0, 0.0]])
        >>> farthest_points(line, 3)
        tensor([0, 2, 1])
        >>> farthest_points(line, 3, valid=torch.tensor([False, True, True]))
        tensor([1, 2, 1])

    Reference:
        Eldar et al., The farthest point strategy for progressive image sampling, 1997. Unlike
        torch_cluster's ``fps``, which takes a ratio and differs between CPU and GPU.
    """
    count = points.shape[-2]
    if not 1 <= n <= count:
        msg = f"n must be between 1 and the number of points, {count}, got {n}"
        raise ValueError(msg)
    if start is not None and (generator is not None or valid is not None):
        msg = "start cannot be given together with generator or valid"
        raise ValueError(msg)
    if start is not None and not 0 <= start < count:
        msg = f"start must be an index below {count}, got {start}"
        raise ValueError(msg)
    kind = torch.promote_types(points.dtype, torch.float32)
    cloud = points.reshape(-1, count, 3).to(kind).permute(2, 0, 1).contiguous()
    batch = cloud.shape[1]
    usable = torch.ones_like(cloud[0], dtype=torch.bool)
    usable = usable if valid is None else valid.reshape(batch, count)
    if generator is None:
        order = usable.to(kind)
    else:
        draws = torch.rand(batch, count, generator=generator, device=generator.device)
        order = torch.where(usable, draws.to(usable.device), -1.0)
    last = order.argmax(1) if start is None else usable.new_full((batch,), start, dtype=torch.long)
    nearest = torch.where(usable, torch.inf, -1.0).to(kind)
    chosen = last.new_empty(n, batch)
    chosen[0] = last
    delta, square = torch.empty_like(cloud), torch.empty_like(cloud[0])
    for i in range(1, n):
        centre = cloud.gather(2, last.expand(3, batch).unsqueeze(2))
        torch.sub(cloud, centre, out=delta)
        delta.mul_(delta)
        torch.add(delta[0], delta[1], out=square).add_(delta[2])
        torch.minimum(nearest, square, out=nearest)
        last = torch.argmax(nearest, 1, out=chosen[i])
    return chosen.T.reshape(*points.shape[:-2], n)
