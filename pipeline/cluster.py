"""The only place that starts Dask: local workers on the loopback, their environment set before any import."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rspipe.catalogs.trust import GDAL_SETTINGS
from rspipe.pipeline.errors import EnvironmentFailedError

if TYPE_CHECKING:
    from distributed import Client

MOST_DEATHS = 3
"""How many workers one task may take down before it is given up."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterSpec:
    """How many workers, and what each may use."""

    workers: int
    threads: int
    """Threads of one forward pass; part of the compute fingerprint."""
    memory_bytes: int | None
    """Above this a worker is ended; None leaves it to the operating system."""
    processes: bool = True
    """False keeps everything in this process: for tests where processes are not the point."""


_ZARR = {
    "CODEC_PIPELINE__PATH": "zarr.core.codec_pipeline.FusedCodecPipeline",
    "CODEC_PIPELINE__MAX_WORKERS": "1",
    "THREADING__MAX_WORKERS": "1",
}
"""Chunks are decoded where they are read: zarr's default hands each to another thread, which costs more than that."""


def cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0))


def worker_environment(threads: int) -> dict[str, str]:
    """Return the variables that must stand in a worker before torch, numpy or GDAL are loaded.

    They replace what the user has set: they decide which bytes come out, and keep hostile files out. Only the size of
    GDAL's cache is the user's.
    """
    count = str(threads)
    variables = dict.fromkeys(
        ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS", "BLOSC_NTHREADS"), count
    )
    variables |= {f"ZARR_{name}": value for name, value in _ZARR.items()}
    cache = os.environ.get("GDAL_CACHEMAX", GDAL_SETTINGS["GDAL_CACHEMAX"])
    return variables | dict(GDAL_SETTINGS) | {"GDAL_CACHEMAX": cache}


def _settings(spec: ClusterSpec) -> Mapping[str, object]:
    return {
        "distributed.worker.memory.target": False,
        "distributed.worker.memory.spill": False,
        "distributed.worker.memory.pause": False,
        "distributed.worker.daemon": True,
        "distributed.nanny.environ": worker_environment(spec.threads),
        "distributed.nanny.pre-spawn-environ": worker_environment(spec.threads),
        "distributed.scheduler.allowed-failures": MOST_DEATHS - 1,
        "distributed.scheduler.work-stealing": True,
        "distributed.comm.timeouts.connect": "30s",
    }


@contextmanager
def _environment(variables: Mapping[str, str]) -> Iterator[None]:
    """Set variables of this process for a while: workers inherit them, or share them where there are no processes."""
    earlier = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in earlier.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


@contextmanager
def open_cluster(spec: ClusterSpec) -> Iterator["Client"]:
    """Start workers, yield their client, and end them whatever happens.

    Raises:
        EnvironmentFailedError: the workers did not start.
    """
    import dask  # noqa: PLC0415 - `rspipe --help` must not pay for it
    from distributed import Client, LocalCluster  # noqa: PLC0415 - as above

    with _environment(worker_environment(spec.threads)), dask.config.set(_settings(spec)):
        try:
            cluster = LocalCluster(  # type: ignore[no-untyped-call] # distributed is not annotated here
                n_workers=spec.workers,
                threads_per_worker=1,
                processes=spec.processes,
                memory_limit=spec.memory_bytes or 0,
                # Without a dashboard there is still a status server: on the loopback, at a port that is free.
                dashboard_address="127.0.0.1:0",
                scheduler_kwargs={"dashboard": False},
                protocol="tcp",
                host="127.0.0.1",
                silence_logs="CRITICAL",
            )
        except (OSError, TimeoutError, RuntimeError) as error:
            raise EnvironmentFailedError(f"{spec.workers} local workers did not start: {error}") from error
        with cluster, Client(cluster) as client:  # type: ignore[no-untyped-call] # as above
            yield client
