"""Label ids: classes first, groups after them, names looked up both ways."""

import pytest

from rspipe.catalogs.legends import legend_of
from rspipe.models.errors import DataError
from rspipe.models.labels import IGNORE_ID, LabelSet

CLOUDS = legend_of("cloud-thickness")
GROUPS = {"cloud": ["thin cloud", "thick cloud"], "clear or shadow": ["clear", "cloud shadow"]}


def test_groups_are_numbered_after_the_classes() -> None:
    labels = LabelSet.of(CLOUDS, GROUPS)
    assert (labels.classes, labels.count) == (4, 6)
    asked = ("clear", "cloud shadow", "cloud", "clear or shadow", None)
    assert [labels.id_of(name) for name in asked] == [0, 3, 4, 5, IGNORE_ID]
    assert labels.members == ((0,), (1,), (2,), (3,), (1, 2), (0, 3))


def test_the_table_has_a_row_for_every_byte() -> None:
    table = LabelSet.of(CLOUDS, GROUPS).table
    assert table.shape == (256, 4)
    assert table[:6].int().tolist() == [
        [1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1], [0, 1, 1, 0], [1, 0, 0, 1],
    ]  # fmt: skip
    assert not table[6:].any()


def test_plain_labels_have_no_groups() -> None:
    assert LabelSet.plain(3).members == ((0,), (1,), (2,))


@pytest.mark.parametrize(
    ("groups", "words"),
    [
        ({"cloud": ["thin cloud", "fog"]}, "fog; the classes of cloud-thickness are clear"),
        ({"clear": ["thin cloud"]}, "name of a class"),
        ({"cloud": []}, "different ids below 4"),
        ({"cloud": ["clear", "clear"]}, "different ids below 4"),
    ],
)
def test_groups_that_make_no_sense_are_refused(groups: dict[str, list[str]], words: str) -> None:
    with pytest.raises(DataError, match=words):
        LabelSet.of(CLOUDS, groups)


def test_unknown_names_and_too_many_classes_are_refused() -> None:
    with pytest.raises(DataError, match="'haze' is neither a class nor a group"):
        LabelSet.of(CLOUDS, GROUPS).id_of("haze")
    with pytest.raises(DataError, match="1 to 255"):
        LabelSet.plain(256)
