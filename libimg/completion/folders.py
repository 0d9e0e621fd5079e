"""Folders of label maps to prepared cases: in processes, resumed, with every failure listed."""

import multiprocessing
import os
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch

from libimg._extras import optional
from libimg.completion.cases import Sampling
from libimg.completion.prepare import prepare_case, prepared_alike
from libimg.io import case_name, list_volumes

__all__ = ["Outcome", "list_cases", "prepare_folder"]


@dataclass(frozen=True)
class Outcome:
    """What became of a label map.

    Attributes:
        source: the file.
        target: the prepared case, None if it failed.
        state: ``"prepared"``, ``"kept"`` (there already, from the same file in the same way) or
            ``"failed"``.
        notes: what is unusual about it, or the reason.

    Example:
        >>> Outcome(Path("a.nii.gz"), None, "failed", "the label map is empty").state
        'failed'
    """

    source: Path
    target: Path | None
    state: str
    notes: str


def list_cases(folder: Path) -> list[Path]:
    """List the prepared cases of a folder by name.

    Raises:
        FileNotFoundError: there is no such folder, or no prepared case in it.

    Example:
        >>> list_cases(Path("no/such/folder"))
        Traceback (most recent call last):
        FileNotFoundError: no/such/folder: no prepared cases (*.h5) here
    """
    paths = sorted(folder.glob("*.h5"))
    if not paths:
        msg = f"{folder}: no prepared cases (*.h5) here"
        raise FileNotFoundError(msg)
    return paths


def prepare_folder(
    source: Path,
    target: Path,
    *,
    classes: Mapping[str, int],
    labelled: Sequence[str] | None = None,
    sampling: Sampling | None = None,
    seed: int = 0,
    workers: int = 1,
    progress: bool = False,
) -> Iterator[Outcome]:
    """Prepare every label map of a folder; a stopped run goes on, and one bad file stops nothing.

    Args:
        source: NIfTI file, or folder of them.
        target: folder for the HDF5 files.
        classes: name to label.
        labelled: classes that this data set annotates; see `sample_case`.
        sampling: numbers and units.
        seed: of the points.
        workers: processes; with 1 no other is started.
        progress: show a progress bar.

    Yields:
        What became of each file, as soon as it is known.

    Raises:
        FileNotFoundError: there is no such file or folder, or no NIfTI in it.
        ValueError: ``source`` is no NIfTI file.

    Example:
        >>> list(prepare_folder(Path("nowhere"), Path("out"), classes={"LV": 3}))
        Traceback (most recent call last):
        FileNotFoundError: nowhere: no such file or folder
    """
    jobs = [(path, target / f"{case_name(path)}.h5") for path in list_volumes(source)]
    how: Any = {"classes": classes, "labelled": labelled, "sampling": sampling or Sampling()}
    work = partial(_prepare, how | {"seed": seed})
    found: Any = map(work, jobs) if workers <= 1 else _parallel(work, jobs, workers)
    if progress:
        found = optional("tqdm", extra="tasks").tqdm(found, total=len(jobs), unit="case")
    yield from found


def _parallel(work: Any, jobs: Sequence[tuple[Path, Path]], workers: int) -> Iterator[Outcome]:
    context = multiprocessing.get_context("spawn")
    threads = max(1, (os.cpu_count() or 1) // workers)
    number = min(workers, len(jobs))
    with ProcessPoolExecutor(number, context, torch.set_num_threads, (threads,)) as pool:
        waiting = {pool.submit(work, job): job for job in jobs}
        for done in as_completed(waiting):
            try:
                yield done.result()
            except BrokenProcessPool:
                reason = "its process, or one beside it, was killed (too little memory?)"
                yield Outcome(waiting[done][0], None, "failed", reason)


def _prepare(how: dict[str, Any], job: tuple[Path, Path]) -> Outcome:
    path, goal = job
    try:
        if prepared_alike(goal, path, **how):
            return Outcome(path, goal, "kept", "is there already")
        case = prepare_case(path, goal, **how)
    except (ValueError, OSError, MemoryError) as error:
        text = str(error).removeprefix(f"{path}: ")
        return Outcome(path, None, "failed", text or type(error).__name__)
    return Outcome(path, goal, "prepared", "; ".join(case.source["notes"]))
