"""Scores against scikit-learn, a loop, and what must hold for every matrix."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn.metrics import accuracy_score, confusion_matrix, f1_score, jaccard_score, precision_score, recall_score

from rspipe.models.errors import DataError
from rspipe.models.metrics import Confusion

MAPS = arrays(np.uint8, (9, 7), elements=st.integers(0, 3))


@given(labels=MAPS, predicted=MAPS)
def test_agrees_with_scikit_learn(labels: np.ndarray, predicted: np.ndarray) -> None:
    found = Confusion.of(labels, predicted, 4)
    truth, guess = labels.ravel(), predicted.ravel()
    assert found.counts.tolist() == confusion_matrix(truth, guess, labels=range(4)).tolist()
    options = {"average": None, "labels": range(4), "zero_division": np.nan}
    np.testing.assert_allclose(found.f1, f1_score(truth, guess, **options))
    np.testing.assert_allclose(found.precision, precision_score(truth, guess, **options))
    np.testing.assert_allclose(found.recall, recall_score(truth, guess, **options))
    known = ~np.isnan(found.iou)
    np.testing.assert_allclose(found.iou[known], jaccard_score(truth, guess, average=None, labels=range(4))[known])
    assert found.overall_accuracy == pytest.approx(accuracy_score(truth, guess))


def test_ignored_labels_count_nowhere() -> None:
    labels = np.array([0, 1, 255, 7, 1], dtype=np.uint8)
    predicted = np.array([0, 1, 1, 0, 255], dtype=np.uint8)
    assert Confusion.of(labels, predicted, 2).counts.tolist() == [[1, 0], [0, 1]]


@given(one=MAPS, other=MAPS, guess=MAPS)
def test_pooling_equals_one_large_picture(one: np.ndarray, other: np.ndarray, guess: np.ndarray) -> None:
    pooled = Confusion.of(one, guess, 4) + Confusion.of(other, guess, 4)
    whole = Confusion.of(np.stack([one, other]), np.stack([guess, guess]), 4)
    assert pooled.counts.tolist() == whole.counts.tolist()


def test_scores_worked_by_hand() -> None:
    # 6 clear pixels, 2 of them called cloud; 4 cloud pixels, 1 of them called clear.
    found = Confusion(np.array([[4, 2], [1, 3]]))
    assert found.iou.tolist() == pytest.approx([4 / 7, 3 / 6])
    assert found.mean_iou == pytest.approx((4 / 7 + 0.5) / 2)
    assert found.overall_accuracy == pytest.approx(0.7)


def test_a_class_without_a_pixel_is_left_out_of_the_mean() -> None:
    found = Confusion(np.array([[3, 1, 0], [0, 4, 0], [0, 0, 0]]))
    assert np.isnan(found.iou[2])
    assert found.mean_iou == pytest.approx((3 / 4 + 4 / 5) / 2)


def test_no_pixel_gives_no_score() -> None:
    empty = Confusion.empty(3)
    assert np.isnan(empty.mean_iou)
    assert np.isnan(empty.overall_accuracy)


@given(labels=MAPS, predicted=MAPS)
def test_merging_classes_equals_renaming_pixels(labels: np.ndarray, predicted: np.ndarray) -> None:
    groups = np.array([0, 1, 1, 0])
    merged = Confusion.of(labels, predicted, 4).merged(groups)
    assert merged.counts.tolist() == Confusion.of(groups[labels], groups[predicted], 2).counts.tolist()


def test_shapes_that_differ_are_refused() -> None:
    with pytest.raises(DataError, match="shape"):
        Confusion.of(np.zeros((2, 3), dtype=np.uint8), np.zeros((3, 2), dtype=np.uint8), 2)
    with pytest.raises(DataError, match="square"):
        Confusion(np.zeros((2, 3), dtype=np.int64))
