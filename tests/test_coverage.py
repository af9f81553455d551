import numpy as np
import pytest
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from oracle_coverage import edges_between, labels_of, sieve_pixels
from pyproj import CRS

from rspipe.catalogs.scene import Grid
from rspipe.pipeline.coverage import Faces, borders_of, find_faces, renumber, sieve
from rspipe.pipeline.ground import Ground, measure
from rspipe.pipeline.measures import face_areas, face_perimeters, face_pixels, face_quantiles, face_sums

Raster = NDArray[np.uint8]
rasters = st.tuples(st.integers(1, 11), st.integers(1, 11)).flatmap(
    lambda shape: arrays(np.uint8, shape, elements=st.sampled_from([0, 0, 1, 1, 2, 255]))
)


def equal_area_ground(height: int, width: int) -> Ground:
    """Near the origin of an equal-area map, every pixel is as large as every other one within 1e-8."""
    crs = CRS.from_epsg(3035).to_wkt()
    transform = Affine(10, 0, 4321000, 0, -10, 3210000)
    return measure(Grid(crs_wkt=crs, transform=transform, height_px=height, width_px=width))


def sieved(classes: Raster, least_px: dict[int, int]) -> Faces:
    ground = equal_area_ground(*classes.shape)
    faces = find_faces(classes)
    pixels = face_pixels(faces)
    least = np.zeros(256, np.int64)
    least[list(least_px)] = list(least_px.values())
    merged = sieve(faces, pixels, least, borders_of(faces, pixels < least[faces.classes], ground))
    return renumber(faces, merged.numbers, merged.classes)


def raster_of(faces: Faces) -> Raster:
    return np.append(faces.classes, np.uint8(255))[faces.labels]


@given(rasters)
def test_faces_are_those_of_the_oracle(classes: Raster) -> None:
    faces = find_faces(classes)
    np.testing.assert_array_equal(faces.labels, labels_of(classes))
    np.testing.assert_array_equal(raster_of(faces), classes)


@settings(max_examples=200, deadline=None)
@given(rasters, st.integers(0, 30), st.integers(0, 9), st.integers(0, 9))
def test_sieve_is_that_of_the_oracle(classes: Raster, first: int, second: int, third: int) -> None:
    least = {0: first, 1: second, 2: third}
    faces = sieved(classes, least)
    np.testing.assert_array_equal(raster_of(faces), sieve_pixels(classes, least))
    np.testing.assert_array_equal(faces.labels, labels_of(raster_of(faces)))


@given(rasters)
def test_what_stays_small_has_no_neighbour(classes: Raster) -> None:
    faces = sieved(classes, {0: 5, 1: 5, 2: 5})
    for face in np.flatnonzero(face_pixels(faces) < 5):
        assert not edges_between(faces.labels, int(face))
    np.testing.assert_array_equal(faces.labels < 0, classes == 255)


def test_ties_go_to_the_first_face() -> None:
    assert raster_of(sieved(np.array([[0, 1, 2]], np.uint8), {0: 1, 1: 2, 2: 1})).tolist() == [[0, 0, 2]]


def test_equal_neighbours_of_a_sieved_face_unite() -> None:
    classes = np.array([[0, 0, 1, 0, 0]], np.uint8)
    assert sieved(classes, {0: 2, 1: 2}).count == 1


@given(rasters)
def test_areas_add_up_to_the_valid_area_exactly(classes: Raster) -> None:
    ground = equal_area_ground(*classes.shape)
    whole = face_areas(Faces(np.where(classes == 255, -1, 0).astype(np.int32), np.zeros(1, np.uint8)), ground)
    assert face_areas(find_faces(classes), ground).sum() == whole[0]


def test_perimeters_of_a_ring_and_its_core() -> None:
    classes = np.zeros((3, 3), np.uint8)
    classes[1, 1] = 1
    lengths = face_perimeters(find_faces(classes), equal_area_ground(3, 3))
    np.testing.assert_allclose(lengths, [160, 40], rtol=1e-6)


@pytest.mark.parametrize("share", [0.1, 0.5, 1.0])
def test_statistics_under_faces_are_those_of_numpy(share: float) -> None:
    random = np.random.default_rng(5)
    faces = find_faces(random.integers(0, 2, (40, 50)).astype(np.uint8))
    values = random.integers(0, 255, (40, 50)).astype(np.uint8)
    under = [values[faces.labels == face] for face in range(faces.count)]
    np.testing.assert_array_equal(face_sums(faces, values), [np.sum(v, dtype=np.int64) for v in under])
    expected = [np.quantile(v, share, method="inverted_cdf") for v in under]
    np.testing.assert_array_equal(face_quantiles(faces, values, share), expected)
