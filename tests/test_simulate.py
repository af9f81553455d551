from pathlib import Path
from xml.etree import ElementTree as ET

import numpy as np
import pytest
import rasterio

from rspipe.catalogs.files import list_scenes
from rspipe.catalogs.legends import LEGENDS
from rspipe.catalogs.scene import Scene
from rspipe.catalogs.simulated import compute_block, scene, stored
from rspipe.catalogs.simulation import CHANNELS, SimulationSpec
from rspipe.pipeline.simulate import simulate

SPEC = SimulationSpec(seed=3, height_px=530, width_px=600, pixel_size_m=60.0)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("simulate") / "new" / "scene"
    simulate(out, SPEC)
    return out


def test_files_hold_the_computed_block(folder: Path) -> None:
    block = compute_block(SPEC, slice(0, 530), slice(0, 600))
    for index, (channel, number) in enumerate(zip(CHANNELS, (2, 3, 4, 5, 6, 7, 9, 10), strict=True)):
        with rasterio.open(folder / f"simulated-3_B{number}.tif") as file:
            assert np.array_equal(file.read(1), stored(channel, block.bands[index]))
            assert (file.nodata, file.crs.to_epsg(), file.res) == (0, 32618, (60.0, 60.0))
            assert file.block_shapes == [(512, 512)]
    with rasterio.open(folder / "truth.tif") as file:
        assert np.array_equal(file.read(1), block.labels)
        assert file.nodata == 255
        assert file.colormap(1)[2][:3] == tuple(bytes.fromhex(LEGENDS["cloud-thickness"].classes[2].colour[1:]))
    with rasterio.open(folder / "thickness.tif") as file:
        assert np.array_equal(file.read(1), block.thickness, equal_nan=True)


def test_classes_are_named_where_gdal_looks(folder: Path) -> None:
    names = [entry.text for entry in ET.parse(folder / "truth.tif.aux.xml").iter("Category")]  # noqa: S314  our own file
    assert names == [entry.name for entry in LEGENDS["cloud-thickness"].classes]


def test_the_folder_is_read_back_as_the_same_scene(folder: Path) -> None:
    (found,) = list_scenes([folder])
    assert isinstance(found, Scene)
    expected = scene(SPEC)
    assert found.id == expected.id
    for band in expected.bands:
        read = found.band(band.name)
        assert (read.conversion, read.fills, read.dtype) == (band.conversion, band.fills, band.dtype)
        assert read.grid.transform == band.grid.transform
    assert len(found.bands) == len(CHANNELS)


def test_nothing_else_is_left(folder: Path) -> None:
    assert len(list(folder.iterdir())) == len(CHANNELS) + 4


def test_a_second_time_gives_the_same_bytes(folder: Path, tmp_path: Path) -> None:
    simulate(tmp_path, SPEC)
    for path in folder.iterdir():
        assert path.read_bytes() == (tmp_path / path.name).read_bytes(), path.name
