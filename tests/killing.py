"""Runs that are killed from within, at a moment that can be named and met again.

A server process has everything imported and forks for every run, so that a run that dies costs no import.
"""

import multiprocessing
import os
import resource
import signal
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from itertools import count
from typing import Literal

from tinyrun import Place

from rspipe.pipeline.guard import exit_code_of, message_of
from rspipe.pipeline.ledger import Ledger

DIED = 137
FULL = 4
UNFORESEEN = 99
"""It ended with something that nobody had thought of."""
Moment = Literal["commit", "replace"]
"""A task is vouched for; a file takes its final name."""
_STAGES = ("ingest", "infer", "vectorize", "publish")
_IMPORTED = ["tinyrun", "distributed", *(f"rspipe.pipeline.{name}" for name in ("engine", "quicklook", *_STAGES))]


@dataclass(frozen=True, slots=True)
class Death:
    """The process ends without a word at the n-th such moment, counted from 0; it has happened, or it has not."""

    moment: Moment
    number: int
    happened: bool


@dataclass(frozen=True, slots=True)
class Fate:
    """What befalls a run."""

    death: Death | None = None
    largest_bytes: int | None = None
    """No file grows beyond; a write fails as it does on a full disk."""

    def befall(self) -> None:
        """Prepare this process."""
        if self.largest_bytes is not None:
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (self.largest_bytes, resource.RLIM_INFINITY))
        if self.death is not None and self.death.moment == "commit":
            Ledger.commit = _fatal(Ledger.commit, self.death)  # type: ignore[method-assign]
        elif self.death is not None:
            os.replace = _fatal(os.replace, self.death)


def ended(place: Place, *settings: str, fate: Fate | None = None) -> int:
    """Run a workflow in a process of its own and return its exit code, `DIED` if it was killed."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(_IMPORTED)
    process = context.Process(target=_run, args=(place, settings, fate or Fate()))
    process.start()
    process.join(300)
    if process.exitcode is None:
        process.kill()
        raise TimeoutError(f"a run into {place.out} does not end")
    return process.exitcode


def _run(place: Place, settings: tuple[str, ...], fate: Fate) -> None:
    fate.befall()
    try:
        code = place.run(*settings).code
    except Exception as error:  # noqa: BLE001 - as the command line does
        code = exit_code_of(error)
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        if "a fault in rspipe" in message_of(error):
            traceback.print_exception(error)
            code = UNFORESEEN
    os._exit(code)


def _fatal[**P, R](work: Callable[P, R], death: Death) -> Callable[P, R]:
    numbers = count()

    def killed(*args: P.args, **kwargs: P.kwargs) -> R:
        last = next(numbers) == death.number
        if last and not death.happened:
            os._exit(DIED)
        result = work(*args, **kwargs)
        if last:
            os._exit(DIED)
        return result

    return killed
