"""What is done: one record per finished task, and the digests of what a run read and wrote.

A record is written last, whole or not at all, and vouches for its files by size and sha-256; nothing else means "done".
"""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from rspipe.pipeline import sealed
from rspipe.pipeline.errors import EnvironmentFailedError, SceneFailedError
from rspipe.pipeline.task import Receipt, Task

SCHEMA = 1
_PIECE_BYTES = 1 << 20


def file_digest(path: Path) -> str:
    """Return the sha-256 of a file's bytes, read piecewise."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(_PIECE_BYTES):
            digest.update(piece)
    return digest.hexdigest()


@dataclass(frozen=True, slots=True)
class Vouched:
    """One file that a record vouches for, by its path relative to the output folder."""

    path: str
    size_bytes: int
    sha256: str

    @staticmethod
    def of(path: Path, root: Path) -> "Vouched":
        """Digest a file as it lies there now."""
        return Vouched(path.relative_to(root).as_posix(), path.stat().st_size, file_digest(path))

    def holds(self, root: Path) -> bool:
        """Tell whether the file is there with the same bytes."""
        path = root / self.path
        try:
            return path.stat().st_size == self.size_bytes and file_digest(path) == self.sha256
        except FileNotFoundError:
            return False


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """The done record of one task."""

    key: str
    stage: str
    scene: str
    label: str
    objects: tuple[Vouched, ...]
    counts: Mapping[str, int | float]


TaskState = Literal["done", "new", "redo"]


class Ledger:
    """The done records of one output folder; `root` is that folder, `folder` holds the records."""

    def __init__(self, root: Path, folder: Path) -> None:
        self._root = root
        self._folder = folder

    def commit(self, task: Task, receipt: Receipt) -> Record:
        """Vouch for a finished task: digest its outputs, then write the record whole."""
        objects = tuple(Vouched.of(path, self._root) for path in sorted(set(receipt.outputs)))
        record = Record(
            key=task.key, stage=task.stage, scene=task.scene, label=task.label, objects=objects, counts=receipt.counts
        )
        sealed.write(self._path(task.key), {"schema": SCHEMA, **asdict(record)})
        return record

    def state(self, key: str) -> tuple[TaskState, Record | None]:
        """Tell whether a task is done: "redo" means that a record is there but what it vouches for is not.

        Raises:
            EnvironmentFailedError: the record was written by a newer version.
        """
        record = self._read(key)
        if record is None:
            return ("redo" if self._path(key).exists() else "new"), None
        if all(vouched.holds(self._root) for vouched in record.objects):
            return "done", record
        return "redo", None

    def counts(self, key: str) -> Mapping[str, int | float]:
        """Return what a task counted when it was done, whether or not its files are still there."""
        record = self._read(key)
        return {} if record is None else record.counts

    def _path(self, key: str) -> Path:
        return self._folder / key[:2] / f"{key}.json"

    def _read(self, key: str) -> Record | None:
        fields = sealed.read(self._path(key))
        if fields is None:
            return None
        schema = fields.pop("schema", None)
        if schema != SCHEMA:
            raise EnvironmentFailedError(
                f"{self._path(key)}: written by another version (schema {schema}, this one knows {SCHEMA}); "
                "upgrade rspipe or run with --fresh"
            )
        objects = tuple(Vouched(**vouched) for vouched in fields.pop("objects"))
        record = Record(objects=objects, **fields)
        return record if record.key == key else None


@dataclass(frozen=True, slots=True)
class Signature:
    """What changes whenever a file is written: even a rewrite with the same size and mtime moves the ctime."""

    device: int
    inode: int
    size_bytes: int
    mtime_ns: int
    ctime_ns: int

    @staticmethod
    def of(path: Path) -> "Signature":
        """Read the signature of a file."""
        status = path.stat()
        return Signature(status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)

    def text(self) -> str:
        """Return it as one line, the cache's key."""
        return ":".join(str(part) for part in (self.device, self.inode, self.size_bytes, self.mtime_ns, self.ctime_ns))


@dataclass(frozen=True, slots=True)
class Digested:
    """What was read of an input file, and the signature that it bore all the while."""

    sha256: str
    signature: Signature


class InputDigests:
    """Digests of input files, remembered by signature so that a resumed run does not read its inputs again.

    A damaged cache costs one more reading of the inputs, nothing else.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._known: dict[str, str] = sealed.read(path) or {}

    def digest(self, path: Path) -> Digested:
        """Digest an input file, which is read only when its signature is new.

        Raises:
            SceneFailedError: it cannot be read, or somebody is still writing it.
        """
        try:
            signature = Signature.of(path)
            sha256 = self._known.get(signature.text()) or file_digest(path)
            after = Signature.of(path)
        except OSError as error:
            raise SceneFailedError(f"{path}: cannot be read: {error.strerror}; mend that, then run again") from error
        if after != signature:
            raise SceneFailedError(f"{path}: changed while it was read; wait until it is whole, then run again")
        self._known[signature.text()] = sha256
        return Digested(sha256, signature)

    def save(self) -> None:
        """Write the cache, if there is something new in it."""
        if self._known != (sealed.read(self._path) or {}):
            sealed.write(self._path, self._known)


def sweep_partials(folders: Iterable[Path]) -> int:
    """Delete what a killed writer left behind (zarr's `*.partial`, our own temporary files); return how many."""
    swept = 0
    for folder in folders:
        for path in sorted(folder.rglob("*.partial")):
            path.unlink()
            swept += 1
    return swept
