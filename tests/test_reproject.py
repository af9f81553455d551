import numpy as np
import pytest
import shapely
from hypothesis import example, given
from hypothesis import strategies as st
from pyproj import CRS, Geod, Transformer
from workingstate import UTM18, blobs, grid_of, polygons

from rspipe.pipeline.errors import ConfigError
from rspipe.pipeline.reproject import Reprojection, densify, longest_edge

WGS84 = str(CRS.from_epsg(4326).to_wkt())
UTM1 = str(CRS.from_epsg(32601).to_wkt())
corners = st.tuples(st.floats(-1e6, 1e6), st.floats(-1e6, 1e6))


def array(*shapes: shapely.Geometry) -> np.ndarray[tuple[int], np.dtype[np.object_]]:
    return np.array(shapes, dtype=np.object_)


def test_the_same_crs_changes_nothing() -> None:
    shapes = array(shapely.box(0, 0, 1e6, 1))
    assert Reprojection(UTM18, UTM18, 10.0).apply(shapes) is shapes


def test_a_long_edge_is_bounded_by_its_sag_on_the_sphere() -> None:
    assert longest_edge(UTM18, 30.0) == pytest.approx((8 * 6_371_008.8 * 0.3) ** 0.5)
    assert longest_edge(WGS84, 30 / 111_195) * 111_195 == pytest.approx(longest_edge(UTM18, 30.0), rel=1e-3)


@given(corners, corners, st.floats(1e3, 1e6))
@example((300_000.1, 4_500.3), (345_678.7, 98_765.9), 1234.5)
def test_both_sides_of_an_edge_get_the_same_points(
    first: tuple[float, float], second: tuple[float, float], longest: float
) -> None:
    there, back = densify(
        array(shapely.Polygon([first, second, (2e6, 2e6)]), shapely.Polygon([second, first, (-2e6, 2e6)])), longest
    )
    shared = shapely.LineString([first, second])
    near = [{tuple(point) for point in shapely.get_coordinates(shape)} for shape in (there, back)]
    pieces = max(1, int(np.ceil(shared.length / longest)))
    assert len(near[0] & near[1]) >= (pieces + 1 if shared.length else 1)


def test_densified_edges_are_short_and_lie_on_the_old_ones() -> None:
    hole = shapely.box(2, 2, 7, 3).exterior.coords[:]
    shapes = array(shapely.Polygon(shapely.box(0, 0, 10, 4).exterior.coords[:], [hole]), shapely.box(20, 0, 21, 1))
    dense = densify(shapes, 0.6)
    assert shapely.equals(dense, shapes).all()
    for ring in shapely.get_rings(dense):
        points = shapely.get_coordinates(ring)
        assert np.hypot(*np.diff(points, axis=0).T).max() <= 0.6
        assert (points[0] == points[-1]).all()
    assert densify(array(shapely.Polygon()), 1.0)[0].is_empty


def test_neighbours_still_touch_and_keep_their_area_in_another_crs() -> None:
    grid = grid_of(90, 130)
    frame = polygons(blobs(90, 130), grid, "a")
    moved = Reprojection(UTM18, WGS84, longest_edge(UTM18, 30.0)).apply(frame.geometry.to_numpy())
    assert shapely.is_valid(moved).all()
    overlap = sum(part.area for part in moved) - shapely.union_all(moved).area
    assert overlap == pytest.approx(0, abs=1e-6 * sum(part.area for part in moved))
    back = Transformer.from_crs(WGS84, UTM18, always_xy=True)
    returned = shapely.transform(moved, lambda points: np.column_stack(back.transform(*points.T)))
    assert [shape.area for shape in returned] == pytest.approx(frame.geometry.area.tolist(), rel=1e-6)


def test_a_polygon_across_the_dateline_is_split_there() -> None:
    """A box of 100 km x 20 km in UTM zone 1; its west edge lies beyond 180 degrees."""
    box = shapely.box(110_000, 0, 210_000, 20_000)
    (moved,) = Reprojection(UTM1, WGS84, longest_edge(UTM1, 30.0)).apply(array(box))
    parts = shapely.get_parts(moved)
    assert len(parts) == 2
    assert max(part.bounds[2] - part.bounds[0] for part in parts) < 1
    area_m2 = sum(abs(Geod(ellps="WGS84").geometry_area_perimeter(part)[0]) for part in parts)
    scale = 0.9996 * (1 + (340_000 / 6_378_137) ** 2 / 2)
    assert area_m2 == pytest.approx(box.area / scale**2, rel=1e-3)


def test_a_crs_that_cannot_hold_the_scene_is_refused() -> None:
    pole = array(shapely.box(-200, -91, -199, 95))
    with pytest.raises(ConfigError, match=r"output\.crs.*cannot hold"):
        Reprojection(WGS84, str(CRS.from_epsg(3857).to_wkt()), 1.0).apply(pole)
