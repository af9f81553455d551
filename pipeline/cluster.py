"""The only place that starts Dask, or reaches it: workers on the loopback, or elsewhere behind TLS."""

import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from socket import gethostname
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from rspipe.catalogs.trust import GDAL_SETTINGS
from rspipe.pipeline import gpus, interrupts
from rspipe.pipeline.config import ComputeSettings
from rspipe.pipeline.errors import ConfigError, EnvironmentFailedError

if TYPE_CHECKING:
    from distributed import Client

CACHE_SIZE = "GDAL_CACHEMAX"
"""The one variable of a worker that is the user's: it changes no byte and lets nobody in."""
CONNECT_S = 30
MOST_DEATHS = 3
"""How many workers one task may take down before it is given up."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterSpec:
    """Workers of this machine: how many, and what each may use."""

    workers: int
    threads: int
    """Threads of one forward pass; part of the compute fingerprint."""
    memory_bytes: int | None
    """Above this a worker is ended; None: its share of the machine, see `share_bytes`."""
    on_gpu: bool = False
    """Each takes one of this machine's GPUs, in turn."""
    processes: bool = True
    """False keeps everything in this process: for tests where processes are not the point."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AddressSpec:
    """A scheduler that is running already, and what proves to it who we are."""

    address: str
    """`tls://host:port`."""
    ca: Path
    cert: Path
    key: Path
    threads: int
    """As of `ClusterSpec`."""

    def __post_init__(self) -> None:
        for name in ("ca", "cert", "key"):
            path = getattr(self, name)
            if not path.is_file():
                raise ConfigError(f"compute.cluster.{name}: {path} is not a file; give the PEM file to use with TLS")


_ZARR = {
    "CODEC_PIPELINE__PATH": "zarr.core.codec_pipeline.FusedCodecPipeline",
    "CODEC_PIPELINE__MAX_WORKERS": "1",
    "THREADING__MAX_WORKERS": "1",
}
"""Chunks are decoded where they are read: zarr's default hands each to another thread, which costs more than that."""

_MALLOC = {"MALLOC_MMAP_THRESHOLD_": str(2**25), "MALLOC_TRIM_THRESHOLD_": str(2**28)}
"""glibc keeps the memory of a window for the next one; given back, all of it would be cleared anew: a window took
2.4 times as long with the threshold that dask sets where nobody else does."""

_WORKER = {
    "distributed.worker.memory.target": False,
    "distributed.worker.memory.spill": False,
    "distributed.worker.memory.pause": False,
}
"""Results are receipts, there is nothing to spill: a worker that holds too much is ended."""


def cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0))


def machine_bytes() -> int:
    """Return how much memory there is for this process and all that it starts: the machine's, or the container's."""
    from distributed.system import MEMORY_LIMIT  # noqa: PLC0415 - `rspipe --help` must not pay for it

    return int(MEMORY_LIMIT)


def share_bytes(workers: int) -> int:
    """Return what each worker may hold where nobody says: one that grows beyond is ended before the machine is full."""
    return machine_bytes() // workers


def spec_of(compute: ComputeSettings, *, on_gpu: bool) -> ClusterSpec | AddressSpec:
    """Return who computes, as a workflow says.

    Args:
        compute: of the workflow.
        on_gpu: the model runs on GPUs.

    Raises:
        ConfigError: one of the files for TLS is not there.
    """
    cluster, threads = compute.cluster, compute.threads
    if cluster.address and cluster.ca and cluster.cert and cluster.key:
        return AddressSpec(address=cluster.address, ca=cluster.ca, cert=cluster.cert, key=cluster.key, threads=threads)
    return ClusterSpec(
        workers=compute.workers or _places(threads, on_gpu=on_gpu),
        threads=threads,
        memory_bytes=compute.memory_per_worker_bytes,
        on_gpu=on_gpu,
    )


def _places(threads: int, *, on_gpu: bool) -> int:
    """Return how many workers this machine has room for: one per GPU, or one per so many cores."""
    return max(1, len(gpus.visible()) if on_gpu else cores() // threads)


def worker_environment(threads: int) -> dict[str, str]:
    """Return the variables that must stand in a worker before torch, numpy or GDAL are loaded.

    They replace what the user has set: they decide which bytes come out, and keep hostile files out. Only the size of
    GDAL's cache is the user's.
    """
    count = str(threads)
    variables = dict.fromkeys(
        ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS", "BLOSC_NTHREADS"), count
    )
    variables |= {f"ZARR_{name}": value for name, value in _ZARR.items()} | _MALLOC
    cache = os.environ.get(CACHE_SIZE, GDAL_SETTINGS[CACHE_SIZE])
    return variables | dict(GDAL_SETTINGS) | {CACHE_SIZE: cache}


def worker_command(compute: ComputeSettings, workers: int | None) -> tuple[list[str], dict[str, str]]:
    """Return the command that starts workers of this machine for a scheduler elsewhere, and all of its environment.

    They listen on the one address from which the scheduler is reached, and only with TLS.

    Raises:
        ConfigError: the workflow names no scheduler.
    """
    on_gpu = gpus.are_wanted(compute)
    spec = spec_of(compute, on_gpu=on_gpu)
    if isinstance(spec, ClusterSpec):
        raise ConfigError(
            "compute.cluster.kind: local; a run starts these workers itself, set kind: address for others"
        )
    from distributed.utils import get_ip  # noqa: PLC0415 - `rspipe --help` must not pay for it

    scheduler, count = urlsplit(spec.address), workers or _places(spec.threads, on_gpu=on_gpu)
    options = {
        "--nworkers": count,
        "--nthreads": 1,
        "--memory-limit": compute.memory_per_worker_bytes or share_bytes(count),
        "--host": get_ip(scheduler.hostname, scheduler.port),  # type: ignore[no-untyped-call] # no types there
        "--dashboard-address": "127.0.0.1:0",
        "--tls-ca-file": spec.ca,
        "--tls-cert": spec.cert,
        "--tls-key": spec.key,
    }
    if on_gpu:
        options |= {"--preload": gpus.__name__, "--name": f"{gethostname()}-{os.getpid()}-0"}
    given = [str(part) for option in options.items() for part in option]
    command = [sys.executable, "-m", "dask", "worker", spec.address, "--no-dashboard", *given]
    settings = {f"DASK_{name.replace('.', '__').upper()}": str(value) for name, value in _WORKER.items()}
    settings["DASK_DISTRIBUTED__COMM__REQUIRE_ENCRYPTION"] = "True"
    return command, {**os.environ, **worker_environment(spec.threads), **settings}


def _settings(spec: ClusterSpec) -> Mapping[str, object]:
    return _WORKER | {
        "distributed.worker.daemon": True,
        "distributed.nanny.environ": worker_environment(spec.threads),
        "distributed.nanny.pre-spawn-environ": worker_environment(spec.threads),
        "distributed.scheduler.allowed-failures": MOST_DEATHS - 1,
        "distributed.scheduler.work-stealing": True,
        "distributed.comm.timeouts.connect": "30s",
        "distributed.worker.preload": _preloads(spec) if spec.processes else [],
    }


def _preloads(spec: ClusterSpec) -> list[str]:
    return [module.__name__ for module in ((interrupts, gpus) if spec.on_gpu else (interrupts,))]


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
def open_cluster(spec: ClusterSpec | AddressSpec) -> Iterator["Client"]:
    """Start workers, or reach those of a running scheduler, and yield their client.

    Workers that are started here end here, whatever happens. Those of a scheduler elsewhere stay.

    Raises:
        EnvironmentFailedError: the workers did not start, or there are none at the address.
    """
    with _reached(spec) if isinstance(spec, AddressSpec) else _started(spec) as client:
        yield client


@contextmanager
def _started(spec: ClusterSpec) -> Iterator["Client"]:
    import dask  # noqa: PLC0415 - `rspipe --help` must not pay for it
    from distributed import Client, LocalCluster  # noqa: PLC0415 - as above

    with _environment(worker_environment(spec.threads)), dask.config.set(_settings(spec)):
        try:
            cluster = LocalCluster(  # type: ignore[no-untyped-call] # distributed is not annotated here
                n_workers=spec.workers,
                threads_per_worker=1,
                processes=spec.processes,
                memory_limit=spec.memory_bytes or share_bytes(spec.workers),
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


@contextmanager
def _reached(spec: AddressSpec) -> Iterator["Client"]:
    from distributed import Client, Security  # noqa: PLC0415 - `rspipe --help` must not pay for it

    security = Security(  # type: ignore[no-untyped-call] # distributed is not annotated here
        require_encryption=True,
        tls_ca_file=str(spec.ca),
        tls_client_cert=str(spec.cert),
        tls_client_key=str(spec.key),
    )
    try:
        client = Client(spec.address, security=security, timeout=CONNECT_S)  # type: ignore[no-untyped-call] # as above
    except (OSError, TimeoutError, OverflowError) as error:
        raise EnvironmentFailedError(
            f"compute.cluster: no scheduler answers at {spec.address}: {error}; start it, or mend its address or files"
        ) from error
    with client:
        wait_for_worker(client)
        yield client


def wait_for_worker(client: "Client") -> None:
    """Wait a little until there is a worker.

    Raises:
        EnvironmentFailedError: there is none.
    """
    try:
        client.wait_for_workers(1, timeout=CONNECT_S)
    except (OSError, TimeoutError) as error:
        raise EnvironmentFailedError(
            f"the cluster has had no worker for {CONNECT_S} s; start some (rspipe worker), then run again to resume"
        ) from error


@contextmanager
def losses_told(client: "Client", tell: Callable[[str], None]) -> Iterator[None]:
    """While the block runs, tell of every worker that goes without a farewell; `tell` is called by another thread."""

    def hear(event: tuple[float, Mapping[str, Any]]) -> None:
        _, message = event
        if message.get("action") == "remove-worker" and not message.get("expected"):
            tasks = len(message["processing-tasks"])
            tell(f"worker {message['worker']} was lost with {tasks} of its tasks unfinished; others are given them")

    client.subscribe_topic("all", hear)  # type: ignore[no-untyped-call] # distributed is not annotated here
    try:
        yield
    finally:
        if client.status == "running":
            client.unsubscribe_topic("all")  # type: ignore[no-untyped-call] # as above
