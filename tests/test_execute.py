"""What must run, in which order, and what becomes of failures."""

from pathlib import Path

import pytest
from distributed import Future
from hypothesis import given, settings
from hypothesis import strategies as st
from tinyrun import IN_THIS_PROCESS, environment

from rspipe.pipeline import cluster as cluster_module
from rspipe.pipeline import execute as execute_module
from rspipe.pipeline import ingest
from rspipe.pipeline.cluster import open_cluster
from rspipe.pipeline.errors import EnvironmentFailedError, SceneFailedError
from rspipe.pipeline.execute import agenda, execute
from rspipe.pipeline.ledger import Ledger
from rspipe.pipeline.task import Receipt, Task
from rspipe.pipeline.worker import Done, Failed


def task(key: str, *needs: str) -> Task:
    return Task(key=key, stage="ingest", scene="tiny", label=key, inputs=needs, job=key)


# a1 and a2 are read by b, b and a2 by c; d stands alone.
CHAIN = (task("a1"), task("a2"), task("b", "a1", "a2"), task("c", "b", "a2"), task("d"))


def done(root: Path, *keys: str) -> Ledger:
    ledger = Ledger(root, root / "ledger")
    for key in keys:
        (root / key).write_text(key)
        ledger.commit(task(key), Receipt(outputs=(root / key,), counts={"tasks": 1}))
    return ledger


def pending(root: Path, wanted: tuple[str, ...], *keys: str) -> list[str]:
    return [entry.key for entry in agenda(CHAIN, wanted, done(root, *keys)).pending]


def test_everything_runs_once_behind_what_it_reads(tmp_path: Path) -> None:
    assert pending(tmp_path, ("c", "d")) == ["a1", "a2", "b", "c", "d"]


def test_only_what_is_wanted_runs(tmp_path: Path) -> None:
    assert pending(tmp_path, ("b",)) == ["a1", "a2", "b"]
    assert pending(tmp_path, ()) == []


def test_a_done_task_is_not_looked_behind(tmp_path: Path) -> None:
    assert pending(tmp_path, ("c",), "b", "a2") == ["c"]
    assert pending(tmp_path, ("c",), "c") == []


def test_what_a_pending_task_reads_is_made_again_when_it_is_lost(tmp_path: Path) -> None:
    ledger = done(tmp_path, "a1", "a2", "b")
    (tmp_path / "a2").unlink()
    plan = agenda(CHAIN, ("c",), ledger)
    assert [entry.key for entry in plan.pending] == ["a2", "c"]
    assert plan.states == {"c": "new", "b": "done", "a2": "redo"}
    assert plan.done == {"b": Done(key="b", counts={"tasks": 1})}


@settings(max_examples=50, deadline=None)
@given(st.data())
def test_in_any_graph_a_task_stands_behind_all_that_it_reads(data: st.DataObject) -> None:
    count = data.draw(st.integers(1, 12))
    tasks = [task(str(n), *(str(m) for m in range(n) if data.draw(st.booleans()))) for n in range(count)]
    ledger = Ledger(Path("/nonexistent"), Path("/nonexistent"))
    order = [entry.key for entry in agenda(data.draw(st.permutations(tasks)), [str(count - 1)], ledger).pending]
    assert len(set(order)) == len(order)
    for place, key in enumerate(order):
        assert set(tasks[int(key)].inputs) <= set(order[:place])


def test_a_chain_of_many_tasks_needs_no_recursion() -> None:
    tasks = [task("0"), *(task(str(n), str(n - 1)) for n in range(1, 5000))]
    ledger = Ledger(Path("/nonexistent"), Path("/nonexistent"))
    assert len(agenda(tasks, ["4999"], ledger).pending) == 5000


def test_a_failure_fails_what_reads_from_it_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ran = []

    def run(job: str) -> Receipt:
        ran.append(job)
        if job == "a2":
            raise SceneFailedError("a2 is broken")
        return Receipt(outputs=(), counts={})

    monkeypatch.setattr(ingest, "run_ingest", run)
    plan = agenda(CHAIN, ("c", "d"), done(tmp_path))
    with environment(), open_cluster(IN_THIS_PROCESS) as client:
        outcomes = {entry.key: outcome for entry, outcome in execute(client, tmp_path, plan)}
    assert sorted(ran) == ["a1", "a2", "d"]
    assert {key for key, outcome in outcomes.items() if isinstance(outcome, Done)} == {"a1", "d"}
    assert {outcome.reason for outcome in outcomes.values() if isinstance(outcome, Failed)} == {"a2 is broken"}
    assert set(outcomes) == {"a1", "a2", "b", "c", "d"}


def test_what_the_cluster_drops_ends_the_run_and_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with environment(), open_cluster(IN_THIS_PROCESS) as client:

        def run(_job: str) -> Receipt:
            client.cancel([Future("ingest-c", client=client)])  # type: ignore[no-untyped-call] # no types there
            return Receipt(outputs=(), counts={})

        monkeypatch.setattr(ingest, "run_ingest", run)
        plan = agenda(CHAIN, ("c",), done(tmp_path))
        with pytest.raises(EnvironmentFailedError, match=r"ingest, c: the cluster gave up: .*run again to resume"):
            list(execute(client, tmp_path, plan))


def test_a_cluster_without_any_worker_is_not_waited_for_without_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(execute_module, "PATIENCE_S", 0.2)
    monkeypatch.setattr(cluster_module, "CONNECT_S", 1)
    plan = agenda(CHAIN, ("d",), done(tmp_path))
    with environment(), open_cluster(IN_THIS_PROCESS) as client:
        client.retire_workers()
        with pytest.raises(EnvironmentFailedError, match=r"no worker for 1 s; start some.*run again to resume"):
            list(execute(client, tmp_path, plan))
