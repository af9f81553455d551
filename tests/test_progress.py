"""Progress: lines where no terminal is, bars where one is, everything in the log."""

import io
import json
from pathlib import Path

import pytest

from rspipe.pipeline.progress import Progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def tell(progress: Progress) -> None:
    progress.start("ingest", 2)
    progress.advance("ingest", busy_s=1.5)
    progress.advance("ingest", busy_s=2)
    progress.finish("ingest")
    progress.detail("a detail")
    progress.note("a note")
    progress.warn("a warning")


@pytest.mark.parametrize(
    ("verbosity", "expected"),
    [
        (-1, ["warning: a warning"]),
        (0, ["ingest: 2 tasks", "ingest: 2 of 2 tasks", "a note", "warning: a warning"]),
        (1, ["ingest: 2 tasks", "ingest: 2 of 2 tasks", "a detail", "a note", "warning: a warning"]),
    ],
)
def test_lines_without_a_terminal(verbosity: int, expected: list[str]) -> None:
    stream = io.StringIO()
    with Progress(stream, verbosity) as progress:
        tell(progress)
    assert [line.partition(" done after")[0] for line in stream.getvalue().splitlines()] == expected


def test_bars_on_a_terminal() -> None:
    stream = Terminal()
    with Progress(stream) as progress:
        tell(progress)
    assert "2/2" in stream.getvalue()
    assert "a note" in stream.getvalue()


def test_the_log_has_everything_as_json_lines(tmp_path: Path) -> None:
    path = tmp_path / "log" / "run.jsonl"
    for _ in range(2):
        with Progress(io.StringIO(), -1) as progress:
            progress.log_to(path)
            tell(progress)
    records = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    assert [record["event"] for record in records] == ["start", "finish", "detail", "note", "warning"] * 2
    assert (records[1]["stage"], records[1]["done"], records[1]["total"]) == ("ingest", 2, 2)
    assert records[1]["elapsed_s"] >= 0
    assert records[1]["busy_s"] == 3.5


def test_a_hostile_name_cannot_steer_the_terminal() -> None:
    stream = io.StringIO()
    Progress(stream).note("scene \x1b[2Jx\ny")
    assert stream.getvalue() == "scene  [2Jx y\n"


def test_a_log_that_a_full_disk_does_not_take_fails_once_and_where_it_is_written() -> None:
    progress = Progress(io.StringIO())
    progress.log_to(Path("/dev/full"))
    with pytest.raises(OSError, match="No space left"):
        progress.note("lost")
    with progress:
        pass
