import numpy as np
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from rasterio.features import shapes

from rspipe.pipeline.coverage import find_faces
from rspipe.pipeline.rings import find_rings, ring_nodes

Raster = NDArray[np.uint8]
rasters = st.tuples(st.integers(1, 9), st.integers(1, 9)).flatmap(
    lambda shape: arrays(np.uint8, shape, elements=st.sampled_from([0, 1, 2, 255]))
)
CRAFTED = {
    "touches itself at a corner": ["1111", "1101", "1011", "1111"],
    "closes round a corner": ["110", "101", "111"],
    "ring in ring": ["1111111", "1000001", "1011101", "1010101", "1011101", "1000001", "1111111"],
    "two holes that touch": ["11111", "10111", "11011", "11111"],
    "chequered": ["0101", "1010", "0101"],
    "one pixel": ["1"],
}


def polygons_of(classes: Raster) -> NDArray[np.object_]:
    faces = find_faces(classes)
    rings = find_rings(faces, np.arange(faces.count))
    nodes = ring_nodes(faces, rings, slice(0, len(rings.starts)))
    offsets = (np.concatenate([[0], np.cumsum(rings.sizes)]), rings.first)
    made: NDArray[np.object_] = shapely.from_ragged_array(
        shapely.GeometryType.POLYGON, nodes[:, ::-1] * [1.0, -1.0], offsets
    )
    return made


def traced_by_gdal(classes: Raster) -> dict[int, shapely.Geometry]:
    labels = find_faces(classes).labels
    flip = shapely.transform
    return {
        int(face): flip(shapely.geometry.shape(outline), lambda points: points * [1, -1])
        for outline, face in shapes(labels, mask=labels >= 0, connectivity=4)
    }


def check(classes: Raster) -> None:
    polygons = polygons_of(classes)
    expected = traced_by_gdal(classes)
    assert len(polygons) == len(expected)
    assert shapely.is_valid(polygons).all()
    assert shapely.coverage_is_valid(polygons)
    for face, polygon in enumerate(polygons):
        assert shapely.equals(polygon, expected[face])
        assert shapely.is_ccw(polygon.exterior)
        assert not any(shapely.is_ccw(hole) for hole in polygon.interiors)


@given(rasters)
def test_polygons_are_gdals_and_a_valid_coverage(classes: Raster) -> None:
    check(classes)


@pytest.mark.parametrize("rows", CRAFTED.values(), ids=CRAFTED.keys())
def test_crafted(rows: list[str]) -> None:
    check(np.array([[int(value) for value in row] for row in rows], np.uint8))


def test_only_the_faces_asked_for_in_the_order_asked_for() -> None:
    faces = find_faces(np.array([[0, 1, 2]], np.uint8))
    rings = find_rings(faces, np.array([2, 0]))
    assert rings.starts.tolist() == [2, 0]
    assert rings.first.tolist() == [0, 1, 2]
