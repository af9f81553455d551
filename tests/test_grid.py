"""The window grid against brute force: every pixel is covered, and decided by exactly one task."""

import itertools

import numpy as np
import oracle
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rspipe.pipeline.errors import ConfigError
from rspipe.pipeline.grid import WindowGrid, reflect

SIDES = [(64, 0), (64, 32), (96, 0), (96, 32), (128, 0), (128, 32), (128, 64)]


@st.composite
def grids(draw: st.DrawFn) -> WindowGrid:
    window, overlap = draw(st.sampled_from(SIDES))
    height, width = draw(st.integers(1, 3 * window)), draw(st.integers(1, 3 * window))
    return WindowGrid(height_px=height, width_px=width, window_px=window, overlap_px=overlap)


@given(grids())
def test_windows_begin_where_the_oracle_walks(grid: WindowGrid) -> None:
    for axis in (grid.rows, grid.columns):
        expected = oracle.starts(axis.length_px, grid.window_px, grid.overlap_px)
        assert [axis.inside(k).start for k in range(axis.count)] == expected


@given(grids())
def test_every_pixel_is_covered_by_one_or_two_windows_per_axis_and_finished_once(grid: WindowGrid) -> None:
    for axis in (grid.rows, grid.columns):
        covered, finished = np.zeros(axis.length_px, dtype=int), np.zeros(axis.length_px, dtype=int)
        for window in range(axis.count):
            covered[axis.inside(window)] += 1
            finished[axis.finished(window)] += 1
            assert axis.inside(window).stop <= axis.length_px
        assert covered.min() >= 1
        assert covered.max() <= 2
        assert (finished == 1).all()


@given(grids(), st.integers(1, 5))
def test_every_row_is_decided_by_exactly_one_task_in_whole_shards(grid: WindowGrid, band_rows: int) -> None:
    decided = np.zeros(grid.height_px, dtype=int)
    tasks = [band.finished for band in grid.bands(band_rows)] + [seam.rows for seam in grid.seams(band_rows)]
    shard = grid.shard_px[0]
    for rows in tasks:
        decided[rows] += 1
        assert rows.start % shard == 0
        assert rows.stop % shard == 0 or rows.stop == grid.height_px
        assert rows.start <= rows.stop <= grid.height_px
    assert (decided == 1).all()


@given(grids(), st.integers(1, 5))
def test_bands_share_out_the_window_rows_and_meet_in_the_seams(grid: WindowGrid, band_rows: int) -> None:
    bands, seams = grid.bands(band_rows), grid.seams(band_rows)
    assert list(itertools.chain(*(band.window_rows for band in bands))) == list(range(grid.rows.count))
    assert (bands[0].above, bands[-1].below) == (None, None)
    if not grid.overlap_px:
        assert seams == ()
        return
    assert [seam.index for seam in seams] == list(range(1, len(bands)))
    for seam in seams:
        earlier, later = (bands[index] for index in seam.bands)
        assert earlier.below == later.above == seam.rows
        assert seam.rows.start == seam.index * band_rows * (grid.window_px - grid.overlap_px)
        assert seam.rows.stop - seam.rows.start == grid.overlap_px
        assert seam.rows.stop <= grid.height_px


@given(grids(), st.integers(1, 5))
def test_shards_divide_stride_and_overlap_and_do_not_know_the_bands(grid: WindowGrid, band_rows: int) -> None:
    rows, columns = grid.shard_px
    assert columns == min(4096, -(-grid.width_px // 512) * 512)
    stride = grid.window_px - grid.overlap_px
    assert stride % rows == 0
    assert grid.overlap_px % rows == 0
    assert rows == np.gcd(stride, grid.overlap_px)
    assert len(grid.bands(band_rows)) == -(-grid.rows.count // band_rows)


@given(st.integers(1, 200), st.integers(0, 700))
def test_reflection_walks_back_and_forth(length: int, index: int) -> None:
    assert reflect(np.array([index]), length)[0] == oracle.mirrored(index, length)


@given(grids())
@settings(max_examples=50)
def test_what_a_window_reads_lies_in_its_extent(grid: WindowGrid) -> None:
    for axis in (grid.rows, grid.columns):
        for window in range(axis.count):
            pixels, extent = axis.pixels(window), axis.extent(window)
            begin = axis.inside(window).start
            assert pixels.tolist() == [oracle.mirrored(begin + k, axis.length_px) for k in range(grid.window_px)]
            assert (pixels.min(), pixels.max() + 1) == (extent.start, extent.stop)


@pytest.mark.parametrize(
    ("window", "overlap", "word"),
    [
        (100, 0, "window_px"),
        (0, 0, "window_px"),
        (64, 16, "overlap_px"),
        (64, 64, "overlap_px"),
        (64, -32, "overlap_px"),
    ],
)
def test_illegal_windows_are_refused_by_name(window: int, overlap: int, word: str) -> None:
    with pytest.raises(ConfigError, match=f"infer.{word}: found"):
        WindowGrid(height_px=10, width_px=10, window_px=window, overlap_px=overlap)


def test_no_scene_no_grid_no_band() -> None:
    with pytest.raises(ConfigError, match="at least one pixel"):
        WindowGrid(height_px=0, width_px=10, window_px=64, overlap_px=32)
    grid = WindowGrid(height_px=10, width_px=10, window_px=64, overlap_px=32)
    with pytest.raises(ConfigError, match="no band 1"):
        grid.band(1, 1)
    with pytest.raises(ConfigError, match="band_rows"):
        grid.bands(0)
