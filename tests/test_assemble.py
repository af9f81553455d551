import numpy as np
import pytest
import shapely
from bench.natural import check as check_natural
from blocks import WHOLE, Cut, Raster, arcs_of, cuts, polygons_of, rasters, to_degrees, traced_by_gdal
from hypothesis import given, settings

from rspipe.pipeline.assemble import outlines
from rspipe.pipeline.coverage import find_faces

CRAFTED = {
    "touches itself at a corner": ["1111", "1101", "1011", "1111"],
    "closes round a corner": ["110", "101", "111"],
    "ring in ring": ["1111111", "1000001", "1011101", "1010101", "1011101", "1000001", "1111111"],
    "two holes that touch": ["11111", "10111", "11011", "11111"],
    "chequered": ["0101", "1010", "0101"],
    "one pixel": ["1"],
}


def check(classes: Raster, cut: Cut) -> None:
    faces = find_faces(classes)
    polygons = polygons_of(arcs_of(faces.labels, cut), faces.count)
    expected = traced_by_gdal(faces.labels)
    assert len(polygons) == len(expected)
    assert shapely.is_valid(polygons).all()
    assert shapely.coverage_is_valid(polygons)
    for face, polygon in enumerate(polygons):
        assert shapely.equals(polygon, expected[face])
        assert shapely.equals_exact(polygon.simplify(0), expected[face].simplify(0), normalize=True)
        assert shapely.is_ccw(polygon.exterior)
        assert not any(shapely.is_ccw(hole) for hole in polygon.interiors)


@settings(max_examples=60)
@given(rasters, cuts)
def test_polygons_are_gdals_and_a_valid_coverage_however_the_raster_is_cut(classes: Raster, cut: Cut) -> None:
    check(classes, cut)


@pytest.mark.parametrize("cut", [WHOLE, Cut(1, 1), Cut(2, 3)], ids=["whole", "pixels", "blocks"])
@pytest.mark.parametrize("rows", CRAFTED.values(), ids=CRAFTED.keys())
def test_crafted(rows: list[str], cut: Cut) -> None:
    check(np.array([[int(value) for value in row] for row in rows], np.uint8), cut)


@given(rasters)
def test_the_coverage_stays_valid_in_another_projection(classes: Raster) -> None:
    faces = find_faces(classes)
    moved = to_degrees(polygons_of(arcs_of(faces.labels), faces.count))
    assert shapely.is_valid(moved).all()
    assert shapely.coverage_is_valid(moved)


def test_only_the_faces_asked_for_in_the_order_asked_for() -> None:
    faces = find_faces(np.array([[0, 1, 2]], np.uint8))
    arcs = arcs_of(faces.labels)
    rings = outlines(arcs, faces.count, np.array([2, 0]))
    assert rings.first_ring.tolist() == [0, 1, 2]
    lefts = arcs.sides.reshape(-1)[rings.steps]
    assert [set(lefts[a:b].tolist()) for a, b in zip(rings.first_step, rings.first_step[1:], strict=False)] == [
        {2},
        {0},
    ]


def test_a_natural_raster() -> None:
    assert check_natural(400, Cut(97, 131)) > 50
