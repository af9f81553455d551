"""Boundary F1 against a loop over all pairs of pixels."""

from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from rspipe.models.boundary import BoundaryMatch
from rspipe.models.errors import DataError

MAPS = arrays(np.uint8, (8, 7), elements=st.sampled_from([0, 1, 2, 2, 255]))
GUESSES = arrays(np.uint8, (8, 7), elements=st.integers(0, 2))


def outline(ids: np.ndarray, number: int) -> list[tuple[int, int]]:
    height, width = ids.shape
    found = []
    for r, c in product(range(height), range(width)):
        around = [(r + 1, c), (r - 1, c), (r, c + 1), (r, c - 1)]
        others = {ids[p, q] for p, q in around if 0 <= p < height and 0 <= q < width} - {number, 255}
        if ids[r, c] == number and others:
            found.append((r, c))
    return found


def matched(these: list[tuple[int, int]], those: list[tuple[int, int]], tolerance: float) -> int:
    return sum(any(np.hypot(r - p, c - q) <= tolerance for p, q in those) for r, c in these)


@given(labels=MAPS, predicted=GUESSES, tolerance=st.sampled_from([0, 1, 1.5, 2, 3.7, 9]))
def test_agrees_with_a_loop_over_all_pairs(labels: np.ndarray, predicted: np.ndarray, tolerance: float) -> None:
    found = BoundaryMatch.of(labels, predicted, 3, tolerance)
    hidden = np.where(labels == 255, 255, predicted)
    for number in range(3):
        drawn, wanted = outline(hidden, number), outline(labels, number)
        hits, caught = matched(drawn, wanted, tolerance), matched(wanted, drawn, tolerance)
        assert found.counts[:, number].tolist() == [hits, len(drawn), caught, len(wanted)]
        if not drawn and not wanted:
            assert np.isnan(found.f1[number])
        elif not hits:
            assert found.f1[number] == 0
        else:
            precision, recall = hits / len(drawn), caught / len(wanted)
            assert found.f1[number] == pytest.approx(2 * precision * recall / (precision + recall))


@given(labels=MAPS)
def test_a_perfect_map_scores_one(labels: np.ndarray) -> None:
    scores = BoundaryMatch.of(labels, labels, 3).f1
    assert set(scores[~np.isnan(scores)].tolist()) <= {1.0}


def test_an_edge_that_is_off_by_the_tolerance_counts_and_by_more_does_not() -> None:
    labels = np.zeros((20, 30), dtype=np.uint8)
    labels[:, 15:] = 1
    for shift, expected in ((2, 1.0), (3, 0.0)):
        predicted = np.roll(labels, shift, axis=1)
        predicted[:, :shift] = 0
        assert BoundaryMatch.of(labels, predicted, 2, 2).f1.tolist() == [expected, expected]


def test_a_flat_map_has_no_boundary() -> None:
    flat = np.zeros((9, 9), dtype=np.uint8)
    assert np.isnan(BoundaryMatch.of(flat, flat, 2).mean_f1)
    assert np.isnan(BoundaryMatch.empty(2).mean_f1)


def test_a_group_label_hides_like_an_ignored_one() -> None:
    rng = np.random.default_rng(0)
    labels, predicted = (rng.integers(0, 3, (12, 12)).astype(np.uint8) for _ in range(2))
    grouped, ignored = labels.copy(), labels.copy()
    grouped[3:6], ignored[3:6] = 4, 255
    expected = BoundaryMatch.of(ignored, predicted, 3).counts
    assert BoundaryMatch.of(grouped, predicted, 3).counts.tolist() == expected.tolist()


@given(one=MAPS, other=MAPS, guess=GUESSES)
def test_pictures_add_up(one: np.ndarray, other: np.ndarray, guess: np.ndarray) -> None:
    parts = [BoundaryMatch.of(labels, guess, 3) for labels in (one, other)]
    gap = np.full((20, 7), 255, dtype=np.uint8)
    whole = BoundaryMatch.of(np.concatenate([one, gap, other]), np.concatenate([guess, gap, guess]), 3)
    assert (parts[0] + parts[1]).counts.tolist() == whole.counts.tolist()


def test_shapes_that_differ_are_refused() -> None:
    with pytest.raises(DataError, match="shape"):
        BoundaryMatch.of(np.zeros((2, 3), np.uint8), np.zeros((3, 2), np.uint8), 2)
