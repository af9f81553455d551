"""Roll call: every worker, whoever started it, shows that it shares the files and was set up as the bytes ask for."""

import os
import platform
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from rspipe.pipeline.atomic import ROOM_PREFIX
from rspipe.pipeline.cluster import CACHE_SIZE, worker_environment
from rspipe.pipeline.errors import EnvironmentFailedError
from rspipe.pipeline.manifest import installed_versions

if TYPE_CHECKING:
    from distributed import Client

_WAY_OUT = (
    "start workers with `rspipe worker`, on machines that have this version and see the output folder at its path"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What a worker must show before it is given work. Hashable: each worker process looks once a run."""

    token: Path
    """A file below the output folder."""
    content: str
    """What stands in it."""
    environment: tuple[tuple[str, str], ...]
    versions: tuple[tuple[str, str], ...]

    def enforce(self) -> None:
        """Refuse this worker if it does not keep the terms; it may have joined after the roll was called.

        Raises:
            EnvironmentFailedError: what it lacks, and where it runs.
        """
        from distributed import get_worker  # noqa: PLC0415 - a worker has it loaded already

        lacking = (*shortfalls(self), *_crowded(get_worker().state.nthreads))
        if lacking:
            raise EnvironmentFailedError(f"the worker on {platform.node()} {'; '.join(lacking)}; {_WAY_OUT}")


@lru_cache(maxsize=8)
def shortfalls(terms: Terms) -> tuple[str, ...]:
    """Return in words what this worker process lacks; empty if it may be given work."""
    lacking = [*_unseen(terms), *_differing("", terms.environment, os.environ)]
    return (*lacking, *_differing("package ", terms.versions, installed_versions()))


def _unseen(terms: Terms) -> Iterator[str]:
    try:
        found = terms.token.read_text(encoding="ascii")
    except (OSError, ValueError) as error:
        yield f"cannot read {terms.token} ({error}): it must share the file system of the output folder"
        return
    if found != terms.content:
        yield f"reads another file as {terms.token}: it must share the file system of the output folder"


def _differing(what: str, wanted: tuple[tuple[str, str], ...], found: Mapping[str, str]) -> Iterator[str]:
    for name, value in wanted:
        if found.get(name) != value:
            yield f"has {what}{name} {found.get(name)!r}, wanted {value!r}"


def _crowded(tasks: int) -> Iterator[str]:
    if tasks != 1:
        yield f"runs {tasks} tasks at a time in one process, wanted 1 (--nthreads)"


@contextmanager
def roll_call(client: "Client", folder: Path, threads: int) -> Iterator[Terms]:
    """Ask every worker of a cluster to keep the terms, and yield them for those that join later.

    Args:
        client: of the cluster.
        folder: for the working state; made if need be. The token lies in it until the block ends.
        threads: of one forward pass.

    Raises:
        EnvironmentFailedError: workers that do not keep the terms, each by its address.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix=ROOM_PREFIX, dir=folder) as room:
        terms = Terms(
            token=Path(room, "token"),
            content=secrets.token_hex(16),
            environment=tuple(pair for pair in worker_environment(threads).items() if pair[0] != CACHE_SIZE),
            versions=tuple(installed_versions().items()),
        )
        terms.token.write_text(terms.content, encoding="ascii")
        _call(client, terms)
        yield terms


def _call(client: "Client", terms: Terms) -> None:
    answers = client.run(shortfalls, terms, on_error="return")
    tasks = client.nthreads()  # type: ignore[no-untyped-call] # no types there
    told = {address: [*_told(answer), *_crowded(tasks.get(address, 1))] for address, answer in answers.items()}
    unfit = [f"worker {address} {'; '.join(lacking)}" for address, lacking in sorted(told.items()) if lacking]
    if unfit:
        raise EnvironmentFailedError(
            "\n".join(unfit) + f"\n{len(unfit)} of {len(answers)} workers cannot be used: {_WAY_OUT}"
        )


def _told(answer: tuple[str, ...] | Exception) -> tuple[str, ...]:
    return (f"does not answer: {answer!r}",) if isinstance(answer, Exception) else answer
