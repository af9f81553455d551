"""Which work is done anew when a setting changes: all that hangs on it, and nothing before it."""

from pathlib import Path

import pytest
from tinyrun import Place, TinyScene, environment, lay_place

from rspipe.pipeline.config import Effect, WorkflowConfig, effects
from rspipe.pipeline.ledger import InputDigests
from rspipe.pipeline.plan import decide_arithmetic, plan_run
from rspipe.pipeline.run import graphs_of, run_id
from rspipe.pipeline.workflow import Overrides, load_workflow

STEPS = ("ingest", "infer", "seam", "faces", "sieve", "arcs", "polygons", "publish")
"""Stages, and those steps of vectorize that there are by default, in order."""
NOTHING = "run"
"""Only what the run itself writes, from the scenes' files."""

FIRST: dict[str, tuple[str, str]] = {
    "name": ("other", NOTHING),
    "scenes.sensor": ("sentinel2", NOTHING),
    "grid.resolution_m": ("60", "ingest"),
    "infer.window_px": ("96", "infer"),
    "infer.overlap_px": ("0", "infer"),
    "infer.rasters": ("[entropy]", "infer"),
    "vectorize.classes": ("[thick cloud]", "polygons"),
    "vectorize.minimum_area_m2": ("0", "faces"),
    "vectorize.class_minimum_area_m2": ("{thick cloud: 9e4}", "faces"),
    "vectorize.fill_below_m2": ("9e4", "faces"),
    "vectorize.tolerance_m": ("60", "polygons"),
    "vectorize.smooth": ("true", "polygons"),
    "vectorize.max_vertices": ("5000", "faces"),
    "output.crs": ("EPSG:4326", NOTHING),
    "output.formats": ("[flatgeobuf]", NOTHING),
    "compute.threads": ("2", "infer"),
    "compute.device": ("cpu", NOTHING),
}
ELSEWHERE = {"scenes.simulated", "vectorize.into", "infer.precision", "infer.engine"}
"""Another scene; goes with the probabilities; both hang on what a look at some windows finds (`test_parity`)."""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    return lay_place(tmp_path_factory.mktemp("keys"), TinyScene())


def keys(place: Place, *settings: str) -> tuple[dict[str, set[str]], str]:
    """Return step -> keys of its tasks, and the run's id."""
    config = load_workflow(place.workflow, Overrides(settings=("infer.band_rows=2", *settings), output=place.out))
    with environment():
        plan, (graph,) = graphs_of(decide_arithmetic(plan_run(config)), InputDigests(Path("/nowhere")))
    found: dict[str, set[str]] = {}
    for task in graph.tasks:
        found.setdefault(task.label.split()[0] if task.stage == "vectorize" else task.stage, set()).add(task.key)
    return found, run_id(plan, {graph.planned.scene.slug: graph.key})


@pytest.mark.parametrize("field", FIRST)
def test_a_changed_setting_does_anew_what_hangs_on_it_and_nothing_before(place: Place, field: str) -> None:
    value, first = FIRST[field]
    before, earlier_id = keys(place)
    after, later_id = keys(place, f"{field}={value}")
    assert tuple(before) == STEPS
    same = [step for step in STEPS if after.get(step) == before[step]]
    assert same == list(STEPS[: len(STEPS) if first == NOTHING else STEPS.index(first)])
    assert later_id != earlier_id


def test_the_table_has_every_setting_that_can_change_a_byte() -> None:
    marked = {path for path, effect in effects(WorkflowConfig) if effect is Effect.BYTES}
    assert set(FIRST) | ELSEWHERE == marked
