"""Compile loops with numba and share their rows among threads."""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from inspect import unwrap
from typing import Any

import torch

__all__ = ["jit", "parts", "run"]


def jit(function: Callable[..., None]) -> Any:
    """Compile ``function`` without run-time type checks; keep the result on disk if possible."""
    import numba

    options: dict[str, Any] = {"nogil": True, "error_model": "numpy"}
    options["fastmath"] = {"contract", "nsz"}
    try:
        return numba.njit(cache=True, **options)(unwrap(function))
    except RuntimeError:  # no folder to write to
        return numba.njit(**options)(unwrap(function))


def parts(rows: int, *, cost: int, most: int | None = None) -> list[tuple[int, int]]:
    """Cut ``range(rows)`` into at most as many parts as torch has threads.

    Args:
        rows: number of rows.
        cost: work of one row; a part below 8192 in all is not worth a thread.
        most: further limit on the number of parts.
    """
    threads = torch.get_num_threads() if most is None else min(most, torch.get_num_threads())
    count = max(1, min(threads, rows, rows * cost // 8192))
    return [(rows * i // count, rows * (i + 1) // count) for i in range(count)]


def run(jobs: Sequence[Callable[[], object]]) -> None:
    """Run the jobs at the same time, the first of them in this thread.

    Plain threads survive a fork and do not meddle with torch's own pool.
    """
    pool = _pool(os.getpid(), len(jobs) - 1) if len(jobs) > 1 else None
    futures = [pool.submit(job) for job in jobs[1:]] if pool else []
    jobs[0]()
    for future in futures:
        future.result()


@lru_cache(maxsize=4)
def _pool(process: int, workers: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(workers, thread_name_prefix="libimg")
