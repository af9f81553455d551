"""How window rows are shared out among workers, against counting by hand and a dumb walk."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rspipe.pipeline.grid import WindowGrid
from rspipe.pipeline.sharing import BAND_COST_ROWS, MOST_BAND_ROWS, TOLERANCE, band_rows


def grid(height_px: int, width_px: int = 64) -> WindowGrid:
    """Windows of 64 pixels without overlap: height_px / 64 window rows."""
    return WindowGrid(height_px=height_px, width_px=width_px, window_px=64, overlap_px=0)


def of_rows(count: int) -> WindowGrid:
    return grid(64 * count)


def pieces(rows: int, at_most: int) -> list[int]:
    return [at_most] * (rows // at_most) + ([rows % at_most] if rows % at_most else [])


def last_end(scenes: list[tuple[int, int]], workers: int, at_most: int) -> float:
    """Walk through the bands of scenes of (window rows, windows per row): whoever has done least takes the next."""
    done = [0.0] * workers
    for rows, across in scenes:
        for piece in pieces(rows, at_most):
            idle = min(range(workers), key=lambda worker: done[worker])
            done[idle] += across * (piece + BAND_COST_ROWS)
    return max(done)


@given(
    scenes=st.lists(st.tuples(st.integers(1, 60), st.integers(1, 9)), min_size=1, max_size=4), workers=st.integers(1, 9)
)
def test_no_other_number_of_rows_ends_much_earlier(scenes: list[tuple[int, int]], workers: int) -> None:
    found = band_rows([grid(64 * rows, 64 * across) for rows, across in scenes], workers)
    ends = {rows: last_end(scenes, workers, rows) for rows in range(1, MOST_BAND_ROWS + 1)}
    good = [rows for rows, end in ends.items() if end <= TOLERANCE * min(ends.values()) + 1e-9]
    assert found == min(good)


@pytest.mark.parametrize(
    ("rows", "workers", "wanted"),
    [
        (22, 2, 11),  # 11 + 11; in fours it would be 12 + 10
        (21, 2, 11),
        (8, 4, 2),
        (1, 8, 1),
        (3, 2, 2),
    ],
)
def test_two_bands_of_eleven_come_out_even(rows: int, workers: int, wanted: int) -> None:
    assert band_rows([of_rows(rows)], workers) == wanted


def test_one_worker_takes_few_rows_at_a_time_all_the_same() -> None:
    """60 rows in bands of 12 cost as much as 61.5 rows, in bands of 7 as 62.7, in bands of 6 as 63."""
    assert band_rows([of_rows(60)], 1) == 7


def test_many_scenes_are_balanced_as_one() -> None:
    assert band_rows([of_rows(21)] * 50, 2) < band_rows([of_rows(21)], 2)


def test_no_more_than_asked_for() -> None:
    assert band_rows([of_rows(22)], 2, most=4) == 4


def test_no_scene_has_some_number_all_the_same() -> None:
    assert band_rows([], 2) == 1
