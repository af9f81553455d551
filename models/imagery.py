"""Pictures on disk: bands by name, numbers in physical units, and where they lie."""

import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from math import cos, pi, radians, sqrt
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from affine import Affine
from numpy.typing import NDArray
from pydantic import Field
from rasterio.crs import CRS
from rasterio.errors import NotGeoreferencedWarning, RasterioError

from rspipe.catalogs.bands import PHYSICAL_UNIT
from rspipe.catalogs.errors import SceneError
from rspipe.catalogs.pixels import is_number, plausible_range
from rspipe.catalogs.scene import Grid
from rspipe.catalogs.trust import driver_of
from rspipe.catalogs.warp import warp
from rspipe.models.card import CardBand
from rspipe.models.errors import DataError
from rspipe.models.specs import StrictModel

_EARTH_RADIUS_M = 6_371_008.8
_IMPLAUSIBLE_SHARE = 0.5


class Packing(StrictModel):
    """physical = scale * stored + offset; what the files themselves say if not given."""

    scale: float | None = Field(default=None, gt=0)
    offset: float | None = None
    fill: float | None = None
    """A stored number that means "no data", where the file does not tag it."""


@dataclass(frozen=True, slots=True)
class BandPlace:
    """Where one band of a picture lies."""

    path: Path
    index: int
    """1-based, as GDAL counts."""


@dataclass(frozen=True, slots=True, eq=False)
class Picture:
    """A picture as it is learned from."""

    numbers: NDArray[np.float32]
    """(bands, H, W) in physical units, NaN where there is no number."""
    grid: Grid | None
    """Where it lies, if it says so."""


@contextmanager
def opened(path: Path) -> Iterator[Any]:
    """Open a GeoTIFF, JPEG 2000, PNG or JPEG. Patches are often cut without georeferencing: nothing warns of that.

    Raises:
        DataError: it cannot be opened, or what is read from it while it is open cannot be read.
    """
    try:
        driver = driver_of(path, pictures=True)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", NotGeoreferencedWarning)
            with rasterio.open(path, driver=driver) as dataset:
                yield dataset
    except SceneError as error:
        raise DataError(str(error)) from error
    except RasterioError as error:
        raise DataError(f"{path}: cannot be read: {error}") from error


def places_in(path: Path, names: Sequence[str] | None) -> dict[str, BandPlace]:
    """Return where the bands of one file lie.

    Args:
        path: a raster.
        names: its bands by position; None: they are found by their description.

    Raises:
        DataError: it cannot be read, or has another number of bands.
    """
    with opened(path) as dataset:
        found = names or dataset.descriptions
        if len(found) != dataset.count:
            raise DataError(f"{path}: has {dataset.count} bands, the source names {len(found)}: {', '.join(found)}")
        if not any(found):
            raise DataError(f"{path}: describes none of its {dataset.count} bands; name them in order with bands:")
    return {name: BandPlace(path, index) for index, name in enumerate(found, start=1) if name}


def read_picture(places: Mapping[str, BandPlace], bands: Sequence[CardBand], packing: Packing) -> Picture:
    """Read a picture on the grid of its finest file; coarser ones are brought onto it as ingest does.

    Args:
        places: band -> where it lies.
        bands: those to take, in this order; an optional one that is not there is all NaN.
        packing: how stored numbers become physical ones.

    Raises:
        DataError: a file cannot be read, a required band is missing, grids cannot be brought together, or most numbers
            of a band are beyond what its unit can be.
    """
    _require(places, bands)
    sizes = {place.path: _size(place.path) for place in places.values()}
    finest = max(sizes, key=lambda path: sizes[path][0] * sizes[path][1])
    grid = grid_of(finest)
    numbers = np.full((len(bands), *sizes[finest]), np.nan, dtype=np.float32)
    rows = {row: places[band.name] for row, band in enumerate(bands) if band.name in places}
    for path in dict.fromkeys(place.path for place in rows.values()):
        here = [row for row, place in rows.items() if place.path == path]
        fits = path == finest or (sizes[path] == sizes[finest] and grid_of(path) == grid)
        for row, values in zip(here, _read(path, [rows[row].index for row in here], packing), strict=True):
            _check_plausible(path, bands[row].name, values)
            numbers[row] = values if fits else _onto(path, values, finest)
    return Picture(numbers, grid)


def pixel_m_of(grid: Grid) -> float:
    """Return the side of a square as large as a pixel in the middle of a grid."""
    crs, transform = CRS.from_wkt(grid.crs_wkt), grid.transform
    side = sqrt(abs(transform.determinant))
    if crs.is_geographic:
        _, latitude = transform @ (grid.width_px / 2, grid.height_px / 2)
        return side * _EARTH_RADIUS_M * pi / 180 * sqrt(cos(radians(latitude)))
    return side * float(crs.linear_units_factor[1])


def _require(places: Mapping[str, BandPlace], bands: Sequence[CardBand]) -> None:
    missing = [band.name for band in bands if band.required and band.name not in places]
    if missing:
        first = next(iter(places.values())).path
        raise DataError(
            f"{first}: required bands are missing: {', '.join(missing)}; bands found there: {', '.join(places)}"
        )


def _size(path: Path) -> tuple[int, int]:
    with opened(path) as dataset:
        return dataset.height, dataset.width


def grid_of(path: Path) -> Grid | None:
    """Return the grid of a raster, None where it does not say where it lies.

    Raises:
        DataError: it cannot be read, or is not north-up.
    """
    with opened(path) as dataset:
        if dataset.crs is None or dataset.transform == Affine.identity():
            return None
        crs_wkt, transform, (height, width) = dataset.crs.to_wkt(), dataset.transform, dataset.shape
    try:
        return Grid(crs_wkt=crs_wkt, transform=transform, height_px=height, width_px=width)
    except SceneError as error:
        raise DataError(f"{path}: {error}; warp it with gdalwarp") from error


def _read(path: Path, indexes: list[int], packing: Packing) -> Iterator[NDArray[np.float32]]:
    """Yield bands as physical numbers; the file is decoded once."""
    with opened(path) as dataset:
        own = [
            (dataset.scales[index - 1], dataset.offsets[index - 1], dataset.nodatavals[index - 1]) for index in indexes
        ]
        read = dataset.read(indexes)
    for stored, (scale, offset, nodata) in zip(read, own, strict=True):
        factor, summand = _affine(path, packing, (scale, offset))
        known = is_number(stored, [fill for fill in (nodata, packing.fill) if fill is not None])
        yield np.where(known, stored * np.float64(factor) + summand, np.nan).astype(np.float32)


def _affine(path: Path, packing: Packing, own: tuple[float, float]) -> tuple[float, float]:
    said = (1.0 if packing.scale is None else packing.scale, packing.offset or 0.0)
    if packing.scale is None and packing.offset is None:
        return own
    if own not in {(1.0, 0.0), said}:
        raise DataError(f"{path}: its tags say scale {own[0]:g} and offset {own[1]:g}, the source {said}; keep one")
    return said


def _check_plausible(path: Path, name: str, numbers: NDArray[np.float32]) -> None:
    known = numbers[np.isfinite(numbers)]
    unit = PHYSICAL_UNIT[name]
    low, high = plausible_range(unit)
    if known.size and np.mean((known < low) | (known > high)) > _IMPLAUSIBLE_SHARE:
        raise DataError(
            f"{path}, band {name!r}: most numbers are beyond {low:g} .. {high:g} {unit.value} (median "
            f"{np.median(known):g}); give scale: and offset: that make them {unit.value}"
        )


def _onto(path: Path, values: NDArray[np.float32], finest: Path) -> NDArray[np.float32]:
    source, target = grid_of(path), grid_of(finest)
    if source is None or target is None:
        raise DataError(
            f"{path}: is {values.shape} px, {finest} {_size(finest)}; without georeferencing they must agree"
        )
    return warp(values, source, target)
