"""What is sealed is what was written, or nothing."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rspipe.pipeline import sealed

VALUES = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
FIELDS = st.dictionaries(
    st.text().filter(lambda name: name != "seal"), st.recursive(VALUES, st.lists, max_leaves=5), max_size=5
)


@given(FIELDS)
def test_there_and_back(fields: dict[str, object]) -> None:
    assert sealed.loads(sealed.dumps(fields)) == fields


@given(FIELDS, st.integers(0, 10_000))
def test_with_one_bit_flipped_it_is_nothing_or_the_same(fields: dict[str, object], bit: int) -> None:
    content = bytearray(sealed.dumps(fields).encode())
    content[bit // 8 % len(content)] ^= 1 << bit % 8
    found = sealed.loads(content.decode(errors="replace"))
    assert found in (None, fields)  # space may have become another space


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"null", b"{}", b"\xff\xfe", b'{"one": 1}', b'{"seal": 1}'])
def test_what_nobody_sealed_is_nothing(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "some.json").write_bytes(content)
    assert sealed.read(tmp_path / "some.json") is None
    assert sealed.read(tmp_path / "none.json") is None


def test_people_can_read_it(tmp_path: Path) -> None:
    sealed.write(tmp_path / "some.json", {"one": 1})
    assert json.loads((tmp_path / "some.json").read_text())["one"] == 1
