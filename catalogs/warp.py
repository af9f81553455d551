"""Bring one block of a band onto another grid, such that the result does not depend on the cut into blocks."""

import math

import numpy as np
from affine import Affine
from numpy.typing import NDArray
from rasterio.crs import CRS
from rasterio.enums import Resampling
from rasterio.warp import reproject, transform_bounds

from rspipe.catalogs.scene import Grid

_KERNEL_PX = 4
"""Source pixels kept around a block: more than the reach of the bilinear kernel and of one footprint's rounding."""


def subgrid(grid: Grid, rows: slice, cols: slice) -> Grid:
    """Return the part of a grid that holds these rows and columns."""
    return Grid(
        crs_wkt=grid.crs_wkt,
        transform=grid.transform @ Affine.translation(cols.start, rows.start),
        height_px=rows.stop - rows.start,
        width_px=cols.stop - cols.start,
    )


def source_window(source: Grid, target: Grid) -> tuple[slice, slice] | None:
    """Return the (rows, columns) of `source` that the grid `target` may need, or None where they do not meet."""
    left, top = target.transform @ (0, 0)
    right, bottom = target.transform @ (target.width_px, target.height_px)
    if source.crs_wkt != target.crs_wkt:
        bounds = transform_bounds(
            CRS.from_wkt(target.crs_wkt), CRS.from_wkt(source.crs_wkt), left, bottom, right, top, densify_pts=21
        )
        left, bottom, right, top = bounds
    inverse = ~source.transform
    first_col, first_row = inverse @ (left, top)
    last_col, last_row = inverse @ (right, bottom)
    rows = _clamp(first_row, last_row, source.height_px)
    cols = _clamp(first_col, last_col, source.width_px)
    return (rows, cols) if rows.stop > rows.start and cols.stop > cols.start else None


def _clamp(first: float, last: float, length_px: int) -> slice:
    reach = _KERNEL_PX
    return slice(max(0, math.floor(first) - reach), min(length_px, max(0, math.ceil(last) + reach)))


def warp(values: NDArray[np.float32], source: Grid, target: Grid) -> NDArray[np.float32]:
    """Resample a block; invalid is NaN on both sides.

    Coarser targets average the source pixels they cover, finer ones interpolate bilinearly. The kernel's scale is
    pinned to one source pixel: left to itself GDAL derives it from the block, and a pixel then differs between blocks.
    So do GDAL's approximate coordinates: the transformation is exact (tolerance 0).

    Args:
        values: float32 (rows, columns) on `source`.
        source: the grid of `values`.
        target: the grid of the result.

    Returns:
        float32 (rows, columns) on `target`, NaN where no valid source pixel contributes.
    """
    out = np.full((target.height_px, target.width_px), np.nan, dtype=np.float32)
    ratio = target.transform.a / source.transform.a if source.crs_wkt == target.crs_wkt else 1.0
    reproject(
        values,
        out,
        src_transform=source.transform,
        dst_transform=target.transform,
        src_crs=CRS.from_wkt(source.crs_wkt),
        dst_crs=CRS.from_wkt(target.crs_wkt),
        src_nodata=np.nan,
        dst_nodata=np.nan,
        resampling=Resampling.average if ratio > 1 else Resampling.bilinear,
        num_threads=1,
        tolerance=0.0,
        XSCALE="1",
        YSCALE="1",
    )
    return out
