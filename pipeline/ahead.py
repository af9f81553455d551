"""Work ahead: the next item is made by another thread while the last one is in use."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Final

_END: Final = object()


def ahead[Item](items: Iterator[Item]) -> Iterator[Item]:
    """Yield what an iterator yields, one item ahead of its taker; what it raises is raised here, in its turn."""
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="ahead") as pool:
        coming = pool.submit(next, items, _END)
        while (item := coming.result()) is not _END:
            coming = pool.submit(next, items, _END)
            yield item  # type: ignore[misc] # anything but the end is an item
