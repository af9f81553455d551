"""Counts of distances against sorted numbers."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rspipe.models.distances import EDGES, Distances
from rspipe.models.errors import DataError

lengths = st.lists(st.floats(0.1, 1e4), min_size=1, max_size=200)


@given(lengths, lengths, st.floats(0.01, 1.0))
def test_what_is_within_is_a_sorted_number_and_at_most_a_hundredth_more(
    one: list[float], other: list[float], share: float
) -> None:
    found = (Distances.of(one, scenes=2) + Distances.of(other, scenes=3)).within(share)
    exact = np.quantile(one + other, share, method="inverted_cdf")
    assert exact * (1 - 1e-9) <= found <= exact * 1.01


def test_every_cell_is_counted_once_however_near_or_far() -> None:
    found = Distances.of([0.0, EDGES[0], EDGES[1], EDGES[-1], 1e9, np.inf], scenes=1)
    assert found.counts[[0, 1, -1]].tolist() == [2, 1, 3]
    assert found.counts.sum() == 6


def test_json_and_back() -> None:
    one = Distances.of([0.5, 2.0, 2.0], scenes=4)
    again = Distances.from_json(json.loads(json.dumps(one.as_json(), allow_nan=False)))
    assert again.counts.tolist() == one.counts.tolist()
    assert again.scenes == 4


def test_no_cell_has_no_quantile_and_other_bins_are_refused() -> None:
    with pytest.raises(DataError, match="no distance was measured"):
        Distances.none().within(0.5)
    with pytest.raises(DataError, match=r"1161 bins, found \(3,\)"):
        Distances(np.zeros(3, dtype=np.int64), 1)
