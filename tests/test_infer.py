"""The engine against the dumb oracle, and against itself under every partition."""

import time
from itertools import pairwise
from pathlib import Path

import inferscene
import numpy as np
import oracle
import pytest
import rioxarray  # noqa: F401 - registers the accessor
import torch
import xarray as xr
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from inferscene import Constant, Moody, Stored, card_of, jobs, keep, random_scene, run
from numpy.typing import NDArray
from torch import Tensor

from rspipe.models.build import build
from rspipe.models.card import ModelCard
from rspipe.models.predictor import Predictor
from rspipe.models.weights import save_weights
from rspipe.pipeline import infer, source, store, swath
from rspipe.pipeline.errors import FingerprintRefusedError, ModelRefusedError, SceneFailedError
from rspipe.pipeline.fingerprint import Fingerprint
from rspipe.pipeline.forward import ProbabilityModel
from rspipe.pipeline.inferjob import BandJob
from rspipe.pipeline.rasters import KINDS, RasterName, arranged
from rspipe.pipeline.stream import DecisionSink

ALL: tuple[RasterName, ...] = arranged(tuple(KINDS))
SIDES = [(64, 0), (64, 32), (96, 32), (128, 32), (128, 64)]
fixtures_are_reused = settings(
    max_examples=6, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def said_by(model: ProbabilityModel) -> oracle.Model:
    def said(numbers: NDArray[np.float32], present: NDArray[np.bool_]) -> NDArray[np.float32]:
        with torch.inference_mode():
            pair = torch.from_numpy(numbers)[None], torch.from_numpy(present)[None]
            return np.asarray(model.probabilities(*pair)[0].numpy())

    return said


def expected(scene: Stored, model: ProbabilityModel, sides: tuple[int, int]) -> oracle.Blended:
    return oracle.blend(scene.physical, scene.present, scene.valid, said_by(model), sides)


@pytest.fixture
def blended(monkeypatch: pytest.MonkeyPatch) -> list[tuple[slice, int, NDArray[np.float32]]]:
    """Listens in on what reaches the decision: (rows, first column, probabilities)."""
    heard: list[tuple[slice, int, NDArray[np.float32]]] = []
    append = DecisionSink.append

    def listen(self: DecisionSink, probabilities: Tensor, valid: Tensor) -> None:
        sink = self.classes
        heard.append((sink._rows, sink._written_px + sink._held_px, probabilities.numpy().copy()))
        append(self, probabilities, valid)

    monkeypatch.setattr(DecisionSink, "append", listen)
    return heard


def plane(heard: list[tuple[slice, int, NDArray[np.float32]]], scene: Stored) -> NDArray[np.float32]:
    """Put together what was heard; every pixel exactly once."""
    height, width = scene.valid.shape
    whole, times = np.zeros((len(heard[0][2]), height, width), dtype=np.float32), np.zeros((height, width), dtype=int)
    for rows, left, block in heard:
        whole[:, rows, left : left + block.shape[2]] = block
        times[rows, left : left + block.shape[2]] += 1
    assert (times == 1).all()
    return whole


@pytest.mark.parametrize("sides", SIDES)
@pytest.mark.parametrize("size", [(1, 1), (65, 64), (193, 130)])
def test_blended_probabilities_equal_the_oracles(
    tmp_path: Path, blended: list[tuple[slice, int, NDArray[np.float32]]], size: tuple[int, int], sides: tuple[int, int]
) -> None:
    scene, model = random_scene(tmp_path, *size, holes=size != (1, 1)), Moody()
    found = run(scene, tmp_path / "out", model, scene.windows(*sides), 2)
    want = expected(scene, model, sides)
    assert np.abs(plane(blended, scene) - want.probabilities)[:, scene.valid].max(initial=0) <= 1e-6
    assert want.weights[scene.valid] == pytest.approx(1.0, abs=1e-12)
    differing = found.classes != want.classes(scene.valid)
    assert not (differing & (want.margin() > 1e-6)).any()
    steps = np.abs(found.confidence.astype(int) - want.confidence(scene.valid))
    assert steps.max() <= 1
    assert (steps == 0).mean() > 0.999
    assert (found.counts["windows"], found.counts["skipped_windows"]) == (want.windows, want.skipped)


class _Slow(Moody):
    """Gives the columns that are read ahead all the time to spoil those in use."""

    def probabilities(self, numbers: Tensor, present: Tensor) -> Tensor:
        time.sleep(0.002)
        return super().probabilities(numbers, present)


@pytest.mark.parametrize("sides", [(64, 32), (96, 32), (64, 0)])
def test_reading_ahead_in_many_steps_spoils_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sides: tuple[int, int]
) -> None:
    monkeypatch.setattr(swath, "READ_PX", 32)
    scene, model = random_scene(tmp_path, 150, 900), _Slow()
    found = run(scene, tmp_path / "out", model, scene.windows(*sides), 2)
    want = expected(scene, Moody(), sides)
    assert not ((found.classes != want.classes(scene.valid)) & (want.margin() > 1e-6)).any()
    assert np.abs(found.confidence.astype(int) - want.confidence(scene.valid)).max() <= 1


@given(height=st.integers(1, 200), width=st.integers(1, 200), sides=st.sampled_from(SIDES), band_rows=st.integers(1, 5))
@fixtures_are_reused
def test_any_size_comes_out_as_the_oracle_says(
    tmp_path_factory: pytest.TempPathFactory, height: int, width: int, sides: tuple[int, int], band_rows: int
) -> None:
    folder = tmp_path_factory.mktemp("any")
    scene, model = random_scene(folder, height, width), Moody()
    found = run(scene, folder / "out", model, scene.windows(*sides), band_rows)
    want = expected(scene, model, sides)
    assert not ((found.classes != want.classes(scene.valid)) & (want.margin() > 1e-6)).any()
    assert ((found.classes == 255) == ~scene.valid).all()
    assert ((found.confidence == 255) == ~scene.valid).all()


@st.composite
def cuts(draw: st.DrawFn) -> tuple[tuple[int, int], tuple[int, int], int]:
    """Heights and widths 1 .. 3 S, every legal overlap of these windows, k = 1 .. 5."""
    window, overlap = draw(st.sampled_from(SIDES))
    size = draw(st.integers(1, 3 * window)), draw(st.integers(1, 3 * window))
    return size, (window, overlap), draw(st.integers(1, 5))


@pytest.mark.slow
@given(cut=cuts())
@settings(fixtures_are_reused, max_examples=60)
def test_any_cut_blends_to_the_oracle_and_decides_each_pixel_once(
    tmp_path_factory: pytest.TempPathFactory,
    blended: list[tuple[slice, int, NDArray[np.float32]]],
    cut: tuple[tuple[int, int], tuple[int, int], int],
) -> None:
    (height, width), sides, band_rows = cut
    folder = tmp_path_factory.mktemp("cut")
    scene, model = random_scene(folder, height, width), Moody()
    assume(scene.valid.any())
    blended.clear()
    run(scene, folder / "out", model, scene.windows(*sides), band_rows)
    want = expected(scene, model, sides)
    assert np.abs(plane(blended, scene) - want.probabilities)[:, scene.valid].max(initial=0) <= 1e-6
    assert want.weights[scene.valid] == pytest.approx(1.0, abs=1e-12)


@pytest.mark.parametrize("sides", [(64, 32), (96, 32), (64, 0)])
def test_same_bytes_for_any_bands_and_any_order(tmp_path: Path, sides: tuple[int, int]) -> None:
    scene, model = random_scene(tmp_path, 270, 101), Moody()
    results = [
        run(scene, tmp_path / str(band_rows), model, scene.windows(*sides), band_rows, backwards=band_rows % 2 == 0)
        for band_rows in range(1, 6)
    ]
    assert len({result.bytes for result in results}) == 1
    windows = [{k: n for k, n in result.counts.items() if k != "seams"} for result in results]
    assert all(one == other for one, other in pairwise(windows))
    assert windows[0]["valid_pixels"] == scene.valid.sum()
    assert windows[0]["filled_cirrus_pixels"] == (scene.valid & ~scene.present[2]).sum()


def test_a_constant_model_comes_out_everywhere_within_four_ulp(
    tmp_path: Path, blended: list[tuple[slice, int, NDArray[np.float32]]]
) -> None:
    said = (0.8, 0.1, 0.1)
    scene = random_scene(tmp_path, 209, 225)
    found = run(scene, tmp_path / "out", Constant(said), scene.windows(64, 32), 2)
    constant = np.array(said, dtype=np.float32)[:, None]
    error = np.abs(plane(blended, scene)[:, scene.valid] - constant) / np.spacing(constant)
    assert error.max() <= 4
    assert (found.classes == np.where(scene.valid, 0, 255)).all()
    assert (found.confidence == np.where(scene.valid, round(254 * 0.8), 255)).all()


@pytest.mark.parametrize("length", [1, 31, 64, 65, 66, 96, 97, 128, 129, 209, 417])
def test_sides_at_which_peers_left_pixels_out(tmp_path: Path, length: int) -> None:
    """Zero weights on the frame, a last window that is never run, a side below half a window (peers.md 3)."""
    scene = random_scene(tmp_path, length, 40, holes=False)
    found = run(scene, tmp_path / "out", Constant((0.25, 0.75)), scene.windows(64, 32), 3)
    assert (found.classes == 1).all()
    assert (found.confidence == round(254 * 0.75)).all()


def test_stride_equal_to_the_window_loses_nothing(tmp_path: Path) -> None:
    scene, model = random_scene(tmp_path, 130, 129, holes=False), Moody()
    found = run(scene, tmp_path / "out", model, scene.windows(64, 0), 1)
    want = expected(scene, model, (64, 0))
    assert (found.classes == want.classes(scene.valid)).all()
    assert found.counts["windows"] == 9


def test_a_lonely_valid_pixel_in_the_corner_of_a_window_has_full_weight(tmp_path: Path) -> None:
    numbers, present = np.full((4, 96, 96), 5000, dtype=np.uint16), np.zeros((4, 96, 96), dtype=np.bool_)
    present[:, 32, 32] = present[:, 63, 63] = True
    scene = keep(tmp_path, numbers, present)
    found = run(scene, tmp_path / "out", Constant((0.1, 0.9)), scene.windows(64, 32), 1)
    assert (found.confidence == np.where(scene.valid, round(254 * 0.9), 255)).all()


def test_the_model_never_sees_a_window_without_a_valid_pixel(tmp_path: Path) -> None:
    numbers, present = np.zeros((4, 200, 200), dtype=np.uint16), np.zeros((4, 200, 200), dtype=np.bool_)
    scene, model = keep(tmp_path, numbers, present), Moody()
    found = run(scene, tmp_path / "out", model, scene.windows(), 2)
    assert model.calls == 0
    assert found.counts["skipped_windows"] == found.counts["windows"] == 36
    assert (found.classes == 255).all()


class _Answers:
    """Returns whatever it is told to."""

    def __init__(self, answer: Tensor) -> None:
        self.answer = answer
        self.card = card_of(3)

    def probabilities(self, numbers: Tensor, present: Tensor) -> Tensor:  # noqa: ARG002 - the contract's arguments
        return self.answer


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (torch.full((1, 3, 64, 64), torch.nan), "no probabilities"),
        (torch.zeros(1, 3, 64, 64), "no probabilities"),
        (torch.full((1, 3, 64, 64), 0.5), "no probabilities"),
        (torch.full((1, 2, 64, 64), 0.5), "card does not describe"),
        (torch.full((1, 3, 64, 64), 1 / 3, dtype=torch.float16), "card does not describe"),
    ],
)
def test_a_window_that_fails_is_an_error_with_its_place(tmp_path: Path, answer: Tensor, message: str) -> None:
    scene = random_scene(tmp_path, 64, 64, holes=False)
    with pytest.raises(SceneFailedError, match=f"scene 'scene-a', infer, window row 0, columns 0..0: .*{message}"):
        run(scene, tmp_path / "out", _Answers(answer), scene.windows())


def test_a_missing_required_band_is_refused_and_a_missing_optional_one_filled(tmp_path: Path) -> None:
    whole = random_scene(tmp_path / "whole", 70, 70, holes=False)
    three = keep(tmp_path / "three", whole.numbers[:3], whole.present[:3], inferscene.NAMES[:3])
    found = run(three, tmp_path / "out", Moody(), three.windows())
    assert found.counts["filled_lwir11_pixels"] == found.counts["pixels"] == 4900
    absent = whole.present.copy()
    absent[3] = False
    same = run(keep(tmp_path / "absent", whole.numbers, absent), tmp_path / "again", Moody(), three.windows())
    assert same.bytes == found.bytes
    one = keep(tmp_path / "one", whole.numbers[:1], whole.present[:1], inferscene.NAMES[:1])
    with pytest.raises(SceneFailedError, match="requires red; the scene has blue"):
        run(one, tmp_path / "none", Moody(), one.windows())


def test_a_band_that_the_scene_lacks_is_present_nowhere(tmp_path: Path) -> None:
    whole = random_scene(tmp_path, 70, 70, holes=False)
    three = keep(tmp_path / "three", whole.numbers[:3], whole.present[:3], inferscene.NAMES[:3])
    opened = source.Source.open(three.path, inferscene.NAMES, inferscene.REQUIRED)
    for stretch in swath.Swath(opened, three.windows(), range(2), torch.device("cpu")).stretches(1):
        present = stretch.window(*stretch.columns).present
        assert present[:3].all()
        assert not present[3].any()


def _pico(folder: Path) -> Path:
    """A pico D2LS with seeded weights, card and all."""
    model = build(card_of().spec, seed=3)
    digest = save_weights(model, folder / "model.safetensors")
    fields = {name: getattr(card_of(), name) for name in ModelCard.__dataclass_fields__}
    parameters = sum(parameter.numel() for parameter in model.parameters())
    card = ModelCard(**{**fields, "weights_sha256": digest, "parameters": parameters})
    card.write(folder / "card.json")
    return folder / "card.json"


def test_what_lies_under_nodata_changes_no_byte_of_the_real_model(tmp_path: Path) -> None:
    model = Predictor.load(_pico(tmp_path))
    base = random_scene(tmp_path / "base", 100, 110)
    results = set()
    for index, under in enumerate((0.0, -9999.0, np.nan, 1e20)):
        numbers = np.where(base.present, base.numbers, under).astype(np.float32)
        scene = keep(tmp_path / str(index), numbers, base.present)
        results.add(run(scene, tmp_path / f"out{index}", model, scene.windows(), 2).bytes)
    assert len(results) == 1


def test_a_task_runs_by_its_job_alone(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    _pico(tmp_path / "out")
    scene = random_scene(tmp_path, 100, 64)
    bands, seams = jobs(scene, tmp_path / "out", scene.windows(), 1)
    bands = [BandJob.model_validate_json(job.model_dump_json()) for job in bands]
    receipts = [infer.run_band(job) for job in bands] + [infer.run_seam(job) for job in seams]
    assert all(path.is_file() for receipt in receipts for path in receipt.outputs)
    written = [path for receipt in receipts for path in receipt.outputs if path.name != "zarr.json"]
    shards = [path for path in written if {"classes", "confidence", "sums"} & set(path.parts)]
    assert len(set(shards)) == len(shards) == 2 * 4 + 2 * len(seams)  # four rows of either array, two strips per seam
    with_model = run(scene, tmp_path / "again", Predictor.load(tmp_path / "out" / "card.json"), scene.windows(), 3)
    assert inferscene.gather(bands[0].inferred, receipts).bytes == with_model.bytes


def test_another_fingerprint_and_a_missing_card_are_refused(tmp_path: Path) -> None:
    scene = random_scene(tmp_path, 64, 64)
    job = jobs(scene, tmp_path / "out", scene.windows(), 1)[0][0]
    other = job.fingerprint.model_copy(update={"instruction_set": "ANOTHER"})
    with pytest.raises(FingerprintRefusedError, match=r"instruction_set: .*, planned ANOTHER"):
        infer.run_band(job.model_copy(update={"fingerprint": other}))
    with pytest.raises(ModelRefusedError, match=r"card\.json"):
        infer.run_band(job)
    assert Fingerprint.model_validate_json(job.fingerprint.model_dump_json()) == job.fingerprint


@pytest.mark.parametrize("batch", [2, 5])
def test_short_batches_are_padded_and_change_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, batch: int
) -> None:
    monkeypatch.setattr(swath, "READ_PX", 32)
    scene, model = random_scene(tmp_path, 100, 200), Moody()
    bands, seams = jobs(scene, tmp_path / "out", scene.windows(), 2)
    wide = bands[0].fingerprint.model_copy(update={"batch": batch})
    for job in bands:
        infer.infer_band(job.model_copy(update={"fingerprint": wide}), model)
    for seam in seams:
        infer.run_seam(seam)
    assert model.calls % batch == 0
    alone = run(scene, tmp_path / "alone", Moody(), scene.windows(), 2)
    assert inferscene.gather(bands[0].inferred, []).bytes == alone.bytes


@pytest.mark.parametrize("first_rows_px", [64, 512])
def test_each_pixel_of_a_band_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, first_rows_px: int) -> None:
    scene = random_scene(tmp_path, 200, 333, holes=False)
    opened = source.Source.open(scene.path, inferscene.NAMES, inferscene.REQUIRED)
    monkeypatch.setattr(swath, "READ_PX", 64)
    monkeypatch.setattr(swath, "FIRST_ROWS_PX", first_rows_px)
    reads: list[tuple[slice, slice]] = []
    getitem = type(opened.validity).__getitem__

    def listen(self: object, key: tuple[slice, slice]) -> object:
        reads.append(key)
        return getitem(self, key)  # type: ignore[arg-type]

    monkeypatch.setattr(type(opened.validity), "__getitem__", listen)
    rows, grid = range(1, 4), scene.windows()
    stretches = list(swath.Swath(opened, grid, rows, torch.device("cpu")).stretches(2))
    columns = [(0, 1), (2, 3), (4, 5), (6, 7), (8, 9)]
    assert [(one.columns, one.row) for one in stretches] == [(pair, row) for pair in columns for row in rows]
    times = np.zeros((200, 333), dtype=int)
    for of_rows, of_columns in reads:
        times[of_rows, of_columns] += 1
    assert (times[32:160] == 1 + len(opened.bands)).all()
    assert (np.delete(times, slice(32, 160), axis=0) == 0).all()
    assert all(of_columns.start % 32 == 0 for _, of_columns in reads)
    first = [of_rows.stop for of_rows, of_columns in reads if of_columns.start == 0]
    assert sorted(set(first)) == ([64, 128, 160] if first_rows_px == 64 else [160])


def test_xarray_reads_classes_and_confidence_with_their_crs(tmp_path: Path) -> None:
    scene = random_scene(tmp_path, 70, 80)
    found = run(scene, tmp_path / "out", Constant((0.2, 0.8)), scene.windows())
    opened = xr.open_zarr(tmp_path / "out" / "inferred.zarr")
    assert opened.rio.crs.to_epsg() == 32618
    assert np.isnan(opened["classes"].values[~scene.valid]).all()
    assert opened["confidence"].values[scene.valid] == pytest.approx(0.8, abs=1 / 254)
    assert store.open_array(tmp_path / "out" / "inferred.zarr", "classes").dtype == np.uint8
    assert set(np.unique(found.classes)) == {1, 255}
