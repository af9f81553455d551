import numpy as np
import pytest
from blocks import WHOLE, Cut, Raster, cuts, equal_area_ground, raster_of, rasters, sieved
from hypothesis import given, settings
from hypothesis import strategies as st
from oracle_coverage import edges_between, filled, labels_of, sieve_pixels

from rspipe.pipeline.coverage import Faces, find_faces
from rspipe.pipeline.measures import (
    border_lengths,
    face_areas,
    face_histograms,
    face_pixels,
    face_quantiles,
    face_sums,
    histogram_quantiles,
    piece_lengths,
)
from rspipe.pipeline.trace import trace


@given(rasters)
def test_faces_are_those_of_the_oracle(classes: Raster) -> None:
    faces = find_faces(classes)
    np.testing.assert_array_equal(faces.labels, labels_of(classes))
    np.testing.assert_array_equal(raster_of(faces), classes)


@settings(max_examples=200, deadline=None)
@given(rasters, cuts, st.tuples(st.integers(0, 30), st.integers(0, 9), st.integers(0, 9)))
def test_sieve_is_that_of_the_oracle(classes: Raster, cut: Cut, least_px: tuple[int, int, int]) -> None:
    least = dict(enumerate(least_px))
    faces = sieved(classes, least, cut)
    np.testing.assert_array_equal(raster_of(faces), sieve_pixels(classes, least))
    np.testing.assert_array_equal(faces.labels, labels_of(raster_of(faces)))


@settings(max_examples=100, deadline=None)
@given(rasters, cuts, st.tuples(st.integers(0, 30), st.integers(0, 9), st.integers(0, 9)), st.integers(0, 10**6))
def test_small_faces_go_into_the_most_probable_neighbour(
    classes: Raster, cut: Cut, least_px: tuple[int, int, int], seed: int
) -> None:
    probabilities = np.random.default_rng(seed).integers(0, 255, (3, *classes.shape)).astype(np.uint8)
    least = dict(enumerate(least_px))
    found = raster_of(sieved(classes, least, cut, 0, probabilities))
    np.testing.assert_array_equal(found, sieve_pixels(classes, least, probabilities))


@settings(max_examples=200, deadline=None)
@given(rasters, cuts, st.integers(0, 5), st.integers(1, 30))
def test_holes_are_filled_as_by_the_oracle(classes: Raster, cut: Cut, least_px: int, below_px: int) -> None:
    least = dict.fromkeys(range(3), least_px)
    faces = sieved(classes, least, cut, below_px)
    np.testing.assert_array_equal(raster_of(faces), filled(sieve_pixels(classes, least), below_px))


def test_rings_in_rings_are_filled_from_the_inside() -> None:
    classes = np.zeros((9, 9), np.uint8)
    for value, edge in ((1, 1), (2, 2), (1, 3), (2, 4)):
        classes[edge : 9 - edge, edge : 9 - edge] = value
    assert (raster_of(sieved(classes, {}, Cut(2, 4), 25)) == filled(classes, 25)).all()
    # From the inside 1, 8, 16 and 24 pixels; what is filled grows what it is filled into.
    assert [sieved(classes, {}, WHOLE, below).count for below in (1, 2, 10, 25, 26, 50)] == [5, 4, 3, 3, 2, 1]


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
    ground, faces = equal_area_ground(3, 3), find_faces(classes)
    pieces = trace(np.pad(faces.labels, 1, constant_values=-1), WHOLE.blocks(3, 3)[0])
    level, upright = (border_lengths(some, pieces.sides, 2) for some in piece_lengths(pieces, ground))
    np.testing.assert_allclose(level * ground.level.unit + upright * ground.upright.unit, [160, 40], rtol=1e-6)


@pytest.mark.parametrize("share", [0.1, 0.5, 1.0])
def test_statistics_under_faces_are_those_of_numpy(share: float) -> None:
    random = np.random.default_rng(5)
    faces = find_faces(random.integers(0, 2, (40, 50)).astype(np.uint8))
    values = random.integers(0, 255, (40, 50)).astype(np.uint8)
    under = [values[faces.labels == face] for face in range(faces.count)]
    np.testing.assert_array_equal(face_sums(faces, values), [np.sum(v, dtype=np.int64) for v in under])
    expected = [np.quantile(v, share, method="inverted_cdf") for v in under]
    np.testing.assert_array_equal(face_quantiles(faces, values, share), expected)
    chosen = np.arange(0, faces.count, 3)
    histograms = face_histograms(faces, values, chosen)
    np.testing.assert_array_equal(histograms, [np.bincount(under[face], minlength=256) for face in chosen])
    np.testing.assert_array_equal(histogram_quantiles(histograms, share), np.array(expected)[chosen])
