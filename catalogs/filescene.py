"""A scene made of raster files: from what is said of them and what their headers say, to a `Scene`."""

from collections import Counter
from dataclasses import dataclass
from datetime import datetime
from math import isfinite, isnan
from typing import Any

import numpy as np
from rasterio.crs import CRS

from rspipe.catalogs.bands import PHYSICAL_UNIT, Unit
from rspipe.catalogs.errors import SceneError
from rspipe.catalogs.rasters import BandHeader, RasterHeader
from rspipe.catalogs.scene import Band, Conversion, Grid, Linear, RasterBand, Scene
from rspipe.catalogs.sensors import Circumstances, Sensor, agrees_with_tags, conversion_of
from rspipe.catalogs.trust import slug


@dataclass(frozen=True, slots=True, kw_only=True)
class BandFile:
    """One band as it is named and declared, beside what its file says."""

    name: str
    unit: Unit
    file: RasterHeader
    header: BandHeader
    fill: float | None = None
    packing: Linear | None = None
    """unit = scale * stored + offset, where `scene.yaml` says so."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FileScene:
    """Everything that makes a scene of files."""

    id: str
    sensor: Sensor | None
    acquired_at: datetime | None
    circumstances: Circumstances
    bands: tuple[BandFile, ...]


def build_scene(source: FileScene) -> Scene:
    """Turn declared files into a scene.

    Raises:
        SceneError: a band twice, several CRSs, bands that do not overlap, or a band whose numbers cannot become
            physical units by what is known.
    """
    names = Counter(band.name for band in source.bands)
    twice = [name for name, count in names.items() if count > 1]
    if twice:
        files = ", ".join(str(band.file.path) for band in source.bands if band.name in twice)
        raise SceneError(f"band {twice[0]!r} is found {names[twice[0]]} times, in {files}; keep one")
    bands = tuple(_band(source, band) for band in source.bands)
    return Scene(
        id=source.id,
        slug=slug(source.id),
        sensor=source.sensor.name if source.sensor else "unknown",
        acquired_at=source.acquired_at,
        bands=bands,
        grid=_finest_grid(bands),
        kind="files",
    )


def _band(source: FileScene, declared: BandFile) -> Band:
    where = f"{declared.file.path}, band {declared.header.index}"
    try:
        conversion = _conversion(source, declared)
        fills = _fills(source.sensor, declared)
    except SceneError as error:
        raise SceneError(f"{where}: {error}") from error
    return Band(
        name=declared.name,
        origin=RasterBand(
            path=declared.file.path,
            index=declared.header.index,
            block_height_px=declared.header.block_height_px,
            block_width_px=declared.header.block_width_px,
            south_up=declared.file.south_up,
        ),
        dtype=declared.header.dtype,
        unit=declared.unit,
        conversion=conversion,
        fills=fills,
        grid=declared.file.grid,
    )


def _conversion(source: FileScene, declared: BandFile) -> Conversion:
    """Return stored number -> physical unit, from the sensor's table, the file's tags or `scene.yaml`."""
    packing = _packing(declared)
    if declared.unit is not Unit.DN:
        return _of_physical_numbers(declared, packing)
    entry = source.sensor.band(declared.name) if source.sensor else None
    if packing and (source.sensor is None or (entry and entry.dn is None)):
        return _of_physical_numbers(declared, packing)
    conversion = conversion_of(source.sensor, declared.name, Unit.DN, source.circumstances)
    tabled = [conversion]
    if source.sensor and source.sensor.dn_needs == "sun elevation" and entry and entry.dn:
        tabled.append(entry.dn)
    if packing and not any(agrees_with_tags(known, packing.scale, packing.offset) for known in tabled):
        raise SceneError(
            f"the file's own scale and offset are {packing.scale} and {packing.offset}, but the sensor's are "
            f"{conversion}; is it that sensor and level? Else declare the unit that the file's scale gives"
        )
    return conversion


def _packing(declared: BandFile) -> Linear | None:
    """Return the scale and offset that come with the numbers, if any."""
    header = declared.header
    tags = Linear(scale=header.scale, offset=header.offset) if header.is_scaled else None
    if tags and declared.packing and tags != declared.packing:
        raise SceneError(f"the file says {tags}, scene.yaml says {declared.packing}; remove one of them")
    return declared.packing or tags


def _of_physical_numbers(declared: BandFile, packing: Linear | None) -> Linear:
    unit = PHYSICAL_UNIT[declared.name] if declared.unit is Unit.DN else declared.unit
    plain = conversion_of(None, declared.name, unit, Circumstances())
    if not isinstance(plain, Linear):
        raise SceneError(f"{unit} has no linear conversion")
    if packing:
        return Linear(scale=packing.scale, offset=packing.offset + plain.offset)
    if unit is Unit.REFLECTANCE and np.dtype(declared.header.dtype).kind != "f":
        raise SceneError(
            f"declared as reflectance (about 0 to 1), but its numbers are whole ({declared.header.dtype}) and no scale "
            "says how they become fractions; give scale: and offset: in scene.yaml, or unit: dn and the sensor"
        )
    return plain


def _fills(sensor: Sensor | None, declared: BandFile) -> tuple[float, ...]:
    """Return the stored numbers that mean "no data": of the file, of `scene.yaml`, of the product's specification."""
    dtype = np.dtype(declared.header.dtype)
    stated = declared.fill
    if stated is not None and _as_stored(stated, dtype) is None:
        raise SceneError(f"fill: {stated} is declared, but numbers of type {dtype} cannot hold it")
    product = sensor.dn_fill if sensor and declared.unit is Unit.DN else None
    values = (declared.header.nodata, stated, product)
    return tuple(
        sorted({held for value in values if value is not None and (held := _as_stored(value, dtype)) is not None})
    )


def _as_stored(value: float, dtype: np.dtype[Any]) -> float | None:
    """Return the value as the dtype holds it; None where it cannot, and for NaN, which is invalid anyway."""
    if isnan(value):
        return None
    if dtype.kind == "f":
        with np.errstate(over="ignore"):
            return float(dtype.type(value))
    limits = np.iinfo(dtype)
    whole = isfinite(value) and value == int(value)
    return float(value) if whole and limits.min <= value <= limits.max else None


def _finest_grid(bands: tuple[Band, ...]) -> Grid:
    """Return the grid of the band with the smallest pixels, the first of them if several are equal."""
    finest = min((band.grid for band in bands), key=lambda grid: grid.transform.a * -grid.transform.e)
    for band in bands:
        if not _same_crs(band.grid.crs_wkt, finest.crs_wkt):
            raise SceneError(
                f"band {band.name!r} has another CRS than the finest band: {band.grid.crs_wkt[:60]}... and "
                f"{finest.crs_wkt[:60]}...; one scene has one CRS: warp the files, or split them into two scenes"
            )
        if not _overlap(band.grid, finest):
            raise SceneError(
                f"band {band.name!r} lies at {_bounds(band.grid)}, the finest band at {_bounds(finest)}: they do not "
                "overlap; are the files of one scene?"
            )
    return finest


def _same_crs(one: str, other: str) -> bool:
    return one == other or bool(CRS.from_wkt(one) == CRS.from_wkt(other))


def _bounds(grid: Grid) -> tuple[float, float, float, float]:
    """Return left, bottom, right, top in CRS units."""
    left, top = grid.transform.c, grid.transform.f
    return left, top + grid.transform.e * grid.height_px, left + grid.transform.a * grid.width_px, top


def _overlap(one: Grid, other: Grid) -> bool:
    left, bottom, right, top = _bounds(one)
    other_left, other_bottom, other_right, other_top = _bounds(other)
    return left < other_right and other_left < right and bottom < other_top and other_bottom < top
