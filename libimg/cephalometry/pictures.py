"""Pictures for reports: photograph, generated and real X-ray with their landmarks."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from libimg import figures
from libimg.cephalometry.frames import Framed
from libimg.ranges import SIGNED, ValueRange

__all__ = ["head_panel", "marked"]

TRUE, FOUND = (0.2, 1.0, 0.3), (1.0, 0.25, 0.2)
ERROR = ValueRange(-1, 1, "of [-1, 1]")


def marked(
    picture: Float[Tensor, "1 h w"],
    *,
    truth: Float[Tensor, "n 2"],
    found: Float[Tensor, "m 2"] | None = None,
) -> Float[Tensor, "3 h w"]:
    """Draw landmarks into an X-ray: green crosses are true, red ones were found.

    Args:
        picture: in [-1, 1].
        truth: row and column; NaN and what lies outside is left out.
        found: likewise.

    Returns:
        RGB in [-1, 1].

    Example:
        >>> red, green, blue = marked(torch.zeros(1, 9, 9), truth=torch.tensor([[4.0, 4.0]]))
        >>> int((green > 0.9).sum()), int((red != 0).sum())
        (5, 5)
    """
    image = picture.expand(3, -1, -1).clone()
    size = picture.shape[1:]
    for points, colour in ((truth, TRUE), (found, FOUND)):
        for row, column in () if points is None else points[~points.isnan().any(1)].tolist():
            for dy, dx in ((0, 0), (0, 1), (0, -1), (1, 0), (-1, 0)):
                y, x = round(row) + dy, round(column) + dx
                if 0 <= y < size[0] and 0 <= x < size[1]:
                    image[:, y, x] = torch.tensor(colour) * 2 - 1
    return image


def head_panel(
    path: Path,
    cases: Mapping[str, Framed],
    fakes: Mapping[str, Float[Tensor, "1 h w"]],
    found: Mapping[str, Float[Tensor, "n 2"]],
    *,
    scores: Mapping[str, float],
    title: str,
    columns: Sequence[str] = ("photograph", "generated", "real", "generated - real"),
) -> Path:
    """Write photograph, generated and real X-ray and their difference, case by case.

    Args:
        path: PNG to write.
        cases: the truth, in the judge's frame.
        fakes: generated X-rays in the same frame.
        found: what the judge found on them.
        scores: error in millimetres by case, for the label.
        title: line above everything.
        columns: headings.

    Example:
        >>> import tempfile
        >>> dark = torch.zeros(1, 8, 8)
        >>> case = Framed(dark.expand(3, 8, 8), dark, dark + 1, torch.ones(2, 2), (1.0, 1.0))
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     how = {"scores": {"a": 1.0}, "title": "one"}
        ...     path = Path(folder) / "p.png"
        ...     head_panel(path, {"a": case}, {"a": dark}, {"a": case.points}, **how).name
        'p.png'
    """
    rows = []
    for name, case in cases.items():
        fake = fakes[name]
        rows.append(
            [
                figures.Tile(case.photo, SIGNED),
                figures.Tile(marked(fake, truth=case.points, found=found[name]), SIGNED),
                figures.Tile(marked(case.xray, truth=case.points), SIGNED),
                figures.Tile((fake - case.xray)[0], ERROR, colours="RdBu_r"),
            ]
        )
    labels = [f"{name}, {scores[name]:.1f} mm" for name in cases]
    return figures.panel(path, rows, columns=list(columns), labels=labels, title=title)
