import re

import pytest

from rspipe.catalogs.errors import SourceError
from rspipe.catalogs.legends import LEGENDS, NODATA_ID, SOURCE_IDS, Legend, LegendClass, legend_of


def test_the_cloud_legend_is_the_labels_of_the_training_masks() -> None:
    names = {entry.id: entry.name for entry in legend_of("cloud-thickness").classes}
    assert names == {0: "clear", 1: "thin cloud", 2: "thick cloud", 3: "cloud shadow"}


@pytest.mark.parametrize("legend", LEGENDS.values(), ids=list(LEGENDS))
def test_colours_are_hexadecimal_and_differ(legend: Legend) -> None:
    colours = [entry.colour for entry in legend.classes]
    assert all(re.fullmatch(r"#[0-9a-f]{6}", colour) for colour in colours)
    assert len(set(colours)) == len(colours)


def test_source_ids_meet_each_class_once() -> None:
    for name, ids in SOURCE_IDS.items():
        ours = sorted(number for number in ids.values() if number != NODATA_ID)
        assert ours == [entry.id for entry in legend_of(name).classes]
    nlcd = legend_of("nlcd")
    assert nlcd.classes[SOURCE_IDS["nlcd"][1]].name == "water"
    assert nlcd.classes[SOURCE_IDS["nlcd"][8]].name == "wetlands"


def test_ids_with_a_gap_are_refused() -> None:
    with pytest.raises(SourceError, match=r"0, 1, 2"):
        Legend("broken", (LegendClass(0, "a", "#000000"), LegendClass(2, "b", "#ffffff")))


def test_unknown_names_get_the_nearest() -> None:
    with pytest.raises(SourceError, match=r"did you mean 'loveda'\?"):
        legend_of("lovda")
    with pytest.raises(SourceError, match=r"did you mean 'thin cloud'\?"):
        legend_of("cloud-thickness").by_name("thin clouds")
