"""The strict loader: what it takes, what it refuses, and the place it names."""

import time
from pathlib import Path

import pytest

from rspipe.catalogs.errors import YamlError
from rspipe.catalogs.yamlfile import MAX_BYTES, dotted, parse_yaml, read_document


def test_plain_words_mean_what_yaml_1_2_says() -> None:
    text = "{a: no, b: 010, c: 1e3, d: 2015-10-22, e: 12:30, f: true, g: ~, h: '7', i: .nan, j: 0.5, k: '02.14'}"
    assert parse_yaml(text, "s") == {
        "a": "no", "b": 10, "c": 1000.0, "d": "2015-10-22", "e": "12:30", "f": True, "g": None, "h": "7",
        "i": ".nan", "j": 0.5, "k": "02.14",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("text", "place", "words"),
    [
        ("a: 1\nb: 2\na: 3\n", "3:1", "already given in line 1"),
        ("a:\n  b: 1\n  b: 2\n", "3:3", "'a.b' was already given in line 2"),
        ("a: &x 1\n", "1:4", "anchors"),
        ("a: *x\n", "1:4", "aliases"),
        ("<<: {a: 1}\n", "1:1", "merge keys"),
        ("a: !!python/object/apply:os.system [x]\n", "1:4", "tags"),
        ("a: !!str 1\n", "1:4", "tags"),
        ("a:\n\tb: 1\n", "2:1", "tab"),
        ("a: [1, 2\n", "2:1", "well-formed"),
        ("1: a\n", "1:1", "a key must be a word"),
        ("? [a]\n: b\n", "1:3", "a key must be a word"),
        ("a: 1\n---\nb: 2\n", "2:1", "second document"),
        ("a: " + "[" * 20 + "]" * 20, "1:20", "deeper"),
        ("- a\n", "1:1", "must hold a mapping"),
        ("", "1:1", "found nothing"),
    ],
)
def test_what_data_does_not_need_is_refused_with_its_place(tmp_path: Path, text: str, place: str, words: str) -> None:
    file = tmp_path / "w.yaml"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(YamlError) as caught:
        read_document(file)
    assert str(caught.value).startswith(f"{file}:{place}: ")
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("data", "place"), [(b"a: 1\nb: \xff\n", "2:4"), (b"\x89PNG\r\n\x1a\n", "1:1"), (b"a: \x00", "1:4")]
)
def test_binary_is_refused_with_its_place(tmp_path: Path, data: bytes, place: str) -> None:
    file = tmp_path / "w.yaml"
    file.write_bytes(data)
    with pytest.raises(YamlError, match=rf"w\.yaml:{place}: "):
        read_document(file)


@pytest.mark.parametrize("text", ["x" * (MAX_BYTES + 1), "[" * 900_000, "a: [" + "1, " * 300_000 + "1]"])
def test_bombs_are_refused_in_bounded_time(tmp_path: Path, text: str) -> None:
    file = tmp_path / "w.yaml"
    file.write_text(text, encoding="utf-8")
    began_s = time.process_time()
    with pytest.raises(YamlError):
        read_document(file)
    assert time.process_time() - began_s < 10


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(YamlError, match=r"absent\.yaml: cannot be read: No such file"):
        read_document(tmp_path / "absent.yaml")


def test_places_are_those_of_the_keys(tmp_path: Path) -> None:
    file = tmp_path / "w.yaml"
    file.write_text("a:\n  b:\n    - 1\n    - 2\n", encoding="utf-8")
    document = read_document(file)
    assert document.where(("a", "b")) == f"{file}:2:3"
    assert document.where(("a", "b", 1)) == f"{file}:4:7"
    assert document.where(("a", "absent", "deep")) == f"{file}:1:1"
    assert dotted(("a", "b", 1)) == "a.b[1]"
