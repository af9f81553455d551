import numpy as np
import pytest
import shapely
from blocks import WHOLE, Cut, Raster, arcs_of, cuts, equal_area_ground, lines_of, polygons_of, rasters
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import ndimage

from rspipe.pipeline.coverage import Faces, find_faces
from rspipe.pipeline.generalise import generalise
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


def check_areas(faces: Faces, after_px2: NDArray[np.float64], smallest_px2: float) -> None:
    """What the arcs say that faces lost and gained is what shapely measures."""
    ground = equal_area_ground(*faces.labels.shape)
    found = generalise(arcs_of(faces.labels), ground, smallest_px2)
    gained = found.gains(faces.count)
    assert gained.sum() == 0
    pixels = np.bincount(faces.labels[faces.labels >= 0], minlength=faces.count)
    gained_px2 = gained * ground.areas.unit / ground.middle_pixel_m2
    np.testing.assert_allclose(pixels + gained_px2, after_px2, rtol=1e-6, atol=1e-6)


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
