"""A swath: the rows of a band, from left to right; each pixel is read and turned into physical units once."""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from functools import reduce
from itertools import batched, cycle
from operator import and_
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rspipe.pipeline.grid import Axis, WindowGrid
from rspipe.pipeline.source import READ_PX, Source

FIRST_ROWS_PX = 512
"""Of the first columns, for which the model waits, so many rows are read at a time. The call costs as much as decoding
300 rows of 1024 pixels."""
_CACHED_ROWS_PX = 128
"""Rows that are converted at a time, while they are near the processor: of a swath as a whole a third slower."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WindowInput:
    """One window as a model takes it, mirrored at the scene's edges."""

    numbers: Tensor
    """(C, S, S) float32 in physical units, on the device; 0 wherever a band is not valid, whatever is stored there."""
    present: Tensor
    """(C, S, S) bool: the band is valid."""
    bits: NDArray[np.unsignedinteger[Any]]
    """(S, S) validity of the scene's bands."""
    everywhere: int
    """Bits that are set at every pixel; there may be more of them."""
    valid: NDArray[np.bool_]
    """(S, S) where every required band is valid."""
    skipped: bool
    """It holds no valid pixel inside of the scene."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Held:
    """Some columns of a swath of R rows."""

    numbers: Tensor
    """(C, R, columns); see `WindowInput`."""
    bits: NDArray[np.unsignedinteger[Any]]
    valid: NDArray[np.bool_]

    @property
    def width_px(self) -> int:
        return int(self.bits.shape[1])

    def cut(self, rows: slice | NDArray[np.intp], columns: slice | NDArray[np.intp]) -> Self:
        """Return a part; a view where both are slices."""
        numbers = self.numbers[:, _reach(rows), _reach(columns)]
        return type(self)(
            numbers=_mirrored(_mirrored(numbers, 1, rows), 2, columns),
            bits=self.bits[rows][:, columns],
            valid=self.valid[rows][:, columns],
        )

    def take(self, other: Self) -> None:
        """Become a copy of another one of the same size."""
        self.numbers.copy_(other.numbers)
        self.bits[:] = other.bits
        self.valid[:] = other.valid


@dataclass(frozen=True, slots=True, kw_only=True)
class Stretch:
    """What some neighbouring windows of one window row see."""

    row: int
    columns: tuple[int, ...]
    grid: WindowGrid
    source: Source
    first_row_px: int
    first_column_px: int
    held: _Held
    everywhere: int
    """Bits that are set at every pixel of the columns; of a window's pixels there may be more."""
    whole: Tensor
    """(C, S, S) bool: the scene has the band."""

    def window(self, column: int) -> WindowInput:
        """Return one of the windows; numbers are views of what is held where nothing is mirrored."""
        rows, columns = self.grid.rows, self.grid.columns
        part = self.held.cut(_places(rows, self.row, self.first_row_px), _places(columns, column, self.first_column_px))
        inside = part.valid[: length_px(rows.inside(self.row)), : length_px(columns.inside(column))]
        everywhere, present = self.everywhere, self.whole
        if not self.source.is_whole(everywhere):
            everywhere = int(np.bitwise_and.reduce(part.bits, axis=None))
        if not self.source.is_whole(everywhere):
            present = _present(self.source, _flags(part.bits, self.whole.device))
        return WindowInput(
            numbers=part.numbers,
            present=present,
            bits=part.bits,
            everywhere=everywhere,
            valid=part.valid,
            skipped=not (self.source.is_valid(everywhere) or inside.any()),
        )


@dataclass(frozen=True, slots=True)
class _Span:
    """Some neighbouring columns of windows, and the pixels that have to be held for them."""

    columns: tuple[int, ...]
    pixels: slice


@dataclass(slots=True)
class _Part:
    """Columns that were read together, which are still held."""

    end_px: int
    everywhere: int = -1
    """Validity bits that are set at every pixel read so far."""


class Swath:
    """Reads some window rows; what the next columns of windows need again stays, the rest is dropped."""

    def __init__(self, source: Source, grid: WindowGrid, rows: range, device: torch.device) -> None:
        extents = [grid.rows.extent(row) for row in rows]
        self._source, self._grid, self._device = source, grid, device
        self._window_rows = rows
        self._rows = slice(min(extent.start for extent in extents), max(extent.stop for extent in extents))

    def stretches(self, batch: int) -> Iterator[Stretch]:
        """Yield all windows, some columns at a time from left to right, and in these down the rows.

        Each is good until the columns after the next are begun. Two rooms take turns: memory that is new costs more
        than all that is then written into it.
        """
        spans = self._spans(batch)
        width_px = max(length_px(span.pixels) for span in spans)
        rooms = cycle([self._room(width_px), self._room(width_px)])
        first_px, held = 0, next(rooms).cut(slice(None), slice(0, 0))
        there = torch.tensor([band is not None for band in self._source.bands], device=self._device)
        whole = there.view(-1, 1, 1).expand(-1, *[self._grid.window_px] * 2).contiguous()
        parts: deque[_Part] = deque()
        for span in spans:
            earlier = held.cut(slice(None), slice(span.pixels.start - first_px, None))
            first_px = span.pixels.start
            columns = slice(first_px + earlier.width_px, span.pixels.stop)
            unread = self._cuts(span is spans[0]) if length_px(columns) else deque()
            held = next(rooms).cut(slice(None), slice(0, length_px(span.pixels))) if unread else earlier
            parts = deque(part for part in parts if part.end_px > first_px)
            parts.append(_Part(columns.stop))
            for row in self._window_rows:
                while unread and unread[0].start < self._grid.rows.extent(row).stop:
                    parts[-1].everywhere &= self._extend(earlier, held, unread.popleft(), columns)
                yield Stretch(
                    row=row,
                    columns=span.columns,
                    grid=self._grid,
                    source=self._source,
                    first_row_px=self._rows.start,
                    first_column_px=first_px,
                    held=held,
                    everywhere=reduce(and_, [part.everywhere for part in parts]),
                    whole=whole,
                )

    def _cuts(self, first: bool) -> deque[slice]:  # noqa: FBT001 - columns
        """Cut the rows into what is read at a time: the model waits for the first columns, later ones it does not."""
        rows = self._rows
        if not first:
            return deque([rows])
        starts = range(rows.start // FIRST_ROWS_PX * FIRST_ROWS_PX, rows.stop, FIRST_ROWS_PX)
        return deque(slice(max(start, rows.start), min(start + FIRST_ROWS_PX, rows.stop)) for start in starts)

    def _spans(self, batch: int) -> list[_Span]:
        """Cut the columns into stretches; pixels are read in steps of whole chunks and stay while they are needed."""
        axis, chunk_px = self._grid.columns, self._source.validity.chunks[-1]
        step_px = chunk_px * max(1, READ_PX // chunk_px)
        mirror_px = axis.extent(axis.count - 1).start  # that of the last window may reach back beyond those before it
        spans, end_px = [], 0
        for columns in batched(range(axis.count), batch):
            begin_px = min(axis.extent(columns[0]).start, mirror_px)
            end_px = max(end_px, min(-(-axis.extent(columns[-1]).stop // step_px) * step_px, axis.length_px))
            spans.append(_Span(columns, slice(begin_px, end_px)))
        return spans

    def _room(self, width_px: int) -> _Held:
        """Return memory with whatever is in it."""
        size = (length_px(self._rows), width_px)
        return _Held(
            numbers=torch.empty((len(self._source.bands), *size), device=self._device),
            bits=np.empty(size, dtype=self._source.validity.dtype),
            valid=np.empty(size, dtype=np.bool_),
        )

    def _extend(self, earlier: _Held, room: _Held, rows: slice, columns: slice) -> int:
        """In some rows, move what is held already into a room, then read and convert the columns that follow.

        Returns those validity bits that are set at each of their pixels.
        """
        local = slice(rows.start - self._rows.start, rows.stop - self._rows.start)
        room.cut(local, slice(0, earlier.width_px)).take(earlier.cut(local, slice(None)))
        more = room.cut(local, slice(earlier.width_px, None))
        more.bits[:] = self._source.validity[rows, columns]
        more.valid[:] = self._source.valid(more.bits)
        everywhere = int(np.bitwise_and.reduce(more.bits, axis=None))
        if more.valid.any():
            self._convert(rows, columns, more, everywhere)
        else:
            more.numbers.zero_()
        return everywhere

    def _convert(self, rows: slice, columns: slice, target: _Held, everywhere: int) -> None:
        """Fill in numbers; where they are valid is there."""
        flags = None if self._source.is_whole(everywhere) else _flags(target.bits, self._device)
        for band, numbers in zip(self._source.bands, target.numbers, strict=True):
            if band is None:
                numbers.zero_()
                continue
            stored = _uploaded(np.asarray(band.array[rows, columns]), self._device)
            pieces = [torch.split(plane, _CACHED_ROWS_PX) for plane in (numbers, stored)]
            for some, those in zip(*pieces, strict=True):
                some.copy_(those).mul_(band.scale).add_(band.offset)
            if flags is not None and not everywhere >> band.bit & 1:
                # over bits: NaN goes as well, in a quarter of the time of a mask
                numbers.view(torch.int32).mul_(flags.bitwise_and(1 << band.bit).bool())


def _uploaded(stored: NDArray[Any], device: torch.device) -> Tensor:
    """On a GPU the copy goes from pinned memory and nobody waits for it."""
    numbers = torch.from_numpy(stored)
    return numbers if device.type == "cpu" else numbers.pin_memory().to(device, non_blocking=True)


def _flags(bits: NDArray[np.unsignedinteger[Any]], device: torch.device) -> Tensor:
    """Return validity bits as integers that torch can mask."""
    kind: type[np.signedinteger[Any] | np.unsignedinteger[Any]] = np.uint8 if bits.itemsize == 1 else np.int32
    return _uploaded(bits.astype(kind), device)


def _present(source: Source, flags: Tensor) -> Tensor:
    """Tell at which pixels each band is valid: (C, rows, columns) bool."""
    none = torch.zeros_like(flags, dtype=torch.bool)
    return torch.stack([none if band is None else (flags & (1 << band.bit)).bool() for band in source.bands])


def length_px(pixels: slice) -> int:
    """Return the length of a half-open range."""
    return int(pixels.stop - pixels.start)


def _reach(places: slice | NDArray[np.intp]) -> slice:
    return places if isinstance(places, slice) else slice(int(places.min()), int(places.max()) + 1)


def _mirrored(numbers: Tensor, axis: int, places: slice | NDArray[np.intp]) -> Tensor:
    """Return what stands at some places of what they reach over: runs there and back, side by side.

    Number by number the same takes 20 times as long.
    """
    if isinstance(places, slice):
        return numbers
    if numbers.shape[axis] == 1:
        return numbers.repeat_interleave(len(places), dim=axis)
    runs = np.split(places - places.min(), np.flatnonzero(np.diff(places, n=2)) + 2)
    there = [numbers.narrow(axis, int(run.min()), len(run)) for run in runs]
    pieces = [piece.flip(axis) if run[0] > run[-1] else piece for piece, run in zip(there, runs, strict=True)]
    return torch.cat(pieces, dim=axis)


def _places(axis: Axis, window: int, first_px: int) -> slice | NDArray[np.intp]:
    """Where a window's pixels lie in what begins at a pixel of the scene."""
    start = window * axis.stride_px - first_px
    whole = length_px(axis.inside(window)) == axis.window_px
    return slice(start, start + axis.window_px) if whole else axis.pixels(window) - first_px
