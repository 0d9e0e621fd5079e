"""The built-in data: phantom hearts as label NIfTIs, made in processes and kept."""

import multiprocessing
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import torch

from libimg._extras import optional
from libimg.phantoms import heart_labels, sample_heart

__all__ = ["build_hearts"]


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


def _write(spacing_mm: float, job: tuple[Path, int]) -> None:
    path, seed = job
    case = heart_labels(sample_heart(torch.Generator().manual_seed(seed)), spacing_mm=spacing_mm)
    values = case.labels.numpy().transpose(2, 1, 0).astype(np.int16)
    image: Any = nib.Nifti1Image(values, case.affine)
    image.set_qform(case.affine, code=1)
    image.set_sform(case.affine, code=1)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".part-{path.name}")
    nib.save(image, part)
    part.replace(path)
