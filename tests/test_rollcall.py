"""Before a worker is given work it shows that it sees the run's files and was set up as the bytes ask for."""

from dataclasses import replace
from pathlib import Path

import pytest
from tinyrun import IN_THIS_PROCESS

from rspipe.pipeline.cluster import open_cluster
from rspipe.pipeline.errors import EnvironmentFailedError
from rspipe.pipeline.rollcall import Terms, roll_call, shortfalls
from rspipe.pipeline.task import Task
from rspipe.pipeline.worker import Failed, work


@pytest.fixture
def terms(tmp_path: Path) -> Terms:
    token = tmp_path / "token"
    token.write_text("abc")
    return Terms(token=token, content="abc", environment=(), versions=())


def test_a_worker_that_keeps_the_terms_lacks_nothing(terms: Terms, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GDAL_SKIP", "VRT")
    assert shortfalls(replace(terms, environment=(("GDAL_SKIP", "VRT"),))) == ()


def test_all_that_a_worker_lacks_is_told_at_once(terms: Terms, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    monkeypatch.delenv("GDAL_SKIP", raising=False)
    environment = (("OMP_NUM_THREADS", "1"), ("GDAL_SKIP", "VRT"))
    asked = replace(terms, content="abd", environment=environment, versions=(("numpy", "0.1"), ("nothing", "7")))
    other, threads, skip, numpy, nothing = shortfalls(asked)
    assert other == f"reads another file as {terms.token}: it must share the file system of the output folder"
    assert threads == "has OMP_NUM_THREADS '2', wanted '1'"
    assert skip == "has GDAL_SKIP None, wanted 'VRT'"
    assert numpy.startswith("has package numpy '")
    assert nothing == "has package nothing None, wanted '7'"
    (unseen,) = shortfalls(replace(terms, token=terms.token.with_name("gone")))
    assert unseen.startswith(f"cannot read {terms.token.with_name('gone')} (")


def test_the_roll_is_called_by_address_and_leaves_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "out" / ".rspipe"
    with open_cluster(IN_THIS_PROCESS) as client:
        with roll_call(client, folder, threads=1) as kept:
            assert kept.token.read_text() == kept.content
            assert {name for name, _ in kept.environment} >= {
                "GDAL_SKIP",
                "OMP_NUM_THREADS",
                "ZARR_THREADING__MAX_WORKERS",
            }
        (address,) = client.nthreads()  # type: ignore[no-untyped-call] # no types there
        with pytest.raises(EnvironmentFailedError) as caught, roll_call(client, folder, threads=2):
            pytest.fail("a worker of one thread was taken for two")
    told, summary = str(caught.value).splitlines()
    assert told.startswith(f"worker {address} has OMP_NUM_THREADS '1', wanted '2'; has MKL_NUM_THREADS '1'")
    assert summary.startswith("1 of 1 workers cannot be used: start workers with `rspipe worker`")
    assert list(folder.iterdir()) == []


def test_a_worker_that_joins_later_is_held_to_the_terms_by_its_first_task(tmp_path: Path) -> None:
    terms = Terms(token=tmp_path / "gone", content="", environment=(), versions=())
    task = Task(key="a" * 64, stage="ingest", scene="tiny", label="rows 0..10", inputs=(), job=None)
    with open_cluster(IN_THIS_PROCESS) as client:
        outcome = client.submit(work, task, tmp_path, [], terms).result()
    assert isinstance(outcome, Failed)
    assert outcome.exit_code == 4
    assert f"cannot read {tmp_path / 'gone'}" in outcome.reason
