"""One run per output folder: a lock that the kernel releases with the process, however it ends."""

import fcntl
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rspipe.pipeline.errors import EnvironmentFailedError


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock file of an output folder.

    Raises:
        EnvironmentFailedError: another run holds it, or the folder cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise EnvironmentFailedError(
            f"{path.parent}: {error.strerror}; make the output folder writable or choose another with --output"
        ) from error
    try:
        _take(handle, path)
        yield
    finally:
        os.close(handle)


def _take(handle: int, path: Path) -> None:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        holder = os.pread(handle, 200, 0).decode("utf-8", "replace").strip() or "an unknown process"
        raise EnvironmentFailedError(
            f"{path.parent.parent}: another run is at work here ({holder}); wait for it or choose another --output"
        ) from error
    os.ftruncate(handle, 0)
    os.pwrite(handle, f"pid {os.getpid()} on {socket.gethostname()}\n".encode(), 0)
