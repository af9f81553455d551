"""Workers: on the loopback alone, with their environment set before anything is imported."""

import os
import socket

import psutil
import pytest

from rspipe.pipeline.cluster import ClusterSpec, open_cluster, worker_environment


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
