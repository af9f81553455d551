"""Folders of labelled rasters: bands by description, missing numbers as NaN, everything odd refused by name."""

from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine
from labelled import BANDS, CLASSES, write_raster
from pydantic import ValidationError
from pyproj import Geod
from shapely import box

from rspipe.models.data import Patch
from rspipe.models.errors import DataError
from rspipe.models.foldersource import FolderSource
from rspipe.models.labelling import Wanted
from rspipe.models.labels import LabelSet

NAMES = [band.name for band in BANDS]
pytestmark = pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")


def read(folder: Path, **said: object) -> list[Patch]:
    wanted = Wanted(BANDS, LabelSet.plain(CLASSES), 30.0)
    return FolderSource.model_validate({"folder": folder, **said}).patches(wanted)


def write_pair(folder: Path, image: np.ndarray, mask: np.ndarray, names: list[str], name: str = "a.tif") -> None:
    write_raster(folder / "images" / name, image, names)
    write_raster(folder / "masks" / name, mask[None])


@pytest.fixture
def image() -> np.ndarray:
    numbers = np.random.default_rng(0).uniform(0.1, 1, (4, 32, 48)).astype(np.float32)
    numbers[3] += 280
    return numbers


@pytest.fixture
def mask() -> np.ndarray:
    return np.random.default_rng(1).choice(np.array([0, 1, 2, 3, 255], dtype=np.uint8), (32, 48))


def test_bands_are_found_by_description_in_any_order(tmp_path: Path, image: np.ndarray, mask: np.ndarray) -> None:
    order = [2, 0, 3, 1]
    write_pair(tmp_path, image[order], mask, [NAMES[band] for band in order])
    (patch,) = read(tmp_path)
    np.testing.assert_array_equal(patch.bands.numpy(), image)
    np.testing.assert_array_equal(patch.labels.numpy(), mask)
    assert patch.pixel_m == 30.0


def test_a_missing_optional_band_is_nan(tmp_path: Path, image: np.ndarray, mask: np.ndarray) -> None:
    write_pair(tmp_path, image[:3], mask, NAMES[:3])
    (patch,) = read(tmp_path)
    assert patch.bands[3].isnan().all()
    assert not patch.bands[:3].isnan().any()


def test_nodata_and_infinities_are_nan(tmp_path: Path, image: np.ndarray, mask: np.ndarray) -> None:
    image[0, 3, 4], image[1, 5, 6], image[2, 7, 8] = -9999, np.inf, np.nan
    write_raster(tmp_path / "images" / "a.tif", image, NAMES, nodata=-9999)
    write_raster(tmp_path / "masks" / "a.tif", mask[None])
    (patch,) = read(tmp_path)
    assert [index.tolist() for index in patch.bands.isnan().nonzero()] == [[0, 3, 4], [1, 5, 6], [2, 7, 8]]


def test_files_come_sorted_by_name(tmp_path: Path, image: np.ndarray, mask: np.ndarray) -> None:
    for name in ("c.tif", "a.tif", "b.tif"):
        write_pair(tmp_path, image, mask, NAMES, name)
    assert [patch.name for patch in read(tmp_path)] == ["a", "b", "c"]


def test_a_missing_required_band_is_named(tmp_path: Path, image: np.ndarray, mask: np.ndarray) -> None:
    write_pair(tmp_path, image[[0, 2]], mask, ["blue", "cirrus"])
    with pytest.raises(DataError, match=r"missing: nir; bands found there: blue, cirrus"):
        read(tmp_path)


def test_a_missing_mask_is_refused(tmp_path: Path, image: np.ndarray) -> None:
    write_raster(tmp_path / "images" / "a.tif", image, NAMES)
    write_raster(tmp_path / "masks" / "b.tif", image[:1])
    with pytest.raises(DataError, match="has no mask"):
        read(tmp_path)


def test_a_mask_of_another_size_is_refused(tmp_path: Path, image: np.ndarray, mask: np.ndarray) -> None:
    write_pair(tmp_path, image, mask[:-1], NAMES)
    with pytest.raises(DataError, match=r"\(31, 48\) px, its picture \(32, 48\)"):
        read(tmp_path)


def test_a_label_that_is_no_class_is_refused(tmp_path: Path, image: np.ndarray, mask: np.ndarray) -> None:
    mask[0, 0] = 64
    write_pair(tmp_path, image, mask, NAMES)
    with pytest.raises(DataError, match=r"holds \[64\]"):
        read(tmp_path)


def test_an_absent_or_empty_folder_and_a_broken_file_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no raster"):
        read(tmp_path)
    (tmp_path / "images").mkdir()
    with pytest.raises(DataError, match="no raster"):
        read(tmp_path)
    (tmp_path / "images" / "a.tif").write_bytes(b"not a raster")
    (tmp_path / "masks").mkdir()
    (tmp_path / "masks" / "a.tif").write_bytes(b"not a raster")
    with pytest.raises(DataError, match=r"a\.tif: is neither GeoTIFF nor JPEG 2000"):
        read(tmp_path)
    (tmp_path / "images" / "a.tif").write_bytes(b"II*\x00 cut off")
    with pytest.raises(DataError, match="cannot be read"):
        read(tmp_path)


def test_a_file_that_only_points_at_another_is_refused(tmp_path: Path, image: np.ndarray, mask: np.ndarray) -> None:
    write_pair(tmp_path, image, mask, NAMES)
    whole = (tmp_path / "images" / "a.tif").rename(tmp_path / "whole.tif")
    (tmp_path / "images" / "a.tif").write_text(
        f'<VRTDataset rasterXSize="8" rasterYSize="8"><VRTRasterBand dataType="Float32" band="1"><SimpleSource>'
        f"<SourceFilename>{whole}</SourceFilename></SimpleSource></VRTRasterBand></VRTDataset>"
    )
    with pytest.raises(DataError, match="neither GeoTIFF nor JPEG 2000"):
        read(tmp_path)


def test_bands_by_position_and_numbers_by_scale_and_offset(tmp_path: Path, mask: np.ndarray) -> None:
    stored = np.random.default_rng(2).integers(0, 10_000, (2, 32, 48)).astype(np.int16)
    write_pair(tmp_path, stored, mask, [])
    (patch,) = read(tmp_path, bands=("nir", "blue"), scale=1e-4, offset=-0.1, fill=77)
    for row, band in ((0, 1), (1, 0)):
        expected = np.where(stored[band] == 77, np.nan, stored[band] / 10_000 - 0.1)
        np.testing.assert_allclose(patch.bands[row].numpy(), expected, rtol=0, atol=1e-6)


def test_the_file_s_own_scale_is_used_and_must_not_be_contradicted(tmp_path: Path, mask: np.ndarray) -> None:
    stored = np.full((2, 32, 48), 4000, dtype=np.uint16)
    write_pair(tmp_path, stored, mask, ["blue", "nir"])
    with rasterio.open(tmp_path / "images" / "a.tif", "r+") as file:
        file.scales, file.offsets = (1e-4, 1e-4), (-0.1, -0.1)
    assert float(read(tmp_path)[0].bands[1, 0, 0]) == pytest.approx(0.3)
    with pytest.raises(DataError, match="keep one"):
        read(tmp_path, scale=1e-3)


def test_numbers_that_are_no_reflectance_are_refused(tmp_path: Path, mask: np.ndarray) -> None:
    write_pair(tmp_path, np.full((2, 32, 48), 4000, dtype=np.uint16), mask, ["blue", "nir"])
    with pytest.raises(DataError, match=r"band 'blue': most numbers are beyond -2 \.\. 10 reflectance \(median 4000\)"):
        read(tmp_path)


def test_undescribed_bands_and_a_wrong_count_are_refused(tmp_path: Path, image: np.ndarray, mask: np.ndarray) -> None:
    write_pair(tmp_path, image, mask, [])
    with pytest.raises(DataError, match="describes none of its 4 bands"):
        read(tmp_path)
    with pytest.raises(DataError, match="has 4 bands, the source names 2"):
        read(tmp_path, bands=("blue", "nir"))


def test_what_masks_mean_is_said_by_name(tmp_path: Path, image: np.ndarray, mask: np.ndarray) -> None:
    write_pair(tmp_path, image, np.where(mask == 3, 200, mask).astype(np.uint8), NAMES)
    wanted = Wanted(BANDS, LabelSet(("a", "b", "c"), {"b or c": (1, 2)}), 30.0)
    said = {"0": "c", "1": None, "2": "b or c", "200": "a", "255": None}
    (patch,) = FolderSource(folder=tmp_path, labels=said).patches(wanted)
    meaning = {0: 2, 1: 255, 2: 3, 3: 0, 255: 255}
    np.testing.assert_array_equal(patch.labels.numpy(), np.vectorize(meaning.get)(mask))
    with pytest.raises(DataError, match=r"holds \[200\]"):
        FolderSource(folder=tmp_path, labels={"0": "a", "1": "a", "2": "a", "255": None}).patches(wanted)
    with pytest.raises(DataError, match="'d' is neither"):
        FolderSource(folder=tmp_path, labels={"0": "d"}).patches(wanted)


def test_files_of_one_band_each_are_put_together_by_their_wildcards(tmp_path: Path, mask: np.ndarray) -> None:
    rng = np.random.default_rng(3)
    values = {chip: rng.uniform(0, 1, (2, 32, 48)).astype(np.float32) for chip in ("x", "y")}
    for chip, numbers in values.items():
        write_raster(tmp_path / chip / "B2.tif", numbers[:1])
        write_raster(tmp_path / chip / "B5.tif", numbers[1:])
        write_raster(tmp_path / chip / "label.tif", mask[None])
    said = {"images": {"nir": "*/B5.tif", "blue": "*/B2.tif"}, "masks": "*/label.tif"}
    for patch in (found := read(tmp_path, **said)):
        np.testing.assert_array_equal(patch.bands[:2].numpy(), values[patch.name])
    assert [patch.name for patch in found] == ["x", "y"]
    (tmp_path / "y" / "B5.tif").unlink()
    with pytest.raises(DataError, match="differ in y"):
        read(tmp_path, **said)


def test_a_coarser_file_is_brought_onto_the_finest_grid(tmp_path: Path) -> None:
    # A plane stays a plane under bilinear interpolation, wherever the coarse pixels lie.
    def plane(transform: Affine, shape: tuple[int, int]) -> np.ndarray:
        rows, columns = np.mgrid[0 : shape[0], 0 : shape[1]]
        easting, northing = transform @ (columns + 0.5, rows + 0.5)
        values: np.ndarray = ((easting - 500_000) * 1e-3 + (4_000_000 - northing) * 5e-4).astype(np.float32)
        return values

    fine, coarse = Affine(10, 0, 500_000, 0, -10, 4_000_000), Affine(20, 0, 499_990, 0, -20, 4_000_010)
    write_raster(tmp_path / "B2.tif", plane(fine, (40, 60))[None], transform=fine)
    write_raster(tmp_path / "B11.tif", plane(coarse, (22, 33))[None], transform=coarse)
    write_raster(tmp_path / "mask.tif", np.zeros((1, 40, 60), dtype=np.uint8), transform=fine)
    said = {"images": {"nir": "B11.tif", "blue": "B2.tif"}, "masks": "mask.tif", "folder": tmp_path}
    (patch,) = FolderSource.model_validate(said).patches(Wanted(BANDS[:2], LabelSet.plain(1), 30.0))
    assert patch.pixel_m == pytest.approx(10.0)
    assert patch.name == tmp_path.name
    inside = (slice(2, -2), slice(2, -2))
    np.testing.assert_allclose(patch.bands[1].numpy()[inside], plane(fine, (40, 60))[inside], atol=1e-4)


def test_a_mask_that_lies_elsewhere_is_refused(tmp_path: Path, image: np.ndarray, mask: np.ndarray) -> None:
    write_raster(tmp_path / "images" / "a.tif", image, NAMES, transform=Affine(10, 0, 500_000, 0, -10, 4_000_000))
    write_raster(tmp_path / "masks" / "a.tif", mask[None], transform=Affine(10, 0, 500_010, 0, -10, 4_000_000))
    with pytest.raises(DataError, match="they must agree"):
        read(tmp_path)


def test_pixels_in_degrees_are_measured_on_the_ground(tmp_path: Path, image: np.ndarray, mask: np.ndarray) -> None:
    step = 1e-3
    grid = Affine(step, 0, 10, 0, -step, 60 + 16 * step)
    write_raster(tmp_path / "images" / "a.tif", image, NAMES, transform=grid, crs="EPSG:4326")
    write_raster(tmp_path / "masks" / "a.tif", mask[None])
    area_m2, _ = Geod(ellps="WGS84").geometry_area_perimeter(box(10, 60 - step / 2, 10 + step, 60 + step / 2))
    assert read(tmp_path)[0].pixel_m == pytest.approx(abs(area_m2) ** 0.5, rel=5e-3)
    with pytest.raises(DataError, match=r"the source says 30 m"):
        read(tmp_path, pixel_m=30.0)


def test_a_source_says_size_weight_display_and_scene(tmp_path: Path, image: np.ndarray, mask: np.ndarray) -> None:
    for name in ("tile1_part1", "tile1_part2", "tile2_part1"):
        write_pair(tmp_path, image, mask, NAMES, f"{name}.tif")
    found = read(tmp_path, scene="tile([0-9])", weight=2.0, display=True, pixel_m=0.5)
    assert [(patch.scene, patch.weight, patch.display, patch.pixel_m) for patch in found] == [
        ("1", 2.0, True, 0.5),
        ("1", 2.0, True, 0.5),
        ("2", 2.0, True, 0.5),
    ]
    assert [patch.name for patch in read(tmp_path, images="images/tile1_*", masks="masks/tile1_*")] == [
        "tile1_part1",
        "tile1_part2",
    ]
    with pytest.raises(DataError, match="finds nothing in the name 'tile1_part1'"):
        read(tmp_path, scene="LC8")


def test_pictures_that_overlap_are_one_scene(tmp_path: Path, image: np.ndarray, mask: np.ndarray) -> None:
    for name, left in (("a", 0), ("b", 470), ("c", 480), ("d", 940)):  # 480 m wide: b and c reach a chain, d touches b
        grid = Affine(10, 0, 500_000 + left, 0, -10, 4_000_000)
        write_raster(tmp_path / "images" / f"{name}.tif", image, NAMES, transform=grid)
        write_raster(tmp_path / "masks" / f"{name}.tif", mask[None])
    assert len({patch.scene for patch in read(tmp_path, by_place=True)}) == 1
    (tmp_path / "images" / "b.tif").unlink()
    assert [patch.scene for patch in read(tmp_path, by_place=True)] == [
        f"{tmp_path.name}/place{number}" for number in (0, 1, 1)
    ]


def test_settings_that_contradict_each_other_are_refused(tmp_path: Path) -> None:
    for said, message in (
        ({"masks": "masks/*", "polygons": Path("p.gpkg")}, "not both"),
        ({"polygons": Path("p.gpkg")}, "goes with attribute"),
        ({"attribute": "class"}, "goes with polygons"),
        ({"images": {"blue": "*"}, "bands": ("blue",)}, "either a pattern"),
        ({"images": "../*"}, "below the source's folder"),
        ({"scene": "("}, "no regular expression"),
        ({"scene": "a", "by_place": True}, "one of the two"),
        ({"bands": ("infrared",)}, "unknown band 'infrared'"),
        ({"weight": 0.0}, "greater than 0"),
    ):
        with pytest.raises(ValidationError, match=message):
            read(tmp_path, **said)
