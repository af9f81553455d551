"""The run's polygons once more, in files of other formats beside the GeoPackage."""

from pathlib import Path

import pyarrow as pa
import pyogrio

from rspipe.pipeline.errors import EnvironmentFailedError
from rspipe.pipeline.geopackage import WRITE_ERRORS, Package, layer_schema, polygon_batches
from rspipe.pipeline.geoparquet import GEOMETRY, write_geoparquet
from rspipe.pipeline.layerformat import LayerFormat


def write(target: Path, package: Package, kind: LayerFormat) -> None:
    """Write all polygons of a run, in the order of the GeoPackage; FlatGeobuf puts them into its own.

    Args:
        target: final name inside a private folder.
        package: what is written.
        kind: the format.

    Raises:
        EnvironmentFailedError: it could not be written.
    """
    batches = polygon_batches(package)
    try:
        if kind == "geoparquet":
            write_geoparquet(target, package.fields, batches, package.crs_wkt, {})
        else:
            reader = pa.RecordBatchReader.from_batches(layer_schema(package.fields), batches)
            pyogrio.write_arrow(
                reader,
                target,
                layer=package.workflow,
                driver="FlatGeobuf",
                geometry_name=GEOMETRY,
                geometry_type="MultiPolygon",
                crs=package.crs_wkt,
            )
    except WRITE_ERRORS as error:
        raise EnvironmentFailedError(f"cannot write {target.name}: {error}; see that the disk has room") from error
