"""What windows see of a scene: stored numbers and validity, read by window columns, each chunk once per window row."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import zarr
from numpy.typing import NDArray

from rspipe.models.card import ModelCard
from rspipe.pipeline import store
from rspipe.pipeline.errors import SceneFailedError
from rspipe.pipeline.grid import WindowGrid

READ_PX = 2048
"""Columns that are read at a time, where chunks are not wider: a call of zarr costs as much as decoding ten chunks."""


class Plane(Protocol):
    """What windows are cut from: an array of the store, or one in memory."""

    @property
    def shape(self) -> tuple[int, ...]:
        """(H, W)."""
        ...

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of the stored numbers."""
        ...

    @property
    def chunks(self) -> tuple[int, ...]:
        """Rows and columns that are best read together."""
        ...

    def __getitem__(self, selection: Any, /) -> Any: ...  # noqa: ANN401 - zarr's own signature


@dataclass(frozen=True, slots=True)
class HeldPlane:
    """A plane that is in memory already."""

    numbers: NDArray[Any]

    @property
    def shape(self) -> tuple[int, ...]:
        """(H, W)."""
        return self.numbers.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of the numbers."""
        return self.numbers.dtype

    @property
    def chunks(self) -> tuple[int, ...]:
        """The whole plane."""
        return self.numbers.shape

    def __getitem__(self, selection: tuple[slice, slice], /) -> NDArray[Any]:
        cut: NDArray[Any] = self.numbers[selection]
        return cut


@dataclass(frozen=True, slots=True)
class StoredBand:
    """One band in the store: physical = scale * stored + offset; valid where bit `bit` of the validity is set."""

    array: Plane
    scale: float
    offset: float
    bit: int


@dataclass(frozen=True, slots=True)
class Source:
    """The bands of a scene that a model asks for, in the model's order; None where the scene lacks an optional one."""

    names: tuple[str, ...]
    bands: tuple[StoredBand | None, ...]
    validity: Plane
    required_mask: int

    @classmethod
    def open(cls, path: Path, names: Sequence[str], required: Collection[str]) -> "Source":
        """Open a scene's bands.

        Args:
            path: the Zarr group that ingest wrote.
            names: common names, in the order in which the model takes them.
            required: those without which a pixel is invalid.

        Raises:
            SceneFailedError: the scene lacks a required band.
        """
        validity = store.open_array(path, store.VALIDITY)
        bits = {name: bit for bit, name in enumerate(str(validity.attrs["flag_meanings"]).split())}
        missing = [name for name in required if name not in bits]
        if missing:
            raise SceneFailedError(
                f"{path}: the model requires {', '.join(missing)}; the scene has {', '.join(bits)}; "
                "choose a model that asks for these bands, or add the missing files to the scene"
            )
        bands = tuple(_open_band(path, name, bits[name]) if name in bits else None for name in names)
        return cls(tuple(names), bands, validity, sum(1 << bits[name] for name in required))

    @classmethod
    def hold(cls, numbers: NDArray[np.float32], present: NDArray[np.bool_], card: ModelCard) -> "Source":
        """Take bands that are in memory.

        Args:
            numbers: (C, H, W) in physical units, in the order of the card.
            present: (C, H, W), where a band holds a number.
            card: says which bands are required.
        """
        places = np.arange(len(present), dtype=np.uint32)
        bits = np.bitwise_or.reduce(present.astype(np.uint32) << places[:, None, None], axis=0)
        bands = tuple(StoredBand(HeldPlane(band), 1.0, 0.0, bit) for bit, band in enumerate(numbers))
        required = sum(1 << bit for bit, band in enumerate(card.bands) if band.required)
        return cls(tuple(band.name for band in card.bands), bands, HeldPlane(bits), required)

    def valid(self, bits: NDArray[np.unsignedinteger[Any]]) -> NDArray[np.bool_]:
        """Tell where every required band is valid; `bits` are numbers of the validity array."""
        mask = bits.dtype.type(self.required_mask)
        return np.asarray((bits & mask) == mask, dtype=np.bool_)


@dataclass(frozen=True, slots=True, kw_only=True)
class WindowInput:
    """One window as it lies in the store, mirrored at the scene's edges."""

    stored: tuple[NDArray[Any] | None, ...]
    """Per band (S, S) in the stored type, or None; empty if `skipped`."""
    bits: NDArray[np.unsignedinteger[Any]]
    """(S, S) validity of the scene's bands."""
    valid: NDArray[np.bool_]
    """(S, S) where every required band is valid."""
    skipped: bool
    """It holds no valid pixel inside of the scene."""


class WindowRow:
    """Reads the windows of one window row from left to right."""

    def __init__(self, source: Source, grid: WindowGrid, row: int) -> None:
        extent = grid.rows.extent(row)
        self._source = source
        self._columns = grid.columns
        self._rows = grid.rows.pixels(row) - extent.start
        self._height_px = length_px(grid.rows.inside(row))
        self._validity = _Roll(source.validity, extent)
        self._bands = [None if band is None else _Roll(band.array, extent) for band in source.bands]

    def read(self, column: int) -> WindowInput:
        """Read one window; columns must come in rising order. The numbers of a skipped window are never read."""
        bits = self._cut(self._validity, column)
        valid = self._source.valid(bits)
        skipped = not valid[: self._height_px, : length_px(self._columns.inside(column))].any()
        stored = () if skipped else tuple(None if roll is None else self._cut(roll, column) for roll in self._bands)
        return WindowInput(stored=stored, bits=bits, valid=valid, skipped=skipped)

    def _cut(self, roll: "_Roll", column: int) -> NDArray[Any]:
        """Return one plane of a window; a view of what is held where nothing is mirrored."""
        extent = self._columns.extent(column)
        oldest_px = min(extent.start, self._columns.extent(self._columns.count - 1).start)
        block = roll.columns(oldest_px, extent.stop)
        if self._height_px == length_px(self._columns.inside(column)) == self._columns.window_px:
            return block[:, extent.start - oldest_px :]
        cut: NDArray[Any] = block.take(self._rows, axis=0).take(self._columns.pixels(column) - oldest_px, axis=1)
        return cut


class _Roll:
    """A block of rows that rolls along the columns: what the next window reads again stays, the rest is dropped."""

    def __init__(self, array: Plane, rows: slice) -> None:
        self._array = array
        self._rows = rows
        self._first_px = 0
        self._held: NDArray[Any] = np.empty((rows.stop - rows.start, 0), dtype=array.dtype)

    def columns(self, start_px: int, stop_px: int) -> NDArray[Any]:
        """Return these columns. Neither end may lie left of that of the call before."""
        chunk_px, width_px = self._array.chunks[-1], self._array.shape[-1]
        begin_px = start_px // chunk_px * chunk_px
        step_px = chunk_px * max(1, READ_PX // chunk_px)
        end_px = min(-(-stop_px // step_px) * step_px, width_px)
        self._held = self._held[:, begin_px - self._first_px :]
        self._first_px = begin_px
        held_to_px = begin_px + self._held.shape[1]
        if held_to_px < end_px:
            self._held = np.concatenate([self._held, np.asarray(self._array[self._rows, held_to_px:end_px])], axis=1)
        return self._held[:, start_px - begin_px : stop_px - begin_px]


def _open_band(path: Path, name: str, bit: int) -> StoredBand:
    array = store.open_array(path, name)
    return StoredBand(array, _number(array, "scale_factor", 1.0), _number(array, "add_offset", 0.0), bit)


def _number(array: zarr.Array[Any], name: str, default: float) -> float:
    value = array.attrs.get(name, default)
    if not isinstance(value, int | float):
        raise SceneFailedError(f"{array.store_path}: {name} is {value!r}, not a number; run with --fresh")
    return float(value)


def length_px(pixels: slice) -> int:
    """Return the length of a half-open range."""
    return int(pixels.stop - pixels.start)
