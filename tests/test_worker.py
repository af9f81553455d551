"""A worker turns whatever happens to a task into a reported fact."""

import errno
from pathlib import Path

import pytest
import torch

from rspipe.pipeline import ingest, worker
from rspipe.pipeline.errors import ModelRefusedError, SceneFailedError
from rspipe.pipeline.layout import Layout
from rspipe.pipeline.ledger import Ledger
from rspipe.pipeline.task import Receipt, Task
from rspipe.pipeline.worker import Done, Failed, work

TASK = Task(key="a" * 64, stage="ingest", scene="tiny", label="rows 0..10", inputs=(), job=None)


def outcome(monkeypatch: pytest.MonkeyPatch, root: Path, error: BaseException) -> Failed:
    def fail(_job: object) -> Receipt:
        raise error

    monkeypatch.setattr(ingest, "run_ingest", fail)
    found = work(TASK, root, [])
    assert isinstance(found, Failed)
    assert Ledger(root, Layout(root).ledger).state(TASK.key) == ("new", None)
    return found


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (SceneFailedError("scene 'tiny' is broken"), 3, ("scene 'tiny' is broken",)),
        (ModelRefusedError("weights differ"), 5, ("weights differ",)),
        (OSError(errno.ENOSPC, "No space left on device", "/out/x"), 4, ("/out/x", "No space left", "resume")),
        (MemoryError("Unable to allocate 2 GiB"), 4, ("out of memory", "2 GiB", "--workers")),
        (RuntimeError("[enforce fail at alloc_cpu.cpp:124] DefaultCPUAllocator: not enough memory: you tried to"),
         4, ("out of memory", "--workers")),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 4 bytes"), 4, ("--workers",)),
        (torch.cuda.OutOfMemoryError("CUDA out of memory."), 4, ("--workers",)),
        (RuntimeError("shapes differ"), 3, ("RuntimeError: shapes differ", "-v")),
        (ZeroDivisionError("division by zero"), 3, ("ZeroDivisionError", "-v")),
    ],
)  # fmt: skip
def test_every_failure_is_told_with_its_place_and_exit_code(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, error: BaseException, code: int, words: tuple[str, ...]
) -> None:
    found = outcome(monkeypatch, tmp_path, error)
    assert found.exit_code == code
    for word in words:
        assert word in found.reason
    if not isinstance(error, SceneFailedError | ModelRefusedError):
        for word in ("tiny", "ingest", "rows 0..10"):
            assert word in found.reason
    assert type(error).__name__ in found.details


def test_an_interruption_is_not_a_failure_of_the_task(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        outcome(monkeypatch, tmp_path, KeyboardInterrupt())


def test_a_failure_is_handed_on_as_it_is(tmp_path: Path) -> None:
    first = Failed(key="b" * 64, stage="ingest", scene="tiny", reason="why", exit_code=3, details="")
    assert work(TASK, tmp_path, [Done(key="c" * 64, counts={}), first]) is first


def test_what_is_done_is_vouched_for(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def run(_job: object) -> Receipt:
        (tmp_path / "made").write_text("here")
        return Receipt(outputs=(tmp_path / "made",), counts={"pixels": 7})

    monkeypatch.setattr(ingest, "run_ingest", run)
    assert work(TASK, tmp_path, []) == Done(key=TASK.key, counts={"pixels": 7})
    state, record = Ledger(tmp_path, Layout(tmp_path).ledger).state(TASK.key)
    assert state == "done"
    assert record is not None
    assert [vouched.path for vouched in record.objects] == ["made"]


def test_every_stage_can_be_found() -> None:
    assert all(callable(worker._stage(stage)) for stage in worker._ENTRY)


def test_what_is_vouched_for_is_not_done_again(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def fail(_job: object) -> Receipt:
        raise ZeroDivisionError

    made = tmp_path / "made"
    made.write_text("1")
    Ledger(tmp_path, Layout(tmp_path).ledger).commit(TASK, Receipt(outputs=(made,), counts={"pixels": 7}))
    monkeypatch.setattr(ingest, "run_ingest", fail)
    assert work(TASK, tmp_path, []) == Done(key=TASK.key, counts={"pixels": 7})
    made.write_text("2")
    assert isinstance(work(TASK, tmp_path, []), Failed)
