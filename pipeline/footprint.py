"""What a scene's class raster holds: counts by class, and where its valid data lie."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import rasterio.features
import shapely
import zarr
from affine import Affine
from numpy.typing import NDArray

from rspipe.catalogs.legends import NODATA_ID
from rspipe.catalogs.scene import Grid
from rspipe.pipeline.rowblocks import SHARD_PX, row_blocks

CELLS = 256
"""A footprint is drawn on at most this many cells a side: it says where a scene lies, not which pixel is valid."""


@dataclass(frozen=True, slots=True)
class Survey:
    """Pixels by class id, and the area that holds the valid ones."""

    class_px: tuple[int, ...]
    pixels: int
    footprint: shapely.Geometry
    """In the grid's CRS. Covers every valid pixel and at most two cells more; the whole grid if no pixel is valid."""

    @property
    def valid_px(self) -> int:
        """Pixels with a decision."""
        return sum(self.class_px)

    def px(self, class_id: int) -> int:
        """Return a class's pixels."""
        return self.class_px[class_id] if class_id < len(self.class_px) else 0

    def share(self, class_id: int) -> float:
        """Return a class's share of the valid pixels, 0 if there are none."""
        found = self.class_px[class_id] if class_id < len(self.class_px) else 0
        return found / max(1, self.valid_px)


def survey(classes: zarr.Array[Any], grid: Grid) -> Survey:
    """Read a class raster once, strip by strip.

    Args:
        classes: (rows, columns) uint8, 255 where there is no decision.
        grid: its georeferencing.
    """
    side = cell_px(grid)
    counts = np.zeros(NODATA_ID + 1, dtype=np.int64)
    cells = []
    for rows in row_blocks(grid.height_px, max(SHARD_PX, side)):
        strip = np.asarray(classes[rows, :])
        counts += np.bincount(strip.ravel(), minlength=counts.size)
        cells.append(_any_valid(strip != NODATA_ID, side))
    footprint = _outline(np.concatenate(cells), grid, side)
    last = max((index for index in range(NODATA_ID) if counts[index]), default=-1)
    return Survey(tuple(int(count) for count in counts[: last + 1]), int(counts.sum()), footprint)


def extent(grid: Grid) -> shapely.Geometry:
    """Return the rectangle of a whole grid, in its CRS."""
    left, top = grid.transform @ (0, 0)
    right, bottom = grid.transform @ (grid.width_px, grid.height_px)
    return shapely.box(left, bottom, right, top)


def cell_px(grid: Grid) -> int:
    """Return the side of a footprint cell: the smallest power of two that leaves at most `CELLS` a side."""
    cells = -(-max(grid.height_px, grid.width_px) // CELLS)
    return 1 << (cells - 1).bit_length()


def _any_valid(valid: NDArray[np.bool_], side: int) -> NDArray[np.bool_]:
    height, width = valid.shape
    padded = np.pad(valid, ((0, -height % side), (0, -width % side)))
    blocks = padded.reshape(padded.shape[0] // side, side, padded.shape[1] // side, side)
    return np.asarray(blocks.any(axis=(1, 3)))


def _outline(cells: NDArray[np.bool_], grid: Grid, side: int) -> shapely.Geometry:
    whole = extent(grid)
    if cells.all() or not cells.any():
        return whole
    transform = grid.transform @ Affine.scale(side)
    found = rasterio.features.shapes(cells.astype(np.uint8), mask=cells, transform=transform)
    cover = shapely.union_all([shapely.geometry.shape(shape) for shape, _ in found])
    cell = side * max(grid.transform.a, -grid.transform.e)
    wide = shapely.simplify(shapely.buffer(cover, cell, join_style="mitre"), cell)
    return shapely.normalize(shapely.intersection(wide, whole))
