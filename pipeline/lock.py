"""One run per output folder: a lock that the kernel releases with the process, however it ends."""

import errno
import fcntl
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rspipe.pipeline.errors import EnvironmentFailedError


def look(path: Path) -> None:
    """Raise at once what would end a run later on; nothing is made, and nothing is held afterwards.

    Raises:
        EnvironmentFailedError: another run holds the lock, or the output folder cannot be written.
    """
    root = path.parent.parent
    try:
        _check_writable(next(folder for folder in (root, *root.parents) if folder.exists()))
        if not path.exists():
            return
        handle = os.open(path, os.O_RDWR)
    except OSError as error:
        raise _unusable(path, error) from error
    try:
        _claim(handle, path, fcntl.LOCK_SH)
    finally:
        os.close(handle)


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
        raise _unusable(path, error) from error
    try:
        _claim(handle, path, fcntl.LOCK_EX)
        os.ftruncate(handle, 0)
        os.pwrite(handle, f"pid {os.getpid()} on {socket.gethostname()}\n".encode(), 0)
        yield
    finally:
        os.close(handle)


def _check_writable(folder: Path) -> None:
    if not folder.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(folder))
    if not os.access(folder, os.W_OK | os.X_OK, effective_ids=True):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(folder))


def _unusable(path: Path, error: OSError) -> EnvironmentFailedError:
    return EnvironmentFailedError(
        f"{path.parent}: {error.strerror}; make the output folder writable or choose another with --output"
    )


def _claim(handle: int, path: Path, kind: int) -> None:
    try:
        fcntl.flock(handle, kind | fcntl.LOCK_NB)
    except OSError as error:
        holder = os.pread(handle, 200, 0).decode("utf-8", "replace").strip() or "an unknown process"
        raise EnvironmentFailedError(
            f"{path.parent.parent}: another run is at work here ({holder}); wait for it or choose another --output"
        ) from error
