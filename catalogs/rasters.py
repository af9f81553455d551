"""Raster files: their headers as typed values, and their pixels in north-up order."""

import re
from dataclasses import dataclass
from math import atan2, degrees
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import rasterio
from affine import Affine
from rasterio._err import CPLE_BaseError
from rasterio.crs import CRS
from rasterio.enums import ColorInterp, Interleaving, MaskFlags
from rasterio.errors import CRSError, RasterioError
from rasterio.windows import Window

from rspipe.catalogs.errors import SceneError
from rspipe.catalogs.scene import Band, Grid, RasterBand
from rspipe.catalogs.trust import GDAL_SETTINGS, HeaderClaim, check_claim, driver_of

_OPEN_SETTINGS = {name: value for name, value in GDAL_SETTINGS.items() if name != "GDAL_CACHEMAX"}
"""For processes whose environment nobody set; the size of the cache stays the process's own affair."""
_ROTATION_TOLERANCE_PX = 1e-3
_CRS_FORMS = re.compile(r"[A-Za-z]{2,10}:[0-9A-Za-z]{1,12}|[A-Z_]+\[.*\]", re.DOTALL)
_NO_CRS_ADVICE = "set crs: in scene.yaml, or write it into the file with gdal_edit -a_srs"
_DAMAGE = (RasterioError, CPLE_BaseError, OSError, ValueError)
"""What rasterio raises at a damaged file; not all that GDAL says is made an error of its own, and words that are no
text are a `UnicodeError`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BandHeader:
    """What a file says of one of its bands."""

    index: int
    """1-based, as GDAL counts."""
    dtype: str
    block_height_px: int
    block_width_px: int
    nodata: float | None
    scale: float
    offset: float
    unit: str
    """The unit tag as written, empty without one."""
    description: str
    """Empty without one."""
    colour: str
    """GDAL's colour interpretation: `red`, `gray`, `alpha`, ..."""

    @property
    def is_scaled(self) -> bool:
        """Whether the file carries a scale or an offset of its own."""
        return (self.scale, self.offset) != (1.0, 0.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class RasterHeader:
    """What a file says of itself; `grid` is north-up also where the file is not."""

    path: Path
    grid: Grid
    south_up: bool
    bands: tuple[BandHeader, ...]


class RasterReader:
    """One band of an open raster file; to be used as a context manager, by one thread at a time."""

    def __init__(self, band: Band) -> None:
        """Open the file and check that it is still what the scene was planned with.

        Raises:
            SceneError: the file cannot be opened, or has changed its size or number type.
            TypeError: the band does not lie in a raster file.
        """
        if not isinstance(band.origin, RasterBand):
            raise TypeError(f"band {band.name!r} does not lie in a raster file but in {band.origin}")
        self._origin = band.origin
        self._dataset = _open(self._origin.path)
        self._shape = (band.grid.height_px, band.grid.width_px)
        self._check_unchanged(band)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._dataset.close()

    def read(self, rows: slice, cols: slice) -> np.ndarray[tuple[int, int], np.dtype[Any]]:
        """Return stored numbers of shape (rows, cols), north-up, in the file's own dtype.

        Args:
            rows: a range of rows of the band's grid, inside it.
            cols: a range of columns of the band's grid, inside it.

        Raises:
            SceneError: the file cannot be read there: it is truncated or damaged.
            ValueError: the ranges do not lie inside the grid.
        """
        height, width = self._shape
        if not (0 <= rows.start < rows.stop <= height and 0 <= cols.start < cols.stop <= width):
            raise ValueError(f"rows {rows} and columns {cols} do not lie inside {height} x {width} pixels")
        top = height - rows.stop if self._origin.south_up else rows.start
        window = Window(cols.start, top, cols.stop - cols.start, rows.stop - rows.start)
        try:
            stored = self._dataset.read(self._origin.index, window=window)
        except _DAMAGE as error:
            raise SceneError(
                f"{self._origin.path}, band {self._origin.index}, rows {top} to {top + window.height}, columns "
                f"{cols.start} to {cols.stop} of the file: cannot be read: {_cause(error)}; fetch the file again"
            ) from error
        return np.ascontiguousarray(stored[::-1]) if self._origin.south_up else stored

    def _check_unchanged(self, band: Band) -> None:
        dataset, index = self._dataset, self._origin.index
        found = (*dataset.shape, dataset.dtypes[index - 1] if index <= dataset.count else "no such band")
        planned = (*self._shape, band.dtype)
        if found != planned:
            dataset.close()
            raise SceneError(
                f"{self._origin.path}, band {index}: {found} found, {planned} was planned; the file has changed, "
                "run again"
            )


def read_header(path: Path, crs: str | None = None) -> RasterHeader:
    """Read and check a file's header; no pixel is read.

    Args:
        path: a GeoTIFF or a JPEG 2000 file.
        crs: what `scene.yaml` says for files that carry none.

    Raises:
        SceneError: not a trusted format, sizes beyond the limits, no or contradicting CRS, no georeference or ground
            control points only, a rotated or mirrored grid, complex numbers, or a mask that is no nodata value.
    """
    with _open(path) as dataset:
        try:
            return _header(path, dataset, crs)
        except _DAMAGE as error:
            raise SceneError(f"{path}: its header is damaged: {_cause(error)}; fetch the file again") from error


def _header(path: Path, dataset: Any, crs: str | None) -> RasterHeader:  # noqa: ANN401  rasterio has no types
    _check_numbers(path, dataset)
    check_claim(_claim(path, dataset))
    transform, south_up = _north_up(path, dataset)
    grid = Grid(
        crs_wkt=_crs_wkt(path, dataset.crs, crs),
        transform=transform,
        height_px=dataset.height,
        width_px=dataset.width,
    )
    bands = tuple(_band_header(path, dataset, index) for index in dataset.indexes)
    return RasterHeader(path=path, grid=grid, south_up=south_up, bands=bands)


def _check_numbers(path: Path, dataset: Any) -> None:  # noqa: ANN401  rasterio has no types
    """Complex integers of GDAL are no type of numpy's."""
    for index, dtype in zip(dataset.indexes, dataset.dtypes, strict=True):
        if dtype.startswith("complex") or np.dtype(dtype).kind not in "uif":
            raise SceneError(f"{path}, band {index}: numbers are {dtype}, integers or floats are needed")


def _open(path: Path) -> Any:  # noqa: ANN401  rasterio has no types
    """Open with the one driver that the file's first bytes call for, and with no look at the files beside it."""
    driver = driver_of(path)
    try:
        with rasterio.Env(**_OPEN_SETTINGS):
            return rasterio.open(path, driver=driver)
    except _DAMAGE as error:
        raise SceneError(f"{path}: cannot be opened as {driver}: {_cause(error)}; fetch the file again") from error


def _cause(error: Exception) -> str:
    """Return GDAL's own message where rasterio's says only where to look for it."""
    return str(error.__cause__ or error)


def _claim(path: Path, dataset: Any) -> HeaderClaim:  # noqa: ANN401  rasterio has no types
    item_bytes = max((np.dtype(dtype).itemsize for dtype in dataset.dtypes), default=1)
    together = dataset.count if dataset.interleaving == Interleaving.pixel else 1
    block_px = max((height * width for height, width in dataset.block_shapes), default=0)
    return HeaderClaim(
        path=path,
        height_px=dataset.height,
        width_px=dataset.width,
        bands=dataset.count,
        item_bytes=item_bytes,
        block_bytes=block_px * item_bytes * together,
    )


def _north_up(path: Path, dataset: Any) -> tuple[Affine, bool]:  # noqa: ANN401  rasterio has no types
    """Return the north-up transform, and whether the file's rows run the other way."""
    transform: Affine = dataset.transform
    if transform == Affine.identity():
        points, _ = dataset.gcps
        found = f"only {len(points)} ground control points" if points else "no georeference"
        raise SceneError(f"{path}: {found} found, a north-up grid is needed; rectify it with gdalwarp first")
    column_drift_px = abs(transform.b) * dataset.height
    row_drift_px = abs(transform.d) * dataset.width
    if column_drift_px >= _ROTATION_TOLERANCE_PX * transform.a or row_drift_px >= _ROTATION_TOLERANCE_PX * abs(
        transform.e
    ):
        angle_deg = degrees(atan2(transform.d, transform.a))
        raise SceneError(
            f"{path}: its rows are turned by {angle_deg:.2f} degrees, a north-up grid is needed; warp it with gdalwarp"
        )
    south_up = transform.e > 0
    top = transform.f + transform.e * dataset.height if south_up else transform.f
    return Affine(transform.a, 0.0, transform.c, 0.0, -abs(transform.e), top), south_up


def _crs_wkt(path: Path, found: CRS | None, declared: str | None) -> str:
    """Return the file's CRS, or the declared one where the file has none."""
    stated = _declared_crs(declared) if declared is not None else found
    if stated is None:
        raise SceneError(f"{path}: no CRS found; {_NO_CRS_ADVICE}")
    if found and found != stated:
        raise SceneError(f"{path}: has CRS {_crs_name(found)}, but crs: says {declared}; remove crs: or mend the file")
    if not (stated.is_projected or stated.is_geographic):
        raise SceneError(f"{path}: CRS {_crs_name(stated)} is not tied to the Earth; {_NO_CRS_ADVICE}")
    return str(stated.to_wkt())


def _declared_crs(declared: str) -> CRS:
    """Parse codes and WKT only: GDAL would fetch a URL or open a file that is given as a CRS."""
    if not _CRS_FORMS.fullmatch(declared):
        raise SceneError(f"crs: {declared[:60]!r} found, a code such as EPSG:32618 or WKT is needed")
    try:
        return CRS.from_string(declared)
    except CRSError as error:
        raise SceneError(f"crs: {declared!r} is not a CRS ({error}); write for example EPSG:32618") from error


def _crs_name(crs: CRS) -> str:
    code = crs.to_epsg()
    return f"EPSG:{code}" if code else str(crs.to_wkt())[:60]


def _band_header(path: Path, dataset: Any, index: int) -> BandHeader:  # noqa: ANN401  rasterio has no types
    at = index - 1
    flags, colour = dataset.mask_flag_enums[at], dataset.colorinterp[at]
    if colour is ColorInterp.alpha or MaskFlags.per_dataset in flags:
        raise SceneError(
            f"{path}, band {index}: validity lies in an alpha band or a mask, a nodata value is needed; convert with "
            "gdal_translate -b for each colour band and gdal_edit -a_nodata"
        )
    block_height, block_width = dataset.block_shapes[at]
    return BandHeader(
        index=index,
        dtype=np.dtype(dataset.dtypes[at]).name,
        block_height_px=block_height,
        block_width_px=block_width,
        nodata=dataset.nodatavals[at],
        scale=dataset.scales[at],
        offset=dataset.offsets[at],
        unit=dataset.units[at] or "",
        description=dataset.descriptions[at] or "",
        colour=colour.name,
    )
