"""The only way to a final path: made beside the target, synced, moved when whole."""

import os
import secrets
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from errno import EACCES, EDQUOT, EFBIG, ENOSPC, EPERM, EROFS
from pathlib import Path

from rspipe.pipeline.errors import EnvironmentFailedError

ROOM_PREFIX = ".partial-"
"""Folders of this name hold what is not yet whole; `sweep` deletes those that a killed process left."""
WAY_OUT = {
    EACCES: "make the folder writable",
    EDQUOT: "raise the quota",
    EFBIG: "allow larger files",
    ENOSPC: "free disk space",
    EPERM: "make the folder writable",
    EROFS: "choose an output folder that can be written",
}

_OF_WRITING = (EDQUOT, EFBIG, ENOSPC)
"""What an open file says, which does not know its name; sockets and processes may be forbidden as well."""


@contextmanager
def writing(folder: Path, what: str = "files") -> Iterator[None]:
    """Tell what could not be written into a folder, or below it, and the way out; of other errors nothing.

    Raises:
        EnvironmentFailedError: disk full, read-only or not permitted.
    """
    try:
        yield
    except OSError as error:
        named = isinstance(error.filename, str)
        below = named and Path(error.filename).is_relative_to(folder)
        if error.errno not in WAY_OUT or not (below or (not named and error.errno in _OF_WRITING)):
            raise
        found = f"cannot write {what} in {folder}: {error.strerror}"
        raise EnvironmentFailedError(f"{found}; {WAY_OUT[error.errno]}, then run again: it resumes") from error


@contextmanager
def replacing(target: Path) -> Iterator[Path]:
    """Yield a path beside `target` to write to; when the block ends well, the file is synced and takes its place.

    A reader sees the earlier file or the new one, never a part. When the block raises, `target` stays as it was.

    Args:
        target: the final path; missing folders are made.

    Raises:
        EnvironmentFailedError: disk full, read-only or not permitted.
        FileNotFoundError: the block wrote nothing.
    """
    with staging(target.parent, (target.name,)) as room:
        yield room / target.name


@contextmanager
def staging(folder: Path, names: Sequence[str]) -> Iterator[Path]:
    """Yield an empty private folder; when the block ends well, the named files move from it into `folder`.

    All files are synced before the first one moves. Whatever else the block left there (journals, side files of a
    library) is deleted. Moves follow the order of `names`.

    Args:
        folder: where the files end; made when missing.
        names: file names that the block must have written.

    Raises:
        EnvironmentFailedError: disk full, read-only or not permitted.
        FileNotFoundError: one of `names` was not written.
    """
    room = folder / (ROOM_PREFIX + secrets.token_hex(8))
    with writing(folder, ", ".join(names)):
        try:
            _make_folder(folder)
            room.mkdir(mode=0o700)
            yield room
            for name in names:
                _sync(room / name)
            for name in names:
                (room / name).replace(folder / name)
            _sync(folder)
        finally:
            shutil.rmtree(room, ignore_errors=True)


def write_bytes(target: Path, content: bytes) -> None:
    """Make `target` hold exactly `content`, whole or not at all; see `replacing`."""
    with replacing(target) as path:
        path.write_bytes(content)


def write_text(target: Path, content: str) -> None:
    """Make `target` hold exactly `content` in UTF-8, whole or not at all; see `replacing`."""
    write_bytes(target, content.encode())


def remove(targets: Sequence[Path]) -> None:
    """Delete files, then the folders that this leaves empty, and sync what held them.

    Args:
        targets: files; those that are not there are passed over. Links are deleted, never followed.
    """
    folders = {target.parent for target in targets if target.parent.is_dir()}
    for target in targets:
        target.unlink(missing_ok=True)
    for folder in sorted(folders):
        _sync(folder)
        if not any(folder.iterdir()):
            folder.rmdir()
            _sync(folder.parent)


def sweep(folder: Path) -> list[Path]:
    """Delete what killed processes left unfinished anywhere below `folder`, and return it, sorted.

    Only to be called by the one process that holds the output folder's lock, while no stage is at work.
    """
    left = sorted(path for path in folder.rglob(ROOM_PREFIX + "*") if path.is_dir() and not path.is_symlink())
    for room in left:
        shutil.rmtree(room)
    return left


def _make_folder(folder: Path) -> None:
    """Make a folder with its parents so that the entries of all of them survive a power loss."""
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    for path in reversed(missing):
        _sync(path.parent)


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
