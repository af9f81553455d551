"""What a worker does with one task: run its stage, vouch for the result, and turn any failure into a reported fact."""

import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path

from rspipe.pipeline.errors import EnvironmentFailedError, PipelineError, SceneDisturbedError, SceneFailedError
from rspipe.pipeline.layout import Layout
from rspipe.pipeline.ledger import Ledger
from rspipe.pipeline.rollcall import Terms
from rspipe.pipeline.task import Receipt, Stage, Task

_ENTRY: Mapping[Stage, tuple[str, str]] = {
    "ingest": ("rspipe.pipeline.ingest", "run_ingest"),
    "infer": ("rspipe.pipeline.infer", "run_band"),
    "seam": ("rspipe.pipeline.infer", "run_seam"),
    "vectorize": ("rspipe.pipeline.vectorize", "run_vectorize"),
    "publish": ("rspipe.pipeline.publish", "publish_scene"),
}


_ALLOCATION_FAILED = ("not enough memory", "can't allocate memory", "out of memory")


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """A task that is finished and vouched for."""

    key: str
    counts: Mapping[str, int | float]
    busy_s: float = field(default=0.0, compare=False)
    """What the worker spent on it; 0 if it was done before."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed:
    """A task that could not be finished."""

    key: str
    stage: str
    scene: str
    reason: str
    exit_code: int
    details: str
    """The traceback, for the log and `-v`."""
    lasting: bool = True
    """The same task would fail again. What a machine did to it, another or the next night may not."""


Outcome = Done | Failed


def work(task: Task, root: Path, needs: list[Outcome], terms: Terms | None = None) -> Outcome:
    """Run one task in this process. This is the one place that catches everything: nothing may be lost without a word.

    Args:
        task: what to do.
        root: the output folder.
        needs: outcomes of the tasks it reads from; one failure among them is handed on as it is.
        terms: what this worker must show first.
    """
    for outcome in needs:
        if isinstance(outcome, Failed):
            return outcome
    ledger, began_s = Ledger(root, Layout(root).ledger), time.perf_counter()
    try:
        if terms is not None:
            terms.enforce()
        # A worker that is lost takes its outcomes along; what it vouched for need not be done again.
        _, record = ledger.state(task.key)
        if record is None:
            record = ledger.commit(task, _stage(task.stage)(task.job))
    except PipelineError as error:
        lasting = not isinstance(error, SceneDisturbedError)
        return _failed(task, str(error), error.exit_code, lasting=lasting)
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        reason = f"{where}{error.strerror or error}; free space or mend the permission, then run again to resume"
        return _failed(task, _at(task, reason), EnvironmentFailedError.exit_code)
    except Exception as error:  # noqa: BLE001 - the one worker boundary: recorded, reported, never swallowed
        if _is_out_of_memory(error):
            reason = f"out of memory ({error}); use fewer workers (--workers) or smaller windows (infer.window_px)"
            return _failed(task, _at(task, reason), EnvironmentFailedError.exit_code)
        reason = f"{type(error).__name__}: {error}; -v and the log in .rspipe show where; please report it"
        return _failed(task, _at(task, reason), SceneFailedError.exit_code)
    return Done(key=task.key, counts=record.counts, busy_s=time.perf_counter() - began_s)


def _is_out_of_memory(error: Exception) -> bool:
    """On a CPU torch has no type of its own for a failed allocation, only these words."""
    said = str(error).lower()
    by_torch = isinstance(error, RuntimeError) and any(words in said for words in _ALLOCATION_FAILED)
    return by_torch or isinstance(error, MemoryError)


def _stage(stage: Stage) -> Callable[[object], Receipt]:
    module, function = _ENTRY[stage]
    entry: Callable[[object], Receipt] = getattr(import_module(module), function)
    return entry


def _at(task: Task, reason: str) -> str:
    return f"scene {task.scene!r}, {task.stage}, {task.label}: {reason}"


def _failed(task: Task, reason: str, exit_code: int, *, lasting: bool = True) -> Failed:
    return Failed(
        key=task.key,
        stage=task.stage,
        scene=task.scene,
        reason=reason,
        exit_code=exit_code,
        details=traceback.format_exc(),
        lasting=lasting,
    )
