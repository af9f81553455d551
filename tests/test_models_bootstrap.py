"""Intervals where the bootstrap is known in closed form."""

from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from rspipe.models.bootstrap import intervals
from rspipe.models.metrics import Confusion

MATRICES = arrays(np.int64, (3, 3), elements=st.integers(1, 50)).map(Confusion)
ONE, OTHER = Confusion(np.array([[9, 1], [2, 8]])), Confusion(np.array([[3, 7], [4, 6]]))


@given(matrix=MATRICES, count=st.integers(2, 9))
def test_equal_pictures_have_no_width(matrix: Confusion, count: int) -> None:
    for interval, score in zip(intervals([matrix] * count, lambda c: c.iou, resamples=50), matrix.iou, strict=True):
        assert (interval.low, interval.high) == pytest.approx((score, score))


def test_two_pictures_have_three_resamples_and_the_ends_are_the_pictures_alone() -> None:
    # (one, one) and (other, other) come with probability 1/4 each, hence both lie inside of 2.5 % and 97.5 %.
    for number, interval in enumerate(intervals([ONE, OTHER], lambda c: c.iou)):
        ends = sorted([ONE.iou[number], OTHER.iou[number]])
        assert (interval.low, interval.high) == pytest.approx(ends)


def test_three_pictures_agree_with_all_their_resamples() -> None:
    pictures = [Confusion(np.array([[right, 10 - right], [0, 10]])) for right in (1, 5, 9)]
    every = [sum(drawn, Confusion.empty(2)).overall_accuracy for drawn in product(pictures, repeat=3)]
    low, high = np.quantile(every, [0.025, 0.975], method="inverted_cdf")
    (found,) = intervals(pictures, lambda c: np.array([c.overall_accuracy]), resamples=20_000)
    assert (found.low, found.high) == pytest.approx((low, high))


def test_many_pictures_approach_the_normal_interval_of_a_mean() -> None:
    rng = np.random.default_rng(3)
    right = rng.integers(20, 80, 400)
    pictures = [Confusion(np.array([[hits, 100 - hits], [0, 0]])) for hits in right]
    (found,) = intervals(pictures, lambda c: np.array([c.overall_accuracy]))
    mean, error = right.mean() / 100, right.std() / 100 / 20
    assert found.low == pytest.approx(mean - 1.96 * error, abs=0.1 * error)
    assert found.high == pytest.approx(mean + 1.96 * error, abs=0.1 * error)


def test_a_seed_fixes_the_interval() -> None:
    pictures = [Confusion(np.random.default_rng(k).integers(0, 99, (3, 3))) for k in range(7)]
    assert intervals(pictures, lambda c: c.iou, seed=1) == intervals(pictures, lambda c: c.iou, seed=1)
    assert intervals(pictures, lambda c: c.iou, seed=1) != intervals(pictures, lambda c: c.iou, seed=2)


def test_one_picture_tells_nothing_of_others() -> None:
    found = intervals([ONE], lambda c: c.iou)
    assert len(found) == 2
    assert np.isnan([end for interval in found for end in (interval.low, interval.high)]).all()


def test_a_class_that_never_occurs_has_no_interval_and_a_rare_one_has_that_of_its_draws() -> None:
    rare = Confusion(np.array([[5, 0, 0], [0, 4, 0], [0, 0, 0]]))
    common = Confusion(np.array([[5, 0, 0], [0, 0, 0], [0, 0, 0]]))
    found = intervals([rare, common], lambda c: c.iou)
    assert (found[1].low, found[1].high) == (1.0, 1.0)
    assert np.isnan(found[2].low)
