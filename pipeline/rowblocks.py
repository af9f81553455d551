"""Which rows one ingest task brings in: whole shards of the target, whole blocks of every source."""

import math
from collections.abc import Iterable, Iterator

SHARD_PX = 1024
SMALL_SHARD_PX = 256
"""For scenes that fit into one."""
CHUNK_ROWS_PX = 128
"""Chunks are as wide as their shard and this high: swaths begin at any stride, but are read from left to right."""
MOST_ROWS_PX = 8 * SHARD_PX


def block_rows_px(source_block_heights_px: Iterable[int]) -> int:
    """Return the height of a row block: the least common multiple of the shard and all source blocks.

    Then every source block lies in exactly one row block and is read once. Where that multiple exceeds `MOST_ROWS_PX`
    (an odd strip height), memory wins and the blocks on the border of two tasks are read by both.
    """
    height = math.lcm(SHARD_PX, *source_block_heights_px)
    return height if height <= MOST_ROWS_PX else SHARD_PX


def row_blocks(height_px: int, block_px: int) -> Iterator[slice]:
    """Yield the half-open row ranges that cut `height_px` rows into blocks, the last one shorter."""
    for start in range(0, height_px, block_px):
        yield slice(start, min(start + block_px, height_px))
