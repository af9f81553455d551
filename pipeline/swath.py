"""A swath: the rows of a band, from left to right; each pixel is read and turned into physical units once."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import batched
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import pad

from rspipe.pipeline.grid import Axis, WindowGrid
from rspipe.pipeline.source import Source

READ_PX = 1024
"""Columns that are read at a time, where chunks are not wider: a call of zarr costs as much as decoding ten chunks."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WindowInput:
    """One window as a model takes it, mirrored at the scene's edges."""

    numbers: Tensor
    """(C, S, S) float32 in physical units, on the device; 0 wherever a band is not valid, whatever is stored there."""
    present: Tensor
    """(C, S, S) bool: the band is valid."""
    bits: NDArray[np.unsignedinteger[Any]]
    """(S, S) validity of the scene's bands."""
    valid: NDArray[np.bool_]
    """(S, S) where every required band is valid."""
    skipped: bool
    """It holds no valid pixel inside of the scene."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Held:
    """Some columns of a swath of R rows."""

    numbers: Tensor
    """(C, R, columns); see `WindowInput`."""
    present: Tensor
    bits: NDArray[np.unsignedinteger[Any]]
    valid: NDArray[np.bool_]

    @property
    def width_px(self) -> int:
        return int(self.bits.shape[1])

    def cut(self, rows: slice | NDArray[np.intp], columns: slice | NDArray[np.intp]) -> Self:
        """Return a part; a view where both are slices."""
        return type(self)(
            numbers=self.numbers[:, rows][..., columns],
            present=self.present[:, rows][..., columns],
            bits=self.bits[rows][:, columns],
            valid=self.valid[rows][:, columns],
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Stretch:
    """What some neighbouring columns of windows see."""

    columns: tuple[int, ...]
    grid: WindowGrid
    first_row_px: int
    first_column_px: int
    held: _Held

    def window(self, row: int, column: int) -> WindowInput:
        """Return one of the windows; views of what is held where nothing is mirrored."""
        rows, columns = self.grid.rows, self.grid.columns
        part = self.held.cut(_places(rows, row, self.first_row_px), _places(columns, column, self.first_column_px))
        inside = part.valid[: length_px(rows.inside(row)), : length_px(columns.inside(column))]
        return WindowInput(
            numbers=part.numbers, present=part.present, bits=part.bits, valid=part.valid, skipped=not inside.any()
        )


class Swath:
    """Reads some window rows; what the next columns of windows need again stays, the rest is dropped."""

    def __init__(self, source: Source, grid: WindowGrid, rows: range, device: torch.device) -> None:
        extents = [grid.rows.extent(row) for row in rows]
        self._source, self._grid, self._device = source, grid, device
        self._rows = slice(min(extent.start for extent in extents), max(extent.stop for extent in extents))

    def stretches(self, batch: int) -> Iterator[Stretch]:
        """Yield all columns of windows from left to right, some at a time."""
        axis, step_px = self._grid.columns, self._step_px()
        mirror_px = axis.extent(axis.count - 1).start  # that of the last window may reach back beyond those before it
        first_px, held = 0, self._nothing()
        for columns in batched(range(axis.count), batch):
            begin_px = min(axis.extent(columns[0]).start, mirror_px)
            held = held.cut(slice(None), slice(begin_px - first_px, None))
            first_px, done_px = begin_px, begin_px + held.width_px
            end_px = min(-(-axis.extent(columns[-1]).stop // step_px) * step_px, axis.length_px)
            if done_px < end_px:
                held = self._extended(held, slice(done_px, end_px))
            yield Stretch(
                columns=columns, grid=self._grid, first_row_px=self._rows.start, first_column_px=first_px, held=held
            )

    def _step_px(self) -> int:
        chunk_px = self._source.validity.chunks[-1]
        return chunk_px * max(1, READ_PX // chunk_px)

    def _nothing(self) -> _Held:
        shape = (len(self._source.bands), length_px(self._rows), 0)
        return _Held(
            numbers=torch.zeros(shape, device=self._device),
            present=torch.zeros(shape, dtype=torch.bool, device=self._device),
            bits=np.zeros(shape[1:], dtype=self._source.validity.dtype),
            valid=np.zeros(shape[1:], dtype=np.bool_),
        )

    def _extended(self, held: _Held, columns: slice) -> _Held:
        """Read and convert the columns that follow; where no pixel is valid, numbers are left where they are."""
        bits = np.asarray(self._source.validity[self._rows, columns])
        valid = self._source.valid(bits)
        more = _Held(
            numbers=pad(held.numbers, (0, length_px(columns))),
            present=pad(held.present, (0, length_px(columns))),
            bits=np.concatenate([held.bits, bits], axis=1),
            valid=np.concatenate([held.valid, valid], axis=1),
        )
        if valid.any():
            self._convert(columns, bits, more.cut(slice(None), slice(held.width_px, None)))
        return more

    def _convert(self, columns: slice, bits: NDArray[np.unsignedinteger[Any]], target: _Held) -> None:
        """Fill in what is zero so far."""
        kind: type[np.signedinteger[Any] | np.unsignedinteger[Any]] = np.uint8 if bits.itemsize == 1 else np.int32
        uploaded, everywhere = self._upload(bits.astype(kind)), int(np.bitwise_and.reduce(bits, axis=None))
        for band, numbers, present in zip(self._source.bands, target.numbers, target.present, strict=True):
            if band is not None:
                stored = self._upload(np.asarray(band.array[self._rows, columns]))
                numbers.copy_(stored).mul_(band.scale).add_(band.offset)
                if everywhere >> band.bit & 1:
                    present.fill_(value=True)
                else:
                    present.copy_(uploaded & (1 << band.bit))
                    numbers.masked_fill_(~present, 0)

    def _upload(self, stored: NDArray[Any]) -> Tensor:
        """On a GPU the copy goes from pinned memory and nobody waits for it."""
        numbers = torch.from_numpy(stored)
        return numbers if self._device.type == "cpu" else numbers.pin_memory().to(self._device, non_blocking=True)


def length_px(pixels: slice) -> int:
    """Return the length of a half-open range."""
    return int(pixels.stop - pixels.start)


def _places(axis: Axis, window: int, first_px: int) -> slice | NDArray[np.intp]:
    """Where a window's pixels lie in what begins at a pixel of the scene."""
    start = window * axis.stride_px - first_px
    whole = length_px(axis.inside(window)) == axis.window_px
    return slice(start, start + axis.window_px) if whole else axis.pixels(window) - first_px
