import numpy as np
import pytest
import shapely
from blocks import WHOLE, Cut, Raster, arcs_of, cuts, equal_area_ground, lines_of, polygons_of, rasters
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import ndimage

from rspipe.pipeline.coverage import Faces, find_faces
from rspipe.pipeline.generalise import Generalised, generalise, smooth
from rspipe.pipeline.stitch import Arcs

tolerances = st.sampled_from([0.6, 2.0, 10.0, 1000.0])


def natural(height: int, width: int, seed: int, smoothness_px: float = 2) -> Raster:
    """Classes of smoothed noise, as the land has them."""
    noise = ndimage.gaussian_filter(np.random.default_rng(seed).standard_normal((height, width)), smoothness_px)
    classes: Raster = np.digitize(noise, np.quantile(noise, (0.3, 0.6, 0.8))).astype(np.uint8)
    return classes


def neighbours(polygons: NDArray[np.object_]) -> set[tuple[int, int]]:
    """Pairs of polygons that share more than points."""
    one, other = shapely.STRtree(polygons).query(polygons, predicate="touches")
    shared = shapely.length(shapely.intersection(polygons[one], polygons[other])) > 1e-9
    return set(zip(one[shared].tolist(), other[shared].tolist(), strict=True))


def generalised(labels: NDArray[np.int32], smallest_px2: float, cut: Cut = WHOLE) -> Arcs:
    return generalise(arcs_of(labels, cut), equal_area_ground(*labels.shape), smallest_px2).arcs


def smoothed(labels: NDArray[np.int32], smallest_px2: float, cut: Cut = WHOLE) -> Generalised:
    return smooth(generalised(labels, smallest_px2, cut), equal_area_ground(*labels.shape))


def check_areas(faces: Faces, after_px2: NDArray[np.float64], smallest_px2: float) -> None:
    """What the arcs say that faces lost and gained is what shapely measures."""
    ground = equal_area_ground(*faces.labels.shape)
    found = generalise(arcs_of(faces.labels), ground, smallest_px2)
    pixels = np.bincount(faces.labels[faces.labels >= 0], minlength=faces.count)
    check_gains(found, pixels, after_px2)


def check_gains(
    found: Generalised, before_px2: NDArray[np.float64] | NDArray[np.int64], after_px2: NDArray[np.float64]
) -> None:
    ground = equal_area_ground(1, 1)
    gained = found.gains(len(before_px2))
    assert gained.sum() == 0
    gained_px2 = gained * ground.areas.unit / ground.middle_pixel_m2
    np.testing.assert_allclose(before_px2 + gained_px2, after_px2, rtol=1e-6, atol=1e-6)


def check(classes: Raster, smallest_px2: float) -> tuple[NDArray[np.object_], NDArray[np.object_]]:
    faces = find_faces(classes)
    before = polygons_of(arcs_of(faces.labels), faces.count)
    after = polygons_of(generalised(faces.labels, smallest_px2), faces.count)
    assert shapely.is_valid(after).all()
    assert (shapely.area(after) > 0).all()
    assert shapely.coverage_is_valid(after)
    assert (shapely.get_num_interior_rings(after) == shapely.get_num_interior_rings(before)).all()
    assert neighbours(after) == neighbours(before)
    check_areas(faces, shapely.area(after), smallest_px2)
    assert shapely.area(after).sum() == (classes != 255).sum()
    return before, after


@settings(max_examples=50)
@given(rasters, tolerances)
def test_the_coverage_stays_valid_with_the_same_neighbours_and_holes(classes: Raster, smallest_px2: float) -> None:
    check(classes, smallest_px2)


@pytest.mark.parametrize("seed", range(6))
def test_natural_coverages_lose_most_corners(seed: int) -> None:
    before, after = check(natural(100, 80, seed, 6), 3.0)
    assert shapely.get_num_coordinates(after).sum() < 0.5 * shapely.get_num_coordinates(before).sum()


def test_islands_stay_in_their_faces() -> None:
    classes = natural(80, 80, 9)
    rows, columns = np.indices(classes.shape)
    classes[(rows % 9 == 4) & (columns % 9 == 4)] = 7
    faces = find_faces(classes)
    _, after = check(classes, 1000.0)
    islands = 0
    for island in np.flatnonzero(faces.classes == 7):
        row, column = np.argwhere(faces.labels == island)[0]
        if 0 < row < 79 and 0 < column < 79:
            around = faces.labels[[row - 1, row, row, row + 1], [column, column - 1, column + 1, column]]
            if len(set(around.tolist())) == 1:
                islands += 1
                assert shapely.contains(shapely.Polygon(after[around[0]].exterior), after[island])
    assert islands > 20


@given(rasters, cuts, tolerances)
def test_blocks_change_nothing(classes: Raster, cut: Cut, smallest_px2: float) -> None:
    labels = find_faces(classes).labels
    whole = generalised(labels, smallest_px2)
    assert lines_of(generalised(labels, smallest_px2, cut)) == lines_of(whole)


def test_corners_go_by_the_area_of_their_triangles() -> None:
    classes = np.array([[0, 0, 0, 0, 0, 0], [1, 1, 0, 0, 0, 0], [1, 1, 1, 1, 1, 1]], np.uint8)
    faces = find_faces(classes)
    # The border runs (1,0) (1,2) (2,2) (2,6): the corners' triangles measure 1 and 2 square pixels.
    arcs = generalised(faces.labels, 1.5)
    between = int(np.flatnonzero((np.sort(arcs.sides, axis=1) == [0, 1]).all(axis=1))[0])
    line = arcs.points[arcs.starts[between] : arcs.starts[between] + arcs.sizes[between]]
    assert line.tolist() == [[1, 0], [2, 2], [2, 6]]


def check_curves(classes: Raster, smallest_px2: float) -> tuple[NDArray[np.object_], NDArray[np.object_]]:
    faces = find_faces(classes)
    before = polygons_of(generalised(faces.labels, smallest_px2), faces.count)
    found = smoothed(faces.labels, smallest_px2)
    after = shapely.transform(polygons_of(found.arcs, faces.count), lambda points: points / found.arcs.parts)
    assert shapely.is_valid(after).all()
    assert shapely.coverage_is_valid(after)
    assert (shapely.get_num_interior_rings(after) == shapely.get_num_interior_rings(before)).all()
    assert neighbours(after) == neighbours(before)
    check_gains(found, shapely.area(before), shapely.area(after))
    assert shapely.area(after).sum() == (classes != 255).sum()
    return before, after


@settings(max_examples=50)
@given(rasters, st.sampled_from([0.4, 0.6, 2.0, 1000.0]))
def test_curves_keep_the_coverage_valid_with_the_same_neighbours_and_holes(classes: Raster, limit_px2: float) -> None:
    check_curves(classes, limit_px2)


@pytest.mark.parametrize("smallest_px2", [0.4, 4.0])
def test_natural_coverages_become_smooth(smallest_px2: float) -> None:
    before, after = check_curves(natural(100, 80, 3, 6), smallest_px2)
    assert gentle_share(before) < 0.6
    assert gentle_share(after) > 0.9


def gentle_share(polygons: NDArray[np.object_]) -> float:
    """The share of turns that are below 45 degrees."""
    turns = []
    for ring in shapely.get_rings(polygons):
        steps = np.diff(shapely.get_coordinates(ring), axis=0)
        angles = np.arctan2(*steps.T)
        turns.append(np.abs((np.diff(angles) + np.pi) % (2 * np.pi) - np.pi))
    return float((np.concatenate(turns) < np.pi / 4 - 1e-9).mean())


def test_a_curve_is_the_quadratic_between_the_middles_of_two_edges() -> None:
    classes = np.zeros((16, 16), np.uint8)
    classes[4:12, 4:12] = 1
    _, after = check_curves(classes, 0.4)
    points = {tuple(point) for point in shapely.get_coordinates(after[1])}
    middle, corner, next_middle = np.array([[8.0, -4.0], [4.0, -4.0], [4.0, -8.0]])
    wanted = {
        tuple((1 - t) ** 2 * middle + 2 * t * (1 - t) * corner + t**2 * next_middle) for t in (0, 0.25, 0.5, 0.75, 1)
    }
    assert wanted <= points
    assert len(points) == 16


def test_a_corner_with_another_one_in_its_triangle_stays() -> None:
    classes = np.zeros((16, 16), np.uint8)
    classes[4:12, 4:12] = 1
    classes[5, 5] = 2
    _, after = check_curves(classes, 0.4)
    assert (4.0, -4.0) in {tuple(point) for point in shapely.get_coordinates(after[1])}


@given(rasters, cuts)
def test_blocks_change_no_curve(classes: Raster, cut: Cut) -> None:
    labels = find_faces(classes).labels
    assert lines_of(smoothed(labels, 0.6, cut).arcs) == lines_of(smoothed(labels, 0.6).arcs)
