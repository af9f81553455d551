"""Whole scenes as sources: the same physical numbers as the formulas give, only tiles that hold labels."""

from pathlib import Path

import geopandas as gpd
import numpy as np
import pytest
from affine import Affine
from labelled import write_raster
from pydantic import ValidationError
from shapely import box

from rspipe.catalogs.bands import PHYSICAL_UNIT
from rspipe.models.card import CardBand
from rspipe.models.errors import DataError
from rspipe.models.labelling import Wanted
from rspipe.models.labels import LabelSet
from rspipe.models.scenesource import SceneSource

pytestmark = pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")

FINE, COARSE = Affine(10, 0, 500_000, 0, -10, 4_000_000), Affine(20, 0, 499_990, 0, -20, 4_000_010)
HEIGHT, WIDTH = 150, 200
YAML = """
id: s2-one
sensor: sentinel2
processing_baseline: "02.14"
files:
  "B02.tif": {band: blue, unit: dn, fill: -32768}
  "B11.tif": {band: swir16, unit: dn}
  "B10.tif": {band: lwir11, unit: celsius}
"""


def wanted(*bands: str) -> Wanted:
    taken = tuple(CardBand(name=name, unit=PHYSICAL_UNIT[name], required=True, mean=0, stddev=1) for name in bands)
    return Wanted(taken, LabelSet(("field", "wood"), {}), 30.0)


def plane(transform: Affine, height: int, width: int) -> np.ndarray:
    rows, columns = np.mgrid[0:height, 0:width]
    easting, northing = transform @ (columns + 0.5, rows + 0.5)
    numbers: np.ndarray = 1000 + (easting - 500_000) + 2 * (4_000_000 - northing)
    return numbers


@pytest.fixture
def scene(tmp_path: Path) -> tuple[Path, np.ndarray]:
    folder = tmp_path / "one"
    blue = np.random.default_rng(0).integers(1, 9000, (HEIGHT, WIDTH)).astype(np.int16)
    blue[3, 4] = -32768
    write_raster(folder / "B02.tif", blue[None], transform=FINE)
    write_raster(folder / "B11.tif", plane(COARSE, 77, 102).astype(np.uint16)[None], transform=COARSE)
    write_raster(folder / "B10.tif", np.full((1, HEIGHT, WIDTH), 20.5, dtype=np.float32), transform=FINE)
    (folder / "scene.yaml").write_text(YAML, encoding="utf-8")
    return folder, blue


def test_a_scene_with_a_mask_gives_physical_numbers_by_tiles(scene: tuple[Path, np.ndarray]) -> None:
    folder, blue = scene
    mask = np.random.default_rng(1).integers(1, 3, (HEIGHT, WIDTH)).astype(np.uint8)
    mask[:75, :100] = 9
    write_raster(folder / "truth.tif", mask[None], transform=FINE)
    said = {"kind": "scenes", "scenes": (folder,), "masks": "truth.tif", "tile_px": 100}
    source = SceneSource.model_validate(said | {"labels": {"1": "wood", "2": "field", "9": None}})
    patches = source.patches(wanted("swir16", "blue", "lwir11"))
    assert [patch.name for patch in patches] == ["s2-one/r0c100", "s2-one/r75c0", "s2-one/r75c100"]  # r0c0 has no label
    assert {patch.scene for patch in patches} == {"s2-one"}
    for patch, (top, left) in zip(patches, ((0, 100), (75, 0), (75, 100)), strict=True):
        window = (slice(top, top + 75), slice(left, left + 100))
        meaning = np.select([mask[window] == 1, mask[window] == 2], [1, 0], 255)
        np.testing.assert_array_equal(patch.labels.numpy(), meaning)
        np.testing.assert_allclose(patch.bands[1].numpy(), blue[window] / 10_000, atol=1e-6)
        np.testing.assert_allclose(patch.bands[0].numpy(), plane(FINE, HEIGHT, WIDTH)[window] / 10_000, atol=2e-3)
        np.testing.assert_allclose(patch.bands[2].numpy(), 293.65, atol=1e-4)
        assert patch.pixel_m == pytest.approx(10.0)


def test_fills_are_no_numbers_and_tiles_without_polygon_are_not_read(scene: tuple[Path, np.ndarray]) -> None:
    folder, blue = scene
    path = folder.parent / "p.gpkg"
    shape = box(500_000, 3_999_900, 500_100, 4_000_000)
    gpd.GeoDataFrame({"kind": ["w"]}, geometry=[shape], crs="EPSG:32632").to_crs("EPSG:32633").to_file(path)
    said = {"kind": "scenes", "scenes": (folder,), "polygons": path, "attribute": "kind", "labels": {"w": "wood"}}
    (patch,) = SceneSource.model_validate(said | {"tile_px": 100}).patches(wanted("blue"))
    assert patch.name == "s2-one/r0c0"
    assert [line.tolist() for line in patch.bands[0].isnan().nonzero()] == [[3, 4]]
    assert abs(int((patch.labels == 1).sum()) - 100) <= 4  # a square of ten pixels, its edges moved by two projections
    (whole,) = SceneSource.model_validate(said).patches(wanted("blue"))
    assert whole.name == "s2-one"
    assert whole.labels.shape == blue.shape


def test_scenes_that_cannot_be_used_are_refused(scene: tuple[Path, np.ndarray], tmp_path: Path) -> None:
    folder, _ = scene
    said = {"kind": "scenes", "scenes": (folder,), "masks": "truth*.tif", "labels": {"1": "wood"}}
    with pytest.raises(DataError, match="must match one file, 0 found"):
        SceneSource.model_validate(said).patches(wanted("blue"))
    write_raster(folder / "truth.tif", np.ones((1, 9, 9), dtype=np.uint8))
    with pytest.raises(DataError, match=r"is \(9, 9\) px, its picture \(150, 200\)"):
        SceneSource.model_validate(said).patches(wanted("blue"))
    write_raster(folder / "truth.tif", np.ones((1, HEIGHT, WIDTH), dtype=np.uint8))
    with pytest.raises(DataError, match="required bands are missing: nir; it has blue, swir16, lwir11"):
        SceneSource.model_validate(said).patches(wanted("nir"))
    (folder / "scene.yaml").write_text(YAML.replace("processing_baseline", "# "), encoding="utf-8")
    with pytest.raises(DataError, match=r"cannot be used: .*processing baseline"):
        SceneSource.model_validate(said).patches(wanted("blue"))
    with pytest.raises(DataError, match="does not exist"):
        SceneSource.model_validate(said | {"scenes": (tmp_path / "absent",)}).patches(wanted("blue"))
    with pytest.raises(ValidationError, match="a file beside each scene"):
        SceneSource.model_validate({"kind": "scenes", "scenes": (folder,)})
