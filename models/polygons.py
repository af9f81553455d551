"""Labels from polygons: burned onto a picture's grid."""

from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rasterio.features import rasterize

from rspipe.catalogs.scene import Grid
from rspipe.models.errors import DataError
from rspipe.models.labels import IGNORE_ID, LabelSet
from rspipe.models.masks import Named

_MAGIC = (b"SQLite format 3\x00", b"\x00\x00\x27\x0a", b"fgb\x03", b"{")
"""First bytes of the formats that hold their features themselves; others may point to any file, or to the network."""


@dataclass(frozen=True, slots=True)
class Drawn:
    """Polygons of a vector file by label."""

    path: Path
    frame: Any
    """GeoDataFrame with the columns `label` (id) and `geometry`."""

    @classmethod
    def read(cls, path: Path, attribute: str, named: Named, labels: LabelSet) -> "Drawn":
        """Read a vector file.

        Args:
            path: a GeoPackage, Shapefile, FlatGeobuf or GeoJSON, in any CRS.
            attribute: the field that says what a polygon is.
            named: value of that field -> name of a class or a group, or None: ignored.
            labels: the classes and groups that are learned.

        Raises:
            DataError: it cannot be read, has no CRS or no such field, or holds a value that is not named, or a feature
                without a polygon.
        """
        import geopandas as gpd  # noqa: PLC0415  most trainings burn no polygons
        from pyogrio.errors import DataSourceError  # noqa: PLC0415  likewise

        _check_format(path)
        try:
            frame = gpd.read_file(path)
        except DataSourceError as error:
            raise DataError(f"{path}: cannot be read: {error}") from error
        if attribute not in frame.columns:
            raise DataError(f"{path}: has no field {attribute!r}, only {', '.join(frame.columns.drop('geometry'))}")
        if frame.crs is None:
            raise DataError(
                f"{path}: does not say in which CRS it lies; write a .prj beside it, or save it as GeoPackage"
            )
        empty = frame.index[~frame.geometry.geom_type.isin(["Polygon", "MultiPolygon"])].tolist()
        if empty:
            raise DataError(f"{path}: features {empty[:10]} are no polygons; remove them")
        values = frame[attribute].astype(str)
        strange = sorted(set(values) - set(named))
        if strange:
            raise DataError(f"{path}: {attribute} {', '.join(strange)} are not in labels:; null ignores one")
        ids = {value: labels.id_of(name) for value, name in named.items()}
        return cls(path, gpd.GeoDataFrame({"label": values.map(ids)}, geometry=frame.geometry, crs=frame.crs))

    def burned(self, grid: Grid) -> NDArray[np.uint8]:
        """Return (H, W) label ids: that of the polygon that a pixel's centre lies in.

        Pixels in no polygon are ignored, and those in polygons of different labels: who drew them contradicts himself.
        """
        onto = self.frame.to_crs(grid.crs_wkt)
        shapes = defaultdict(list)
        for label, geometry in zip(onto["label"], onto.geometry, strict=True):
            shapes[int(label)].append(geometry)
        out = np.full((grid.height_px, grid.width_px), IGNORE_ID, dtype=np.uint8)
        claimed = np.zeros(out.shape, dtype=np.bool_)
        for label, parts in shapes.items():
            inside = rasterize(parts, out_shape=out.shape, transform=grid.transform, dtype=np.uint8) == 1
            out[inside] = np.where(claimed[inside], IGNORE_ID, label)
            claimed |= inside
        return out


def _check_format(path: Path) -> None:
    try:
        with path.open("rb") as file:
            start = file.read(64).lstrip(b" \t\r\n\xef\xbb\xbf")
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}") from error
    if not start.startswith(_MAGIC):
        raise DataError(f"{path}: is no GeoPackage, Shapefile, FlatGeobuf or GeoJSON; convert it with ogr2ogr")
