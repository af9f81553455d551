"""Sinks: finished columns come in from left to right, whole shards go out."""

from functools import partial
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray

from rspipe.pipeline.behind import Behind


class ShardSink:
    """Writes some rows of an array from left to right, holding back what does not fill a shard yet.

    The rows must begin and end on shard edges (or the array's end); with no rows at all nothing is written.
    """

    def __init__(self, array: zarr.Array[Any], rows: slice, behind: Behind) -> None:
        self._array, self._rows, self._behind = array, rows, behind
        shard_width_px = (array.shards or array.chunks)[-1]
        shape = (*array.shape[:-2], rows.stop - rows.start, min(shard_width_px, array.shape[-1]))
        self._held: NDArray[Any] = np.empty(shape, dtype=array.dtype)
        self._held_px = 0
        self._written_px = 0

    def append(self, block: NDArray[Any]) -> None:
        """Take the next columns: (..., rows, columns)."""
        while block.shape[-1]:
            taken_px = min(block.shape[-1], self._held.shape[-1] - self._held_px)
            self._held[..., self._held_px : self._held_px + taken_px] = block[..., :taken_px]
            self._held_px += taken_px
            block = block[..., taken_px:]
            full = self._held_px == self._held.shape[-1]
            if full or self._written_px + self._held_px == self._array.shape[-1]:
                self._flush()

    def _flush(self) -> None:
        columns = slice(self._written_px, self._written_px + self._held_px)
        if self._rows.start < self._rows.stop:
            place = (..., self._rows, columns)
            self._behind.do(partial(self._array.__setitem__, place, self._held[..., : self._held_px]))
            self._held = np.empty_like(self._held)
        self._written_px, self._held_px = columns.stop, 0
