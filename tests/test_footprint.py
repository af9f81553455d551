from pathlib import Path

import numpy as np
import pytest
import rasterio.features
import shapely
from hypothesis import given
from hypothesis import strategies as st
from workingstate import blobs, grid_of, make

from rspipe.pipeline import store
from rspipe.pipeline.footprint import CELLS, cell_px, extent, survey
from rspipe.pipeline.layout import Layout


@given(st.integers(1, 200_000), st.integers(1, 200_000))
def test_cells_are_the_least_power_of_two_that_suffices(height_px: int, width_px: int) -> None:
    side = cell_px(grid_of(height_px, width_px))
    longest = max(height_px, width_px)
    assert side & (side - 1) == 0
    assert side * CELLS >= longest
    assert side == 1 or side // 2 * CELLS < longest


@pytest.mark.parametrize("size", [(50, 80), (1100, 700)])
def test_the_footprint_covers_every_valid_pixel_and_little_else(tmp_path: Path, size: tuple[int, int]) -> None:
    classes = blobs(*size)
    made = make(tmp_path, classes)
    found = survey(
        store.open_array(Layout(tmp_path).vectors("scene-a", "pico") / "sieved.zarr", "classes"), made.job.grid
    )
    mask = classes != 255
    traced = rasterio.features.shapes(mask.astype(np.uint8), mask=mask, transform=made.job.grid.transform)
    valid = shapely.union_all([shapely.geometry.shape(shape) for shape, _ in traced])
    assert shapely.covers(shapely.buffer(found.footprint, 1e-6), valid)
    assert shapely.covers(extent(made.job.grid), found.footprint)
    cell_m = 30 * cell_px(made.job.grid)
    assert shapely.covers(shapely.buffer(valid, 3 * cell_m), found.footprint)
    assert found.pixels == classes.size
    assert found.class_px == tuple(np.bincount(classes[mask]))
    assert found.share(9) == 0
    assert sum(found.share(k) for k in range(4)) == pytest.approx(1)


def test_a_scene_without_gaps_has_its_grid_as_footprint(tmp_path: Path) -> None:
    made = make(tmp_path, np.zeros((33, 44), dtype=np.uint8))
    found = survey(
        store.open_array(Layout(tmp_path).vectors("scene-a", "pico") / "sieved.zarr", "classes"), made.job.grid
    )
    assert found.footprint.equals(shapely.box(300_000, 4_500_000 - 33 * 30, 300_000 + 44 * 30, 4_500_000))
