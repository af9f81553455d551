"""One band from windows to bytes: only the rows that the next window row needs stay as floats."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rspipe.pipeline.behind import Behind
from rspipe.pipeline.blend import COLUMNS, ROWS, Ramp, decide
from rspipe.pipeline.channels import Channels
from rspipe.pipeline.forward import Forward, Predicted, predict
from rspipe.pipeline.grid import Band, WindowGrid
from rspipe.pipeline.inferred import CLASSES, CONFIDENCE, InferredArrays
from rspipe.pipeline.rasters import RasterName
from rspipe.pipeline.sink import ShardSink
from rspipe.pipeline.source import Source, StoredBand
from rspipe.pipeline.strips import Strip
from rspipe.pipeline.swath import length_px


class BlendedSink(Protocol):
    """Takes what is blended, column after column."""

    def append(self, blended: Tensor, valid: Tensor) -> None:
        """Take the next columns: (K, rows, columns) float32 and (rows, columns) bool."""
        ...


@dataclass(frozen=True, slots=True)
class DecisionSink:
    """Takes what is blended and writes what is decided from it."""

    channels: Channels
    classes: ShardSink
    confidence: ShardSink
    rasters: Mapping[RasterName, ShardSink]

    @classmethod
    def of(cls, arrays: InferredArrays, rows: slice, channels: Channels, behind: Behind) -> "DecisionSink":
        """Write into the arrays of an inferred scene, these scene rows."""
        sinks = {name: ShardSink(array, rows, behind) for name, array in arrays.items()}
        return cls(channels, sinks[CLASSES], sinks[CONFIDENCE], {name: sinks[name] for name in channels.rasters})

    def append(self, blended: Tensor, valid: Tensor) -> None:
        """Take the next columns: (K, rows, columns) float32 and (rows, columns) bool."""
        decision = decide(blended[: self.channels.classes], valid)
        self.classes.append(decision.classes.cpu().numpy())
        self.confidence.append(decision.confidence.cpu().numpy())
        for name, sink in self.rasters.items():
            sink.append(self.channels.raster(name, blended, valid).cpu().numpy())


@dataclass(frozen=True, slots=True)
class RowSinks:
    """Where one window row goes: its decided rows, and a partial sum on either side of the band."""

    decided: BlendedSink
    above: ShardSink | None
    below: ShardSink | None


class Target(Protocol):
    """Which band is run, and where it goes."""

    @property
    def grid(self) -> WindowGrid:
        """Of the scene."""
        ...

    @property
    def band(self) -> Band:
        """The window rows to run."""
        ...

    def sinks(self, row: int, channels: Channels, behind: Behind) -> RowSinks:
        """Open what one of the band's window rows gives; it is written behind."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class BandTarget:
    """Which band is run, and where its bytes and its strips go."""

    grid: WindowGrid
    band: Band
    arrays: InferredArrays
    above: Strip | None
    below: Strip | None

    def sinks(self, row: int, channels: Channels, behind: Behind) -> RowSinks:
        """Open what one of the band's window rows writes."""
        rows, band = self.grid.rows.finished(row), self.band.window_rows
        above = self.above if row == band.start else None
        below = self.below if row == band.stop - 1 else None
        decided = slice(above.rows.stop if above else rows.start, rows.stop)
        return RowSinks(
            DecisionSink.of(self.arrays, decided, channels, behind),
            above.sink(self.grid, channels.count, behind) if above else None,
            below.sink(self.grid, channels.count, behind) if below else None,
        )


class BandStream:
    """Runs one band, column after column of windows.

    Of its floats stay, per window row, the falling part of the last window (K * S * O), and between two window rows
    that of the last columns (K * O * T): nothing is as wide as the scene. Strips leave shard by shard.
    """

    def __init__(self, forward: Forward, source: Source, target: Target) -> None:
        self.counts: Counter[str] = Counter()
        self._forward, self._source, self._target = forward, source, target
        self._ramp = Ramp.cosine(target.grid.overlap_px, forward.device)
        self._right: dict[int, Tensor | None] = {}
        self._lower: dict[int, Tensor] = {}

    def run(self) -> None:
        """Infer, blend, decide and write every window row of the band."""
        rows = self._target.band.window_rows
        with Behind() as behind:
            sinks = {row: self._target.sinks(row, self._forward.channels, behind) for row in rows}
            for one in predict(self._forward, self._source, self._target.grid, rows):
                block, self._right[one.row] = self._blend_columns(one, self._right.get(one.row))
                self._blend_rows(one, block, sinks[one.row])
                self._count(one)

    def _blend_columns(self, one: Predicted, right: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """Return the columns that this window finishes, (K, S, columns), and what it owes the next one."""
        columns = self._target.grid.columns
        block = one.channels[..., : length_px(columns.finished(one.column))]
        if right is not None:
            block = self._ramp.join(block, right, COLUMNS)
        last = one.column == columns.count - 1
        return block, None if last else self._ramp.fall(one.channels, columns.stride_px, COLUMNS)

    def _blend_rows(self, one: Predicted, block: Tensor, sinks: RowSinks) -> None:
        """Send finished columns on: to bytes, to the strips, to the next window row."""
        grid, band = self._target.grid, self._target.band.window_rows
        lower = self._ramp.fall(block, grid.rows.stride_px, ROWS)
        block = block[:, : length_px(grid.rows.finished(one.row))]
        valid = torch.from_numpy(one.window.valid[: block.shape[1], : block.shape[2]]).to(block.device)
        if sinks.above is not None:
            sinks.above.append(self._ramp.rise(block, ROWS).cpu().numpy())
            block, valid = block[:, grid.overlap_px :], valid[grid.overlap_px :]
        elif one.row > band.start:
            block = self._ramp.join(block, self._lower.pop(one.column), ROWS)
        if sinks.below is not None:
            sinks.below.append(lower.cpu().numpy())
        elif one.row < band.stop - 1:
            self._lower[one.column] = lower
        sinks.decided.append(block, valid)

    def _count(self, one: Predicted) -> None:
        """Count each pixel once, at the window that finishes it."""
        grid, card, window = self._target.grid, self._forward.model.card, one.window
        rows, columns = length_px(grid.rows.finished(one.row)), length_px(grid.columns.finished(one.column))
        valid, bits = window.valid[:rows, :columns], window.bits[:rows, :columns]
        self.counts.update(windows=1, skipped_windows=int(window.skipped), pixels=rows * columns)
        whole = self._source.is_valid(window.everywhere)
        self.counts["valid_pixels"] += rows * columns if whole else int(np.count_nonzero(valid))
        for asked, band in zip(card.bands, self._source.bands, strict=True):
            if not asked.required:
                present = band is not None and window.everywhere >> band.bit & 1
                self.counts[f"filled_{asked.name}_pixels"] += 0 if present else _filled(band, bits, valid)


def _filled(band: StoredBand | None, bits: NDArray[np.unsignedinteger[Any]], valid: NDArray[np.bool_]) -> int:
    """Count the valid pixels at which a band is missing."""
    if band is None:
        return int(np.count_nonzero(valid))
    return int(np.count_nonzero(valid & (bits & bits.dtype.type(1 << band.bit) == 0)))
