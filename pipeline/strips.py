"""Seam strips: the partial sums that a band leaves on disk for the seam tasks above and below it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from rspipe.pipeline import store
from rspipe.pipeline.behind import Behind
from rspipe.pipeline.grid import WindowGrid
from rspipe.pipeline.sink import ShardSink

Side = Literal["above", "below"]
_SUMS = "sums"


@dataclass(frozen=True, slots=True)
class Strip:
    """One strip: (K, O, W) float32, already weighted by the row ramp, in a group of its own: one writer per shard."""

    path: Path
    rows: slice
    """The scene rows it holds."""

    @classmethod
    def of(cls, folder: Path, band: int, side: Side, rows: slice) -> "Strip":
        """Return the strip on one side of a band; `folder` is that of the scene's strips."""
        return cls(folder / f"band-{band:05d}-{side}.zarr", rows)

    def sink(self, grid: WindowGrid, channels: int, behind: Behind) -> ShardSink:
        """Lay out the strip anew and return what writes it; `channels` is K."""
        overlap_px, shard_width_px = self.rows.stop - self.rows.start, grid.shard_px[1]
        plan = store.ArrayPlan(
            name=_SUMS,
            shape=(channels, overlap_px, grid.width_px),
            dtype="float32",
            shard_px=(overlap_px, shard_width_px),
            chunk_px=(overlap_px, shard_width_px),
            fill=0,
            attributes={"first_row": self.rows.start, "long_name": "partial sums of weighted probabilities"},
        )
        store.create_bare(self.path, plan)
        return ShardSink(store.open_array(self.path, _SUMS, write=True), slice(0, overlap_px), behind)

    @property
    def channels(self) -> int:
        """K, of a strip that is there."""
        return int(store.open_array(self.path, _SUMS).shape[0])

    def read(self, columns: slice) -> NDArray[np.float32]:
        """Read some columns of the strip: (K, O, columns)."""
        return np.asarray(store.open_array(self.path, _SUMS)[:, :, columns], dtype=np.float32)

    def files(self) -> tuple[Path, ...]:
        """Return what a done record vouches for."""
        return store.written_files(self.path, [_SUMS], slice(0, self.rows.stop - self.rows.start))
