"""One transform per case between millimetres of the array, the patient and a unit cube."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Integer
from torch import Tensor

from libimg.shapes.draws import bounds

__all__ = ["Frame", "move"]

Vector = tuple[float, float, float]
Row = tuple[float, float, float, float]
SHEAR = 1e-3  # cosine between two axes: 0.25 mm over the length of a heart


@dataclass(frozen=True, kw_only=True)
class Frame:
    """A cube of the patient that becomes ``[-1, 1]^3``, and the grid of the case.

    Three coordinates name a point. *Array* millimetres are index times spacing along (d, h, w):
    what `signed_distance` and the samplers use. *Patient* millimetres are RAS+, as the affine
    gives them. *Unit* coordinates are (patient - centre) / half: x to the right, y to the front,
    z to the head, whatever order and direction the file's axes have, so that no heart arrives
    mirrored or turned. One scale serves all axes, so distances scale by ``1 / half_mm``.

    Args:
        affine: four rows, from the file's (i, j, k) = (w, h, d), the array's axes reversed, to
            patient millimetres, as in `libimg.io.Volume`. Axes may be oblique, flipped or permuted.
        centre_mm: middle of the cube in patient millimetres.
        half_mm: half the side of the cube.

    Raises:
        ValueError: an affine that is missing, not 4 × 4, not finite, flat or sheared, or a
            ``half_mm`` that is not above 0.

    Example:
        >>> affine = np.diag([0.5, 0.5, 2, 1])
        >>> frame = Frame.fixed(affine=affine, centre_mm=(0, 0, 10), half_mm=20)
        >>> frame.spacing_mm
        (2.0, 0.5, 0.5)
        >>> points = torch.tensor([[30.0, 0.0, 5.0]])  # 15 slices up, 10 columns to the right
        >>> frame.to_unit(points)
        tensor([[0.2500, 0.0000, 1.0000]])
        >>> frame == Frame.from_dict(frame.to_dict())
        True
    """

    affine: tuple[Row, Row, Row, Row]
    centre_mm: Vector
    half_mm: float

    def __post_init__(self) -> None:
        _checked(self.affine)
        _vector("centre_mm", self.centre_mm)
        if not 0 < self.half_mm < math.inf:
            msg = f"half_mm must be a finite length above 0, got {self.half_mm}"
            raise ValueError(msg)

    @classmethod
    def from_labels(
        cls,
        labels: Integer[Tensor, "d h w"],
        *,
        affine: Any,
        classes: Sequence[int],
        margin_mm: float = 10.0,
        half_mm: float | None = None,
    ) -> "Frame":
        """Put the cube around the voxels of ``classes``, all of which must be there.

        Scale and place must be the same whether a network sees all of a heart or a part of it. So
        call this once, on the complete labels, and keep the frame with the sample; name the
        classes that every case of every data set has (the chambers, say), and set ``half_mm`` for
        one scale for all cases. For a case without complete labels use `fixed`.

        Args:
            labels: ``(d, h, w)``, the whole case.
            affine: ``(4, 4)`` as for `Frame`: numpy, torch or nested sequences.
            classes: label values that span the box; other labels may reach out of the cube.
            margin_mm: between the box and the nearest faces of the cube.
            half_mm: half side of the cube; None takes that of the box with its margin.

        Returns:
            The frame, centred on the box of these classes.

        Raises:
            ValueError: as for `Frame`; labels that are fractions or no volume; no classes, or
                one without a voxel; or a box that with its margin does not fit ``half_mm``.

        Example:
            >>> labels = torch.zeros(20, 30, 30, dtype=torch.int64)
            >>> labels[5:15, 10:20, 10:20] = 1
            >>> frame = Frame.from_labels(labels, affine=np.eye(4), classes=(1,), margin_mm=5)
            >>> frame.centre_mm, frame.half_mm
            ((14.5, 14.5, 9.5), 10.0)
        """
        rows = np.array(_checked(affine))
        if labels.ndim != 3 or labels.is_floating_point():
            msg = f"labels must be whole numbers (d, h, w), got {labels.dtype} of shape "
            msg += f"{tuple(labels.shape)}"
            raise ValueError(msg)
        if not len(classes):
            msg = "classes must name at least one label, got none"
            raise ValueError(msg)
        if not margin_mm >= 0:
            msg = f"margin_mm must be 0 or above, got {margin_mm}"
            raise ValueError(msg)
        boxes = [bounds(labels == label) for label in classes]
        missing = [label for label, box in zip(classes, boxes, strict=True) if box is None]
        if missing:
            msg = f"labels have no voxel of class {', '.join(map(str, missing))}: a cube around "
            msg += "the rest would depend on what is visible; name classes that every case has, "
            msg += "or use Frame.fixed"
            raise ValueError(msg)
        corners = np.array([box for box in boxes if box is not None])
        low, high = corners[:, 0].min(0)[::-1], corners[:, 1].max(0)[::-1]  # along (i, j, k)
        centre = rows[:3, :3] @ ((low + high) / 2) + rows[:3, 3]
        extent = np.abs(rows[:3, :3]) @ (high - low + 1) / 2
        need = float(extent.max()) + margin_mm
        if half_mm is not None and half_mm < need:
            msg = f"half_mm must be at least {need:.1f} for this heart and margin, got {half_mm}"
            raise ValueError(msg)
        side = need if half_mm is None else half_mm
        return cls.fixed(affine=affine, centre_mm=centre, half_mm=side)

    @classmethod
    def fixed(cls, *, affine: Any, centre_mm: Any, half_mm: float = 100.0) -> "Frame":
        """Take a place and a scale from outside: ``half_mm`` of 100 is one unit for 100 mm.

        Args:
            affine: ``(4, 4)`` as for `Frame`: numpy, torch or nested sequences.
            centre_mm: three numbers, patient millimetres.
            half_mm: half the side of the cube.

        Example:
            >>> Frame.fixed(affine=np.eye(4), centre_mm=(0, 0, 0)).half_mm
            100.0
        """
        centre = _vector("centre_mm", centre_mm)
        return cls(affine=_checked(affine), centre_mm=centre, half_mm=float(half_mm))

    @property
    def spacing_mm(self) -> Vector:
        """Voxel size along (d, h, w)."""
        i, j, k = np.linalg.norm(np.array(self.affine)[:3, :3], axis=0).tolist()
        return k, j, i

    def to_unit(self, points: Float[Tensor, "*n 3"]) -> Float[Tensor, "*n 3"]:
        """Map array millimetres to the unit cube; points outside the cube stay outside.

        Example:
            >>> frame = Frame.fixed(affine=np.eye(4), centre_mm=(10, 20, 30), half_mm=10)
            >>> frame.to_unit(torch.tensor([[30.0, 20.0, 15.0]]))
            tensor([[0.5000, 0.0000, 0.0000]])
        """
        matrix, shift = self._array_to_patient()
        return move(points, matrix / self.half_mm, (shift - self.centre_mm) / self.half_mm)

    def to_mm(self, points: Float[Tensor, "*n 3"]) -> Float[Tensor, "*n 3"]:
        """Map the unit cube to array millimetres: the inverse of `to_unit`.

        Example:
            >>> frame = Frame.fixed(affine=np.eye(4), centre_mm=(10, 20, 30), half_mm=10)
            >>> frame.to_mm(torch.tensor([[0.5, 0.0, 0.0]]))
            tensor([[30., 20., 15.]])
        """
        matrix, shift = self._array_to_patient()
        back = np.linalg.inv(matrix)
        return move(points, back * self.half_mm, back @ (self.centre_mm - shift))

    def patient(self, points: Float[Tensor, "*n 3"]) -> Float[Tensor, "*n 3"]:
        """Map array millimetres to patient millimetres (RAS+).

        Example:
            >>> frame = Frame.fixed(affine=np.diag([-1, -1, 2, 1]), centre_mm=(0, 0, 0))
            >>> frame.patient(torch.tensor([[30.0, 20.0, 10.0]]))
            tensor([[-10., -20.,  30.]])
        """
        return move(points, *self._array_to_patient())

    def from_patient(self, points: Float[Tensor, "*n 3"]) -> Float[Tensor, "*n 3"]:
        """Map patient millimetres (RAS+) to array millimetres: the inverse of `patient`.

        Example:
            >>> frame = Frame.fixed(affine=np.diag([-1, -1, 2, 1]), centre_mm=(0, 0, 0))
            >>> frame.from_patient(torch.tensor([[-10.0, -20.0, 30.0]]))
            tensor([[30., 20., 10.]])
        """
        matrix, shift = self._array_to_patient()
        back = np.linalg.inv(matrix)
        return move(points, back, -back @ shift)

    def scale_distance(self, distance_mm: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
        """Turn distances in millimetres into those of the unit cube; multiply back by ``half_mm``.

        Example:
            >>> frame = Frame.fixed(affine=np.eye(4), centre_mm=(0, 0, 0), half_mm=50)
            >>> frame.scale_distance(torch.tensor([-5.0, 10.0]))
            tensor([-0.1000,  0.2000])
        """
        return distance_mm / self.half_mm

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, ready for JSON or HDF5 attributes."""
        affine = [list(row) for row in self.affine]
        return {"affine": affine, "centre_mm": list(self.centre_mm), "half_mm": self.half_mm}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Frame":
        """Build the frame that `to_dict` gave; unknown, missing or bad values are refused."""
        affine = _checked(values.get("affine"))
        centre = _vector("centre_mm", values.get("centre_mm"))
        return cls(**{**values, "affine": affine, "centre_mm": centre})

    def _array_to_patient(self) -> tuple[Any, Any]:
        affine = np.array(self.affine)
        axes = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
        return axes[:, ::-1].copy(), affine[:3, 3]


def move(points: Float[Tensor, "*n 3"], matrix: Any, shift: Any) -> Float[Tensor, "*n 3"]:
    """Return ``matrix @ p + shift`` of every point, at full precision under autocast and TF32."""
    kind = torch.promote_types(points.dtype, torch.float32)
    rows = torch.tensor(np.asarray(matrix), dtype=kind, device=points.device)
    offset = torch.tensor(np.asarray(shift), dtype=kind, device=points.device)
    return ((points.to(kind).unsqueeze(-2) * rows).sum(-1) + offset).to(points.dtype)


def _vector(name: str, values: Any) -> Vector:
    numbers = np.asarray(values, dtype=np.float64)
    if numbers.shape != (3,) or not np.isfinite(numbers).all():
        msg = f"{name} must be 3 finite numbers, got {values}"
        raise ValueError(msg)
    x, y, z = numbers.tolist()
    return x, y, z


def _checked(affine: Any) -> tuple[Row, Row, Row, Row]:
    """Return the affine as rows of plain numbers; refuse what is no grid of boxes in space."""
    if affine is None:
        msg = "affine is missing: without it neither voxel size nor left and right are known"
        raise ValueError(msg)
    rows = np.asarray(affine, dtype=np.float64)
    if rows.shape != (4, 4) or not np.isfinite(rows).all() or (rows[3] != (0, 0, 0, 1)).any():
        msg = f"affine must be 4 x 4, finite and end in 0 0 0 1, got {affine}"
        raise ValueError(msg)
    sizes = np.linalg.norm(rows[:3, :3], axis=0)
    if not (sizes > 0).all():
        msg = f"affine has an axis of length 0: {affine}"
        raise ValueError(msg)
    axes = rows[:3, :3] / sizes
    skew = float(np.abs(axes.T @ axes - np.eye(3)).max())
    if skew > SHEAR:
        angle = math.degrees(math.acos(min(skew, 1.0)))
        msg = f"affine is sheared: two axes meet at {angle:.2f} degrees, and distances in mm on "
        msg += "such a grid are wrong; resample the labels to a rectangular grid first"
        raise ValueError(msg)
    a, b, c, d = (tuple(row) for row in rows.tolist())
    return a, b, c, d
