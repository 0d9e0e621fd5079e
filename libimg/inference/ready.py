"""A trained network behind a plain function, on whatever device it lives."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

__all__ = ["best_device", "ready"]


def best_device() -> torch.device:
    """Return the GPU that is there (CUDA, then Apple's), or the CPU.

    Example:
        >>> best_device().type in ("cuda", "mps", "cpu")
        True
    """
    if torch.cuda.is_available():
        return torch.device("cuda")
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


def ready(net: nn.Module, *, autocast: torch.dtype | None = None) -> Callable[[Tensor], Tensor]:
    """Let a network take tensors from anywhere and answer there, in float32 and eval mode.

    Args:
        net: one tensor in, one out; it stays on its device.
        autocast: half precision inside the network, as it was trained; None for none.

    Returns:
        A function without gradients.

    Example:
        >>> ready(nn.Dropout())(torch.ones(2))
        tensor([1., 1.])
    """
    net.eval()

    @torch.no_grad()
    def model(x: Tensor) -> Tensor:
        device = next((p.device for p in net.parameters()), x.device)
        with torch.autocast(device.type, autocast, enabled=autocast is not None):
            answer: Tensor = net(x.to(device))
        return answer.float().to(x.device)

    return model
