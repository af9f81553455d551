"""Folders of labelled rasters: bands by description, missing numbers as NaN, everything odd refused by name."""

from pathlib import Path

import numpy as np
import pytest
from labelled import BANDS, CLASSES, write_raster

from rspipe.models.data import read_folder
from rspipe.models.errors import DataError

NAMES = [band.name for band in BANDS]
pytestmark = pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")


def write_pair(folder: Path, image: np.ndarray, mask: np.ndarray, names: list[str], name: str = "a.tif") -> None:
    write_raster(folder / "images" / name, image, names)
    write_raster(folder / "masks" / name, mask[None])


@pytest.fixture
def image() -> np.ndarray:
    return np.random.default_rng(0).uniform(0.1, 1, (4, 32, 48)).astype(np.float32)


@pytest.fixture
def mask() -> np.ndarray:
    return np.random.default_rng(1).choice(np.array([0, 1, 2, 3, 255], dtype=np.uint8), (32, 48))


def test_bands_are_found_by_description_in_any_order(tmp_path: Path, image: np.ndarray, mask: np.ndarray) -> None:
    order = [2, 0, 3, 1]
    write_pair(tmp_path, image[order], mask, [NAMES[band] for band in order])
    (patch,) = read_folder(tmp_path, BANDS, CLASSES, 30.0)
    np.testing.assert_array_equal(patch.bands.numpy(), image)
    np.testing.assert_array_equal(patch.labels.numpy(), mask)
    assert patch.pixel_m == 30.0


def test_a_missing_optional_band_is_nan(tmp_path: Path, image: np.ndarray, mask: np.ndarray) -> None:
    write_pair(tmp_path, image[:3], mask, NAMES[:3])
    (patch,) = read_folder(tmp_path, BANDS, CLASSES, 30.0)
    assert patch.bands[3].isnan().all()
    assert not patch.bands[:3].isnan().any()


def test_nodata_and_infinities_are_nan(tmp_path: Path, image: np.ndarray, mask: np.ndarray) -> None:
    image[0, 3, 4], image[1, 5, 6], image[2, 7, 8] = -9999, np.inf, np.nan
    write_raster(tmp_path / "images" / "a.tif", image, NAMES, nodata=-9999)
    write_raster(tmp_path / "masks" / "a.tif", mask[None])
    (patch,) = read_folder(tmp_path, BANDS, CLASSES, 30.0)
    assert [index.tolist() for index in patch.bands.isnan().nonzero()] == [[0, 3, 4], [1, 5, 6], [2, 7, 8]]


def test_files_come_sorted_by_name(tmp_path: Path, image: np.ndarray, mask: np.ndarray) -> None:
    for name in ("c.tif", "a.tif", "b.tif"):
        write_pair(tmp_path, image, mask, NAMES, name)
    assert [patch.name for patch in read_folder(tmp_path, BANDS, CLASSES, 30.0)] == ["a", "b", "c"]


def test_a_missing_required_band_is_named(tmp_path: Path, image: np.ndarray, mask: np.ndarray) -> None:
    write_pair(tmp_path, image[[0, 2]], mask, ["blue", "cirrus"])
    with pytest.raises(DataError, match=r"missing: nir; bands described there: blue, cirrus"):
        read_folder(tmp_path, BANDS, CLASSES, 30.0)


def test_a_missing_mask_is_refused(tmp_path: Path, image: np.ndarray) -> None:
    write_raster(tmp_path / "images" / "a.tif", image, NAMES)
    with pytest.raises(DataError, match="has no mask"):
        read_folder(tmp_path, BANDS, CLASSES, 30.0)


def test_a_mask_of_another_size_is_refused(tmp_path: Path, image: np.ndarray, mask: np.ndarray) -> None:
    write_pair(tmp_path, image, mask[:-1], NAMES)
    with pytest.raises(DataError, match=r"\(32, 48\) px, its mask \(31, 48\)"):
        read_folder(tmp_path, BANDS, CLASSES, 30.0)


def test_a_label_that_is_no_class_is_refused(tmp_path: Path, image: np.ndarray, mask: np.ndarray) -> None:
    mask[0, 0] = 64
    write_pair(tmp_path, image, mask, NAMES)
    with pytest.raises(DataError, match=r"labels \[64\]"):
        read_folder(tmp_path, BANDS, CLASSES, 30.0)


def test_an_absent_or_empty_folder_and_a_broken_file_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such folder"):
        read_folder(tmp_path, BANDS, CLASSES, 30.0)
    (tmp_path / "images").mkdir()
    with pytest.raises(DataError, match="no raster"):
        read_folder(tmp_path, BANDS, CLASSES, 30.0)
    (tmp_path / "images" / "a.tif").write_bytes(b"not a raster")
    (tmp_path / "masks").mkdir()
    (tmp_path / "masks" / "a.tif").write_bytes(b"not a raster")
    with pytest.raises(DataError, match="cannot be read"):
        read_folder(tmp_path, BANDS, CLASSES, 30.0)
