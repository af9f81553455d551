"""Workers that are not the run's own: a real scheduler behind TLS, on the loopback and between two hosts."""

import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import pytest
from test_run_killed import records, wait_for
from tinyrun import Place, TinyScene, lay_place, tree

from rspipe.pipeline import cluster
from rspipe.pipeline.cluster import open_cluster, spec_of
from rspipe.pipeline.errors import EnvironmentFailedError
from rspipe.pipeline.rollcall import roll_call
from rspipe.pipeline.workflow import load_workflow

pytestmark = pytest.mark.slow
SCENE = TinyScene(height_px=320, width_px=200)
RSPIPE = (sys.executable, "-c", "from rspipe.pipeline.cli import main; main()")
SOON = {"DASK_DISTRIBUTED__COMM__TIMEOUTS__TCP": "11s"}
"""The shortest time after which a silent peer counts as lost; the default is 30 s."""


@dataclass(frozen=True, slots=True)
class Host:
    """This machine, or a network namespace that stands for another one."""

    address: str
    before: tuple[str, ...] = ()
    """What precedes a command to run it there."""


class Socket(NamedTuple):
    """One socket of a process or of its children."""

    pid: int
    status: str
    local: str
    peer: str = ""
    peer_port: str = ""


LOOPBACK = Host("127.0.0.1")
WIRE = "rspipe0"


@dataclass(slots=True)
class Farm:
    """Processes that one test has started, and what they said."""

    place: Place
    scheduler: str
    _open: ExitStack = field(default_factory=ExitStack)

    def start(
        self, host: Host, *command: str, stderr: int = subprocess.DEVNULL, **variables: str
    ) -> "subprocess.Popen[str]":
        process = subprocess.Popen(
            [*host.before, *command],
            env={**os.environ, **SOON, **variables},
            stderr=stderr,
            stdout=subprocess.DEVNULL,
            text=True,
            start_new_session=True,
        )
        self._open.callback(kill, process)
        return process

    def start_scheduler(self, host: Host) -> None:
        port = self.scheduler.rpartition(":")[2]
        where = ("--host", host.address, "--port", port, "--no-dashboard", "--dashboard-address", "127.0.0.1:0")
        self.start(host, sys.executable, "-m", "dask", "scheduler", *where, *tls_options(self.place.root / "tls"))

    def start_worker(self, host: Host) -> "subprocess.Popen[str]":
        return self.start(host, *RSPIPE, "worker", str(self.place.workflow), "--workers", "1")

    def start_run(self, host: Host) -> "subprocess.Popen[str]":
        options = ("--output", str(self.place.out), "--set", "infer.band_rows=1")
        return self.start(host, *RSPIPE, "run", str(self.place.workflow), *options, stderr=subprocess.PIPE)

    def close(self) -> None:
        self._open.close()


def kill(process: "subprocess.Popen[str]") -> None:
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
    process.communicate()


def tls_options(folder: Path) -> tuple[str, ...]:
    return ("--tls-ca-file", f"{folder}/ca.pem", "--tls-cert", f"{folder}/peer.pem", "--tls-key", f"{folder}/peer.key")


def write_certificates(folder: Path) -> None:
    """A CA of its own, and one certificate that it has signed."""
    if shutil.which("openssl") is None:
        pytest.skip("no openssl to make certificates with")
    folder.mkdir()
    curve = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
    signed = ("-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-out", "peer.pem", "-days", "2")
    for command in (
        ("req", "-x509", *curve, "-keyout", "ca.key", "-out", "ca.pem", "-days", "2", "-subj", "/CN=ca"),
        ("req", *curve, "-keyout", "peer.key", "-out", "peer.csr", "-subj", "/CN=peer"),
        ("x509", "-req", "-in", "peer.csr", *signed),
    ):
        subprocess.run(("openssl", *command), cwd=folder, check=True, capture_output=True)


def lay_farm(root: Path, host: Host) -> Farm:
    root.mkdir(exist_ok=True)
    write_certificates(root / "tls")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"tls://{host.address}:{free.getsockname()[1]}"
    files = {"ca": "tls/ca.pem", "cert": "tls/peer.pem", "key": "tls/peer.key"}
    place = lay_place(root, SCENE, compute={"cluster": {"kind": "address", "address": address, **files}})
    return Farm(place, address)


@pytest.fixture
def farm(tmp_path: Path) -> Iterator[Farm]:
    found = lay_farm(tmp_path, LOOPBACK)
    yield found
    found.close()


def test_strangers_and_unfit_workers_are_refused_by_name(farm: Farm, monkeypatch: pytest.MonkeyPatch) -> None:
    farm.start_scheduler(LOOPBACK)
    # Started without `rspipe worker`, two tasks at a time; where root may do so, with other files at the same path.
    worker = (sys.executable, "-m", "dask", "worker", farm.scheduler, *tls_options(farm.place.root / "tls"))
    options = ("--no-dashboard", "--nthreads", "2", "--no-nanny", "--host", "127.0.0.1")
    hidden = os.geteuid() == 0 and subprocess.run(("unshare", "-m", "true"), check=False).returncode == 0
    elsewhere = f'mount -t tmpfs none "{farm.place.out}" && exec "$@"'
    farm.place.out.mkdir()
    before = ("unshare", "-m", "sh", "-c", elsewhere, "sh") if hidden else ()
    farm.start(Host("127.0.0.1", before), *worker, *options, GDAL_SKIP="", OMP_NUM_THREADS="3")

    spec = spec_of(load_workflow(farm.place.workflow).compute, on_gpu=False)
    with (
        pytest.raises(EnvironmentFailedError) as caught,
        open_cluster(spec) as client,
        roll_call(client, farm.place.out / ".rspipe", threads=1),
    ):
        pytest.fail("an unfit worker was taken")
    told = str(caught.value)
    for words in ("worker tls://127.0.0.1:", "GDAL_SKIP ''", "OMP_NUM_THREADS '3', wanted '1'", "2 tasks at a time"):
        assert words in told
    assert ("must share the file system" in told) == hidden
    assert "1 of 1 workers cannot be used: start workers with `rspipe worker`" in told
    assert list((farm.place.out / ".rspipe").iterdir()) == []

    shutil.rmtree(farm.place.root / "tls")
    write_certificates(farm.place.root / "tls")
    monkeypatch.setattr(cluster, "CONNECT_S", 3)
    with pytest.raises(EnvironmentFailedError, match="no scheduler answers"), open_cluster(spec):
        pytest.fail("another CA's certificate was taken")


def ip(*arguments: str) -> bool:
    """Tell whether it could be done: not everybody may make namespaces."""
    return (
        shutil.which("ip") is not None
        and subprocess.run(("ip", *arguments), check=False, capture_output=True).returncode == 0
    )


@pytest.fixture
def hosts() -> Iterator[tuple[Host, Host]]:
    """Two network namespaces with nothing but one wire between them; where that is not allowed, the loopback twice."""
    names = [f"rspipe-{os.getpid()}-{letter}" for letter in "ab"]
    try:
        if os.geteuid() == 0 and all(ip("netns", "add", name) for name in names) and ip(*wire(names)):
            yield joined(names[0], 1), joined(names[1], 2)
        else:
            yield LOOPBACK, LOOPBACK
    finally:
        for name in names:
            subprocess.run(("ip", "netns", "del", name), check=False, capture_output=True)


def wire(names: list[str]) -> list[str]:
    return ["link", "add", WIRE, "netns", names[0], "type", "veth", "peer", "name", WIRE, "netns", names[1]]


def joined(name: str, number: int) -> Host:
    host = Host(f"10.231.7.{number}", ("ip", "netns", "exec", name))
    assert ip("-n", name, "addr", "add", f"{host.address}/24", "dev", WIRE)
    assert ip("-n", name, "link", "set", WIRE, "up")
    assert ip("-n", name, "link", "set", "lo", "up")
    return host


def lose(host: Host, worker: "subprocess.Popen[str]") -> None:
    """Cut the wire to a host; without one, kill all that runs there."""
    if host is LOOPBACK:
        kill(worker)
    else:
        assert ip("-n", host.before[-1], "link", "set", WIRE, "down")


def test_a_host_that_is_lost_in_the_middle_leaves_no_trace(tmp_path: Path, hosts: tuple[Host, Host]) -> None:
    here, there = hosts
    undisturbed = lay_place(tmp_path / "local", SCENE)
    assert undisturbed.run("infer.band_rows=1").code == 0
    farm = lay_farm(tmp_path / "remote", here)
    try:
        farm.start_scheduler(here)
        remaining, lost = farm.start_worker(here), farm.start_worker(there)
        wait_for(lambda: is_connected(here, remaining, farm.scheduler), within_s=300)
        wait_for(lambda: is_connected(there, lost, farm.scheduler), within_s=300)
        run = farm.start_run(here)
        wait_for(lambda: records(farm.place) >= 3 or run.poll() is not None, within_s=300)
        assert listening(here, remaining) == {"127.0.0.1", here.address}
        assert listening(there, lost) == {"127.0.0.1", there.address}
        lose(there, lost)
        _, told = run.communicate(timeout=300)
        assert run.returncode == 0, told
        assert remaining.poll() is None
    finally:
        farm.close()
    assert f"warning: worker tls://{there.address}:" in told
    assert "was lost" in told
    assert tree(farm.place.out) == tree(undisturbed.out)


def sockets(host: Host, process: "subprocess.Popen[str]") -> list[Socket]:
    """Look from inside: what a process has open in another namespace is not seen from here."""
    code = (
        "import psutil, sys; top = psutil.Process(int(sys.argv[1])); found = (top, *top.children(recursive=True));"
        "[print(one.pid, two.status, two.laddr.ip, *two.raddr) for one in found for two in one.net_connections('inet')]"
    )
    command = (*host.before, sys.executable, "-c", code, str(process.pid))
    lines = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()
    return [Socket(int(pid), *words) for pid, *words in map(str.split, lines)]


def listening(host: Host, process: "subprocess.Popen[str]") -> set[str]:
    return {one.local for one in sockets(host, process) if one.status == "LISTEN"}


def is_connected(host: Host, process: "subprocess.Popen[str]", scheduler: str) -> bool:
    """Tell whether a worker, not only its nanny, has reached the scheduler."""
    found = [one for one in sockets(host, process) if one.pid != process.pid]
    return scheduler in {f"tls://{one.peer}:{one.peer_port}" for one in found}
