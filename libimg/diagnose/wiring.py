"""Is everything connected as it should be? What a network really gets, and whether it moves."""

import math
from collections.abc import Callable

from torch import Tensor, nn

from libimg._types import Image
from libimg.diagnose.adversarial import saturated_share

__all__ = ["inputs_seen", "range_probe", "weight_change"]


def inputs_seen(network: nn.Module, step: Callable[[], object]) -> list[Tensor]:
    """Run a piece of training code and return what a network was given in it, call by call.

    This shows which tensor a discriminator judges, in which range and geometry, whatever the code
    between says it does.

    Args:
        network: the network to watch.
        step: runs the code, such as the computation of a loss.

    Returns:
        The first argument of each call, detached, in order. Calls of ``network.features`` or of
        another method than ``forward`` do not count.

    Example:
        >>> import torch
        >>> judge = nn.Identity()
        >>> inputs_seen(judge, lambda: judge(torch.ones(2)) + judge(torch.zeros(2)))
        [tensor([1., 1.]), tensor([0., 0.])]
    """
    seen: list[Tensor] = []
    hook = network.register_forward_pre_hook(lambda _, args: seen.append(args[0].detach()))
    try:
        step()
    finally:
        hook.remove()
    return seen


def weight_change(network: nn.Module, start: nn.Module) -> float:
    """Length of the way from the initial weights to the present ones, over the initial length.

    Args:
        network: as it is now.
        start: the same architecture as it was; buffers do not count.

    Returns:
        |w - w0| / |w0|; exactly 0 for a network that never learnt.

    Raises:
        ValueError: the two have different weights.

    Example:
        >>> a, b = nn.Linear(1, 1, bias=False), nn.Linear(1, 1, bias=False)
        >>> _ = nn.init.constant_(a.weight, 3.0), nn.init.constant_(b.weight, 2.0)
        >>> weight_change(a, b), weight_change(a, a)
        (0.5, 0.0)
    """
    now, before = dict(network.named_parameters()), dict(start.named_parameters())
    shapes = [{n: tuple(w.shape) for n, w in part.items()} for part in (now, before)]
    if shapes[0] != shapes[1]:
        odd = sorted(n for n in shapes[0] | shapes[1] if shapes[0].get(n) != shapes[1].get(n))
        msg = f"network and start have different weights: {odd[:3]}"
        raise ValueError(msg)
    moved = sum(
        float((w.detach() - before[n].detach()).double().square().sum()) for n, w in now.items()
    )
    size = sum(float(w.detach().double().square().sum()) for w in before.values())
    return math.sqrt(moved / size) if size else 0.0


def range_probe(real: Image, fake: Image, *, lo: float, hi: float) -> dict[str, float]:
    """Compare the values of real and generated images with the range they are said to have.

    Args:
        real: ``(b, c, *spatial)``, as the losses or the discriminator got them.
        fake: the same for generated images.
        lo: lower end of the declared range.
        hi: upper end.

    Returns:
        ``outside``, the share of real values beyond the range; ``fill``, the share of the range
        between the lowest and the highest real value; ``offset``, the difference of the means of
        fake and real over half the range; ``spread``, the ratio of their standard deviations;
        ``real_saturated`` and ``fake_saturated``, the share of values at the ends.

    Example:
        >>> import torch
        >>> x = torch.linspace(0, 1, 101).view(1, 1, 1, -1)  # [0, 1] where [-1, 1] is declared
        >>> found = range_probe(x, 2 * x - 1, lo=-1, hi=1)
        >>> found["outside"], found["fill"], found["offset"], found["spread"]
        (0.0, 0.5, -0.5, 2.0)
    """
    width = (hi - lo) / 2
    tolerance = 1e-4 * width
    outside = (real < lo - tolerance) | (real > hi + tolerance)
    deviation = float(real.float().std())
    return {
        "outside": float(outside.float().mean()),
        "fill": float((real.max() - real.min()) / (2 * width)),
        "offset": float((fake.float().mean() - real.float().mean()) / width),
        "spread": float(fake.float().std()) / deviation if deviation else math.inf,
        "real_saturated": float(saturated_share(real, lo=lo, hi=hi).mean()),
        "fake_saturated": float(saturated_share(fake, lo=lo, hi=hi).mean()),
    }
