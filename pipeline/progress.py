"""What a run tells people while it works: bars on a terminal, lines elsewhere, JSON lines in its log file."""

import json
import sys
import time
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self, TextIO

if TYPE_CHECKING:
    from io import RawIOBase

    from rich.progress import Progress as Bars
    from rich.progress import TaskID


def printable(text: str) -> str:
    """Return text for one line of a terminal: a scene's id must not be able to steer it."""
    return "".join(letter if letter.isprintable() else " " for letter in text)


@dataclass(slots=True)
class _Stage:
    total: int
    began_s: float
    done: int = 0
    busy_s: float = 0.0
    bar: "TaskID | None" = None


class Progress:
    """Tells of stages and messages on one stream; a context manager, for a display must be taken down again.

    Args:
        stream: where people read; stderr when not given.
        verbosity: -1 warnings only, 0 stages and notes, 1 details too. The log file always has everything.
    """

    def __init__(self, stream: TextIO | None = None, verbosity: int = 0) -> None:
        self._stream = stream if stream is not None else sys.stderr
        self._verbosity = verbosity
        self._stages: dict[str, _Stage] = {}
        self._open = ExitStack()
        self._log: RawIOBase | None = None
        self._bars: Bars | None = None

    def __enter__(self) -> Self:
        if self._stream.isatty() and self._verbosity >= 0:
            self._bars = self._open.enter_context(_bars(self._stream))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open.close()
        self._bars = self._log = None

    def log_to(self, path: Path) -> None:
        """Write everything from now on to a file too, as JSON lines appended to what it holds."""
        path.parent.mkdir(parents=True, exist_ok=True)
        # Without a buffer: one that a full disk has not taken would be written once more at the end, and fail again.
        self._log = self._open.enter_context(path.open("ab", buffering=0))

    def start(self, stage: str, total: int) -> None:
        """Tell that a stage begins; `total` counts its tasks."""
        state = self._stages[stage] = _Stage(total, time.monotonic())
        self._record("start", stage=stage, total=total)
        if self._bars is not None:
            state.bar = self._bars.add_task(stage, total=total)
        elif self._verbosity >= 0:
            self._line(f"{stage}: {_tasks(total)}")

    def advance(self, stage: str, n: int = 1, *, busy_s: float = 0.0) -> None:
        """Tell that `n` tasks of a stage are done, and how long workers were busy with them."""
        state = self._stages[stage]
        state.done += n
        state.busy_s += busy_s
        if self._bars is not None and state.bar is not None:
            self._bars.advance(state.bar, n)

    def finish(self, stage: str) -> None:
        """Tell that a stage is over, whether or not all of its tasks are done."""
        state = self._stages.pop(stage)
        elapsed_s = round(time.monotonic() - state.began_s, 1)
        facts = {"elapsed_s": elapsed_s, "busy_s": round(state.busy_s, 1)}
        self._record("finish", stage=stage, done=state.done, total=state.total, **facts)
        if self._bars is not None and state.bar is not None:
            self._bars.stop_task(state.bar)
        elif self._verbosity >= 0:
            work = f" ({state.busy_s:.1f} s of work)" if state.busy_s else ""
            self._line(f"{stage}: {state.done} of {_tasks(state.total)} done after {elapsed_s} s{work}")

    def detail(self, message: str) -> None:
        """Tell what only a curious reader wants to know."""
        self._record("detail", message=message)
        if self._verbosity > 0:
            self._line(message)

    def note(self, message: str) -> None:
        """Tell something that every reader wants to know."""
        self._record("note", message=message)
        if self._verbosity >= 0:
            self._line(message)

    def warn(self, message: str) -> None:
        """Tell something that even a quiet run must say."""
        self._record("warning", message=message)
        self._line(f"warning: {message}")

    def _line(self, text: str) -> None:
        if self._bars is not None:
            self._bars.console.print(printable(text), markup=False, highlight=False, soft_wrap=True)
        else:
            self._stream.write(f"{printable(text)}\n")
            self._stream.flush()

    def _record(self, event: str, **facts: str | float) -> None:
        if self._log is not None:
            moment = datetime.now(UTC).isoformat(timespec="milliseconds")
            self._log.write(f"{json.dumps({'time': moment, 'event': event, **facts})}\n".encode())


def _tasks(count: int) -> str:
    return "1 task" if count == 1 else f"{count} tasks"


def _bars(stream: TextIO) -> "Bars":
    from rich.console import Console  # noqa: PLC0415 - only a terminal pays for it
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn  # noqa: PLC0415
    from rich.progress import Progress as RichProgress  # noqa: PLC0415

    columns = (TextColumn("{task.description:>10}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    return RichProgress(*columns, console=Console(file=stream))
