"""Machine code: says what the model says, is made once, loaded only from where nobody else writes, and never a must."""

import io
import json
import stat
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import rasterio
import torch
from picomodel import write_pico
from tinyrun import CARD, TinyScene, environment, lay_place, tree

from rspipe.models.errors import InputError
from rspipe.models.export import random_windows
from rspipe.models.machinecode import CodeSpec, CompiledPredictor
from rspipe.models.mlm import Familiar
from rspipe.models.predictor import Predictor
from rspipe.models.toolchain import CompileError, toolchain
from rspipe.pipeline.check import check_seams
from rspipe.pipeline.errors import FingerprintRefusedError
from rspipe.pipeline.fingerprint import Fingerprint
from rspipe.pipeline.partition import Partition
from rspipe.pipeline.plan import decide_arithmetic, plan_run
from rspipe.pipeline.preview import describe
from rspipe.pipeline.progress import Progress
from rspipe.pipeline.workflow import Overrides, load_workflow

SCENE = TinyScene()


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    toolchain.cache_clear()
    yield
    toolchain.cache_clear()


def spec(card: Path, *, judging: bool = False) -> CodeSpec:
    return CodeSpec(card=card, batch=1, window_px=64, threads=1, judging=judging)


def test_without_a_compiler_a_run_says_so_and_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = lay_place(tmp_path, SCENE)
    assert place.run(out=tmp_path / "plain").code == 0
    monkeypatch.setenv("CXX", "no-such-compiler")
    ran = place.run("infer.engine=compiled")
    assert ran.code == 0
    assert (
        "warning: infer.precision: float32, infer.engine: compiled: there is no C++ compiler no-such-compi" in ran.told
    )
    assert "float32 and eager are used" in ran.told
    assert "a minute or two" in ran.told
    (model,) = json.loads((place.out / "manifest.json").read_text())["models"]
    assert (model["engine"], model["agreement"]) == ("eager", None)
    name = f"scenes/{SCENE.id}/classes.tif"
    assert tree(place.out)[name] == tree(tmp_path / "plain")[name]


def test_a_plan_says_that_making_code_may_take_a_while(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place, told = lay_place(tmp_path, SCENE), io.StringIO()
    monkeypatch.setenv("CXX", "no-such-compiler")
    describe(load_workflow(place.workflow, Overrides(settings=("infer.engine=compiled",))), Progress(told))
    assert "a minute or two" in told.getvalue()


def test_on_a_gpu_no_code_is_made_and_that_is_told(tmp_path: Path) -> None:
    place = lay_place(tmp_path, SCENE)
    plan = plan_run(load_workflow(place.workflow, Overrides(settings=("infer.engine=compiled",), output=place.out)))
    on_gpu = plan.fingerprint.model_copy(update={"device": "cuda"})
    decided = decide_arithmetic(replace(plan, fingerprint=on_gpu))
    assert decided.fingerprint == on_gpu
    assert "code is made for CPUs only; float32 and eager are used" in str(decided.parity)


@pytest.mark.slow
def test_a_compiler_that_fails_is_told_with_its_last_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    compiler = tmp_path / "broken-c++"
    compiler.write_text('#!/bin/sh\n[ "$1" = --version ] && echo broken 1.0 && exit 0\necho all is lost >&2; exit 1\n')
    compiler.chmod(0o700)
    monkeypatch.setenv("CXX", str(compiler))
    card = write_pico(tmp_path, CARD)
    with pytest.raises(CompileError, match=r"compiling pico-clouds\.json ended with 1: .*"):
        CompiledPredictor.load(spec(card))
    assert [path.suffix for path in (tmp_path / "cache" / "rspipe" / "code").iterdir()] == [".lock"]


def test_a_cache_that_others_may_write_to_is_refused(tmp_path: Path) -> None:
    card = write_pico(tmp_path, CARD)
    folder = tmp_path / "cache" / "rspipe" / "code"
    folder.mkdir(parents=True)
    folder.chmod(0o777)
    with pytest.raises(CompileError, match=r"others may write there.*chmod 700"):
        CompiledPredictor.load(spec(card))


def test_a_cache_that_cannot_be_made_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with pytest.raises(CompileError, match="set XDG_CACHE_HOME"):
        CompiledPredictor.load(spec(write_pico(tmp_path, CARD)))


def test_a_worker_with_another_compiler_is_refused() -> None:
    planned = Fingerprint.here("cpu", 1).using("float32", "compiled")
    planned.enforce()
    other = planned.model_copy(update={"engine": "compiled: another 1.0"})
    with pytest.raises(FingerprintRefusedError, match=r"engine: compiled: .*, planned compiled: another 1\.0"):
        other.enforce()


def test_code_is_kept_for_what_it_was_made_for(tmp_path: Path) -> None:
    card = write_pico(tmp_path, CARD)
    moved = tmp_path / "moved" / card.name
    moved.parent.mkdir()
    moved.write_bytes(card.read_bytes())
    others: list[dict[str, Any]] = [
        {"batch": 2},
        {"window_px": 96},
        {"threads": 2},
        {"precision": "bfloat16"},
        {"judging": True},
    ]
    keys = {spec(card).model_copy(update=other).key for other in others} | {spec(card).key}
    keys.add(spec(write_pico(tmp_path / "moved", replace(CARD, temperature=2.0))).key)
    assert len(keys) == len(others) + 2
    moved.write_bytes(card.read_bytes())
    assert spec(moved).key == spec(card).key


@pytest.mark.slow
def test_code_says_what_the_model_says(tmp_path: Path) -> None:
    made = Predictor.load(write_pico(tmp_path, CARD))
    with pytest.raises(InputError, match="familiar"):
        made.judged(*random_windows(CARD, 1, 64))
    channels = len(CARD.legend.classes) + 64 // 16  # of the pico model's width
    triangle = tuple((0.5,) * row for row in range(1, channels + 1))
    card = write_pico(tmp_path, replace(CARD, familiar=Familiar(mean=(0.0,) * channels, whiten=triangle)))
    eager, code = Predictor.load(card), CompiledPredictor.load(spec(card, judging=True))
    numbers, present = random_windows(CARD, 1, 64)
    for hidden in (present, torch.ones_like(present)):
        wanted, found = eager.judged(numbers, hidden), code.judged(numbers.where(hidden, torch.nan), hidden)
        assert torch.allclose(found.probabilities, wanted.probabilities, atol=1e-5)
        assert torch.allclose(found.unfamiliar, wanted.unfamiliar, rtol=1e-4, atol=1e-4)
        assert torch.equal(code.probabilities(numbers, hidden), found.probabilities)
    wide, also = (torch.cat([plane, plane], dim=3) for plane in (numbers, present))
    assert torch.equal(code.judged(wide[..., :64], also[..., :64]).probabilities, code.probabilities(numbers, present))
    for strange in (wide, numbers.double(), numbers[:, :2], torch.cat([numbers, numbers])):
        with pytest.raises(InputError, match="as the code was made for"):
            code.probabilities(strange, strange > 0)
    (package,) = (tmp_path / "cache").rglob("*.pt2")
    assert stat.S_IMODE(package.parent.stat().st_mode) == 0o700
    before = package.stat().st_mtime_ns
    CompiledPredictor.load(spec(card, judging=True))
    assert package.stat().st_mtime_ns == before


@pytest.mark.slow
def test_a_compiled_run_gives_the_classes_of_an_eager_one_under_every_partition(tmp_path: Path) -> None:
    place = lay_place(tmp_path, SCENE)
    assert place.run(out=tmp_path / "plain").code == 0
    ran = place.run("infer.engine=compiled")
    assert ran.code == 0
    assert "infer.engine: compiled give " in ran.told
    (model,) = json.loads((place.out / "manifest.json").read_text())["models"]
    assert model["engine"] == "compiled"
    assert model["agreement"] > 0.9995
    eager, compiled = (
        rasterio.open(out / "scenes" / SCENE.id / "classes.tif").read() for out in (tmp_path / "plain", place.out)
    )
    assert (eager == compiled).mean() > 0.9995
    assert "nothing to do" in place.run("infer.engine=compiled").told
    settings = ("infer.engine=compiled",)
    config = load_workflow(place.workflow, Overrides(settings=settings, output=tmp_path / "checked"))
    partitions = [
        Partition(workers=1, band_rows=1, last_first=False),
        Partition(workers=2, band_rows=2, last_first=True),
    ]
    with environment(), Progress(io.StringIO()) as progress:
        (found,) = check_seams(config, partitions, progress)
    assert found.changed_px == 0
    assert len(list((tmp_path / "cache").rglob("*.pt2"))) == 1
