"""A scene's own polygons as GeoParquet: what the GeoPackage is assembled from."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import shapely
from pyproj import CRS

from rspipe.pipeline.errors import SceneFailedError
from rspipe.pipeline.footprint import Survey

DATE = pa.timestamp("ms", tz="UTC")
FIELDS = pa.schema(
    [
        ("class_id", pa.int32()),
        ("class_name", pa.string()),
        ("area_m2", pa.float64()),
        ("perimeter_m", pa.float64()),
        ("confidence_mean", pa.float64()),
        ("confidence_p10", pa.float64()),
        ("scene_id", pa.string()),
        ("acquired_at", DATE),
        ("model_id", pa.string()),
    ]
)
"""The attributes of a polygon, in the order of the layer's columns; the layer itself adds `run_id`."""
GEOMETRY = "geometry"
BATCH_ROWS = 8192
_SURVEY = b"rspipe:survey"
_BBOX = pa.struct([(side, pa.float64()) for side in ("xmin", "ymin", "xmax", "ymax")])
_COVERING = {"bbox": {side: ["bbox", side] for side in ("xmin", "ymin", "xmax", "ymax")}}


@dataclass(frozen=True, slots=True)
class PolygonFile:
    """A published `polygons.parquet`, opened: its metadata are read, its polygons are not."""

    path: Path
    crs_wkt: str
    polygons: int
    survey: Survey

    def batches(self) -> Iterator[pa.RecordBatch]:
        """Yield the polygons in the order of the file: the columns of `FIELDS`, then `geometry` as WKB."""
        names = [*FIELDS.names, GEOMETRY]
        with pq.ParquetFile(self.path) as file:
            for batch in file.iter_batches(BATCH_ROWS, columns=names):
                yield batch.select(names)


def publish_polygons(source: Path, target: Path, crs_wkt: str, survey: Survey) -> int:
    """Copy a scene's polygons batch by batch, adding a box per polygon and the scene's survey.

    Args:
        source: the vectorize stage's GeoParquet; every column of `FIELDS`, and `geometry` as WKB, sorted.
        target: final name inside a private folder.
        crs_wkt: CRS of the polygons.
        survey: what the scene's class raster holds; travels in the file's metadata.

    Returns:
        The number of polygons.

    Raises:
        SceneFailedError: a column is missing.
    """
    polygons, bounds, kinds = 0, np.full(4, np.nan), set[str]()
    with pq.ParquetFile(source) as file, _writer(target) as writer:
        _check_columns(source, file.schema_arrow.names)
        for batch in file.iter_batches(BATCH_ROWS):
            shapes = shapely.from_wkb(batch[GEOMETRY].to_numpy(zero_copy_only=False))
            writer.write_batch(_published(batch, shapes), row_group_size=BATCH_ROWS)
            polygons += batch.num_rows
            bounds = _union(bounds, shapely.bounds(shapes))
            kinds |= {str(kind) for kind in np.unique([shape.geom_type for shape in shapes])}
        metadata = _geo(crs_wkt, bounds, sorted(kinds))
        writer.add_key_value_metadata({"geo": json.dumps(metadata), _SURVEY: _dump(survey, crs_wkt)})
    return polygons


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


def _check_columns(source: Path, found: list[str]) -> None:
    missing = [name for name in (*FIELDS.names, GEOMETRY) if name not in found]
    if missing:
        raise SceneFailedError(
            f"{source}, publish: columns {', '.join(missing)} are missing; delete the file, run again"
        )


def _writer(target: Path) -> pq.ParquetWriter:
    bbox, geometry = pa.field("bbox", _BBOX), pa.field(GEOMETRY, pa.binary())
    return pq.ParquetWriter(target, FIELDS.append(geometry).append(bbox), compression="zstd", version="2.6")


def _published(batch: pa.RecordBatch, shapes: Any) -> pa.RecordBatch:  # noqa: ANN401 - shapely has no types
    columns = [batch[field.name].cast(field.type) for field in FIELDS]
    sides = [pa.array(side) for side in shapely.bounds(shapes).reshape(-1, 4).T]
    boxes = pa.StructArray.from_arrays(sides, fields=list(_BBOX))
    return pa.record_batch(
        [*columns, batch[GEOMETRY].cast(pa.binary()), boxes], names=[*FIELDS.names, GEOMETRY, "bbox"]
    )


def _union(bounds: Any, found: Any) -> Any:  # noqa: ANN401 - four numbers: xmin, ymin, xmax, ymax
    if not len(found):
        return bounds
    low, high = found.min(axis=0)[:2], found.max(axis=0)[2:]
    return np.concatenate([np.fmin(bounds[:2], low), np.fmax(bounds[2:], high)])


def _geo(crs_wkt: str, bounds: Any, kinds: list[str]) -> dict[str, Any]:  # noqa: ANN401 - see `_union`
    """Return GeoParquet 1.1.0 metadata (https://geoparquet.org/releases/v1.1.0)."""
    column: dict[str, Any] = {
        "encoding": "WKB",
        "geometry_types": kinds,
        "crs": CRS.from_wkt(crs_wkt).to_json_dict(),
        "edges": "planar",
        "covering": _COVERING,
    }
    if not np.isnan(bounds).any():
        column["bbox"] = [float(side) for side in bounds]
    return {"version": "1.1.0", "primary_column": GEOMETRY, "columns": {GEOMETRY: column}}


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
