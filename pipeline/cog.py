"""Rasters as cloud-optimised GeoTIFFs: streamed from Zarr, with palette, class names and provenance."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import numpy as np
import rasterio
import rasterio.shutil
import zarr
from rasterio.windows import Window

from rspipe.catalogs.legends import NODATA_ID, Legend
from rspipe.catalogs.scene import Grid
from rspipe.pipeline.rowblocks import row_blocks
from rspipe.pipeline.style import rgb

BLOCK_PX = 512
SIDE_SUFFIX = ".aux.xml"
"""Beside a class raster: GDAL keeps the names of classes of a GeoTIFF there."""
_ONE_THREAD = {"GDAL_NUM_THREADS": "1"}
"""A raster is written by one thread, whatever the environment says: bytes must not depend on it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Provenance:
    """Where a raster comes from; written as TIFF tags and `RSPIPE_*` items."""

    scene_id: str
    model_id: str
    acquired_at: datetime | None

    def tags(self) -> dict[str, str]:
        """Return the metadata items; the date is the scene's, in UTC, in TIFF 6.0's own form."""
        tags = {
            "TIFFTAG_SOFTWARE": f"rspipe {version('rspipe')}",
            "RSPIPE_SCENE_ID": self.scene_id,
            "RSPIPE_MODEL_ID": self.model_id,
        }
        if self.acquired_at is not None:
            moment = self.acquired_at.replace(tzinfo=self.acquired_at.tzinfo or UTC).astimezone(UTC)
            tags["TIFFTAG_DATETIME"] = moment.strftime("%Y:%m:%d %H:%M:%S")
            tags["RSPIPE_ACQUIRED_AT"] = moment.isoformat()
        return tags


@dataclass(frozen=True, slots=True, kw_only=True)
class ScaledRaster:
    """What the bands of a raster of numbers are called, and what they mean."""

    bands: tuple[str, ...]
    scale: float
    """Physical = scale * stored."""
    meaning: str = ""
    """Written as the item `RSPIPE_MEANING` where the bands' names do not say it."""


CONFIDENCE = ScaledRaster(bands=("confidence",), scale=1 / 254)


def write_classes(target: Path, classes: zarr.Array[Any], grid: Grid, legend: Legend, provenance: Provenance) -> None:
    """Write a class raster: palette, names, nodata 255, overviews by the most frequent class.

    Args:
        target: final name inside a private folder; a side file with the names of the classes comes to lie beside it.
        classes: (rows, columns) uint8, 255 where there is no decision.
        grid: its georeferencing.
        legend: names and colours.
        provenance: see `Provenance`.
    """
    strips = _strips_path(target)
    with _open(strips, grid, (f"classes ({legend.name})",), provenance.tags()) as dataset:
        dataset.write_colormap(1, {entry.id: (*rgb(entry.colour), 255) for entry in legend.classes})
        _copy_rows(classes, dataset)
    names = names_xml(legend)
    _side(strips).write_bytes(names)
    _finish(strips, target, {"OVERVIEW_RESAMPLING": "MODE"})
    _side(target).write_bytes(names)


def write_raster(target: Path, stored: zarr.Array[Any], grid: Grid, look: ScaledRaster, provenance: Provenance) -> None:
    """Write a raster of numbers: physical = scale * stored, nodata 255, averaged overviews.

    Args:
        target: final name inside a private folder.
        stored: (rows, columns) or (bands, rows, columns) uint8, 255 where there is no decision.
        grid: its georeferencing.
        look: what its bands are, and their scale.
        provenance: see `Provenance`.
    """
    strips = _strips_path(target)
    tags = provenance.tags() | ({"RSPIPE_MEANING": look.meaning} if look.meaning else {})
    with _open(strips, grid, look.bands, tags) as dataset:
        dataset.scales = (look.scale,) * len(look.bands)
        dataset.offsets = (0.0,) * len(look.bands)
        _copy_rows(stored, dataset)
    _finish(strips, target, {"OVERVIEW_RESAMPLING": "AVERAGE", "PREDICTOR": "YES"})


def _strips_path(target: Path) -> Path:
    return target.with_name(f"{target.stem}.strips.tif")


def _side(path: Path) -> Path:
    return path.with_name(path.name + SIDE_SUFFIX)


def _open(path: Path, grid: Grid, bands: Sequence[str], tags: Mapping[str, str]) -> Any:  # noqa: ANN401 - rasterio has no types
    """Open a tiled GeoTIFF for writing window by window."""
    dataset = rasterio.open(
        path,
        "w",
        driver="GTiff",
        height=grid.height_px,
        width=grid.width_px,
        count=len(bands),
        dtype="uint8",
        nodata=NODATA_ID,
        crs=rasterio.crs.CRS.from_wkt(grid.crs_wkt),
        transform=grid.transform,
        tiled=True,
        blockxsize=BLOCK_PX,
        blockysize=BLOCK_PX,
        compress="LZW",
        bigtiff="IF_SAFER",
    )
    dataset.descriptions = tuple(bands)
    dataset.update_tags(**tags)
    return dataset


def _copy_rows(source: zarr.Array[Any], dataset: Any) -> None:  # noqa: ANN401 - rasterio has no types
    height, width = source.shape[-2:]
    for rows in row_blocks(height, BLOCK_PX):
        window = Window(0, rows.start, width, rows.stop - rows.start)
        block = np.asarray(source[..., rows, :])
        dataset.write(block.reshape(-1, *block.shape[-2:]), window=window)


def _finish(strips: Path, target: Path, options: Mapping[str, str]) -> None:
    with rasterio.Env(**_ONE_THREAD):
        rasterio.shutil.copy(
            strips, target, driver="COG", COMPRESS="DEFLATE", BLOCKSIZE=BLOCK_PX, BIGTIFF="IF_SAFER", **options
        )
    strips.unlink()
    _side(strips).unlink(missing_ok=True)
    _side(target).unlink(missing_ok=True)


def names_xml(legend: Legend) -> bytes:
    """GDAL's side file: category names (read by every GDAL) and an attribute table (which GDAL >= 3.11 embeds)."""
    root = ET.Element("PAMDataset")
    band = ET.SubElement(root, "PAMRasterBand", band="1")
    categories = ET.SubElement(band, "CategoryNames")
    table = ET.SubElement(band, "GDALRasterAttributeTable", tableType="thematic")
    for index, (name, kind, usage) in enumerate(_COLUMNS):
        column = ET.SubElement(table, "FieldDefn", index=str(index))
        for tag, text in (("Name", name), ("Type", kind), ("Usage", usage)):
            ET.SubElement(column, tag).text = text
    for entry in legend.classes:
        ET.SubElement(categories, "Category").text = entry.name
        row = ET.SubElement(table, "Row", index=str(entry.id))
        for text in (str(entry.id), entry.name, *(str(channel) for channel in rgb(entry.colour))):
            ET.SubElement(row, "F").text = text
    ET.indent(root)
    return bytes(ET.tostring(root, encoding="UTF-8"))


_COLUMNS = (("Value", "0", "5"), ("Class", "2", "2"), ("Red", "0", "6"), ("Green", "0", "7"), ("Blue", "0", "8"))
"""Name, GDALRATFieldType (0 integer, 2 string), GDALRATFieldUsage (5 min and max, 2 name, 6 .. 8 colour)."""
