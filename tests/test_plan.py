"""What plan decides by itself: into how many bands scenes are cut."""

from dataclasses import replace
from pathlib import Path

import pytest
from tinyrun import TinyScene, lay_place

from rspipe.pipeline.plan import RunPlan, as_begun, plan_run
from rspipe.pipeline.workflow import Overrides, load_workflow


def planned(root: Path, *settings: str) -> RunPlan:
    """Plan a run on a scene of 7 window rows."""
    place = lay_place(root, TinyScene(height_px=230, width_px=210))
    return plan_run(load_workflow(place.workflow, Overrides(settings=settings, output=place.out)))


def test_bands_grow_to_save_time_where_memory_is_not_limited(tmp_path: Path) -> None:
    """7 window rows: as one band they cost 7.3, as 4 and 3 7.6 rows."""
    assert planned(tmp_path / "free", "compute.workers=1").band_rows == 7
    assert planned(tmp_path / "limited", "compute.workers=1", "compute.memory_per_worker=2 GiB").band_rows <= 4


@pytest.mark.parametrize(
    ("left", "settings", "rows"),
    [
        ("3\n", (), 3),
        ("3\n", ("infer.band_rows=2",), 2),
        ("three", (), 7),
        (None, (), 7),
    ],
)
def test_a_run_goes_on_with_the_bands_that_another_began(
    tmp_path: Path, left: str | None, settings: tuple[str, ...], rows: int
) -> None:
    plan = planned(tmp_path, "compute.workers=1", *settings)
    if left is not None:
        plan.layout.work.mkdir(parents=True)
        plan.layout.band_rows.write_text(left)
    assert as_begun(plan) == replace(plan, band_rows=rows)
