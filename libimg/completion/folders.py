"""Folders of label maps to prepared cases: in processes, resumed, with every failure listed."""

import multiprocessing
import os
from collections.abc import Generator, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

import torch

from libimg._extras import optional
from libimg.completion.cases import Sampling, class_mask
from libimg.completion.labels import check_classes
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
    source: Path | Sequence[Path],
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

    What an earlier run has prepared from a file that now fails is renamed to ``NAME.h5.stale``, so
    that nothing trains on it. Of two files that would be prepared as one (``a.nii`` and
    ``a.nii.gz``), the second fails.

    Args:
        source: NIfTI file, folder of them, or a list of files.
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
        ValueError: ``source`` is no NIfTI file, or ``classes`` or ``labelled`` are refused.

    Example:
        >>> list(prepare_folder(Path("nowhere"), Path("out"), classes={"LV": 3}))
        Traceback (most recent call last):
        FileNotFoundError: nowhere: no such file or folder
    """
    check_classes(classes)
    class_mask(labelled or (), classes)
    jobs: dict[Path, Path] = {}
    twice = []
    for path in list_volumes(source) if isinstance(source, Path) else source:
        goal = target / f"{case_name(path)}.h5"
        if jobs.setdefault(goal, path) != path:
            reason = f"{path.name} and {jobs[goal].name} would both become {goal.name}: rename one"
            twice.append(Outcome(path, None, "failed", reason))
    how: Any = {"classes": classes, "labelled": labelled, "sampling": sampling or Sampling()}
    work = partial(_prepare, how | {"seed": seed})
    pairs = [(path, goal) for goal, path in jobs.items()]
    found: Any = map(work, pairs) if workers <= 1 else _parallel(work, pairs, workers)
    found = chain(twice, found)
    if progress:
        total = len(pairs) + len(twice)
        found = optional("tqdm", extra="tasks").tqdm(found, total=total, unit="case")
    yield from found


Job = tuple[Path, Path]
"""A label map and the file to prepare from it."""


def _parallel(work: Any, jobs: Sequence[Job], workers: int) -> Iterator[Outcome]:
    """Work in processes; if one is killed, those that it may have worked on are done one by one."""
    left = list(jobs)
    while left:
        pending = yield from _pool(work, left, workers)
        if len(pending) == len(left) and not list(_pool(repr, left[:1], 1)):
            msg = f"workers={workers}: processes die at once, before they read a file; is the call "
            msg += "under if __name__ == '__main__'? workers=1 needs no process"
            raise RuntimeError(msg)
        suspects, left = pending[:workers], pending[workers:]  # they are begun in order
        for job in suspects:
            if (yield from _pool(work, [job], 1)):
                yield _failed(job, "its process was killed (too little memory?)")


def _pool(work: Any, jobs: Sequence[Job], workers: int) -> Generator[Outcome, None, list[Job]]:
    """Yield what is done, and return what is not once a process was killed."""
    context = multiprocessing.get_context("spawn")
    threads = max(1, (os.cpu_count() or 1) // workers)
    number = min(workers, len(jobs))
    waiting, pending = {}, dict.fromkeys(jobs)
    with ProcessPoolExecutor(number, context, torch.set_num_threads, (threads,)) as pool:
        with suppress(BrokenProcessPool):
            for job in jobs:
                waiting[pool.submit(work, job)] = job
        for done in as_completed(waiting):
            if not isinstance(done.exception(), BrokenProcessPool):
                del pending[waiting[done]]
                yield done.result()
    return list(pending)


def _prepare(how: dict[str, Any], job: Job) -> Outcome:
    path, goal = job
    try:
        if prepared_alike(goal, path, **how):
            return Outcome(path, goal, "kept", "is there already")
        case = prepare_case(path, goal, **how)
    except (ValueError, OSError, MemoryError, RuntimeError) as error:  # torch: no memory, too
        text = str(error).removeprefix(f"{path}: ")
        return _failed(job, text or type(error).__name__)
    return Outcome(path, goal, "prepared", "; ".join(case.source["notes"]))


def _failed(job: Job, reason: str) -> Outcome:
    """List a failure, and put aside what an earlier run has prepared of the file."""
    path, goal = job
    stale = goal.with_name(f"{goal.name}.stale")
    try:
        goal.replace(stale)
        reason += f"; {goal.name} of an earlier run is now {stale.name}"
    except FileNotFoundError:
        pass
    except OSError as error:
        reason += f"; {goal.name} of an earlier run is still there ({error})"
    return Outcome(path, None, "failed", reason)
