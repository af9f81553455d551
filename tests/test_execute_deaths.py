"""A task that takes its worker down, among real worker processes: it is told from those that only stood beside it."""

from pathlib import Path

import pytest
from deadly import Job

from rspipe.pipeline import cluster, ingest, vectorize
from rspipe.pipeline import execute as execute_module
from rspipe.pipeline.cluster import ClusterSpec, open_cluster
from rspipe.pipeline.execute import agenda, execute
from rspipe.pipeline.ledger import Ledger
from rspipe.pipeline.task import Task, digest_of
from rspipe.pipeline.worker import Done, Failed

pytestmark = pytest.mark.slow


def tasks_of(scene: str, job: str = "harmless") -> list[Task]:
    """Keys are digests, as ever: the cluster tells stages by what stands before them."""
    rows = Task(key=digest_of([scene, 0]), stage="ingest", scene=scene, label="rows", inputs=(), job=Job(job))
    key, harmless = digest_of([scene, 1]), Job("harmless")
    strip = Task(key=key, stage="vectorize", scene=scene, label="strip", inputs=(rows.key,), job=harmless)
    return [rows, strip]


def test_a_task_that_kills_its_workers_fails_its_own_scene_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ingest, "run_ingest", ingest.run_ingest)  # so that they are themselves again afterwards
    monkeypatch.setattr(vectorize, "run_vectorize", vectorize.run_vectorize)
    for module in (cluster, execute_module):
        monkeypatch.setattr(
            module, "MOST_DEATHS", 1
        )  # so that who waits beside the first death is given up for certain
    tasks = [*tasks_of("bad", job="deadly"), *tasks_of("good")]  # so few tasks that both scenes wait at the worker
    plan = agenda(tasks, [task.key for task in tasks], Ledger(tmp_path, tmp_path / "ledger"))
    with open_cluster(ClusterSpec(workers=1, threads=1, memory_bytes=None)) as client:
        told = [(f"{task.scene} {task.label}", outcome) for task, outcome in execute(client, tmp_path, plan)]
    outcomes = dict(told)
    assert len(told) == len(tasks) == len(outcomes)
    failed = {key: outcome for key, outcome in outcomes.items() if isinstance(outcome, Failed)}
    assert set(failed) == {"bad rows", "bad strip"}
    assert {outcome.reason.split("(")[0] for outcome in failed.values()} == {
        "scene 'bad', ingest, rows: killed 1 workers one after the other, with nothing else at work "
    }
    assert {(outcome.exit_code, outcome.lasting) for outcome in failed.values()} == {(3, False)}
    assert all(outcome.counts == {"ran": 1} for outcome in outcomes.values() if isinstance(outcome, Done))
