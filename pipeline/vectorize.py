"""Vectorize: a scene's classes become a sieved class raster and polygons with honest sizes."""

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import shapely
import zarr
from numpy.typing import NDArray
from pyproj import CRS

from rspipe.catalogs.legends import NODATA_ID, Legend
from rspipe.catalogs.scene import Grid
from rspipe.pipeline import atomic, store
from rspipe.pipeline.coverage import Faces, borders_of, find_faces, renumber, sieve
from rspipe.pipeline.errors import SceneFailedError
from rspipe.pipeline.ground import Ground, measure
from rspipe.pipeline.measures import face_areas, face_perimeters, face_pixels, face_quantiles, face_sums
from rspipe.pipeline.polygonfile import FIELDS, GEOMETRY
from rspipe.pipeline.rings import Rings, find_rings, ring_nodes
from rspipe.pipeline.task import Receipt

VERSION = 1
"""Part of every key: raised when the same input would give other bytes."""
CLASSES = "classes"
CONFIDENCE = "confidence"
SIEVED = "sieved.zarr"
POLYGONS = "polygons.parquet"
DEFAULT_MINIMUM_PX = 8.5
"""Nine pixels stay and eight go; half a pixel keeps the projection's scale from deciding."""
CONFIDENCE_SCALE = 254.0
_LOW_SHARE = 0.1
_BATCH_POINTS = 1_000_000
_REPEATED = ["class_name", "scene_id", "model_id"]

SCHEMA = FIELDS.append(pa.field(GEOMETRY, pa.binary()))
"""One row is one polygon; the layer adds the run."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VectorizeJob:
    """One scene, inferred by one model."""

    scene: str
    """Slug, for messages."""
    scene_id: str
    acquired_at: datetime | None
    model_id: str
    grid: Grid
    inferred: Path
    """The Zarr group with `classes` and `confidence`."""
    vectors: Path
    """Folder to write `sieved.zarr` and `polygons.parquet` into."""
    legend: Legend
    polygon_classes: tuple[int, ...]
    """Ids of the classes that become polygons."""
    minimum_area_m2: float | None = None
    """Smaller faces are merged into a neighbour, 0 keeps every face; None: what covers `DEFAULT_MINIMUM_PX` pixels."""

    def __post_init__(self) -> None:
        unknown = sorted(set(self.polygon_classes) - {entry.id for entry in self.legend.classes})
        if unknown:
            raise SceneFailedError(f"scene {self.scene}, vectorize: legend {self.legend.name!r} has no class {unknown}")


@dataclass(frozen=True, slots=True)
class _Table:
    """The polygons' attributes, in the order they are written in."""

    order: NDArray[np.int64]
    """(m,): face of each polygon."""
    columns: dict[str, pa.Array]


def run_vectorize(job: VectorizeJob) -> Receipt:
    """Sieve a scene's classes and write them, and the polygons of the classes asked for.

    The whole scene is in memory: about nine bytes per pixel, and what its faces take.

    Raises:
        SceneFailedError: the classes do not fit the legend or the grid, or the grid's CRS has no areas.
        EnvironmentFailedError: the disk is full or cannot be written.
    """
    ground = measure(job.grid)
    classes = _read(job, CLASSES)
    _check(job, classes)
    faces = find_faces(classes)
    del classes
    found = faces.count
    faces = _sieved(job, faces, ground)
    outputs = _write_classes(job, faces)
    areas_m2 = np.multiply(face_areas(faces, ground), ground.areas.unit, dtype=np.float64)
    counts = _counts(job, faces, areas_m2)
    table = _table(job, faces, areas_m2, face_perimeters(faces, ground))
    rings = find_rings(faces, table.order)
    _write_polygons(job, table, _geometries(job.grid, faces, rings))
    counts |= {"polygons": len(table.order), "faces": faces.count, "sieved_faces": found - faces.count}
    return Receipt(outputs=(*outputs, job.vectors / POLYGONS), counts=counts)


def _read(job: VectorizeJob, name: str) -> NDArray[np.uint8]:
    array = store.open_array(job.inferred, name)
    if array.shape != (job.grid.height_px, job.grid.width_px):
        raise SceneFailedError(f"scene {job.scene}, vectorize: {name} is {array.shape}, its grid another; run --fresh")
    values = np.empty(array.shape, np.uint8)
    for rows in _shard_rows(array):
        values[rows] = array[rows, :]
    return values


def _shard_rows(array: zarr.Array[Any]) -> Iterator[slice]:
    step = (array.shards or array.chunks)[0]
    return (slice(start, min(start + step, array.shape[0])) for start in range(0, array.shape[0], step))


def _check(job: VectorizeJob, classes: NDArray[np.uint8]) -> None:
    pixels = sum((np.bincount(row, minlength=NODATA_ID + 1) for row in classes), np.zeros(NODATA_ID + 1, np.int64))
    strange = [int(value) for value in np.flatnonzero(pixels[:NODATA_ID]) if value >= len(job.legend.classes)]
    if strange:
        found = f"class ids {strange} are not in legend {job.legend.name!r}"
        raise SceneFailedError(f"scene {job.scene}, vectorize: {found}; infer with the model the legend belongs to")


def _sieved(job: VectorizeJob, faces: Faces, ground: Ground) -> Faces:
    minimum_m2 = job.minimum_area_m2
    if minimum_m2 is None:
        minimum_m2 = DEFAULT_MINIMUM_PX * ground.middle_pixel_m2
    least = np.full(NODATA_ID + 1, math.ceil(minimum_m2 / ground.areas.unit), np.int64)
    areas = face_areas(faces, ground)
    borders = borders_of(faces, areas < least[faces.classes], ground)
    merged = sieve(faces, areas, least, borders)
    return renumber(faces, merged.numbers, merged.classes)


def _write_classes(job: VectorizeJob, faces: Faces) -> tuple[Path, ...]:
    source, target = store.open_array(job.inferred, CLASSES), job.vectors / SIEVED
    shards = source.shards or source.chunks
    plan = store.ArrayPlan(
        name=CLASSES,
        shape=source.shape,
        dtype="uint8",
        shard_px=(shards[0], shards[1]),
        chunk_px=(source.chunks[0], source.chunks[1]),
        fill=NODATA_ID,
        attributes={"long_name": "class, small faces merged into their neighbours"},
    )
    store.create(target, job.grid, [plan])
    store.clear(target, [CLASSES], slice(0, job.grid.height_px))
    array = store.open_array(target, CLASSES, write=True)
    # The label of nodata, -1, reads the last entry.
    values = np.append(faces.classes, np.uint8(NODATA_ID))
    for rows in _shard_rows(array):
        array[rows, :] = values[faces.labels[rows]]
    return store.written_files(target, [CLASSES], slice(0, job.grid.height_px))


def _counts(job: VectorizeJob, faces: Faces, areas_m2: NDArray[np.float64]) -> dict[str, int | float]:
    pixels = face_pixels(faces)
    counts: dict[str, int | float] = {"valid_px": int(pixels.sum())}
    for entry in job.legend.classes:
        mine = faces.classes == entry.id
        counts[f"class_{entry.id}_px"] = int(pixels[mine].sum())
        counts[f"class_{entry.id}_m2"] = float(areas_m2[mine].sum())
    return counts


def _table(job: VectorizeJob, faces: Faces, areas_m2: NDArray[np.float64], lengths_m: NDArray[np.float64]) -> _Table:
    """Attributes of the polygons. Faces are in the order of their first pixels; a stable sort keeps it in a class."""
    wanted = np.flatnonzero(np.isin(faces.classes, job.polygon_classes))
    order = wanted[np.argsort(faces.classes[wanted], kind="stable")].astype(np.int64)
    confidence = _read(job, CONFIDENCE)
    mean = face_sums(faces, confidence)[order] / face_pixels(faces)[order] / CONFIDENCE_SCALE
    low = face_quantiles(faces, confidence, _LOW_SHARE)[order] / CONFIDENCE_SCALE
    ids = faces.classes[order].astype(np.int32)
    names = pa.array([entry.name for entry in job.legend.classes], pa.string())
    columns = {
        "class_id": pa.array(ids),
        "class_name": names.take(pa.array(ids)),
        "area_m2": pa.array(areas_m2[order]),
        "perimeter_m": pa.array(lengths_m[order]),
        "confidence_mean": pa.array(mean),
        "confidence_p10": pa.array(low),
    }
    for name, value in (("scene_id", job.scene_id), ("acquired_at", job.acquired_at), ("model_id", job.model_id)):
        columns[name] = pa.repeat(pa.scalar(value, SCHEMA.field(name).type), len(order))
    return _Table(order, columns)


def _geometries(grid: Grid, faces: Faces, rings: Rings) -> Iterator[NDArray[np.object_]]:
    """Yield the polygons as WKB, some at a time: whole polygons of about `_BATCH_POINTS` points."""
    points = np.concatenate([[0], np.cumsum(rings.sizes)])
    first, count = 0, len(rings.first) - 1
    while first < count:
        limit = points[rings.first[first]] + _BATCH_POINTS
        stop = max(first + 1, int(np.searchsorted(points[rings.first], limit, side="right")) - 1)
        part = slice(int(rings.first[first]), int(rings.first[stop]))
        nodes = ring_nodes(faces, rings, part)
        corner, step = (grid.transform.c, grid.transform.f), (grid.transform.a, grid.transform.e)
        offsets = (points[part.start : part.stop + 1] - points[part.start], rings.first[first : stop + 1] - part.start)
        shapes = shapely.from_ragged_array(shapely.GeometryType.POLYGON, corner + nodes[:, ::-1] * step, offsets)
        yield shapely.to_wkb(shapes, byte_order=1)
        first = stop


def _write_polygons(job: VectorizeJob, table: _Table, batches: Iterator[NDArray[np.object_]]) -> None:
    schema = SCHEMA.with_metadata({"geo": json.dumps(_geo(job.grid.crs_wkt))})
    with (
        atomic.replacing(job.vectors / POLYGONS) as path,
        pq.ParquetWriter(path, schema, compression="zstd", version="2.6", use_dictionary=_REPEATED) as writer,
    ):
        first = 0
        for wkb in batches:
            columns = [column.slice(first, len(wkb)) for column in table.columns.values()]
            writer.write_table(pa.Table.from_arrays([*columns, pa.array(wkb, pa.binary())], schema=schema))
            first += len(wkb)


def _geo(crs_wkt: str) -> dict[str, Any]:
    """Return GeoParquet 1.1.0 metadata (https://geoparquet.org/releases/v1.1.0)."""
    column = {
        "encoding": "WKB",
        "geometry_types": ["Polygon"],
        "orientation": "counterclockwise",
        "crs": CRS.from_wkt(crs_wkt).to_json_dict(),
    }
    return {"version": "1.1.0", "primary_column": GEOMETRY, "columns": {GEOMETRY: column}}
