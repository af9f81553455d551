"""Ingest: source bands become one aligned grid of stored numbers in Zarr, with their validity beside them."""

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rspipe.catalogs.bands import PHYSICAL_UNIT, Unit
from rspipe.catalogs.errors import CatalogError
from rspipe.catalogs.pixels import BandReader, is_number, open_band, physical, plausible_range
from rspipe.catalogs.scene import Band, Grid, Linear, Planck, RasterBand
from rspipe.catalogs.warp import source_window, subgrid, warp
from rspipe.pipeline import store
from rspipe.pipeline.errors import SceneDisturbedError, SceneFailedError
from rspipe.pipeline.ledger import Signature
from rspipe.pipeline.rowblocks import CHUNK_ROWS_PX, SHARD_PX, SMALL_SHARD_PX, block_rows_px
from rspipe.pipeline.task import Receipt

VERSION = 2
KELVIN_STEP = 0.01
"""Temperatures are kept as uint16 in hundredths of a kelvin: 0 .. 655 K, finer than any sensor's noise."""
_IMPLAUSIBLE_SHARE = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class IngestJob:
    """Some rows of all bands of one scene."""

    scene_id: str
    bands: tuple[Band, ...]
    signatures: tuple[Signature | None, ...]
    """Of each band's file when the run was planned; None for a simulated band."""
    grid: Grid
    """The grid that all bands are brought onto."""
    first_row: int
    stop_row: int
    path: Path
    """The Zarr group to write into; `create` has laid it out."""


@dataclass(frozen=True, slots=True)
class Stored:
    """How a band lies in the store: physical = scale * stored + offset."""

    dtype: str
    scale: float
    offset: float


def stored_as(band: Band) -> Stored:
    """Return how a band is kept: the source's own integers where the conversion is linear, temperatures in 0.01 K."""
    if PHYSICAL_UNIT[band.name] is Unit.KELVIN:
        return Stored("uint16", KELVIN_STEP, 0.0)
    match band.conversion:
        case Linear(scale=scale, offset=offset):
            return Stored("float32" if band.dtype == "float64" else band.dtype, scale, offset)
        case Planck():
            raise SceneFailedError(f"band {band.name!r} is a reflectance, yet its sensor table converts it to kelvin")


def create(path: Path, bands: Sequence[Band], grid: Grid) -> None:
    """Lay out the Zarr group of a scene's bands; what is there already with the same layout stays."""
    shape = (grid.height_px, grid.width_px)
    names = [band.name for band in bands]
    plans = [_plan(band.name, shape, stored_as(band).dtype, _cf(band)) for band in bands]
    plans.append(_plan(store.VALIDITY, shape, _bits_dtype(len(names)), store.validity_attributes(names)))
    store.create(path, grid, plans)


def run_ingest(job: IngestJob) -> Receipt:
    """Bring in one block of rows.

    Raises:
        SceneDisturbedError: a source was changed or taken away since it was planned.
        SceneFailedError: a source cannot be read, or holds implausible numbers.
    """
    counts: dict[str, int | float] = dict.fromkeys(("read_bytes", *(f"valid_{band.name}_px" for band in job.bands)), 0)
    names = [*(band.name for band in job.bands), store.VALIDITY]
    rows = slice(job.first_row, job.stop_row)
    store.clear(job.path, names, rows)
    try:
        with ExitStack() as stack:
            readers = [_open(stack, job, band) for band in job.bands]
            for cols in _column_blocks(job):
                _ingest_block(job, readers, cols, counts)
    finally:
        _check_unchanged(job)  # which explains whatever else went wrong
    return Receipt(outputs=store.written_files(job.path, names, rows), counts=counts)


def rows_per_task_px(bands: Sequence[Band], grid: Grid) -> int:
    """Return how many rows one task takes, so that every source block is read by one task where the grids agree."""
    aligned = [band.origin for band in bands if band.grid == grid]
    return block_rows_px(origin.block_height_px for origin in aligned if isinstance(origin, RasterBand))


def _plan(name: str, shape: tuple[int, int], dtype: str, attributes: dict[str, Any]) -> store.ArrayPlan:
    side = SHARD_PX if max(shape) > SMALL_SHARD_PX else SMALL_SHARD_PX
    return store.ArrayPlan(
        name=name,
        shape=shape,
        dtype=dtype,
        shard_px=(side, side),
        chunk_px=(CHUNK_ROWS_PX, side),
        fill=0,
        attributes=attributes,
    )


def _cf(band: Band) -> dict[str, Any]:
    stored = stored_as(band)
    unit = "K" if PHYSICAL_UNIT[band.name] is Unit.KELVIN else "1"
    return {"scale_factor": stored.scale, "add_offset": stored.offset, "units": unit, "long_name": band.name}


def _bits_dtype(bands: int) -> str:
    return next(f"uint{bits}" for bits in (8, 16, 32, 64) if bands <= bits)


def _open(stack: ExitStack, job: IngestJob, band: Band) -> BandReader:
    try:
        return stack.enter_context(open_band(band))
    except CatalogError as error:
        raise SceneFailedError(f"scene {job.scene_id!r}, ingest, band {band.name!r}: {error}") from error


def _column_blocks(job: IngestJob) -> list[slice]:
    """Striped sources decode whole rows, so their blocks are as wide as the scene; all others go shard by shard."""
    striped = any(
        isinstance(band.origin, RasterBand) and band.origin.block_width_px >= band.grid.width_px for band in job.bands
    )
    step = job.grid.width_px if striped else SHARD_PX
    return [slice(start, min(start + step, job.grid.width_px)) for start in range(0, job.grid.width_px, step)]


def _ingest_block(job: IngestJob, readers: list[BandReader], cols: slice, counts: dict[str, int | float]) -> None:
    rows = slice(job.first_row, job.stop_row)
    bits = np.zeros((rows.stop - rows.start, cols.stop - cols.start), dtype=_bits_dtype(len(job.bands)))
    for bit, (band, reader) in enumerate(zip(job.bands, readers, strict=True)):
        numbers, valid = _read_block(job, band, reader, (rows, cols))
        _check_plausible(job, band, numbers, valid)
        store.open_array(job.path, band.name, write=True)[rows, cols] = np.where(valid, numbers, numbers.dtype.type(0))
        bits |= valid.astype(bits.dtype) << bits.dtype.type(bit)
        counts[f"valid_{band.name}_px"] += int(valid.sum())
        counts["read_bytes"] += numbers.nbytes
    store.open_array(job.path, store.VALIDITY, write=True)[rows, cols] = bits


def _read_block(
    job: IngestJob, band: Band, reader: BandReader, block: tuple[slice, slice]
) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """Return the block's stored numbers and which of them are valid."""
    if band.grid == job.grid:
        source = _read(job, band, reader, block)
        valid = is_number(source, band.fills)
        return _store(source, valid, band), valid
    target = subgrid(job.grid, *block)
    window = source_window(band.grid, target)
    warped = np.full((target.height_px, target.width_px), np.nan, dtype=np.float32)
    if window is not None:
        source = _read(job, band, reader, window)
        blanked = np.where(is_number(source, band.fills), source, np.float32(np.nan)).astype(np.float32)
        warped = warp(blanked, subgrid(band.grid, *window), target)
    valid = np.isfinite(warped)
    return _store(warped, valid, band), valid


def _read(job: IngestJob, band: Band, reader: BandReader, block: tuple[slice, slice]) -> NDArray[Any]:
    try:
        return reader.read(*block)
    except CatalogError as error:
        rows, cols = block
        raise SceneFailedError(
            f"scene {job.scene_id!r}, ingest, band {band.name!r}, rows {rows.start}..{rows.stop}, columns "
            f"{cols.start}..{cols.stop}: {error}; replace the file and run again"
        ) from error


def _store(numbers: NDArray[Any], valid: NDArray[np.bool_], band: Band) -> NDArray[Any]:
    """Source numbers -> stored numbers; what is invalid becomes 0 before any arithmetic."""
    stored = stored_as(band)
    clean = np.where(valid, numbers, numbers.dtype.type(0))
    if PHYSICAL_UNIT[band.name] is Unit.KELVIN:
        kelvin = np.where(valid, physical(clean, band.conversion), 0.0)
        return np.clip(np.rint(kelvin / stored.scale), 0, 65535).astype(np.uint16)
    if np.dtype(stored.dtype).kind in "iu" and clean.dtype.kind == "f":
        clean = np.rint(clean)
    return clean.astype(stored.dtype)


def _check_plausible(job: IngestJob, band: Band, numbers: NDArray[Any], valid: NDArray[np.bool_]) -> None:
    stored = stored_as(band)
    values = numbers[valid] * np.float32(stored.scale) + np.float32(stored.offset)
    if values.size == 0:
        return
    unit = PHYSICAL_UNIT[band.name]
    low, high = plausible_range(unit)
    outside = float(np.mean((values < low) | (values > high)))
    if outside > _IMPLAUSIBLE_SHARE:
        raise SceneFailedError(
            f"scene {job.scene_id!r}, ingest, band {band.name!r}: declared {band.unit.value}, but {outside:.0%} of a "
            f"block lies outside {low:g} .. {high:g} {unit.value} (median {np.median(values):g}); mend unit: there"
        )


def _check_unchanged(job: IngestJob) -> None:
    for band, planned in zip(job.bands, job.signatures, strict=True):
        if isinstance(band.origin, RasterBand) and not _bears(band.origin.path, planned):
            found = f"{band.origin.path} was changed or taken away while the run was reading it"
            raise SceneDisturbedError(f"scene {job.scene_id!r}, ingest: {found}; run again")


def _bears(path: Path, signature: Signature | None) -> bool:
    try:
        return Signature.of(path) == signature
    except FileNotFoundError:
        return False
