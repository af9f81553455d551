"""Pictures of the same places with and without clouds: read from files, labelled by their difference."""

from pathlib import Path

import numpy as np
import pytest
from affine import Affine
from bench.folds import labelled_in
from labelled import write_raster
from numpy.typing import NDArray
from pydantic import TypeAdapter

from rspipe.catalogs.bands import Unit
from rspipe.catalogs.legends import legend_of
from rspipe.models.card import CardBand
from rspipe.models.data import Patch
from rspipe.models.errors import DataError
from rspipe.models.labelling import Wanted
from rspipe.models.labels import IGNORE_ID, LabelSet
from rspipe.models.sources import Sources, read_sources

NAMES = ["blue", "green", "red", "nir", "swir16"]
BANDS = tuple(
    CardBand(name=name, required=name == "blue", mean=0.2, stddev=0.1, unit=Unit.REFLECTANCE) for name in NAMES
)
FOREST = np.array([800, 700, 500, 2800, 1500], np.uint16)[:, None, None]
LABELS = LabelSet.of(legend_of("cloud-thickness"), {"cloud": ["thin cloud", "thick cloud"]})
pytestmark = pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")


def read(folder: Path, known: LabelSet = LABELS, **said: object) -> list[Patch]:
    entry = {"kind": "pairs", "folder": folder, "scale": 0.0001, **said}
    return read_sources(TypeAdapter[Sources](Sources).validate_python([entry]), Wanted(BANDS, known, 30.0)).patches


def write_pair(folder: Path, cloudy: NDArray[np.uint16], clear: NDArray[np.uint16], name: str = "a.tif") -> None:
    write_raster(folder / "cloudy" / name, cloudy, NAMES[: len(cloudy)])
    write_raster(folder / "clear" / name, clear, NAMES[: len(clear)])


def ground(height: int = 16) -> NDArray[np.uint16]:
    return np.broadcast_to(FOREST, (5, height, 32)).copy()


def clouded() -> NDArray[np.uint16]:
    """Return forest whose right half lies under a thick cloud."""
    cloudy = ground()
    cloudy[:, :, 16:] = 5500
    return cloudy


def test_the_cloudy_picture_is_learned_from_with_labels_of_the_difference(tmp_path: Path) -> None:
    write_pair(tmp_path, clouded(), ground())
    (patch,) = read(tmp_path, weight=0.2)
    np.testing.assert_array_equal(patch.labels, np.repeat([[0] * 16 + [2] * 16], 16, axis=0))
    np.testing.assert_allclose(patch.bands, clouded() * 0.0001, rtol=1e-6)
    assert (patch.name, patch.pixel_m, patch.weight) == ("a", 30.0, 0.2)


def test_what_is_told_may_be_called_otherwise(tmp_path: Path) -> None:
    write_pair(tmp_path, clouded(), ground())
    (patch,) = read(tmp_path, labels={"thick cloud": "cloud", "clear": None})
    assert set(np.unique(patch.labels.numpy())) == {LABELS.id_of("cloud"), IGNORE_ID}


def test_names_that_nothing_is_told_of_are_refused(tmp_path: Path) -> None:
    write_pair(tmp_path, clouded(), ground())
    with pytest.raises(DataError, match=r"nothing is told of snow; pairs tell clear, thin cloud"):
        read(tmp_path, labels={"snow": "clear"})


def test_a_legend_without_a_name_that_is_told_is_refused(tmp_path: Path) -> None:
    write_pair(tmp_path, clouded(), ground())
    with pytest.raises(DataError, match="'cloud' is neither a class nor a group"):
        read(tmp_path, LabelSet.of(legend_of("cloud-thickness"), {}))


def test_a_warning_names_the_first_ten_pictures_that_tell_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_pair(tmp_path, clouded(), ground(), "a.tif")
    sources = TypeAdapter[Sources](Sources).validate_python([{"kind": "pairs", "folder": tmp_path, "scale": 0.0001}])
    wanted = Wanted(BANDS, LABELS, 30.0)
    assert read_sources(sources, wanted).warning is None
    for number in range(11):
        write_pair(tmp_path, ground(), np.full_like(ground(), 7500), f"b{number:02}.tif")
    names = ", ".join(f"b{number:02}" for number in range(10))
    said = f"11 of 12 pictures have no label and are left out: {names} ..."
    assert read_sources(sources, wanted).warning == said
    assert [patch.name for patch in labelled_in(sources, wanted)] == ["a"]
    assert capsys.readouterr().err == said + "\n"


def test_pairs_that_tell_nothing_are_left_out(tmp_path: Path) -> None:
    write_pair(tmp_path, clouded(), ground(), "a.tif")
    write_pair(tmp_path, ground(), np.full_like(ground(), 7500), "b.tif")
    assert [patch.name for patch in read(tmp_path)] == ["a"]
    (tmp_path / "cloudy" / "a.tif").unlink()
    (tmp_path / "clear" / "a.tif").unlink()
    with pytest.raises(DataError, match=r"no pixel of 1 patches \(b ...\) is labelled"):
        read(tmp_path)


def test_a_picture_without_a_partner_is_named(tmp_path: Path) -> None:
    write_pair(tmp_path, clouded(), ground())
    write_raster(tmp_path / "cloudy" / "lonely.tif", clouded(), NAMES)
    with pytest.raises(DataError, match=r"lonely is in one of cloudy/\* and clear/\* only"):
        read(tmp_path)


def test_pictures_of_another_size_or_place_are_refused(tmp_path: Path) -> None:
    write_pair(tmp_path, clouded(), ground(20))
    with pytest.raises(DataError, match=r"a\.tif: does not lie where .*clear/a\.tif does"):
        read(tmp_path)
    for kind, numbers, west_m in (("cloudy", clouded(), 0.0), ("clear", ground(), 30.0)):
        place = Affine(30.0, 0.0, 500_000 + west_m, 0.0, -30.0, 4_000_000)
        write_raster(tmp_path / kind / "a.tif", numbers, NAMES, crs="EPSG:32618", transform=place)
    with pytest.raises(DataError, match=r"a\.tif: does not lie where .*clear/a\.tif does"):
        read(tmp_path)


def test_bands_that_are_compared_must_be_there(tmp_path: Path) -> None:
    write_pair(tmp_path, clouded(), ground()[:4])
    with pytest.raises(DataError, match=r"clear/a\.tif: pairs are compared in .*; swir16 is missing"):
        read(tmp_path)
