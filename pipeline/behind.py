"""Work behind: what is ready is written by another thread while the next is made."""

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Self

WAITING = 4
"""Works that may wait: a window fills the shards of classes and confidence, and those of two strips, all at once."""


class Behind:
    """Does one piece of work at a time, in order; what one raises is raised by a later one, or at the end."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="behind")
        self._begun: deque[Future[None]] = deque()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Wait for the last work; an error of its own does not hide the one that ends the block."""
        self._pool.shutdown()
        if error is None:
            self._end(0)

    def do(self, work: Callable[[], None]) -> None:
        """Begin a work, once no more than `WAITING` others are left."""
        self._end(WAITING)
        self._begun.append(self._pool.submit(work))

    def _end(self, left: int) -> None:
        """Take note of what is over; wait until no more than so many works are left."""
        while self._begun and (len(self._begun) > left or self._begun[0].done()):
            self._begun.popleft().result()
