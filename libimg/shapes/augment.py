"""Small turns, scales and shifts of a case: drawn as a record, then applied; never a mirror."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from libimg.shapes.frame import move

__all__ = ["RigidParams", "apply_rigid", "sample_rigid"]

Vector = tuple[float, float, float]


@dataclass(frozen=True, kw_only=True)
class RigidParams:
    """A rotation, an isotropic scale and a shift: ``x -> scale * R x + shift``.

    The determinant is ``scale ** 3``, above 0: a left appendage stays on the left.

    Args:
        rotation_degrees: axis times angle.
        scale: above 0. A signed distance to the shape scales along: multiply it by this.
        shift: in the unit of the points.

    Raises:
        ValueError: a scale that is not above 0 (a mirror, or a point), or numbers not finite.

    Example:
        >>> params = RigidParams(rotation_degrees=(0, 0, 90), scale=2, shift=(0, 0, 1))
        >>> apply_rigid(torch.tensor([[1.0, 0.0, 0.0]]), params)
        tensor([[0., 2., 1.]])
        >>> params == RigidParams.from_dict(params.to_dict())
        True
    """

    rotation_degrees: Vector = (0.0, 0.0, 0.0)
    scale: float = 1.0
    shift: Vector = (0.0, 0.0, 0.0)

    def __post_init__(self) -> None:
        if not all(map(math.isfinite, (*self.rotation_degrees, self.scale, *self.shift))):
            msg = f"rotation, scale and shift must be finite, got {self}"
            raise ValueError(msg)
        if not self.scale > 0:
            msg = f"scale must be above 0, or the shape is mirrored, got {self.scale}"
            raise ValueError(msg)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, ready for JSON."""
        plain = asdict(self)
        return {name: list(v) if isinstance(v, tuple) else v for name, v in plain.items()}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "RigidParams":
        """Build the record that `to_dict` gave; an unknown name raises ``TypeError``."""
        plain: dict[str, Any] = dict(values)
        for name in {"rotation_degrees", "shift"} & plain.keys():
            plain[name] = tuple(plain[name])
        return cls(**plain)

    @property
    def matrix(self) -> Float[Tensor, "3 3"]:
        """``scale * R``, float64."""
        x, y, z = (math.radians(a) for a in self.rotation_degrees)
        turn = torch.tensor([[0, -z, y], [z, 0, -x], [-y, x, 0]], dtype=torch.float64)
        matrix: Tensor = self.scale * torch.linalg.matrix_exp(turn)
        return matrix


def sample_rigid(
    generator: torch.Generator,
    *,
    max_degrees: float = 15.0,
    scale_range: tuple[float, float] = (0.9, 1.1),
    max_shift: float = 0.05,
) -> RigidParams:
    """Draw a small rotation, scale and shift for one case.

    Args:
        generator: of the draw.
        max_degrees: rotations are uniform in the ball of axis times angle of this radius.
        scale_range: of the scale, uniform in its logarithm.
        max_shift: along each axis, uniform, in the unit of the points to move; the default is
            for the unit cube of a `Frame`.

    Raises:
        ValueError: ``max_degrees`` is not within 0 to 180, ``scale_range`` is reversed or not
            above 0, or ``max_shift`` is negative.

    Example:
        >>> params = sample_rigid(torch.Generator().manual_seed(0))
        >>> 0.9 <= params.scale <= 1.1
        True

    Reference:
        VecSetX permutes axes and flips signs at random, which mirrors half of its hearts and
        forgets their pose; here both are kept.
    """
    if not 0 <= max_degrees <= 180:
        msg = f"max_degrees must be within 0 to 180, got {max_degrees}"
        raise ValueError(msg)
    if not 0 < scale_range[0] <= scale_range[1]:
        msg = f"scale_range must be 0 < low <= high, got {scale_range}"
        raise ValueError(msg)
    if not max_shift >= 0:
        msg = f"max_shift must be 0 or above, got {max_shift}"
        raise ValueError(msg)
    kind, device = torch.float64, generator.device
    normal = torch.randn(3, generator=generator, dtype=kind, device=device)
    radius, size, *shift = torch.rand(5, generator=generator, dtype=kind, device=device).tolist()
    length = float(torch.linalg.vector_norm(normal))
    rotation = [max_degrees * radius ** (1 / 3) * v / length for v in normal.tolist()]
    moved = [max_shift * (2 * draw - 1) for draw in shift]
    low, high = (math.log(s) for s in scale_range)
    return RigidParams(
        rotation_degrees=(rotation[0], rotation[1], rotation[2]),
        scale=math.exp(low + (high - low) * size),
        shift=(moved[0], moved[1], moved[2]),
    )


def apply_rigid(points: Float[Tensor, "*n 3"], params: RigidParams) -> Float[Tensor, "*n 3"]:
    """Rotate and scale about the origin, then shift.

    Args:
        points: ``(..., 3)``; in the unit cube of a `Frame` the origin is the middle of the heart.
        params: of the case.

    Returns:
        The moved points, in their dtype. Signed distances there are ``params.scale`` times those
        at the points before.

    Example:
        >>> apply_rigid(torch.eye(3), RigidParams(scale=0.5))
        tensor([[0.5000, 0.0000, 0.0000],
                [0.0000, 0.5000, 0.0000],
                [0.0000, 0.0000, 0.5000]])
    """
    return move(points, params.matrix, params.shift)
