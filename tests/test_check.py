"""The check of seams: partitions compared on a whole way through ingest and infer, and the two measures of windows."""

import io
import json
from itertools import product
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from tinyrun import CARD, Place, TinyScene, environment, lay_place

from rspipe.pipeline import infer
from rspipe.pipeline.check import check_seams
from rspipe.pipeline.lines import LineRates
from rspipe.pipeline.partition import SceneSeams, partitions
from rspipe.pipeline.progress import Progress
from rspipe.pipeline.workflow import Overrides, load_workflow


def check(place: Place) -> list[SceneSeams]:
    config = load_workflow(place.workflow, Overrides(output=place.out))
    with environment(), Progress(io.StringIO()) as progress:
        return check_seams(config, partitions((1,), (1, 2, 3)), progress, processes=False)


def test_no_pixel_hangs_on_the_partition_and_nothing_is_left_behind(tmp_path: Path) -> None:
    rasters = ["disagreement", "probabilities"]
    (found,) = check(lay_place(tmp_path, TinyScene(height_px=230, width_px=210), infer={"rasters": rasters}))
    assert [difference.changed_px for difference in found.differences] == [0, 0, 0]
    assert found.lines.line_pairs > 0
    assert 0 <= found.shifted_share <= 1
    assert [path.name for path in (tmp_path / "out" / ".rspipe").iterdir()] == ["lock"]
    assert json.loads(json.dumps(found.as_json()))["partitions"][1]["band_rows"] == 2


def test_a_model_that_drifts_from_call_to_call_is_found_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = iter(range(10_000))

    def probabilities(numbers: torch.Tensor, _present: torch.Tensor) -> torch.Tensor:
        answer = torch.full((1, 4, *numbers.shape[-2:]), 0.1)
        answer[:, next(calls) % 3] = 0.7
        return answer

    drifting = SimpleNamespace(card=CARD, probabilities=probabilities)
    monkeypatch.setattr(infer, "_model", lambda *_: drifting)
    (found,) = check(lay_place(tmp_path, TinyScene()))
    assert found.changed_px > 0
    assert found.differences[0].changed_px == 0, "the first partition is compared with itself"


def test_what_a_small_scene_cannot_tell_is_said_in_words() -> None:
    nothing = counted(np.zeros((1, 1), np.uint8), 4, 2)
    seams = SceneSeams(scene_id="a", pixels=1, differences=(), lines=nothing, shifted_share=float("nan"))
    assert [line.rpartition(": ")[2] for line in str(seams).splitlines()[1:]] == [
        "not known, too few classes change",
        "not known, too few classes change",
        "not known, the scene is too small",
    ]


def counted(classes: NDArray[np.uint8], stride_px: int, cell_px: int) -> LineRates:
    """Every pair of neighbours, one by one."""
    found = {f"{where}_{what}": 0 for where in ("line", "cell", "other") for what in ("pairs", "changes")}
    height, width = classes.shape
    for (row, col), (down, across) in product(np.ndindex(height, width), ((1, 0), (0, 1))):
        if row + down >= height or col + across >= width:
            continue
        one, other = classes[row, col], classes[row + down, col + across]
        if 255 in (one, other):
            continue
        at = row + 1 if down else col + 1
        where = "line" if at % stride_px == 0 else "cell" if at % cell_px == 0 else "other"
        found[f"{where}_pairs"] += 1
        found[f"{where}_changes"] += int(one != other)
    return LineRates(**found)


@given(
    classes=arrays(np.uint8, st.tuples(st.integers(1, 9), st.integers(1, 9)), elements=st.sampled_from([0, 1, 255])),
    stride_px=st.integers(1, 5),
    cell_px=st.integers(1, 3),
    cut=st.integers(0, 9),
)
def test_line_rates_equal_counting_pair_by_pair_however_the_map_is_cut(
    classes: NDArray[np.uint8], stride_px: int, cell_px: int, cut: int
) -> None:
    nothing = np.full((1, classes.shape[1]), 255, dtype=np.uint8)
    framed = np.concatenate([nothing, classes])
    upper, lower = framed[: cut + 1], framed[min(cut, len(classes)) :]
    top_px = min(cut, len(classes)) - 1
    parts = LineRates.of(upper, -1, stride_px, cell_px) + LineRates.of(lower, top_px, stride_px, cell_px)
    assert parts == counted(classes, stride_px, cell_px)


def test_stripes_on_the_lines_are_visible_and_noise_is_not() -> None:
    stripes = np.repeat(np.arange(8) % 2, 4).astype(np.uint8)[None].repeat(32, axis=0)
    stripes[5, 5] = 1 - stripes[5, 5]
    assert LineRates.of(stripes, 0, 4, 1).ratio > 10
    noise = np.random.default_rng(0).integers(0, 3, (400, 400)).astype(np.uint8)
    assert LineRates.of(noise, 0, 8, 2).ratio == pytest.approx(1, abs=0.02)
    assert LineRates.of(noise, 0, 8, 2).cell_ratio == pytest.approx(1, abs=0.02)


def test_blocks_of_a_models_cells_are_no_trace_of_windows() -> None:
    cells = np.random.default_rng(0).integers(0, 3, (100, 100)).astype(np.uint8)
    found = LineRates.of(cells.repeat(4, axis=0).repeat(4, axis=1), 0, 32, 4)
    assert found.ratio == pytest.approx(1, abs=0.05)
    assert np.isnan(found.cell_ratio)
