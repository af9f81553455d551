"""From an exception to one message on stderr and the exit code that belongs to it."""

import functools
import signal
import sys
import traceback
from collections.abc import Callable
from types import FrameType

import typer

from rspipe.catalogs.errors import CatalogError, SceneError
from rspipe.models.errors import DataError, ModelError
from rspipe.pipeline.errors import (
    EXIT_INTERRUPTED,
    ConfigError,
    EnvironmentFailedError,
    ModelRefusedError,
    PipelineError,
    SceneFailedError,
)
from rspipe.pipeline.progress import printable


def exit_code_of(error: BaseException) -> int:
    """Return the exit code of a run that ended with `error`."""
    match error:
        case KeyboardInterrupt():
            return EXIT_INTERRUPTED
        case PipelineError():
            return error.exit_code
        case SceneError():
            return SceneFailedError.exit_code
        case CatalogError() | DataError():
            return ConfigError.exit_code
        case ModelError():
            return ModelRefusedError.exit_code
    return EnvironmentFailedError.exit_code


def message_of(error: BaseException) -> str:
    """Return what to tell the user; what no one foresaw is owned up to as a fault of rspipe."""
    match error:
        case KeyboardInterrupt():
            return "interrupted; the same command goes on where this one stopped"
        case PipelineError() | CatalogError() | ModelError():
            return str(error)
        case OSError(filename=str() as name):
            return f"{name}: {error.strerror}"
        case MemoryError():
            return "out of memory; give fewer workers (--workers) or smaller windows (--set infer.window_px=...)"
    return f"a fault in rspipe: {type(error).__name__}: {error}; --debug shows where, please report it"


def guarded[**P](command: Callable[P, None]) -> Callable[P, None]:
    """Wrap a command so that every way of failing ends in one message and the right exit code.

    A command's parameter `debug` asks for the traceback too.
    """

    @functools.wraps(command)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        signal.signal(signal.SIGTERM, _interrupt)
        try:
            command(*args, **kwargs)
        except (typer.Exit, typer.BadParameter):
            raise
        except (Exception, KeyboardInterrupt) as error:
            if kwargs.get("debug"):
                traceback.print_exc()
            sys.stderr.write("".join(f"rspipe: {printable(line)}\n" for line in message_of(error).split("\n")))
            raise typer.Exit(exit_code_of(error)) from error

    return run


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    """A batch system's SIGTERM is an interruption like Ctrl-C."""
    raise KeyboardInterrupt
