"""Simulated scenes as files: what a data provider would deliver, and the truth beside it."""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
import yaml
from numpy.typing import NDArray
from rasterio.windows import Window

from rspipe.catalogs.bands import PHYSICAL_UNIT
from rspipe.catalogs.legends import LEGENDS, NODATA_ID
from rspipe.catalogs.scene import Grid, Scene
from rspipe.catalogs.sceneyaml import FILE_NAME
from rspipe.catalogs.simulated import FILL, SimulatedBlock, compute_block, conversion, scene, stored
from rspipe.catalogs.simulation import CHANNELS, SimulationSpec
from rspipe.pipeline.atomic import staging
from rspipe.pipeline.cog import SIDE_SUFFIX, names_xml
from rspipe.pipeline.style import rgb

TRUTH, THICKNESS = "truth.tif", "thickness.tif"
LEGEND = LEGENDS["cloud-thickness"]
BLOCK_PX = 512
_GDAL = {"GDAL_CACHEMAX": 64, "GDAL_NUM_THREADS": "1"}
"""Megabytes kept by GDAL, whatever the machine has: memory must not grow with the scene."""
_NUMBERS = dict(zip(CHANNELS, ("B2", "B3", "B4", "B5", "B6", "B7", "B9", "B10"), strict=True))
"""Landsat 8's own band ids, as its files carry them."""


def simulate(out: Path, spec: SimulationSpec) -> None:
    """Write a simulated scene block by block: a GeoTIFF per band with `scene.yaml`, the classes and the thickness.

    Args:
        out: folder; missing ones are made, files of the same names replaced once the new ones are whole.
        spec: the scene.

    Raises:
        EnvironmentFailedError: disk full, read-only or not permitted.
    """
    described = scene(spec)
    names = _file_names(described)
    with staging(out, (*names.values(), TRUTH, TRUTH + SIDE_SUFFIX, THICKNESS, FILE_NAME)) as room:
        with rasterio.Env(**_GDAL), ExitStack() as stack:
            files = {name: stack.enter_context(file) for name, file in _open_files(room, described).items()}
            for rows, cols in _blocks(described.grid):
                window = Window(cols.start, rows.start, cols.stop - cols.start, rows.stop - rows.start)
                for name, numbers in _contents(compute_block(spec, rows, cols)).items():
                    files[name].write(numbers, 1, window=window)
        (room / (TRUTH + SIDE_SUFFIX)).write_bytes(names_xml(LEGEND))
        (room / FILE_NAME).write_text(yaml.safe_dump(_description(described, spec), sort_keys=False), encoding="utf-8")


def _file_names(described: Scene) -> dict[str, str]:
    return {channel: f"{described.slug}_{number}.tif" for channel, number in _NUMBERS.items()}


def _blocks(grid: Grid) -> Iterator[tuple[slice, slice]]:
    """Yield the tiles of the files in row-major order."""
    for row, col in product(range(0, grid.height_px, BLOCK_PX), range(0, grid.width_px, BLOCK_PX)):
        yield slice(row, min(row + BLOCK_PX, grid.height_px)), slice(col, min(col + BLOCK_PX, grid.width_px))


def _contents(block: SimulatedBlock) -> dict[str, NDArray[Any]]:
    bands = {channel: stored(channel, block.bands[index]) for index, channel in enumerate(CHANNELS)}
    return bands | {TRUTH: block.labels, THICKNESS: block.thickness}


def _open_files(room: Path, described: Scene) -> dict[str, Any]:
    """Create all files of a scene; the keys are the channels, `TRUTH` and `THICKNESS`."""
    files: dict[str, Any] = {}
    for channel, name in _file_names(described).items():
        linear = conversion(channel)
        files[channel] = _create(room / name, described.grid, {"dtype": "uint16", "nodata": FILL, "predictor": 2})
        files[channel].scales, files[channel].offsets = (linear.scale,), (linear.offset,)
        files[channel].set_band_description(1, channel)
    files[TRUTH] = _create(room / TRUTH, described.grid, {"dtype": "uint8", "nodata": NODATA_ID})
    files[TRUTH].write_colormap(1, {entry.id: (*rgb(entry.colour), 255) for entry in LEGEND.classes})
    files[TRUTH].set_band_description(1, LEGEND.name)
    files[THICKNESS] = _create(room / THICKNESS, described.grid, {"dtype": "float32", "nodata": np.nan, "predictor": 3})
    files[THICKNESS].set_band_description(1, "optical thickness")
    return files


def _create(path: Path, grid: Grid, options: Mapping[str, object]) -> Any:  # noqa: ANN401 - rasterio has no types
    return rasterio.open(
        path,
        "w",
        driver="GTiff",
        height=grid.height_px,
        width=grid.width_px,
        count=1,
        crs=rasterio.crs.CRS.from_wkt(grid.crs_wkt),
        transform=grid.transform,
        tiled=True,
        blockxsize=BLOCK_PX,
        blockysize=BLOCK_PX,
        compress="DEFLATE",
        zlevel=4,
        bigtiff="IF_SAFER",
        **options,
    )


def _description(described: Scene, spec: SimulationSpec) -> dict[str, object]:
    """Return the content of `scene.yaml`."""
    files = {}
    for channel, name in _file_names(described).items():
        linear = conversion(channel)
        files[name] = {
            "band": channel,
            "unit": PHYSICAL_UNIT[channel].value,
            "fill": FILL,
            "scale": linear.scale,
            "offset": linear.offset,
        }
    return {"id": described.id, "sun_elevation_deg": spec.sun_elevation_deg, "files": files}
