"""Patterns of file names: what matches, what is paired, what patches are called."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rspipe.models.errors import DataError
from rspipe.models.patterns import Pattern
from rspipe.models.tiles import shuffled, tiles_of


@pytest.mark.parametrize(
    ("pattern", "file", "key", "name"),
    [
        ("images/*", "images/a.b.tif", ("a.b",), "a.b"),
        ("*_image.tif", "one_image.tif", ("one",), "one_image"),
        ("*/B02.tif", "chip1/B02.tif", ("chip1",), "chip1"),
        ("t[13]_?.png", "t3_x.png", ("3", "x"), "t3_x"),
        ("t[!13]*", "t4.JPG", ("4", ""), "t4"),
        ("*/images/*", "a/images/b.tif", ("a", "b"), "a/b"),
        ("B02.tif", "B02.tif", (), "home"),
    ],
)
def test_files_are_known_by_what_their_wildcards_stand_for(
    tmp_path: Path, pattern: str, file: str, key: tuple[str, ...], name: str
) -> None:
    folder = tmp_path / "home"
    (folder / file).parent.mkdir(parents=True)
    (folder / file).touch()
    (folder / "t1_x.txt").touch()
    found = Pattern(pattern)
    assert found.files(folder) == {key: folder / file}
    assert found.name(folder, folder / file) == name
    assert found.wildcards == len(key)


def test_what_no_pattern_may_be_or_leave_open_is_refused(tmp_path: Path) -> None:
    for text in ("", "/a/*", "../*", "a/../*", "**/a.tif", "a\\b"):
        with pytest.raises(DataError, match="must name files below"):
            Pattern(text)
    with pytest.raises(DataError, match="no such folder"):
        Pattern("*").files(tmp_path / "absent")
    with pytest.raises(DataError, match="no raster there matches"):
        Pattern("*").files(tmp_path)
    for name in ("a.tif", "a.png"):
        (tmp_path / name).touch()
    with pytest.raises(DataError, match="differ by their ending only"):
        Pattern("*").files(tmp_path)


@given(st.integers(1, 3000), st.integers(1, 3000), st.integers(64, 1024), st.integers(0, 5))
def test_tiles_cover_every_pixel_once_and_are_nearly_equal(height: int, width: int, side: int, seed: int) -> None:
    tiles = tiles_of(height, width, side)
    area = sum((rows.stop - rows.start) * (columns.stop - columns.start) for rows, columns in tiles)
    assert area == height * width
    assert (
        len({(rows.start, columns.start) for rows, columns in tiles})
        == len(tiles)
        == -(-height // side) * -(-width // side)
    )
    for axis in (0, 1):
        lengths = [tile[axis].stop - tile[axis].start for tile in tiles]
        assert max(lengths) <= side
        assert max(lengths) - min(lengths) <= 1
    again = shuffled(tiles, seed)
    assert sorted(map(str, again)) == sorted(map(str, tiles))
    assert again == shuffled(tiles, seed)
