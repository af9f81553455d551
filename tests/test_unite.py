import numpy as np
from blocks import Cut, Raster, cuts, painted, rasters, united_faces
from hypothesis import given
from oracle_coverage import faces_of, labels_of

from rspipe.pipeline.measures import face_pixels


@given(rasters, cuts)
def test_faces_of_blocks_are_those_of_the_raster(classes: Raster, cut: Cut) -> None:
    parts, found, united = united_faces(classes, cut)
    np.testing.assert_array_equal(painted(parts, found, list(united.numbers)), labels_of(classes))
    masks = faces_of(classes)
    assert united.classes.tolist() == [classes[mask][0] for mask in masks]
    assert united.total([face_pixels(faces) for faces in found]).tolist() == [mask.sum() for mask in masks]
