"""Real worker processes, killed and interrupted: what is resumed gives the bytes of an undisturbed run."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from tinyrun import Place, TinyScene, lay_place, tree

pytestmark = pytest.mark.slow
SCENES = (TinyScene(height_px=320, width_px=300), TinyScene(id="tiny-b", seed=3))


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The published bytes of a run in one process that nobody disturbed."""
    place = lay_place(tmp_path_factory.mktemp("undisturbed"), *SCENES)
    assert place.run().code == 0
    return tree(place.out)


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return lay_place(tmp_path, *SCENES)


def start(place: Place, *arguments: str, band_rows: str = "1", **variables: str) -> "subprocess.Popen[str]":
    command = [sys.executable, "-c", "from rspipe.pipeline.cli import main; main()", "run", str(place.workflow)]
    command += ["--output", str(place.out), "--set", f"infer.band_rows={band_rows}", *arguments]
    environment = os.environ | variables
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True, env=environment)


def end(process: "subprocess.Popen[str]") -> tuple[int, str]:
    _, stderr = process.communicate(timeout=300)
    assert "Traceback" not in stderr
    return process.returncode, stderr


def wait_for(what: Callable[[], bool], within_s: float = 120) -> None:
    limit = time.monotonic() + within_s
    while not what():
        assert time.monotonic() < limit, "it did not come to pass"
        time.sleep(0.05)


def records(place: Place) -> int:
    return sum(1 for _ in place.out.glob(".rspipe/ledger/*/*.json"))


def inferred_bands(place: Place) -> list[tuple[str, str]]:
    """Scene and label of every band that was inferred, under whatever key."""
    found = [json.loads(path.read_text()) for path in place.out.glob(".rspipe/ledger/*/*.json")]
    return sorted((record["scene"], record["label"]) for record in found if record["stage"] == "infer")


def workers(of: int) -> list[int]:
    """Process ids of the worker processes below one process, found by what they were started with."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((folder / "stat").read_text().rsplit(")", 1)[1].split()[1])
            command = (folder / "cmdline").read_bytes()
        except (OSError, IndexError):
            continue
        if parent == of and b"spawn_main" in command:
            found.append(int(folder.name))
    return found


def leftovers(place: Place) -> list[Path]:
    return [path for path in place.out.rglob("*") if path.name.startswith(".partial") or path.suffix == ".partial"]


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_run_that_is_killed_at_any_time_is_resumed_to_the_same_bytes(
    place: Place, undisturbed: dict[str, str], seed: int
) -> None:
    most = 22
    process = start(place, "--workers", "1")
    wanted = int(np.random.default_rng(seed).integers(1, most))
    wait_for(lambda: records(place) >= wanted or process.poll() is not None)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    process = start(place, "--workers", "1")
    code, stderr = end(process)
    assert code == 0, stderr
    assert tree(place.out) == undisturbed
    assert leftovers(place) == []


def test_what_one_worker_inferred_is_not_inferred_again_by_two(place: Place, undisturbed: dict[str, str]) -> None:
    process = start(place, "--workers", "1", band_rows="null")
    wait_for(lambda: bool(inferred_bands(place)) or process.poll() is not None)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    begun = inferred_bands(place)
    assert "manifest.json" not in tree(place.out)
    code, stderr = end(start(place, "--workers", "2", band_rows="null"))
    assert code == 0, stderr
    assert len(inferred_bands(place)) == len(set(inferred_bands(place))) > len(begun) > 0
    assert tree(place.out) == undisturbed
    assert not (place.out / ".rspipe" / "band_rows").exists()


def test_two_workers_one_of_which_is_killed_give_the_bytes_of_one(place: Place, undisturbed: dict[str, str]) -> None:
    process = start(place, "--workers", "2")
    wait_for(lambda: records(place) >= 3 or process.poll() is not None)
    (victim, *_) = workers(process.pid)
    os.kill(victim, signal.SIGKILL)
    code, stderr = end(process)
    assert code == 0, stderr
    assert tree(place.out) == undisturbed


def test_two_workers_give_the_bytes_of_one(place: Place, undisturbed: dict[str, str]) -> None:
    code, stderr = end(start(place, "--workers", "2"))
    assert code == 0, stderr
    assert tree(place.out) == undisturbed


def test_two_runs_at_once_in_two_time_zones_give_the_same_bytes(place: Place, undisturbed: dict[str, str]) -> None:
    other = place.root / "other"
    both = (
        start(place, "--workers", "1", TZ="Pacific/Kiritimati", LC_ALL="C"),
        start(place, "--workers", "1", "--output", str(other), TZ="Pacific/Pago_Pago", LC_ALL="C.UTF-8"),
    )
    for process in both:
        code, stderr = end(process)
        assert code == 0, stderr
    assert tree(place.out) == tree(other) == undisturbed


@pytest.mark.parametrize("everyone", [False, True], ids=["alone", "with its workers"])
@pytest.mark.parametrize("name", [signal.SIGTERM, signal.SIGINT])
def test_a_run_that_is_told_to_stop_stops_soon_and_can_be_resumed(
    place: Place, undisturbed: dict[str, str], name: signal.Signals, *, everyone: bool
) -> None:
    """A terminal's Ctrl-C goes to every process of the group, and so does what systemd sends."""
    process = start(place, "--workers", "1")
    wait_for(lambda: records(place) >= 2)
    below = workers(process.pid)
    began_s = time.monotonic()
    (os.killpg if everyone else os.kill)(process.pid, name)
    code, stderr = end(process)
    assert code == 130, stderr
    assert time.monotonic() - began_s < 10
    assert "goes on where this one stopped" in stderr
    assert below
    assert not any(Path(f"/proc/{number}").exists() for number in below)
    assert "manifest.json" not in tree(place.out)
    assert place.run("infer.band_rows=1").code == 0
    assert tree(place.out) == undisturbed
