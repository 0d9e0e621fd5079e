"""Pairs of photograph and X-ray: files, frames, the judge, scores."""

from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from libimg.cephalometry import (
    Framed,
    draw_framed,
    marked,
    read_landmarks,
    read_spacing,
    write_landmarks,
)

SIZE = (40, 30)


def blob(point: torch.Tensor, size: tuple[int, int] = (64, 64)) -> torch.Tensor:
    rows, columns = (torch.arange(float(n)) for n in size)
    square = (rows[:, None] - point[0]) ** 2 + (columns - point[1]) ** 2
    return torch.exp(-square / (2 * 3.0**2))[None]


@given(
    st.lists(
        st.tuples(st.floats(0, SIZE[0] - 1), st.floats(0, SIZE[1] - 1)) | st.none(),
        min_size=1,
        max_size=6,
    )
)
def test_landmarks_survive_their_file(places: list[tuple[float, float] | None]) -> None:
    import tempfile

    points = torch.tensor([place or (torch.nan, torch.nan) for place in places])
    names = [f"mark {i}" for i in range(len(places))]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "below" / "a.csv"
        write_landmarks(path, names, points)
        read_names, read = read_landmarks(path, size=SIZE)
    assert list(read_names) == names
    torch.testing.assert_close(read, points.float(), atol=0.0051, rtol=0, equal_nan=True)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"a.csv: expected the header landmark,x,y, got nothing"),
        ("name,x,y\nS,1,2\n", r"expected the header landmark,x,y, got name,x,y"),
        ("landmark,x,y\n", r"a.csv: no landmark in it"),
        ("landmark,x,y\nS,1,2\nS,1,2\n", r"a.csv, line 3: expected a new landmark"),
        ("landmark,x,y\nS,1\n", r"line 2: expected a new landmark, x and y, got S,1"),
        ("landmark,x,y\nS,one,2\n", r"line 2: expected a number, got 'one'"),
        (
            "landmark,x,y\nS,30,2\n",
            r"line 2: S at x 30, y 2 is outside the picture, which is 30 wide",
        ),
        ("landmark,x,y\nS,3,-1\n", r"S at x 3, y -1 is outside"),
        ("landmark,x,y\nS,3,\n", r"S at x 3, y nan is outside"),
    ],
)
def test_bad_landmark_files_are_refused(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "a.csv"
    path.write_text(text)
    with pytest.raises(ValueError, match=message):
        read_landmarks(path, size=SIZE)


def test_a_missing_landmark_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"b.csv: no such file"):
        read_landmarks(tmp_path / "b.csv", size=SIZE)


def test_the_size_of_a_pixel_is_never_guessed(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="nothing says how many millimetres a pixel has"):
        read_spacing(tmp_path, "a", default=None)
    (tmp_path / "spacing.csv").write_text("case,row_mm,column_mm\na,0.1,0.2\nb,0,0.1\nc,0.1,\n")
    assert read_spacing(tmp_path, "a", default=None) == (0.1, 0.2)
    assert read_spacing(tmp_path, "other", default=(0.3, 0.3)) == (0.3, 0.3)
    for name in "bc":
        with pytest.raises(ValueError, match=f"{name} needs a positive row_mm and column_mm"):
            read_spacing(tmp_path, name, default=None)


@given(st.integers(0, 2**32), st.floats(0.01, 0.2))
def test_jitter_moves_pictures_and_landmarks_together(seed: int, jitter: float) -> None:
    point = torch.tensor([30.0, 36.0])
    dot = blob(point)
    one = Framed(dot.expand(3, -1, -1), dot, torch.ones_like(dot), point[None], (1.0, 1.0))
    generator = torch.Generator().manual_seed(seed)
    batch = draw_framed([one], batch=2, jitter=jitter, generator=generator)
    for name in ("input", "target"):
        weight = batch[name][:, 0] / batch[name][:, 0].sum((1, 2), keepdim=True)
        rows = (weight.sum(2) * torch.arange(64.0)).sum(1)
        columns = (weight.sum(1) * torch.arange(64.0)).sum(1)
        found = torch.stack([rows, columns], 1)
        torch.testing.assert_close(found, batch["points"][:, 0], atol=0.1, rtol=0)
    assert set(batch["mask"].unique().tolist()) <= {0.0, 1.0}


def test_no_jitter_changes_nothing() -> None:
    dot = blob(torch.tensor([30.0, 36.0]))
    one = Framed(dot.expand(3, -1, -1), dot, torch.ones_like(dot), torch.zeros(2, 2), (1.0, 1.0))
    batch = draw_framed([one], batch=2, jitter=0.0, generator=torch.Generator())
    assert torch.equal(batch["target"][1], dot)


def test_crosses_mark_true_and_found_landmarks() -> None:
    truth = torch.tensor([[2.0, 3.0], [torch.nan, 1.0]])
    picture = marked(torch.zeros(1, 8, 8), truth=truth, found=torch.tensor([[6.0, 50.0]]))
    changed = (picture != 0).any(0).nonzero().tolist()
    assert sorted(changed) == sorted([[2, 3], [1, 3], [3, 3], [2, 2], [2, 4]])
