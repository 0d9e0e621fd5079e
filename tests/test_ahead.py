"""Batches prepared ahead, and files paired by other endings than NIfTI."""

import threading
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from libimg import data
from libimg.train import Ahead

PATIENCE = 20


@settings(max_examples=15)
@given(workers=st.integers(0, 4), total=st.integers(1, 12), start=st.integers(0, 11))
def test_every_step_once_and_in_order(workers: int, total: int, start: int) -> None:
    made: list[int] = []
    lock = threading.Lock()

    def make(step: int) -> int:
        with lock:
            made.append(step)
        return step * step

    ahead = Ahead(make, workers=workers, total=total)
    steps = range(min(start, total), total)
    assert [ahead(step) for step in steps] == [step * step for step in steps]
    assert sorted(made) == list(steps)


def test_a_resumed_run_gets_the_same_batches() -> None:
    whole = Ahead(lambda step: f"batch {step}", workers=2, total=8)
    resumed = Ahead(lambda step: f"batch {step}", workers=3, total=8)
    expected = [whole(step) for step in range(8)]
    assert [resumed(step) for step in range(5, 8)] == expected[5:]


def test_a_late_step_comes_in_its_turn() -> None:
    gate = threading.Event()

    def make(step: int) -> int:
        if step == 0:
            assert gate.wait(PATIENCE)
        else:
            gate.set()
        return step

    ahead = Ahead(make, workers=2, total=4)
    assert [ahead(step) for step in range(4)] == [0, 1, 2, 3]


def test_so_many_steps_ahead_and_no_more() -> None:
    made: list[int] = []
    done = threading.Event()

    def make(step: int) -> int:
        made.append(step)
        if len(made) == 4:
            done.set()
        return step

    ahead = Ahead(make, workers=3, total=100)
    assert ahead(0) == 0
    assert done.wait(PATIENCE)
    assert sorted(made) == [0, 1, 2, 3]


def test_without_threads_a_step_is_made_on_the_spot() -> None:
    where: list[int] = []
    ahead = Ahead(lambda _: where.append(threading.get_ident()), workers=0, total=9)
    for step in (0, 1, 1):
        ahead(step)
    assert where == [threading.get_ident()] * 3


@pytest.mark.parametrize("workers", [0, 2])
def test_an_exception_comes_at_its_own_step(workers: int) -> None:
    def make(step: int) -> int:
        if step == 2:
            msg = "b_002.h5: not an HDF5 file"
            raise ValueError(msg)
        return step

    ahead = Ahead(make, workers=workers, total=5)
    assert [ahead(0), ahead(1)] == [0, 1]
    with pytest.raises(ValueError, match=r"b_002\.h5"):
        ahead(2)
    assert [ahead(3), ahead(4)] == [3, 4]


def test_a_run_that_stops_early_leaves_no_threads() -> None:
    def mine() -> set[threading.Thread]:
        return {t for t in threading.enumerate() if t.name.startswith("libimg-ahead")} - before

    before = set(threading.enumerate())
    ahead = Ahead(lambda step: step, workers=2, total=100)
    assert ahead(0) == 0
    threads = mine()
    assert threads
    del ahead
    for thread in threads:
        thread.join(PATIENCE)
    assert not mine()


# Files


def touch(folder: Path, *names: str) -> Path:
    folder.mkdir()
    for name in names:
        (folder / name).touch()
    return folder


def test_files_are_paired_by_the_given_endings(tmp_path: Path) -> None:
    a = touch(tmp_path / "a", "p2.h5", "p1.hdf5", "p1.nii", "p3.txt")
    b = touch(tmp_path / "b", "p1.h5", "p2.h5", "q.nii.gz")
    pairs = data.pair_files(a, b, suffixes=(".h5", ".hdf5"))
    assert [(x.name, y.name) for x, y in pairs] == [("p1.hdf5", "p1.h5"), ("p2.h5", "p2.h5")]
    with pytest.raises(FileNotFoundError, match=r"p1\.nii has no partner.*q\.nii\.gz has no"):
        data.pair_files(a, b)
    with pytest.raises(FileNotFoundError, match=r"ending in \.npz in the first folder, found none"):
        data.pair_files(a, b, suffixes=(".npz",))


def test_a_case_under_two_endings_is_refused(tmp_path: Path) -> None:
    a, b = touch(tmp_path / "a", "p.h5", "p.hdf5"), touch(tmp_path / "b", "p.h5")
    with pytest.raises(ValueError, match=r"p\.hdf5: the first case p is already there as p\.h5"):
        data.pair_files(a, b, suffixes=(".h5", ".hdf5"))
    assert data.pair_files(a, b, suffixes=(".h5",)) == [(a / "p.h5", b / "p.h5")]
