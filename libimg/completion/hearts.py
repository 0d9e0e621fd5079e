"""The built-in data: phantom hearts as label NIfTIs, made in processes and kept, or as cases."""

import multiprocessing
import tempfile
from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import torch

from libimg._extras import optional
from libimg.completion.cases import Case, Sampling
from libimg.completion.labels import read_labels
from libimg.completion.prepare import sample_case
from libimg.phantoms import HEART_CLASSES, HeartCase, heart_labels, sample_heart

__all__ = ["build_hearts", "phantom_case"]


def build_hearts(
    folder: Path,
    *,
    number: int,
    spacing_mm: float = 2.5,
    seed: int = 0,
    workers: int = 1,
    progress: bool = False,
) -> list[Path]:
    """Write phantom hearts, each different; those that are there are kept.

    Args:
        folder: for ``heart_SEED_NUMBER.nii.gz``.
        number: of hearts.
        spacing_mm: of the voxels.
        seed: of the hearts.
        workers: processes; with 1 no other is started.
        progress: show a progress bar.

    Returns:
        The files.

    Example:
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     (path,) = build_hearts(Path(folder), number=1, spacing_mm=10.0)
        >>> path.name
        'heart_0_10mm_0000.nii.gz'
    """
    paths = [folder / f"heart_{seed}_{spacing_mm:g}mm_{i:04d}.nii.gz" for i in range(number)]
    jobs = [(path, 1000 * seed + i) for i, path in enumerate(paths) if not path.exists()]
    work = partial(_write, spacing_mm)
    tqdm = partial(optional("tqdm", extra="tasks").tqdm, total=len(jobs), unit="heart")
    show: Any = tqdm if progress and jobs else iter

    def finish(found: Iterable[None]) -> None:
        for _ in show(found):
            pass

    if workers > 1 and len(jobs) > 1:
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(workers, context, torch.set_num_threads, (1,)) as pool:
            finish(pool.map(work, jobs))
    else:
        finish(map(work, jobs))
    return paths


def phantom_case(
    seed: int = 0,
    *,
    spacing_mm: float = 5.0,
    labelled: Sequence[str] | None = None,
    sampling: Sampling | None = None,
) -> Case:
    """Make a phantom heart as a case, without files to keep: something to try things on.

    Args:
        seed: of the heart and its points.
        spacing_mm: of the voxels.
        labelled: classes that count as labelled; all if None.
        sampling: numbers and units; few points and a coarse grid if None.

    Example:
        >>> case = phantom_case()
        >>> case.name, case.surface.shape, case.grid.shape
        ('heart_0', torch.Size([10, 128, 3]), torch.Size([10, 16, 16, 16]))
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"heart_{seed}.nii.gz"
        _write(spacing_mm, (path, seed))
        found = read_labels(path, classes=HEART_CLASSES)
    names = list(HEART_CLASSES) if labelled is None else labelled
    sampling = sampling or Sampling(surface=128, near=128, volume=512, grid=16)
    return sample_case(found, labelled=names, sampling=sampling, seed=seed)


def _write(spacing_mm: float, job: tuple[Path, int]) -> None:
    path, seed = job
    case = _heart(seed, spacing_mm)
    values = case.labels.numpy().transpose(2, 1, 0).astype(np.int16)
    image: Any = nib.Nifti1Image(values, case.affine)
    image.set_qform(case.affine, code=1)
    image.set_sform(case.affine, code=1)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".part-{path.name}")
    nib.save(image, part)
    part.replace(path)


@lru_cache(maxsize=2)
def _heart(seed: int, spacing_mm: float) -> HeartCase:
    params = sample_heart(torch.Generator().manual_seed(seed))
    return heart_labels(params, spacing_mm=spacing_mm)
