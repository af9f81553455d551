"""GeoParquet 1.1.0 with a box per feature (https://geoparquet.org/releases/v1.1.0), written batch by batch."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import shapely
from pyproj import CRS

GEOMETRY = "geometry"
BATCH_ROWS = 8192
_BBOX = pa.struct([(side, pa.float64()) for side in ("xmin", "ymin", "xmax", "ymax")])
_COVERING = {"bbox": {side: ["bbox", side] for side in ("xmin", "ymin", "xmax", "ymax")}}


def write_geoparquet(
    target: Path, fields: pa.Schema, batches: Iterable[pa.RecordBatch], crs_wkt: str, more: Mapping[str | bytes, str]
) -> int:
    """Write features.

    Args:
        target: final name inside a private folder.
        fields: the attributes.
        batches: their columns, in this order, and `geometry` as WKB.
        crs_wkt: CRS of the geometries.
        more: further metadata of the file.

    Returns:
        The number of features.
    """
    features, bounds, kinds = 0, np.full(4, np.nan), set[str]()
    schema = fields.append(pa.field(GEOMETRY, pa.binary())).append(pa.field("bbox", _BBOX))
    with pq.ParquetWriter(target, schema, compression="zstd", version="2.6") as writer:
        for batch in batches:
            shapes = shapely.from_wkb(batch[GEOMETRY].to_numpy(zero_copy_only=False))
            writer.write_batch(_boxed(batch, schema, shapes), row_group_size=BATCH_ROWS)
            features += batch.num_rows
            bounds = _union(bounds, shapely.bounds(shapes))
            kinds |= {str(kind) for kind in np.unique([shape.geom_type for shape in shapes])}
        metadata = _with_boxes(geo_metadata(crs_wkt, sorted(kinds)), bounds)
        writer.add_key_value_metadata({"geo": json.dumps(metadata), **more})
    return features


def _boxed(batch: pa.RecordBatch, schema: pa.Schema, shapes: Any) -> pa.RecordBatch:  # noqa: ANN401 - shapely has no types
    columns = [batch[field.name].cast(field.type) for field in list(schema)[:-1]]
    sides = [pa.array(side) for side in shapely.bounds(shapes).reshape(-1, 4).T]
    return pa.record_batch([*columns, pa.StructArray.from_arrays(sides, fields=list(_BBOX))], schema=schema)


def _union(bounds: Any, found: Any) -> Any:  # noqa: ANN401 - four numbers: xmin, ymin, xmax, ymax
    if not len(found):
        return bounds
    low, high = found.min(axis=0)[:2], found.max(axis=0)[2:]
    return np.concatenate([np.fmin(bounds[:2], low), np.fmax(bounds[2:], high)])


def geo_metadata(crs_wkt: str, kinds: list[str]) -> dict[str, Any]:
    """Return what the key `geo` says of a file whose one geometry column is `GEOMETRY`."""
    column = {
        "encoding": "WKB",
        "geometry_types": kinds,
        "crs": CRS.from_wkt(crs_wkt).to_json_dict(),
        "edges": "planar",
    }
    return {"version": "1.1.0", "primary_column": GEOMETRY, "columns": {GEOMETRY: column}}


def _with_boxes(metadata: dict[str, Any], bounds: Any) -> dict[str, Any]:  # noqa: ANN401 - see `_union`
    column = metadata["columns"][GEOMETRY]
    column["covering"] = _COVERING
    if not np.isnan(bounds).any():
        column["bbox"] = [float(side) for side in bounds]
    return metadata
