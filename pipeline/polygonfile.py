"""A scene's own polygons as GeoParquet: what the GeoPackage is assembled from."""

import json
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pyarrow as pa
import pyarrow.parquet as pq
import shapely

from rspipe.pipeline.errors import SceneFailedError
from rspipe.pipeline.footprint import Survey
from rspipe.pipeline.geoparquet import BATCH_ROWS, GEOMETRY, write_geoparquet
from rspipe.pipeline.rasters import RasterName

DATE = pa.timestamp("ms", tz="UTC")
_CERTAIN = [
    ("class_id", pa.int32()),
    ("class_name", pa.string()),
    ("area_m2", pa.float64()),
    ("perimeter_m", pa.float64()),
    ("confidence_mean", pa.float64()),
    ("confidence_p10", pa.float64()),
]
_ORIGIN = [("scene_id", pa.string()), ("acquired_at", DATE), ("model_id", pa.string())]
ExtraField = Literal["unfamiliarity_mean", "part_of"]
UNFAMILIARITY: ExtraField = "unfamiliarity_mean"
PART_OF: ExtraField = "part_of"


def extras_of(rasters: Collection[RasterName], max_vertices: int | None) -> tuple[ExtraField, ...]:
    """Return the fields that polygons have for what was asked for."""
    return ((UNFAMILIARITY,) if "unfamiliarity" in rasters else ()) + (() if max_vertices is None else (PART_OF,))


def fields_of(extras: Collection[ExtraField]) -> pa.Schema:
    """Return the attributes of a polygon, in the order of the layer's columns; the layer itself adds `run_id`.

    Args:
        extras: see `extras_of`. `part_of` is a number that the parts of one polygon of a scene share, null for those
            that are whole.
    """
    unfamiliarity = [(UNFAMILIARITY, pa.float64())] if UNFAMILIARITY in extras else []
    part_of = [(PART_OF, pa.int64())] if PART_OF in extras else []
    return pa.schema([*_CERTAIN, *unfamiliarity, *part_of, *_ORIGIN])


_SURVEY = b"rspipe:survey"


@dataclass(frozen=True, slots=True)
class PolygonFile:
    """A published `polygons.parquet`, opened: its metadata are read, its polygons are not."""

    path: Path
    crs_wkt: str
    polygons: int
    survey: Survey

    def batches(self, fields: pa.Schema) -> Iterator[pa.RecordBatch]:
        """Yield the polygons in the order of the file: the columns of `fields_of`, then `geometry` as WKB."""
        names = [*fields.names, GEOMETRY]
        with pq.ParquetFile(self.path) as file:
            for batch in file.iter_batches(BATCH_ROWS, columns=names):
                yield batch.select(names)


def publish_polygons(files: tuple[Path, Path], fields: pa.Schema, crs_wkt: str, survey: Survey) -> int:
    """Copy a scene's polygons batch by batch, adding a box per polygon and the scene's survey.

    Args:
        files: the vectorize stage's GeoParquet, sorted, and the final name inside a private folder.
        fields: see `fields_of`; the columns of both files, beside `geometry` as WKB.
        crs_wkt: CRS of the polygons.
        survey: what the scene's class raster holds; travels in the file's metadata.

    Returns:
        The number of polygons.

    Raises:
        SceneFailedError: a column is missing.
    """
    source, target = files
    with pq.ParquetFile(source) as file:
        _check_columns(source, file.schema_arrow.names, fields)
        batches = file.iter_batches(BATCH_ROWS)
        return write_geoparquet(target, fields, batches, crs_wkt, {_SURVEY: _dump(survey, crs_wkt)})


def open_polygons(path: Path) -> PolygonFile:
    """Open a scene's published polygons.

    Raises:
        SceneFailedError: the file is not one of ours, or damaged.
    """
    try:
        with pq.ParquetFile(path) as file:
            found = json.loads(file.metadata.metadata[_SURVEY])
            polygons = file.metadata.num_rows
        footprint = shapely.from_wkb(found["footprint"])
        survey = Survey(tuple(found["class_px"]), found["pixels"], footprint)
        return PolygonFile(path, found["crs_wkt"], polygons, survey)
    except (OSError, ValueError, KeyError, TypeError, shapely.errors.ShapelyError) as error:
        raise SceneFailedError(
            f"{path}: no polygons of a published scene ({error}); delete it and run again"
        ) from error


def _check_columns(source: Path, found: list[str], fields: pa.Schema) -> None:
    missing = [name for name in (*fields.names, GEOMETRY) if name not in found]
    if missing:
        raise SceneFailedError(
            f"{source}, publish: columns {', '.join(missing)} are missing; delete the file, run again"
        )


def _dump(survey: Survey, crs_wkt: str) -> str:
    return json.dumps(
        {
            "class_px": survey.class_px,
            "pixels": survey.pixels,
            "crs_wkt": crs_wkt,
            "footprint": shapely.to_wkb(survey.footprint, hex=True, byte_order=1),
        },
        sort_keys=True,
    )
