"""What is known of model and machine is remembered, believed of the same ones only, and spares a run torch."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from tinyrun import CARD, Place, TinyScene, lay_place

from rspipe.models import toolchain
from rspipe.pipeline import gpus
from rspipe.pipeline.checkup import CheckUp, PlannedModel, check_up
from rspipe.pipeline.config import ComputeSettings
from rspipe.pipeline.errors import FingerprintRefusedError, ModelRefusedError
from rspipe.pipeline.layout import Layout

CPU = ComputeSettings(device="cpu")
MARK = 1
"""Bytes that no process has: they tell a remembered check-up from a new one."""
LOADED = """
import sys
from rspipe.pipeline.cli import app
try:
    app(sys.argv[1:])
finally:
    print("LOADED", *sorted({"torch", "timm", "dask", "distributed"} & set(sys.modules)))
"""


def model_at(root: Path) -> PlannedModel:
    lay_place(root, TinyScene())
    return PlannedModel.find(str(root / f"{CARD.model_id}.json"))


def process_bytes(path: Path) -> int:
    found = CheckUp.kept(path)
    return -1 if found is None else found.process_bytes


def marked(root: Path) -> tuple[PlannedModel, Path]:
    """Return a model, and a file that remembers a marked check-up of it."""
    model, path = model_at(root), root / "checkup.json"
    check_up(model, CPU, None).model_copy(update={"process_bytes": MARK}).keep(path)
    return model, path


def test_the_same_model_on_the_same_machine_is_not_looked_at_again(tmp_path: Path) -> None:
    model, path = marked(tmp_path)
    found = check_up(model, CPU, path)
    assert found == check_up(model, CPU, None).model_copy(update={"process_bytes": MARK})
    written_ns = path.stat().st_mtime_ns
    found.keep(path)
    assert path.stat().st_mtime_ns == written_ns


def test_another_processor_is_looked_at_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cpuinfo = tmp_path / "cpuinfo"
    monkeypatch.setattr(toolchain, "_CPUINFO", cpuinfo)
    lines = "processor : {}\nmodel name : Some CPU\ncpu MHz : {}\nflags : fpu {}\n"
    cpuinfo.write_text(lines.format(0, 2000, "avx2"))
    model, path = marked(tmp_path)
    cpuinfo.write_text(lines.format(1, 3000, "avx2"))
    assert check_up(model, CPU, path).process_bytes == MARK
    cpuinfo.write_text(lines.format(0, 2000, "avx2 avx512f"))
    assert check_up(model, CPU, path).process_bytes > MARK


def test_other_settings_of_the_arithmetic_are_looked_at_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, path = marked(tmp_path)
    two = check_up(model, ComputeSettings(device="cpu", threads=2), path)
    assert two.process_bytes > MARK
    assert two.fingerprint.threads == 2
    monkeypatch.setenv("ATEN_CPU_CAPABILITY", "default")
    assert check_up(model, CPU, path).process_bytes > MARK


def test_another_model_in_the_same_place_is_looked_at_anew(tmp_path: Path) -> None:
    _, path = marked(tmp_path)
    Place(tmp_path).write_model(seed=2)
    other = PlannedModel.find(str(tmp_path / f"{CARD.model_id}.json"))
    assert check_up(other, CPU, path).process_bytes > MARK


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"subject": 1}', b"\xff\xfe"])
def test_a_damaged_file_is_as_good_as_none(tmp_path: Path, content: bytes) -> None:
    model, path = marked(tmp_path)
    path.write_bytes(content)
    found = check_up(model, CPU, path)
    assert found.process_bytes > MARK
    found.keep(path)
    assert CheckUp.kept(path) == found


def test_weights_that_were_checked_and_then_changed_are_refused(tmp_path: Path) -> None:
    model, path = marked(tmp_path)
    weights = tmp_path / model.card.weights_name
    whole = weights.read_bytes()
    weights.write_bytes(whole[:-1])
    with pytest.raises(ModelRefusedError, match="SHA-256"):
        check_up(model, CPU, path)
    weights.unlink()
    with pytest.raises(ModelRefusedError, match="cannot be read"):
        check_up(model, CPU, path)


def test_a_gpu_that_is_asked_for_is_not_taken_from_memory(tmp_path: Path) -> None:
    model, path = marked(tmp_path)
    with pytest.raises(FingerprintRefusedError, match="sees none"):
        check_up(model, ComputeSettings(device="cuda"), path)


def test_where_no_driver_is_no_gpu_is_wanted(tmp_path: Path) -> None:
    assert not gpus.are_wanted(ComputeSettings(), tmp_path)
    assert gpus.are_wanted(ComputeSettings(device="cuda"), tmp_path)
    assert not gpus.are_wanted(CPU, tmp_path)


def test_a_run_with_nothing_to_do_loads_no_torch_and_writes_nothing(tmp_path: Path) -> None:
    place = lay_place(tmp_path, TinyScene())
    place.run()
    before = {path: path.stat().st_mtime_ns for path in place.out.rglob("*") if path.is_file()}
    command = [sys.executable, "-c", LOADED, "run", str(place.workflow), "--output", str(place.out)]
    again = subprocess.run([*command, "--set", "infer.band_rows=2"], capture_output=True, text=True, check=True)
    assert "nothing to do" in again.stdout + again.stderr
    loaded = next(line for line in again.stdout.splitlines() if line.startswith("LOADED"))
    assert loaded == "LOADED"
    after = {path: path.stat().st_mtime_ns for path in place.out.rglob("*") if path.is_file()}
    changed = {path.name for path in before.keys() | after.keys() if before.get(path) != after.get(path)}
    assert changed <= {"lock", "log"}


def test_a_run_that_forgets_looks_anew(tmp_path: Path) -> None:
    place = lay_place(tmp_path, TinyScene())
    place.run()
    path = Layout(place.out).checkup
    known = CheckUp.kept(path)
    assert known is not None
    replace(TinyScene(), id="tiny-b", seed=3).write(tmp_path / "scenes" / "tiny-b")
    known.model_copy(update={"process_bytes": MARK}).keep(path)
    place.run()
    assert process_bytes(path) == MARK
    place.run(fresh=True)
    assert process_bytes(path) > MARK
