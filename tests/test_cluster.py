"""Workers: on the loopback alone, with their environment set before anything is imported."""

import os
import socket
from itertools import pairwise
from pathlib import Path

import psutil
import pytest

from rspipe.pipeline.cluster import ClusterSpec, open_cluster, spec_of, worker_command, worker_environment
from rspipe.pipeline.config import ClusterSettings, ComputeSettings
from rspipe.pipeline.errors import ConfigError


@pytest.mark.slow
def test_workers_listen_on_the_loopback_only_and_have_their_environment() -> None:
    with open_cluster(ClusterSpec(workers=2, threads=1, memory_bytes=None)) as client:
        ours = psutil.Process()
        listening = [
            connection.laddr.ip
            for process in (ours, *ours.children(recursive=True))
            for connection in process.net_connections("inet")
            if connection.status == psutil.CONN_LISTEN
        ]
        assert len(listening) >= 3
        assert set(listening) == {"127.0.0.1"}
        for found in client.run(lambda: dict(os.environ)).values():
            expected = worker_environment(1)
            assert {name: found.get(name) for name in expected} == expected
        shares = [worker["memory_limit"] for worker in client.scheduler_info()["workers"].values()]
        assert all(0 < share <= psutil.virtual_memory().total // 2 for share in shares)


def test_two_clusters_stand_side_by_side_without_a_warning(recwarn: pytest.WarningsRecorder) -> None:
    spec = ClusterSpec(workers=1, threads=1, memory_bytes=None, processes=False)
    with open_cluster(spec) as one, open_cluster(spec) as other:
        assert one.submit(socket.gethostname).result() == other.submit(socket.gethostname).result()
    assert not [warning for warning in recwarn if "already in use" in str(warning.message)]


def test_the_environment_is_left_as_it_was_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    monkeypatch.delenv("GDAL_PAM_ENABLED", raising=False)
    with open_cluster(ClusterSpec(workers=1, threads=1, memory_bytes=None, processes=False)):
        assert os.environ["OMP_NUM_THREADS"] == "1"
    assert os.environ["OMP_NUM_THREADS"] == "7"
    assert "GDAL_PAM_ENABLED" not in os.environ


def test_only_the_size_of_gdals_cache_is_the_users(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GDAL_CACHEMAX", "17")
    monkeypatch.setenv("GDAL_SKIP", "")
    found = worker_environment(3)
    assert found["GDAL_CACHEMAX"] == "17"
    assert "VRT" in found["GDAL_SKIP"].split()
    assert found["OMP_NUM_THREADS"] == "3"


@pytest.fixture
def elsewhere(tmp_path: Path) -> ComputeSettings:
    files = {name: tmp_path / f"{name}.pem" for name in ("ca", "cert", "key")}
    for path in files.values():
        path.touch()
    cluster = ClusterSettings(kind="address", address="tls://127.0.0.1:8786", **files)
    return ComputeSettings(cluster=cluster, threads=2, memory_per_worker="2 GiB")


def test_a_file_for_tls_that_is_not_there_is_named(elsewhere: ComputeSettings, tmp_path: Path) -> None:
    (tmp_path / "key.pem").unlink()
    with pytest.raises(ConfigError, match=r"compute\.cluster\.key: .*key\.pem is not a file"):
        spec_of(elsewhere, on_gpu=False)


def test_workers_for_a_scheduler_elsewhere_listen_where_it_is_reached_and_have_their_environment(
    elsewhere: ComputeSettings, tmp_path: Path
) -> None:
    command, environment = worker_command(elsewhere, 3)
    given = dict(pairwise(command))
    assert given["worker"] == "tls://127.0.0.1:8786"
    assert (given["--nworkers"], given["--nthreads"], given["--memory-limit"]) == ("3", "1", str(2 * 2**30))
    assert (given["--host"], given["--dashboard-address"]) == ("127.0.0.1", "127.0.0.1:0")
    assert given["--tls-ca-file"] == str(tmp_path / "ca.pem")
    assert environment.items() >= worker_environment(2).items()
    assert environment["DASK_DISTRIBUTED__WORKER__MEMORY__PAUSE"] == "False"
    assert environment["PATH"] == os.environ["PATH"]


def test_workers_on_gpus_are_one_per_gpu_unless_the_workflow_says_another_number(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,5,7")
    found = [
        spec_of(ComputeSettings(workers=workers), on_gpu=on_gpu)
        for workers, on_gpu in ((None, True), (6, True), (4, False))
    ]
    assert [(spec.workers, spec.on_gpu) for spec in found if isinstance(spec, ClusterSpec)] == [
        (3, True), (6, True), (4, False)
    ]  # fmt: skip


def test_workers_for_a_scheduler_elsewhere_take_gpus_where_the_workflow_asks_for_them(
    elsewhere: ComputeSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,5,7")
    command, _ = worker_command(elsewhere.model_copy(update={"device": "cuda"}), None)
    given = dict(pairwise(command))
    assert (given["--nworkers"], given["--preload"]) == ("3", "rspipe.pipeline.gpus")
    assert given["--name"].endswith("-0")
    command, _ = worker_command(elsewhere.model_copy(update={"device": "cpu"}), None)
    assert "--preload" not in command


def test_a_local_cluster_needs_no_workers_from_elsewhere() -> None:
    with pytest.raises(ConfigError, match=r"compute\.cluster\.kind: local"):
        worker_command(ComputeSettings(), 1)
