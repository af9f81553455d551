"""Burned polygons: against shapely's point in polygon at every pixel centre."""

from pathlib import Path

import geopandas as gpd
import numpy as np
import pytest
from affine import Affine
from labelled import BANDS, write_raster
from pyproj import CRS
from shapely import Point, Polygon, box, contains_xy

from rspipe.catalogs.scene import Grid
from rspipe.models.errors import DataError
from rspipe.models.foldersource import FolderSource
from rspipe.models.labelling import Wanted
from rspipe.models.labels import LabelSet
from rspipe.models.polygons import Drawn

UTM = CRS.from_epsg(32632)
TRANSFORM = Affine(10, 0, 500_000, 0, -10, 4_000_000)
GRID = Grid(crs_wkt=UTM.to_wkt(), transform=TRANSFORM, height_px=40, width_px=60)
LABELS = LabelSet(("field", "wood", "lake"), {"dry": (0, 1)})
NAMED = {"f": "field", "w": "wood", "l": "lake", "d": "dry", "x": None}


def centres() -> tuple[np.ndarray, np.ndarray]:
    rows, columns = np.mgrid[0:40, 0:60]
    return 500_000 + 10 * (columns + 0.5), 4_000_000 - 10 * (rows + 0.5)


def triangle(left: float, top: float, side: float) -> Polygon:
    return Polygon([(left, top), (left + side, top - 0.3 * side), (left + 0.2 * side, top - side)])


def written(path: Path, shapes: dict[str, list[Polygon]], crs: object = UTM) -> Path:
    rows = [(kind, shape) for kind, parts in shapes.items() for shape in parts]
    frame = gpd.GeoDataFrame({"kind": [kind for kind, _ in rows]}, geometry=[shape for _, shape in rows], crs=UTM)
    frame.to_crs(crs).to_file(path)
    return path


def test_pixels_take_the_label_of_the_polygon_that_their_centre_lies_in(tmp_path: Path) -> None:
    shapes = {
        "f": [triangle(500_033, 3_999_951, 130), triangle(500_203, 3_999_977, 90)],
        "l": [triangle(500_301, 3_999_991, 211)],
        "d": [triangle(500_011, 3_999_777, 140)],
        "x": [triangle(500_200, 3_999_800, 150)],
    }
    found = Drawn.read(written(tmp_path / "p.gpkg", shapes), "kind", NAMED, LABELS).burned(GRID)
    expected = np.full((40, 60), 255)
    for kind, label in (("f", 0), ("l", 2), ("d", 3)):
        for shape in shapes[kind]:
            expected[contains_xy(shape, *centres())] = label
    np.testing.assert_array_equal(found, expected)
    assert set(np.unique(found)) == {0, 2, 3, 255}


def test_another_crs_gives_the_same_pixels_but_at_edges(tmp_path: Path) -> None:
    shape = triangle(500_050, 3_999_900, 300)
    path = written(tmp_path / "p.shp", {"w": [shape]}, "EPSG:4326")
    found = Drawn.read(path, "kind", NAMED, LABELS).burned(GRID)
    expected = np.where(contains_xy(shape, *centres()), 1, 255)
    far = np.array(
        [
            [shape.boundary.distance(Point(x, y)) > 0.5 for x, y in zip(*line, strict=True)]
            for line in zip(*centres(), strict=True)
        ]
    )
    np.testing.assert_array_equal(found[far], expected[far])
    assert far.mean() > 0.95


def test_where_labels_contradict_each_other_pixels_are_ignored(tmp_path: Path) -> None:
    one, other = box(500_000, 3_999_800, 500_300, 4_000_000), box(500_200, 3_999_700, 500_400, 3_999_900)
    twice = box(500_000, 3_999_900, 500_100, 4_000_000)  # of the same label: no contradiction
    found = Drawn.read(written(tmp_path / "p.gpkg", {"f": [one, twice], "w": [other]}), "kind", NAMED, LABELS).burned(
        GRID
    )
    first, second = contains_xy(one, *centres()), contains_xy(other, *centres())
    expected = np.where(first & second, 255, np.where(first, 0, np.where(second, 1, 255)))
    np.testing.assert_array_equal(found, expected)


def test_a_folder_s_pictures_without_polygon_are_left_out(tmp_path: Path) -> None:
    numbers = np.full((2, 40, 60), 0.2, dtype=np.float32)
    for name, east in (("a", 0), ("b", 5000)):
        place = Affine(10, 0, 500_000 + east, 0, -10, 4_000_000)
        write_raster(tmp_path / "images" / f"{name}.tif", numbers, ["blue", "nir"], transform=place)
    path = written(tmp_path / "p.gpkg", {"f": [box(500_000, 3_999_800, 500_300, 4_000_000)]})
    source = FolderSource(folder=tmp_path, polygons=path, attribute="kind", labels=NAMED)
    wanted = Wanted(BANDS, LABELS, 30.0)
    (patch,) = source.patches(wanted)
    assert patch.name == "a"
    assert int((patch.labels == 0).sum()) == 20 * 30
    (tmp_path / "images" / "a.tif").unlink()
    with pytest.raises(DataError, match="no polygon lies on any picture"):
        source.patches(wanted)
    write_raster(tmp_path / "images" / "b.tif", numbers, ["blue", "nir"])
    with pytest.raises(DataError, match="does not say where it lies"):
        source.patches(wanted)


def test_files_that_cannot_be_burned_are_refused(tmp_path: Path) -> None:
    path = written(tmp_path / "p.gpkg", {"f": [triangle(500_050, 3_999_900, 300)]})
    lost = tmp_path / "lost.shp"
    gpd.GeoDataFrame({"kind": ["f"]}, geometry=[box(0, 0, 1, 1)]).to_file(lost)
    pointer = tmp_path / "pointer.gpkg"
    there = f"<OGRVRTLayer name='p'><SrcDataSource>{path}</SrcDataSource></OGRVRTLayer>"
    pointer.write_text(f"<OGRVRTDataSource>{there}</OGRVRTDataSource>")
    assert len(gpd.read_file(pointer)) == 1  # GDAL itself follows it
    points = tmp_path / "points.gpkg"
    gpd.GeoDataFrame({"kind": ["f"]}, geometry=[Point(0, 0)], crs=UTM).to_file(points)
    for file, attribute, named, message in (
        (path, "class", NAMED, "has no field 'class', only kind"),
        (path, "kind", {"w": "wood"}, "kind f are not in labels"),
        (path, "kind", {"f": "desert"}, "'desert' is neither"),
        (lost, "kind", NAMED, "in which CRS it lies"),
        (points, "kind", NAMED, r"features \[0\] are no polygons"),
        (tmp_path / "absent.gpkg", "kind", NAMED, "cannot be read"),
        (pointer, "kind", NAMED, "is no GeoPackage, Shapefile"),
    ):
        with pytest.raises(DataError, match=message):
            Drawn.read(file, attribute, named, LABELS)
