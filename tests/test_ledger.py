"""What is done, and that nothing else passes for it."""

import hashlib
import os
from pathlib import Path

import pytest

from rspipe.pipeline import ledger as ledger_module
from rspipe.pipeline import sealed
from rspipe.pipeline.errors import EnvironmentFailedError, SceneFailedError
from rspipe.pipeline.ledger import InputDigests, Ledger, Signature, Vouched, file_digest, sweep_partials
from rspipe.pipeline.task import Receipt, Task

KEY = "ab" + "c" * 62
TASK = Task(key=KEY, stage="infer", scene="tiny", label="band 0", inputs=(), job=None)


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    (tmp_path / "made").mkdir()
    (tmp_path / "made" / "one").write_bytes(b"first")
    (tmp_path / "made" / "two").write_bytes(b"second")
    ledger = Ledger(tmp_path, tmp_path / "ledger")
    outputs = tuple(tmp_path / "made" / name for name in ("two", "one", "one"))
    ledger.commit(TASK, Receipt(outputs=outputs, counts={"windows": 4}))
    return ledger


def path_of(root: Path) -> Path:
    return root / "ledger" / "ab" / f"{KEY}.json"


def test_a_committed_task_is_done(ledger: Ledger) -> None:
    state, record = ledger.state(KEY)
    assert state == "done"
    assert record is not None
    assert record.counts == {"windows": 4}
    assert record.objects == (
        Vouched("made/one", 5, hashlib.sha256(b"first").hexdigest()),
        Vouched("made/two", 6, hashlib.sha256(b"second").hexdigest()),
    )


def test_an_unknown_task_is_new(ledger: Ledger) -> None:
    assert ledger.state("d" * 64) == ("new", None)
    assert ledger.counts("d" * 64) == {}


@pytest.mark.parametrize("content", [b"First", b"longer than first", b"", None])
def test_a_changed_or_lost_output_is_done_again_and_its_counts_are_still_known(
    ledger: Ledger, tmp_path: Path, content: bytes | None
) -> None:
    path = tmp_path / "made" / "one"
    path.unlink()
    if content is not None:
        path.write_bytes(content)
    assert ledger.state(KEY) == ("redo", None)
    assert ledger.counts(KEY) == {"windows": 4}


def test_a_changed_output_of_equal_size_and_time_is_noticed(ledger: Ledger, tmp_path: Path) -> None:
    path = tmp_path / "made" / "one"
    before = path.stat()
    path.write_bytes(b"FIRST")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert ledger.state(KEY) == ("redo", None)


@pytest.mark.parametrize("content", ["", "{", "[]", "null", "{}", '{"schema": 1, "key": "x"}'])
def test_a_damaged_record_is_done_again(ledger: Ledger, tmp_path: Path, content: str) -> None:
    path_of(tmp_path).write_text(content)
    assert ledger.state(KEY) == ("redo", None)


def test_a_record_of_another_task_does_not_vouch_for_this_one(ledger: Ledger, tmp_path: Path) -> None:
    sealed.write(path_of(tmp_path), {**(sealed.read(path_of(tmp_path)) or {}), "key": "e" * 64})
    assert ledger.state(KEY) == ("redo", None)


def test_a_record_of_another_version_is_told_with_the_way_out(ledger: Ledger, tmp_path: Path) -> None:
    sealed.write(path_of(tmp_path), {**(sealed.read(path_of(tmp_path)) or {}), "schema": 2})
    with pytest.raises(EnvironmentFailedError, match=r"schema 2, this one knows 1.*--fresh"):
        ledger.state(KEY)


def test_an_output_that_is_missing_cannot_be_vouched_for(ledger: Ledger, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        ledger.commit(TASK, Receipt(outputs=(tmp_path / "absent",), counts={}))


def test_digests_are_those_of_sha256_also_beyond_one_piece(tmp_path: Path) -> None:
    content = os.urandom(3 * 2**20 + 17)
    (tmp_path / "big").write_bytes(content)
    assert file_digest(tmp_path / "big") == hashlib.sha256(content).hexdigest()


def test_a_signature_moves_even_when_size_and_mtime_stay(tmp_path: Path) -> None:
    path = tmp_path / "band.tif"
    path.write_bytes(b"one")
    before, status = Signature.of(path), path.stat()
    path.write_bytes(b"two")
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    after = Signature.of(path)
    assert (after.size_bytes, after.mtime_ns) == (before.size_bytes, before.mtime_ns)
    assert after != before


def test_input_digests_are_remembered_until_the_file_changes(tmp_path: Path) -> None:
    path, cache = tmp_path / "band.tif", tmp_path / "inputs.json"
    path.write_bytes(b"one")
    digests = InputDigests(cache)
    assert digests.digest(path).sha256 == hashlib.sha256(b"one").hexdigest()
    digests.save()
    (signature,) = sealed.read(cache) or {}
    sealed.write(cache, {signature: "remembered"})
    assert InputDigests(cache).digest(path).sha256 == "remembered"
    path.write_bytes(b"other")
    assert InputDigests(cache).digest(path).sha256 == hashlib.sha256(b"other").hexdigest()


def test_a_file_that_grows_while_it_is_digested_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "band.tif"
    path.write_bytes(b"one")

    def slow(read: Path) -> str:
        with path.open("ab") as file:
            file.write(b"more")
        return file_digest(read)

    monkeypatch.setattr(ledger_module, "file_digest", slow)
    with pytest.raises(SceneFailedError, match=r"band\.tif: changed while it was read"):
        InputDigests(tmp_path / "inputs.json").digest(path)


def test_a_file_that_cannot_be_read_is_its_scenes_affair(tmp_path: Path) -> None:
    with pytest.raises(SceneFailedError, match=r"gone\.tif: cannot be read: No such file"):
        InputDigests(tmp_path / "inputs.json").digest(tmp_path / "gone.tif")


@pytest.mark.parametrize("content", ["", "{", "[1]", "\x00"])
def test_a_damaged_cache_of_input_digests_is_as_good_as_none(tmp_path: Path, content: str) -> None:
    (tmp_path / "inputs.json").write_text(content)
    (tmp_path / "band.tif").write_bytes(b"one")
    digests = InputDigests(tmp_path / "inputs.json")
    assert digests.digest(tmp_path / "band.tif").sha256 == hashlib.sha256(b"one").hexdigest()


def test_what_a_killed_writer_left_is_swept(tmp_path: Path) -> None:
    (tmp_path / "c").mkdir()
    (tmp_path / "c" / "0.partial").write_bytes(b"half")
    (tmp_path / "c" / "0").write_bytes(b"whole")
    assert sweep_partials([tmp_path]) == 1
    assert [path.name for path in (tmp_path / "c").iterdir()] == ["0"]
