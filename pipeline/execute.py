"""Carry tasks out on a cluster: what is done is trusted, what is needed is run, what fails is a named fact."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import CancelledError
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from rspipe.pipeline.cluster import MOST_DEATHS, wait_for_worker
from rspipe.pipeline.errors import EnvironmentFailedError, SceneFailedError
from rspipe.pipeline.ledger import Ledger, TaskState
from rspipe.pipeline.rollcall import Terms
from rspipe.pipeline.task import Task
from rspipe.pipeline.worker import Done, Failed, Outcome, work

if TYPE_CHECKING:
    from distributed import Client, Future

PATIENCE_S = 60
"""After so long without any outcome it is looked whether there are workers at all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Agenda:
    """Which tasks must run to make the wanted ones done, and what the others left."""

    done: Mapping[str, Done]
    """Tasks that were asked about and are vouched for."""
    pending: tuple[Task, ...]
    """In an order in which every task stands behind those it reads from."""
    states: Mapping[str, TaskState]


@dataclass(slots=True)
class _Walk:
    tasks: Mapping[str, Task]
    ledger: Ledger
    done: dict[str, Done] = field(default_factory=dict)
    pending: dict[str, Task] = field(default_factory=dict)
    states: dict[str, TaskState] = field(default_factory=dict)

    def visit(self, key: str) -> None:
        """Depth first, without recursion: a region may hold many tasks."""
        stack = [(key, False)]
        while stack:
            current, inputs_seen = stack.pop()
            if inputs_seen:
                self.pending.setdefault(current, self.tasks[current])
            elif current not in self.states:
                self._ask(current)
                if current not in self.done:
                    stack.append((current, True))
                    stack.extend((need, False) for need in reversed(self.tasks[current].inputs))

    def _ask(self, key: str) -> None:
        self.states[key], record = self.ledger.state(key)
        if record is not None:
            self.done[key] = Done(key=key, counts=record.counts)


def agenda(tasks: Iterable[Task], wanted: Iterable[str], ledger: Ledger) -> Agenda:
    """Find what must run. A done task's own inputs are not looked at: it was made from them, whatever became of them.

    Args:
        tasks: all tasks of the run.
        wanted: keys of the tasks whose results the run is for.
        ledger: what is done.
    """
    walk = _Walk({task.key: task for task in tasks}, ledger)
    for key in wanted:
        walk.visit(key)
    return Agenda(done=walk.done, pending=tuple(walk.pending.values()), states=walk.states)


def execute(client: "Client", root: Path, plan: Agenda, terms: Terms | None = None) -> Iterator[tuple[Task, Outcome]]:
    """Run the pending tasks and yield each outcome as it comes in.

    A failed task fails the tasks that read from it with the same reason; all others go on. A worker that dies brings
    every task that waited for it into suspicion, and the cluster gives up what was met with too many deaths. What it
    gives up is tried once more, one task at a time: only what dies then has itself to blame.

    Args:
        client: of a cluster that shares the output folder's file system.
        root: the output folder.
        plan: see `agenda`.
        terms: what a worker must show before its first task; None for workers that were started for this alone.

    Raises:
        EnvironmentFailedError: the scheduler or all workers are gone.
    """
    futures: dict[str, Future[Outcome]] = {}
    for task in plan.pending:
        needs = [plan.done[key] if key in plan.done else futures[key] for key in task.inputs]
        futures[task.key] = client.submit(work, task, root, needs, terms, key=f"{task.stage}-{task.key}", pure=False)
    outcomes: dict[str, Outcome] = dict(plan.done)
    tasks = {str(futures[task.key].key): task for task in plan.pending}
    for task, outcome in _gather(_over(client, list(futures.values())), tasks):
        if outcome is not None:
            outcomes[task.key] = outcome
            yield task, outcome
    for task in plan.pending:
        if task.key not in outcomes:
            outcomes[task.key] = _alone(client, root, task, [outcomes[key] for key in task.inputs], terms)
            yield task, outcomes[task.key]


def _alone(client: "Client", root: Path, task: Task, needs: Sequence[Outcome], terms: Terms | None) -> Outcome:
    """Run a task while nothing else is at work."""
    name = f"{task.stage}-{task.key}-alone"
    future = client.submit(work, task, root, needs, terms, key=name, pure=False)
    ((_, outcome),) = _gather(_over(client, [future]), {name: task})
    return outcome or _killed(task)


def _over(client: "Client", futures: Sequence["Future[Outcome]"]) -> Iterator["Future[Outcome]"]:
    """Yield each future when it is over; a cluster that has lost its last worker would be waited for without end."""
    from distributed import as_completed  # noqa: PLC0415 - heavy, and only a run needs it

    waiting = dict.fromkeys(futures)
    while waiting:
        try:
            for future in as_completed(list(waiting), timeout=PATIENCE_S):  # type: ignore[no-untyped-call] # no types
                del waiting[future]
                yield future
        except TimeoutError:
            wait_for_worker(client)


def _gather(futures: Iterable["Future[Outcome]"], tasks: Mapping[str, Task]) -> Iterator[tuple[Task, Outcome | None]]:
    """Yield what came of each; None if the cluster gave it up, or something that it reads from."""
    from distributed import KilledWorker  # noqa: PLC0415 - heavy, and only a run needs it

    for future in futures:
        task, outcome = tasks[str(future.key)], None
        try:
            error = future.exception()  # type: ignore[no-untyped-call] # no types there
            outcome = None if error else future.result()
        except CancelledError as lost:  # the scheduler is gone
            error = lost
        if outcome is not None or isinstance(error, KilledWorker):
            yield task, outcome
        else:
            raise EnvironmentFailedError(
                f"scene {task.scene!r}, {task.stage}, {task.label}: the cluster gave up: {error}; run again to resume"
            ) from error


def _killed(task: Task) -> Failed:
    reason = (
        f"scene {task.scene!r}, {task.stage}, {task.label}: killed {MOST_DEATHS} workers one after the other, with "
        "nothing else at work (out of memory is the usual reason); use smaller bands (infer.band_rows) or a machine "
        "with more memory, and run again"
    )
    return Failed(
        key=task.key,
        stage=task.stage,
        scene=task.scene,
        reason=reason,
        exit_code=SceneFailedError.exit_code,
        details=reason,
        lasting=False,
    )
