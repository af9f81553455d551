import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import zarr
from workingstate import LEGEND, Made, blobs, grid_of, make

from rspipe.pipeline import cog
from rspipe.pipeline.publish import publish_scene

gdalinfo = pytest.mark.skipif(shutil.which("gdalinfo") is None, reason="Debian's gdal-bin is not installed")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    scene = make(tmp_path_factory.mktemp("cog"), blobs(700, 1100))
    publish_scene(scene.job)
    return scene


def published(made: Made, name: str) -> Path:
    return made.job.root / "scenes" / "scene-a" / name


def test_every_pixel_of_the_classes_arrives(made: Made) -> None:
    with rasterio.open(published(made, "classes.tif")) as dataset:
        assert np.array_equal(dataset.read(1), made.classes)
        assert dataset.crs.to_epsg() == 32618
        assert dataset.transform == made.job.grid.transform
        assert dataset.nodata == 255
        assert dataset.block_shapes == [(512, 512)]
        assert dataset.tags()["AREA_OR_POINT"] == "Area"
        assert dataset.tags()["TIFFTAG_DATETIME"] == "2015:10:22 15:40:12"
        assert dataset.tags()["RSPIPE_SCENE_ID"] == "scene-a true id"
        assert dataset.colormap(1)[1] == (0x7F, 0xC8, 0xFF, 255)
        assert dataset.colormap(1)[255][3] == 0


def test_overviews_hold_the_most_frequent_class(tmp_path: Path) -> None:
    """Every 2 x 2 block has three pixels of one class and one of another, or of nodata."""
    winners = np.random.default_rng(0).integers(0, 4, size=(400, 300)).astype(np.uint8)
    classes = np.repeat(np.repeat(winners, 2, axis=0), 2, axis=1)
    classes[1::2, 1::2] = np.where(winners % 2 == 0, 255, 3 - winners)
    source = zarr.array(classes, chunks=(256, 256))
    provenance = cog.Provenance(scene_id="a", model_id="b", acquired_at=None)
    cog.write_classes(tmp_path / "classes.tif", source, grid_of(800, 600), LEGEND, provenance)
    with rasterio.open(tmp_path / "classes.tif", overview_level=0) as dataset:
        assert np.array_equal(dataset.read(1), winners)


def test_confidence_decodes_to_a_probability(made: Made) -> None:
    with rasterio.open(published(made, "confidence.tif")) as dataset:
        stored = dataset.read(1)
        assert np.array_equal(stored, made.confidence)
        assert stored[350, 550] * dataset.scales[0] == pytest.approx(stored[350, 550] / 254)
        assert dataset.nodata == 255


@gdalinfo
def test_debian_reads_the_names_of_the_classes(made: Made) -> None:
    text = subprocess.check_output(["gdalinfo", "-json", published(made, "classes.tif")], text=True)
    info = json.loads(text)
    assert info["metadata"]["IMAGE_STRUCTURE"]["LAYOUT"] == "COG"
    plain = subprocess.check_output(["gdalinfo", published(made, "classes.tif")], text=True)
    assert [f"{entry.id}: {entry.name}" in plain for entry in LEGEND.classes] == [True] * 4


@gdalinfo
@pytest.mark.parametrize("name", ["classes.tif", "confidence.tif"])
def test_debian_calls_it_a_valid_cog(made: Made, name: str) -> None:
    checker = [
        "/usr/bin/python3",
        "-m",
        "osgeo_utils.samples.validate_cloud_optimized_geotiff",
        str(published(made, name)),
    ]
    ended = subprocess.run(checker, capture_output=True, text=True, check=False)
    assert (ended.returncode, "is a valid cloud optimized GeoTIFF" in ended.stdout) == (0, True), ended.stdout


def test_a_scene_without_a_date_has_no_date_tag() -> None:
    tags = cog.Provenance(scene_id="a", model_id="b", acquired_at=None).tags()
    assert not [name for name in tags if "DATE" in name or "ACQUIRED" in name]


def test_a_tall_raster_never_lies_in_memory_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    classes = blobs(3000, 64)
    made = make(tmp_path, classes)
    read: list[int] = []
    plain = zarr.Array.__getitem__

    def watched(self: zarr.Array[Any], selection: object) -> object:
        found = plain(self, selection)  # type: ignore[arg-type]
        read.append(np.asarray(found).shape[0])
        return found

    monkeypatch.setattr(zarr.Array, "__getitem__", watched)
    publish_scene(made.job)
    assert max(read) <= 1024


def test_a_legend_with_markup_survives(tmp_path: Path) -> None:
    made = make(tmp_path, blobs(40, 40), grid=grid_of(40, 40))
    publish_scene(made.job)
    side = published(made, "classes.tif.aux.xml").read_text()
    assert "cloud shadow &amp; &lt;haze&gt;" in side
