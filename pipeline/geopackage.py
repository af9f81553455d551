"""The layer that analysts open: a GeoPackage 1.3 with polygons, footprints and styles, the same bytes every time."""

import re
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyogrio
import shapely
from pyogrio.errors import DataLayerError, DataSourceError, FeatureError, FieldError, GeometryError

from rspipe.catalogs.legends import Legend, LegendClass
from rspipe.catalogs.scene import Grid
from rspipe.pipeline.areas import AREAS_LAYER, areas_of
from rspipe.pipeline.errors import EnvironmentFailedError
from rspipe.pipeline.footprint import extent
from rspipe.pipeline.geoparquet import GEOMETRY
from rspipe.pipeline.polygonfile import DATE, ExtraField, fields_of
from rspipe.pipeline.reproject import Geometries, Reprojection, longest_edge
from rspipe.pipeline.sceneentry import SceneEntry
from rspipe.pipeline.style import Style, class_style, outline_style

VERSION = "1.3"
"""Not GDAL's default 1.4: GDAL 3.6 and QGIS 3.22 only half know that."""
SCENES_LAYER = "scenes"
GEOMETRY_COLUMN = "geom"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
WRITE_ERRORS = (DataLayerError, DataSourceError, FeatureError, FieldError, GeometryError, pa.ArrowException)


@dataclass(frozen=True, slots=True, kw_only=True)
class Package:
    """What one GeoPackage holds."""

    workflow: str
    """Name of the workflow and of the layer of polygons."""
    run_id: str
    crs_wkt: str
    legend: Legend
    polygon_classes: tuple[int, ...]
    """Ids of the classes that become polygons."""
    scenes: tuple[SceneEntry, ...]
    extras: tuple[ExtraField, ...] = ()
    """Fields on request; see `polygonfile.fields_of`."""

    @property
    def fields(self) -> pa.Schema:
        """The attributes of the layer of polygons."""
        return fields_of(self.extras).append(pa.field("run_id", pa.string()))

    @property
    def drawn(self) -> tuple[LegendClass, ...]:
        """The classes of the layer's style."""
        return tuple(entry for entry in self.legend.classes if entry.id in self.polygon_classes)

    @property
    def date(self) -> datetime:
        """The one date that the file bears: that of the latest scene, or 1970-01-01."""
        dates = [scene.acquired_utc for scene in self.scenes if scene.acquired_utc is not None]
        return max(dates, default=_EPOCH)


def write(target: Path, package: Package) -> None:
    """Write a whole GeoPackage, scene by scene, and open it again.

    Not for several threads at once: GDAL's clock is pinned for the whole process meanwhile.

    Args:
        target: final name inside a private folder.
        package: what it holds; features follow the order of its scenes and of their files.

    Raises:
        EnvironmentFailedError: it could not be written, or did not read back as written.
    """
    polygons = pa.RecordBatchReader.from_batches(layer_schema(package.fields), polygon_batches(package))
    fields = scene_fields(package.legend)
    scenes = pa.RecordBatchReader.from_batches(layer_schema(fields), _scene_batches(package, fields))
    styles = (class_style(package.workflow, package.drawn), outline_style(SCENES_LAYER))
    with _pinned(package.date):
        try:
            _write_layer(target, package, package.workflow, polygons)
            _write_layer(target, package, SCENES_LAYER, scenes)
            _write_table(target, AREAS_LAYER, areas_of(package.scenes, package.legend, package.run_id))
            _write_styles(target, styles, package.date)
        except WRITE_ERRORS as error:
            raise EnvironmentFailedError(f"cannot write {target.name}: {error}; see that the disk has room") from error
    check(target, {package.workflow: _polygons(package), SCENES_LAYER: len(package.scenes)})


def check(path: Path, features: dict[str, int]) -> None:
    """Open a GeoPackage and see that it is sound.

    Args:
        path: the file.
        features: expected number of features by layer.

    Raises:
        EnvironmentFailedError: damaged, or another number of features than written.
    """
    with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)) as database:
        found = [row[0] for row in database.execute("PRAGMA integrity_check")]
        orphans = database.execute("PRAGMA foreign_key_check").fetchall()
    counts = {layer: pyogrio.read_info(path, layer=layer, force_feature_count=True)["features"] for layer in features}
    if found != ["ok"] or orphans or counts != features:
        raise EnvironmentFailedError(
            f"{path.name} did not read back as written: {'; '.join(found)}, features {counts}, written {features}; "
            "look for a failing disk, then run again"
        )


def scene_fields(legend: Legend) -> pa.Schema:
    """Return the attributes of the layer `scenes`; one share of the valid pixels for each class of the legend."""
    shares = [(f"share_{name}", pa.float64()) for name in _identifiers(legend)]
    return pa.schema(
        [
            ("scene_id", pa.string()),
            ("status", pa.string()),
            ("reason", pa.string()),
            ("acquired_at", DATE),
            ("polygons", pa.int64()),
            ("valid_share", pa.float64()),
            *shares,
            ("folder", pa.string()),
            ("run_id", pa.string()),
        ]
    )


def _identifiers(legend: Legend) -> list[str]:
    """Class names as column names: lower case, digits and underscores; the id is added where two would be equal."""
    plain = [re.sub(r"\W+", "_", entry.name.lower(), flags=re.ASCII).strip("_") for entry in legend.classes]
    return [
        name if name and plain.count(name) == 1 else f"{name}_{entry.id}".strip("_")
        for name, entry in zip(plain, legend.classes, strict=True)
    ]


@contextmanager
def _pinned(date: datetime) -> Iterator[None]:
    """Let no clock and no thread of GDAL leave a trace in the bytes."""
    moment = date.strftime("%Y-%m-%dT%H:%M:%S.000Z")
    options = {"OGR_CURRENT_DATE": moment, "OGR_GPKG_ALLOW_THREADED_RTREE": "NO"}
    earlier = {name: pyogrio.get_gdal_config_option(name) for name in options}
    pyogrio.set_gdal_config_options(options)
    try:
        yield
    finally:
        pyogrio.set_gdal_config_options(earlier)


def layer_schema(fields: pa.Schema) -> pa.Schema:
    """Return attributes and a column of WKB that GDAL takes for the geometry."""
    return fields.append(pa.field(GEOMETRY, pa.binary(), metadata={"ARROW:extension:name": "geoarrow.wkb"}))


def _polygons(package: Package) -> int:
    return sum(scene.polygons.polygons for scene in package.scenes if scene.polygons is not None)


def polygon_batches(package: Package) -> Iterator[pa.RecordBatch]:
    """Yield the polygons of all scenes in the package's CRS, as multipolygons, with its fields."""
    fields, schema = fields_of(package.extras), layer_schema(package.fields)
    for scene in package.scenes:
        if scene.polygons is None or scene.grid is None:
            continue
        move = _reprojection(package, scene.polygons.crs_wkt, scene.grid)
        for batch in scene.polygons.batches(fields):
            shapes = shapely.from_wkb(batch[GEOMETRY].to_numpy(zero_copy_only=False))
            columns = [*(batch[name] for name in fields.names), pa.repeat(pa.scalar(package.run_id), batch.num_rows)]
            yield pa.record_batch([*columns, _wkb(move.apply(shapes))], schema=schema)


def _reprojection(package: Package, crs_wkt: str, grid: Grid) -> Reprojection:
    pixel = min(grid.transform.a, -grid.transform.e)
    return Reprojection(crs_wkt, package.crs_wkt, longest_edge(crs_wkt, pixel))


def _wkb(shapes: Geometries) -> pa.Array:
    """Every geometry as a multipolygon: one type per layer, and a split at the 180th meridian stays one feature."""
    parts, owners = shapely.get_parts(shapes, return_index=True)
    multi = np.full(len(shapes), None, dtype=np.object_)
    if len(parts):
        shapely.multipolygons(parts, indices=owners, out=multi)
    return pa.array(shapely.to_wkb(multi, byte_order=1), pa.binary())


def _scene_batches(package: Package, fields: pa.Schema) -> Iterator[pa.RecordBatch]:
    for scene in package.scenes:
        values = _scene_values(package, scene)
        columns = [pa.array([values[field.name]], field.type) for field in fields]
        yield pa.record_batch([*columns, _wkb(_footprint(package, scene))], schema=layer_schema(fields))


def _scene_values(package: Package, scene: SceneEntry) -> dict[str, object]:
    survey = None if scene.polygons is None else scene.polygons.survey
    values: dict[str, object] = {
        "scene_id": scene.scene_id,
        "status": "failed" if survey is None else "published",
        "reason": scene.reason or None,
        "acquired_at": scene.acquired_utc,
        "polygons": None if scene.polygons is None else scene.polygons.polygons,
        "valid_share": None if survey is None else survey.valid_px / survey.pixels,
        "folder": None if survey is None else scene.folder,
        "run_id": package.run_id,
    }
    for index, name in enumerate(_identifiers(package.legend)):
        values[f"share_{name}"] = None if survey is None else survey.share(index)
    return values


def _footprint(package: Package, scene: SceneEntry) -> Geometries:
    if scene.grid is None:
        return _single(None)
    if scene.polygons is None:
        shape, crs_wkt = extent(scene.grid), scene.grid.crs_wkt
    else:
        shape, crs_wkt = scene.polygons.survey.footprint, scene.polygons.crs_wkt
    return _reprojection(package, crs_wkt, scene.grid).apply(_single(shape))


def _single(shape: shapely.Geometry | None) -> Geometries:
    return np.array([shape], dtype=np.object_)


def _write_layer(target: Path, package: Package, layer: str, reader: pa.RecordBatchReader) -> None:
    pyogrio.write_arrow(
        reader,
        target,
        layer=layer,
        driver="GPKG",
        geometry_name=GEOMETRY,
        geometry_type="MultiPolygon",
        crs=package.crs_wkt,
        dataset_options=None if target.exists() else {"VERSION": VERSION},
        layer_options={"GEOMETRY_NAME": GEOMETRY_COLUMN, "SPATIAL_INDEX": "YES", **_described(package, layer)},
    )


def _described(package: Package, layer: str) -> dict[str, str]:
    if layer == SCENES_LAYER:
        text = "Footprints of the valid data of every scene of the run, with status and share of each class."
        return {"IDENTIFIER": f"{package.workflow}: scenes", "DESCRIPTION": text}
    names = ", ".join(entry.name for entry in package.drawn)
    text = (
        f"Polygons of {names}. Where scenes overlap, their polygons overlap: filter by scene_id. Run {package.run_id}."
    )
    return {"IDENTIFIER": package.workflow, "DESCRIPTION": text}


def _write_table(target: Path, layer: str, table: pa.Table) -> None:
    """Add a table without geometry; through GDAL, so that it is registered in `gpkg_contents`."""
    pyogrio.write_arrow(table, target, layer=layer, driver="GPKG")


def _write_styles(target: Path, styles: Sequence[Style], date: datetime) -> None:
    """Add the table that QGIS looks for; see `_write_table`."""
    count = len(styles)
    table = pa.table(
        {
            "f_table_catalog": [""] * count,
            "f_table_schema": [""] * count,
            "f_table_name": [style.layer for style in styles],
            "f_geometry_column": [GEOMETRY_COLUMN] * count,
            "styleName": [style.layer for style in styles],
            "styleQML": [style.qml for style in styles],
            "styleSLD": [style.sld for style in styles],
            "useAsDefault": [True] * count,
            "description": ["written by rspipe"] * count,
            "owner": [""] * count,
            "ui": pa.nulls(count, pa.string()),
            "update_time": pa.array([date] * count, DATE),
        }
    )
    pyogrio.write_arrow(table, target, layer="layer_styles", driver="GPKG", layer_options={"FID": "id"})
