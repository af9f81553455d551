"""The paired bootstrap against all draws that there are, counted by hand and by an enumeration of fractions."""

from fractions import Fraction
from itertools import product

import numpy as np
import pytest
from bench.paired import drawn, every_draw, mean_ious, paired, united

from rspipe.models.metrics import Confusion


def confusion(hits: int, misses: int, rest: int) -> Confusion:
    """Two classes; class 1 has `hits` right and `misses` called 0, class 0 has `rest` right."""
    return Confusion(np.array([[rest, 0], [misses, hits]]))


FIRST = {"a": confusion(9, 1, 10), "b": confusion(2, 8, 10), "c": confusion(6, 4, 10)}
SECOND = {"a": confusion(5, 5, 10), "b": confusion(5, 5, 10), "c": confusion(5, 5, 10)}


def iou_of_one(pooled: list[Confusion]) -> Fraction:
    hits = sum(int(entry.counts[1, 1]) for entry in pooled)
    misses = sum(int(entry.counts[1, 0]) for entry in pooled)
    return Fraction(hits, hits + misses)


def test_all_27_draws_of_three_patches_are_counted() -> None:
    gains = [
        iou_of_one([FIRST[name] for name in taken]) - iou_of_one([SECOND[name] for name in taken])
        for taken in product("abc", repeat=3)
    ]
    wins, ties = sum(gain > 0 for gain in gains), sum(gain == 0 for gain in gains)
    found = paired(FIRST, SECOND, every_draw(3), united([0, 1]))
    assert found.better == pytest.approx((wins + ties / 2) / 27)
    assert found.difference == pytest.approx(17 / 30 - 0.5)
    assert (found.low, found.high) == pytest.approx(np.quantile([float(gain) for gain in gains], [0.025, 0.975]))


def test_random_draws_come_near_to_all_draws() -> None:
    exact = paired(FIRST, SECOND, every_draw(3), united([0, 1]))
    assert paired(FIRST, SECOND, drawn(3), united([0, 1])).better == pytest.approx(exact.better, abs=0.02)


def test_the_same_seed_draws_the_same() -> None:
    assert paired(FIRST, SECOND, drawn(3, 7)) == paired(FIRST, SECOND, drawn(3, 7))


def test_equal_variants_are_even() -> None:
    found = paired(FIRST, FIRST, drawn(3))
    assert (found.better, found.difference, found.low, found.high) == (0.5, 0.0, 0.0, 0.0)


def test_only_patches_that_both_scored_are_compared() -> None:
    found = paired(FIRST | {"d": confusion(0, 10, 0)}, SECOND, drawn(3), united([0, 1]))
    assert found == paired(FIRST, SECOND, drawn(3), united([0, 1]))
    assert found.patches == 3


def test_mean_iou_is_that_of_the_metrics() -> None:
    rng = np.random.default_rng(0)
    stack = rng.integers(0, 9, (50, 4, 4)) * (rng.random((50, 4, 1)) < 0.6) * (rng.random((50, 1, 4)) < 0.8)
    stack[:, 0, 0] += 1
    assert mean_ious(stack).tolist() == pytest.approx([Confusion(counts).mean_iou for counts in stack])
