"""Work ahead: the next items are made by another thread while one is in use."""

from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Final

_END: Final = object()


def ahead[Item](items: Iterator[Item], count: int = 1) -> Iterator[Item]:
    """Yield what an iterator yields, so many items ahead of its taker; what it raises is raised here, in its turn."""
    pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="ahead")
    try:
        coming = deque(pool.submit(next, items, _END) for _ in range(count))
        while (item := coming.popleft().result()) is not _END:
            coming.append(pool.submit(next, items, _END))
            yield item  # type: ignore[misc] # anything but the end is an item
    finally:
        pool.shutdown(cancel_futures=True)
