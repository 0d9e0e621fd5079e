"""Preparing the next batches while the network works on this one."""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Generic, TypeVar

__all__ = ["Ahead"]

T = TypeVar("T")


class Ahead(Generic[T]):
    """Call a function of the step number some steps ahead, in threads.

    What it returns depends on the step alone, so a run that resumes gets the same batches.

    Args:
        make: prepares what a step needs; called from threads.
        workers: threads, and steps ahead; 0 calls it on the spot.
        total: first step that is not wanted any more.

    Example:
        >>> batches = Ahead(lambda step: step * step, workers=2, total=4)
        >>> [batches(step) for step in range(4)]
        [0, 1, 4, 9]
    """

    def __init__(self, make: Callable[[int], T], *, workers: int, total: int) -> None:
        self.make, self.workers, self.total = make, workers, total
        self._pool = ThreadPoolExecutor(workers, "libimg-ahead") if workers else None
        self._waiting: dict[int, Future[T]] = {}

    def __call__(self, step: int) -> T:
        """Return what ``step`` needs, and start on the steps behind it."""
        if self._pool is None:
            return self.make(step)
        for later in range(step, min(step + 1 + self.workers, self.total)):
            if later not in self._waiting:
                self._waiting[later] = self._pool.submit(self.make, later)
        return self._waiting.pop(step).result()
