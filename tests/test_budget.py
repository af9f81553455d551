"""What a run takes: against arithmetic by hand; and that what cannot fit is refused with its numbers."""

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from tinyrun import CARD, TinyScene, lay_place
from torch.utils.flop_counter import FlopCounterMode

from rspipe.models.build import build
from rspipe.pipeline import budget, probe
from rspipe.pipeline.errors import EnvironmentFailedError
from rspipe.pipeline.plan import RunPlan, plan_run
from rspipe.pipeline.workflow import Overrides, load_workflow

MIB = 2**20


def planned(root: Path, *settings: str) -> RunPlan:
    place = lay_place(root, TinyScene(height_px=230, width_px=210))
    return plan_run(load_workflow(place.workflow, Overrides(settings=settings, output=place.out)))


def test_disk_and_floats_are_what_the_arrays_hold(tmp_path: Path) -> None:
    """230 rows are 7 window rows of 64 px that overlap by 32: with two to a band 3 seams."""
    plan = planned(tmp_path, "infer.band_rows=2")
    pixels, strips = 230 * 210, 3 * 2 * 4 * 32 * 210 * 4
    assert budget.disk_bytes(plan, plan.scenes[0]) == pixels * (3 * 4 + 2 + 1) + strips
    assert budget.floats_bytes(plan) == 4 * 4 * (64 * 64 + 2 * 64 * 32 + 32 * 32 + 4 * 32 * 210)
    read, waiting = 2 * (3 * 32) * (210 + 64) * (3 * 4 + 5), 2 * 3 * 32 * 210 * 2
    assert budget.worker_bytes(plan, 0) - budget.floats_bytes(plan) == read + waiting


def test_rasters_on_request_take_room(tmp_path: Path) -> None:
    plan = planned(tmp_path, "infer.band_rows=7", "infer.rasters=[probabilities, entropy, disagreement]")
    assert budget.disk_bytes(plan, plan.scenes[0]) == 230 * 210 * (3 * 4 + 2 + 1 + 4 + 1 + 1)
    assert budget.floats_bytes(plan) == 4 * 5 * (64 * 64 + 7 * 64 * 32 + 32 * 32 + 4 * 32 * 210)
    read, waiting = 2 * (8 * 32) * (210 + 64) * (3 * 4 + 5), 2 * 8 * 32 * 210 * (2 + 4 + 1 + 1)
    assert budget.worker_bytes(plan, 0) - budget.floats_bytes(plan) == read + waiting


def test_a_probe_tells_time_work_and_memory_of_a_window(tmp_path: Path) -> None:
    found = probe.probe(planned(tmp_path))
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        build(CARD.spec).eval().requires_grad_(requires_grad=False)(
            torch.zeros(1, 3, 64, 64), torch.ones(1, 1, 64, 64, dtype=torch.bool)
        )
    assert found.window_flops == counter.get_total_flops() > 1_000_000
    assert 0 < found.window_s < 60
    assert found.process_bytes > 50 * MIB


def test_a_full_disk_is_refused_with_both_numbers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = planned(tmp_path)
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=100_000))
    with pytest.raises(EnvironmentFailedError, match=r"takes 1 MiB before compression, 0 MiB are free; free space"):
        budget.check_fits(plan, 0)


def test_a_memory_limit_below_the_need_is_refused_with_both_numbers(tmp_path: Path) -> None:
    plan = planned(tmp_path, "compute.memory_per_worker=300 MiB")
    budget.check_fits(plan, 200 * MIB)
    with pytest.raises(EnvironmentFailedError, match=r"some 40\d MiB \(400 MiB with the model.*allowed are 300 MiB"):
        budget.check_fits(plan, 400 * MIB)


def test_more_workers_than_memory_are_refused(tmp_path: Path) -> None:
    plan = planned(tmp_path, "compute.workers=1000")
    with pytest.raises(EnvironmentFailedError, match=r"1000 workers of some \d+ MiB each do not fit into this machine"):
        budget.check_fits(plan, 2000 * MIB)
