"""The grid that a scene is brought onto where the workflow names a resolution."""

import math

from affine import Affine
from rasterio.crs import CRS

from rspipe.catalogs.scene import Grid
from rspipe.pipeline.errors import SceneFailedError


def resampled(grid: Grid, resolution_m: float) -> Grid:
    """Return the grid with the same upper left corner and square pixels of `resolution_m`, covering all of `grid`.

    Raises:
        SceneFailedError: the grid's CRS does not count in metres.
    """
    crs = CRS.from_wkt(grid.crs_wkt)
    if not crs.is_projected:
        raise SceneFailedError(
            f"resampling to {resolution_m:g} m needs a projected CRS, found {crs.to_string()}; reproject the scene"
        )
    pixel = resolution_m / crs.linear_units_factor[1]
    old = grid.transform
    return Grid(
        crs_wkt=grid.crs_wkt,
        transform=Affine(pixel, 0, old.c, 0, -pixel, old.f),
        height_px=math.ceil(grid.height_px * -old.e / pixel - 1e-9),
        width_px=math.ceil(grid.width_px * old.a / pixel - 1e-9),
    )
