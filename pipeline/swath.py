"""A swath: the rows of a band, from left to right; each pixel is read and turned into physical units once."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import batched, cycle
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rspipe.pipeline.grid import Axis, WindowGrid
from rspipe.pipeline.source import READ_PX, Source


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

    def take(self, other: Self) -> None:
        """Become a copy of another one of the same size."""
        self.numbers.copy_(other.numbers)
        self.present.copy_(other.present)
        self.bits[:] = other.bits
        self.valid[:] = other.valid


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


@dataclass(frozen=True, slots=True)
class _Span:
    """Some neighbouring columns of windows, and the pixels that have to be held for them."""

    columns: tuple[int, ...]
    pixels: slice


class Swath:
    """Reads some window rows; what the next columns of windows need again stays, the rest is dropped."""

    def __init__(self, source: Source, grid: WindowGrid, rows: range, device: torch.device) -> None:
        extents = [grid.rows.extent(row) for row in rows]
        self._source, self._grid, self._device = source, grid, device
        self._rows = slice(min(extent.start for extent in extents), max(extent.stop for extent in extents))

    def stretches(self, batch: int) -> Iterator[Stretch]:
        """Yield all columns of windows from left to right, some at a time; each is good until the next but one is made.

        Two rooms take turns: memory that is new costs more than all that is then written into it.
        """
        spans = self._spans(batch)
        width_px = max(length_px(span.pixels) for span in spans)
        rooms = cycle([self._room(width_px), self._room(width_px)])
        first_px, held = 0, next(rooms).cut(slice(None), slice(0, 0))
        for span in spans:
            held = held.cut(slice(None), slice(span.pixels.start - first_px, None))
            first_px = span.pixels.start
            if held.width_px < length_px(span.pixels):
                room = next(rooms).cut(slice(None), slice(0, length_px(span.pixels)))
                self._extend(held, room, slice(first_px + held.width_px, span.pixels.stop))
                held = room
            yield Stretch(
                columns=span.columns,
                grid=self._grid,
                first_row_px=self._rows.start,
                first_column_px=first_px,
                held=held,
            )

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
        shape = (len(self._source.bands), length_px(self._rows), width_px)
        return _Held(
            numbers=torch.empty(shape, device=self._device),
            present=torch.empty(shape, dtype=torch.bool, device=self._device),
            bits=np.empty(shape[1:], dtype=self._source.validity.dtype),
            valid=np.empty(shape[1:], dtype=np.bool_),
        )

    def _extend(self, held: _Held, room: _Held, columns: slice) -> None:
        """Move what is held into a room, then read and convert the columns that follow."""
        room.cut(slice(None), slice(0, held.width_px)).take(held)
        more = room.cut(slice(None), slice(held.width_px, None))
        more.bits[:] = self._source.validity[self._rows, columns]
        more.valid[:] = self._source.valid(more.bits)
        if more.valid.any():
            self._convert(columns, more)
        else:
            more.numbers.zero_()
            more.present.zero_()

    def _convert(self, columns: slice, target: _Held) -> None:
        """Fill in numbers, and where they are present; the validity is there."""
        kind: type[np.signedinteger[Any] | np.unsignedinteger[Any]] = (
            np.uint8 if target.bits.itemsize == 1 else np.int32
        )
        uploaded = self._upload(target.bits.astype(kind))
        everywhere = int(np.bitwise_and.reduce(target.bits, axis=None))
        for band, numbers, present in zip(self._source.bands, target.numbers, target.present, strict=True):
            if band is None:
                numbers.zero_()
                present.zero_()
                continue
            stored = self._upload(np.asarray(band.array[self._rows, columns]))
            numbers.copy_(stored).mul_(band.scale).add_(band.offset)
            if everywhere >> band.bit & 1:
                present.fill_(value=True)
            else:
                present.copy_(uploaded & (1 << band.bit))
                # over bits: NaN goes as well, in a quarter of the time of a mask
                numbers.view(torch.int32).mul_(present)

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
