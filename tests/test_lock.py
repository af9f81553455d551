"""One run per output folder; who cannot begin is told at once."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from tinyrun import TinyScene, lay_place, tree

from rspipe.pipeline.errors import EnvironmentFailedError
from rspipe.pipeline.lock import locked, look

NOBODY = 65534
COMMAND = """
import sys
from rspipe.pipeline.cli import main
try:
    main()
finally:
    print(*sorted({"torch", "dask", "zarr"} & set(sys.modules)))
"""


@pytest.fixture
def forbidden() -> Iterator[Path]:
    """A folder that this process may read but not write, whoever runs it."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o555)
        as_root = os.geteuid() == 0
        if as_root:
            os.seteuid(NOBODY)
        yield folder
        if as_root:
            os.seteuid(0)
        folder.chmod(0o700)


def test_a_free_folder_is_left_as_it_is(tmp_path: Path) -> None:
    lock = tmp_path / "out" / ".rspipe" / "lock"
    look(lock)
    assert list(tmp_path.iterdir()) == []
    with locked(lock):
        pass
    look(lock)
    with locked(lock):
        pass


def test_a_look_does_not_stand_in_the_way_of_another(tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    with locked(lock):
        held = lock.read_text()
    look(lock)
    look(lock)
    assert lock.read_text() == held


def test_what_is_held_is_refused_with_the_holders_name(tmp_path: Path) -> None:
    lock = tmp_path / "out" / ".rspipe" / "lock"
    with locked(lock):
        for take in (look, lambda path: locked(path).__enter__()):
            with pytest.raises(EnvironmentFailedError, match=rf"at work here \(pid {os.getpid()} on .*--output"):
                take(lock)


@pytest.mark.parametrize("below", [".", "new", "new/deeper"])
def test_a_folder_that_cannot_be_written_is_refused(forbidden: Path, below: str) -> None:
    with pytest.raises(EnvironmentFailedError, match="Permission denied; make the output folder writable"):
        look(forbidden / below / ".rspipe" / "lock")


def test_a_file_in_the_way_is_refused(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("in the way")
    with pytest.raises(EnvironmentFailedError, match="Not a directory"):
        look(tmp_path / "out" / ".rspipe" / "lock")


def test_a_second_run_leaves_before_anything_heavy_is_loaded(tmp_path: Path) -> None:
    place = lay_place(tmp_path, TinyScene(height_px=70, width_px=60))
    command = [sys.executable, "-c", COMMAND, "run", str(place.workflow), "--output", str(place.out)]
    with locked(place.out / ".rspipe" / "lock"):
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stdout) == (4, "\n")
    assert "another run is at work here" in done.stderr
    assert tree(place.out) == {}
