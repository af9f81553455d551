import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from rspipe.pipeline import atomic
from rspipe.pipeline.errors import EnvironmentFailedError


def tree(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def test_the_file_appears_with_its_folders_and_nothing_else(tmp_path: Path) -> None:
    atomic.write_bytes(tmp_path / "a" / "b" / "c.json", b"{}")
    assert (tmp_path / "a" / "b" / "c.json").read_bytes() == b"{}"
    assert tree(tmp_path) == ["a", "a/b", "a/b/c.json"]


def test_a_failed_block_leaves_the_earlier_file(tmp_path: Path) -> None:
    target = tmp_path / "out.gpkg"
    target.write_bytes(b"earlier")

    def write_half() -> None:
        with atomic.replacing(target) as path:
            path.write_bytes(b"half")
            raise ValueError

    with pytest.raises(ValueError):  # noqa: PT011 - raised by this test itself
        write_half()
    assert target.read_bytes() == b"earlier"
    assert tree(tmp_path) == ["out.gpkg"]


def test_the_target_is_untouched_while_the_block_runs(tmp_path: Path) -> None:
    target = tmp_path / "out.gpkg"
    target.write_bytes(b"earlier")
    with atomic.replacing(target) as path:
        path.write_bytes(b"new")
        assert target.read_bytes() == b"earlier"
        assert path.name == target.name
        assert path.parent.parent == tmp_path
        assert path.parent.stat().st_mode & 0o077 == 0
    assert target.read_bytes() == b"new"


def test_side_files_are_not_delivered(tmp_path: Path) -> None:
    with atomic.replacing(tmp_path / "a.gpkg") as path:
        path.write_bytes(b"x")
        path.with_name("a.gpkg-journal").write_bytes(b"y")
    assert tree(tmp_path) == ["a.gpkg"]


def test_a_block_that_forgets_its_file_moves_none(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), atomic.staging(tmp_path, ("a", "b")) as room:
        (room / "a").write_bytes(b"x")
    assert tree(tmp_path) == []


def test_the_final_file_follows_the_umask(tmp_path: Path) -> None:
    earlier = os.umask(0o027)
    try:
        atomic.write_bytes(tmp_path / "a", b"x")
    finally:
        os.umask(earlier)
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o640


def test_a_link_at_the_target_is_replaced_not_followed(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").write_bytes(b"keep")
    (tmp_path / "a").symlink_to(tmp_path / "elsewhere")
    atomic.write_bytes(tmp_path / "a", b"x")
    assert (tmp_path / "elsewhere").read_bytes() == b"keep"
    assert not (tmp_path / "a").is_symlink()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full on this system")
def test_a_full_disk_is_named_with_the_way_out(tmp_path: Path) -> None:
    target = tmp_path / "a.tif"
    with pytest.raises(EnvironmentFailedError, match=r"a\.tif in .*No space left.*free disk space"):
        fill_the_disk(target)
    assert tree(tmp_path) == []


def fill_the_disk(target: Path) -> None:
    with atomic.replacing(target), Path("/dev/full").open("wb", buffering=0) as full:
        full.write(b"x")


def test_a_folder_that_is_no_folder_is_an_os_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(OSError) as caught:  # noqa: PT011 - errno is checked below
        atomic.write_bytes(tmp_path / "file" / "a", b"x")
    assert caught.value.errno in {errno.ENOTDIR, errno.EEXIST}


KILLED = """
import os, signal, sys
from pathlib import Path
from rspipe.pipeline import atomic
with atomic.replacing(Path(sys.argv[1])) as path:
    path.write_bytes(b"half")
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_what_a_killed_process_left_is_swept(tmp_path: Path) -> None:
    target = tmp_path / "scenes" / "a" / "classes.tif"
    target.parent.mkdir(parents=True)
    target.write_bytes(b"earlier")
    ended = subprocess.run([sys.executable, "-c", KILLED, str(target)], check=False)
    assert ended.returncode == -signal.SIGKILL
    assert target.read_bytes() == b"earlier"
    assert len(atomic.sweep(tmp_path)) == 1
    assert tree(tmp_path) == ["scenes", "scenes/a", "scenes/a/classes.tif"]


def test_remove_takes_files_and_the_folders_they_leave_empty(tmp_path: Path) -> None:
    for name in ("a/x", "a/y", "b/x", "b/mine"):
        atomic.write_bytes(tmp_path / name, b"")
    atomic.remove([tmp_path / "a" / "x", tmp_path / "a" / "y", tmp_path / "b" / "x", tmp_path / "c" / "x"])
    assert tree(tmp_path) == ["b", "b/mine"]


@pytest.mark.parametrize(
    ("number", "name", "ours"),
    [
        (errno.ENOSPC, None, True),
        (errno.EROFS, "below/it", True),
        (errno.EACCES, "/elsewhere", False),
        (errno.EACCES, None, False),
        (errno.ENOENT, "below/it", False),
    ],
)
def test_only_what_could_not_be_written_below_the_folder_is_told_as_such(
    tmp_path: Path, number: int, name: str | None, *, ours: bool
) -> None:
    error = OSError(number, os.strerror(number), *([str(tmp_path / name)] if name else []))
    expected = EnvironmentFailedError if ours else OSError
    with pytest.raises(expected) as caught, atomic.writing(tmp_path):
        raise error
    assert (caught.value is error) is not ours
