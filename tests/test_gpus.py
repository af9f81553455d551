"""GPUs are dealt out to real workers; no GPU is needed for that, only the variable that CUDA reads."""

import os
import signal
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from rspipe.pipeline import gpus
from rspipe.pipeline.cluster import ClusterSpec, open_cluster
from rspipe.pipeline.config import ComputeSettings


@pytest.mark.parametrize(
    ("named", "found"),
    [("0", ("0",)), ("3, 1", ("3", "1")), ("GPU-8932,GPU-17", ("GPU-8932", "GPU-17")), ("", ())],
)
def test_the_variable_says_which_there_are(named: str, found: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(gpus.VARIABLE, named)
    assert gpus.visible() == found


def test_without_it_the_files_of_the_driver_are_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(gpus.VARIABLE, raising=False)
    assert gpus.visible(tmp_path) == ()
    for name in ("nvidia1", "nvidia4", "nvidiactl", "nvidia-uvm", "null"):
        (tmp_path / name).touch()
    assert gpus.visible(tmp_path) == ("0", "1")


@pytest.mark.parametrize(
    ("name", "taken"), [(0, "8"), (1, "9"), (2, "8"), ("host7-4711-0-1", "9"), ("tls://10.0.0.1:80/x", "8,9")]
)
def test_a_worker_takes_one_by_its_number(name: object, taken: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(gpus.VARIABLE, "8,9")
    gpus.dask_setup(SimpleNamespace(name=name))  # type: ignore[arg-type] # the one field that is read
    assert os.environ[gpus.VARIABLE] == taken


def test_a_cpu_is_no_gpu() -> None:
    assert not gpus.are_wanted(ComputeSettings(device="cpu"))
    assert gpus.are_wanted(ComputeSettings(device="cuda"))


@pytest.mark.slow
def test_each_worker_has_its_gpu_and_the_one_that_takes_its_place_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(gpus.VARIABLE, "4,7")
    with open_cluster(ClusterSpec(workers=3, threads=1, memory_bytes=None, on_gpu=True)) as client:
        before = client.run(lambda: (os.getpid(), os.environ["CUDA_VISIBLE_DEVICES"]))
        assert sorted(gpu for _, gpu in before.values()) == ["4", "4", "7"]
        victim = next(pid for pid, gpu in before.values() if gpu == "7")
        os.kill(victim, signal.SIGKILL)
        limit = time.monotonic() + 60
        after: dict[str, tuple[int, str]] = {}
        while len(after) < len(before) or victim in {pid for pid, _ in after.values()}:
            assert time.monotonic() < limit, "nobody took its place"
            time.sleep(0.1)
            after = client.run(lambda: (os.getpid(), os.environ["CUDA_VISIBLE_DEVICES"]), on_error="ignore")
        assert sorted(gpu for _, gpu in after.values()) == ["4", "4", "7"]
    assert os.environ[gpus.VARIABLE] == "4,7"
