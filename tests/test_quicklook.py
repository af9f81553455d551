from pathlib import Path

import matplotlib.image
import numpy as np
import pytest
from workingstate import CLOUDS, LEGEND, blobs, make

from rspipe.pipeline import quicklook, store
from rspipe.pipeline.layout import Layout
from rspipe.pipeline.publish import publish_scene
from rspipe.pipeline.quicklook import Picture, draw, natural_bands, sample, step_px


@pytest.mark.parametrize(("size", "step"), [((1, 1), 1), ((960, 506), 1), ((961, 506), 2), ((100, 5060), 10)])
def test_a_scene_is_sampled_until_it_fits(size: tuple[int, int], step: int) -> None:
    assert step_px(*size) == step


def test_a_sample_is_the_strided_array(tmp_path: Path) -> None:
    classes = blobs(2500, 300)
    make(tmp_path, classes)
    array = store.open_array(Layout(tmp_path).vectors("scene-a", "pico") / "sieved.zarr", "classes")
    assert np.array_equal(sample(array, 7), classes[::7, ::7])


def test_natural_colours_where_there_are_such_bands() -> None:
    assert natural_bands(("blue", "green", "nir", "red")) == ("red", "green", "blue")
    assert natural_bands(("nir", "swir16", "green", "lwir11")) == ("nir", "swir16", "green")
    assert natural_bands(("nir", "green")) == ("nir",)


@pytest.mark.parametrize("size", [(1, 1), (3, 900), (1200, 20), (700, 900)])
def test_the_picture_stays_in_its_bounds(tmp_path: Path, size: tuple[int, int]) -> None:
    made = make(tmp_path, blobs(*size))
    publish_scene(made.job)
    picture = matplotlib.image.imread(tmp_path / "scenes" / "scene-a" / "quicklook.png")
    assert picture.shape[1] == 1024
    assert picture.shape[0] <= 1024
    chunks = (tmp_path / "scenes" / "scene-a" / "quicklook.png").read_bytes()
    assert b"tEXt" not in chunks
    assert b"tIME" not in chunks


def test_pixels_stand_where_they_should_in_their_class_colour(tmp_path: Path) -> None:
    classes = np.zeros((500, quicklook.PANEL_PX), dtype=np.uint8)
    classes[:, 250:] = 1
    classes[:100] = 255
    bands = (np.tile(np.arange(506), (500, 1)),)
    drawn = tuple(entry for entry in LEGEND.classes if entry.id in CLOUDS)
    draw(tmp_path / "a.png", Picture("a $\\bad$ \n title", bands, classes, LEGEND, drawn))
    picture = np.rint(255 * matplotlib.image.imread(tmp_path / "a.png")[..., :3]).astype(int)
    top = quicklook._MARGIN_PX + quicklook._LINE_PX
    left, right = quicklook._MARGIN_PX, 506 + 2 * quicklook._MARGIN_PX
    assert picture[top + 50, left + 50].tolist() == [225, 225, 225]
    grey = picture[top + 300, left + 400]
    assert grey.tolist() == [round(255 * (400 - 10.1) / (494.9 - 10.1))] * 3
    expected = [round((int(grey[0]) + channel) / 2) for channel in (0x7F, 0xC8, 0xFF)]
    assert picture[top + 300, right + 400].tolist() == pytest.approx(expected, abs=1)
    assert picture[top + 300, right + 249].tolist() == picture[top + 300, left + 249].tolist()
