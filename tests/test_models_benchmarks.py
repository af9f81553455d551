"""LoveDA, Vaihingen and Potsdam: tiny files laid out as the data sets are, read through torchgeo's real classes."""

from pathlib import Path

import numpy as np
import pytest
from labelled import write_raster
from PIL import Image

from rspipe.catalogs.bands import PHYSICAL_UNIT
from rspipe.catalogs.legends import legend_of
from rspipe.models.benchmarks import IsprsSource, LoveDASource
from rspipe.models.card import CardBand
from rspipe.models.errors import DataError
from rspipe.models.labelling import Wanted
from rspipe.models.labels import LabelSet

pytestmark = pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")

SIDE = 40
ISPRS_COLOURS = {
    "impervious surface": (255, 255, 255),
    "building": (0, 0, 255),
    "low vegetation": (0, 255, 255),
    "tree": (0, 255, 0),
    "car": (255, 255, 0),
    "clutter": (255, 0, 0),
}
"""The contest's own table; black is a boundary."""
POTSDAM_TEST = {"2_13", "2_14", *(f"{row}_{column}" for row in (3, 4, 5, 6) for column in (13, 14)), "7_13"}
POTSDAM_TEST |= {"4_15", "5_15", "6_15"}
VAIHINGEN_TEST = [2, 4, 6, 8, 10, 12, 14, 16, 20, 22, 24, 27, 29, 31, 33, 35, 38]
VAIHINGEN_TRAIN = [1, 3, 5, 7, 11, 13, 15, 17, 21, 23, 26, 28, 32, 34, 37]


def wanted(legend: str, *bands: str) -> Wanted:
    taken = tuple(CardBand(name=name, unit=PHYSICAL_UNIT[name], required=True, mean=0, stddev=1) for name in bands)
    return Wanted(taken, LabelSet.of(legend_of(legend), {}), 30.0)


def save_png(path: Path, data: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(data).save(path)


def colours(ids: np.ndarray) -> np.ndarray:
    """Paint ids: 0 to 5 as in `ISPRS_COLOURS`, 6 black."""
    table = np.array([*ISPRS_COLOURS.values(), (0, 0, 0)], dtype=np.uint8)
    painted: np.ndarray = table[ids]
    return painted


def test_loveda_shifts_its_ids_and_ignores_where_it_has_no_data(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    images, masks = {}, {}
    for area, name in (("Urban", "7"), ("Rural", "9")):
        images[name] = rng.integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
        masks[name] = rng.integers(0, 8, (SIDE, SIDE), dtype=np.uint8)
        save_png(tmp_path / "Train" / area / "images_png" / f"{name}.png", images[name])
        save_png(tmp_path / "Train" / area / "masks_png" / f"{name}.png", masks[name])
    found = LoveDASource(kind="loveda", folder=tmp_path, split="train").patches(wanted("loveda", "blue", "red"))
    assert sorted(patch.name for patch in found) == ["7", "9"]
    for patch in found:
        np.testing.assert_array_equal(patch.labels.numpy(), masks[patch.name] - np.uint8(1))  # 0 - 1 is 255
        np.testing.assert_allclose(patch.bands[0].numpy(), images[patch.name][..., 2] / 255, atol=1e-7)
        np.testing.assert_allclose(patch.bands[1].numpy(), images[patch.name][..., 0] / 255, atol=1e-7)
        assert (patch.pixel_m, patch.display) == (0.3, True)
    (urban,) = LoveDASource(kind="loveda", folder=tmp_path, split="train", areas=("urban",)).patches(
        wanted("loveda", "red")
    )
    assert urban.name == "7"


def test_tiles_of_one_picture_share_its_scene_and_cover_it_once(tmp_path: Path) -> None:
    image = np.random.default_rng(1).integers(0, 256, (100, 150, 3), dtype=np.uint8)
    save_png(tmp_path / "Val" / "Urban" / "images_png" / "1.png", image)
    save_png(tmp_path / "Val" / "Urban" / "masks_png" / "1.png", np.ones((100, 150), dtype=np.uint8))
    said = {"kind": "loveda", "folder": tmp_path, "split": "val", "areas": ("urban",), "tile_px": 64}
    tiles = LoveDASource.model_validate(said).patches(wanted("loveda", "red"))
    assert {patch.scene for patch in tiles} == {"1"}
    assert len({patch.name for patch in tiles}) == len(tiles) == 6
    total = sum(float(patch.bands.double().sum()) for patch in tiles)
    assert total == pytest.approx(image[..., 0].sum() / 255, rel=1e-6)
    drawn = LoveDASource.model_validate(said | {"tiles": 2}).patches(wanted("loveda", "red"))
    assert {patch.name for patch in drawn} < {patch.name for patch in tiles}
    assert len(drawn) == 2


@pytest.fixture
def vaihingen(tmp_path: Path) -> tuple[Path, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(2)
    image, ids = rng.integers(0, 256, (3, SIDE, SIDE), dtype=np.uint8), rng.integers(0, 7, (SIDE, SIDE))
    for area in [*VAIHINGEN_TRAIN, 30, *VAIHINGEN_TEST]:
        write_raster(tmp_path / "top" / f"top_mosaic_09cm_area{area}.tif", image)
        write_raster(tmp_path / f"top_mosaic_09cm_area{area}.tif", colours(ids).transpose(2, 0, 1))
    return tmp_path, image, ids


def test_vaihingen_is_near_infrared_red_green_and_ignores_boundaries(
    vaihingen: tuple[Path, np.ndarray, np.ndarray],
) -> None:
    folder, image, ids = vaihingen
    names = {}
    for split in ("train", "val", "test"):
        source = IsprsSource.model_validate({"kind": "vaihingen", "folder": folder, "split": split})
        patches = source.patches(wanted("isprs", "green", "nir"))
        names[split] = sorted(int(patch.name.removeprefix("top_mosaic_09cm_area")) for patch in patches)
        np.testing.assert_allclose(patches[0].bands[0].numpy(), image[2] / 255, atol=1e-7)
        np.testing.assert_allclose(patches[0].bands[1].numpy(), image[0] / 255, atol=1e-7)
        np.testing.assert_array_equal(patches[0].labels.numpy(), np.where(ids == 6, 255, ids))
    assert names == {"train": VAIHINGEN_TRAIN, "val": [30], "test": VAIHINGEN_TEST}


def test_a_class_can_be_renamed_and_ignored(vaihingen: tuple[Path, np.ndarray, np.ndarray]) -> None:
    folder, _, ids = vaihingen
    said = {"kind": "vaihingen", "folder": folder, "split": "val", "labels": {"car": "clutter", "tree": None}}
    (patch,) = IsprsSource.model_validate(said).patches(wanted("isprs", "red"))
    meaning = np.array([0, 1, 2, 255, 5, 5, 255])
    np.testing.assert_array_equal(patch.labels.numpy(), meaning[ids])
    with pytest.raises(DataError, match="the data set has no boat"):
        IsprsSource.model_validate(said | {"labels": {"boat": None}}).patches(wanted("isprs", "red"))


def test_potsdam_s_split_leaves_the_flawed_tile_out(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    image, ids = rng.integers(0, 256, (4, SIDE, SIDE), dtype=np.uint8), rng.integers(0, 7, (SIDE, SIDE))
    tiles = [f"{row}_{column}" for row in (2, 3, 4, 5, 6, 7) for column in range(7, 16)]
    for tile in tiles:
        write_raster(tmp_path / "4_Ortho_RGBIR" / f"top_potsdam_{tile}_RGBIR.tif", image)
        write_raster(tmp_path / f"top_potsdam_{tile}_label.tif", colours(ids).transpose(2, 0, 1))
    found = {}
    for split in ("train", "test"):
        source = IsprsSource.model_validate({"kind": "potsdam", "folder": tmp_path, "split": split})
        patches = source.patches(wanted("isprs", "nir", "red"))
        found[split] = {patch.name.removeprefix("top_potsdam_").removesuffix("_RGBIR") for patch in patches}
        np.testing.assert_allclose(patches[0].bands[0].numpy(), image[3] / 255, atol=1e-7)
        np.testing.assert_array_equal(patches[0].labels.numpy(), np.where(ids == 6, 255, ids))
    assert found["test"] == POTSDAM_TEST
    assert len(found["train"]) == 23
    assert "7_10" not in found["train"]
    with pytest.raises(DataError, match="potsdam has no val split"):
        IsprsSource.model_validate({"kind": "potsdam", "folder": tmp_path, "split": "val"}).patches(
            wanted("isprs", "red")
        )


def test_what_is_missing_is_said_and_nothing_is_downloaded(
    tmp_path: Path, vaihingen: tuple[Path, np.ndarray, np.ndarray]
) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(DataError, match=r"has no Train/Urban/images_png and no Train/Rural/images_png; download"):
        LoveDASource(kind="loveda", folder=empty, split="train").patches(wanted("loveda", "red"))
    with pytest.raises(DataError, match="has no 4_Ortho_RGBIR"):
        IsprsSource(kind="potsdam", folder=empty, split="train").patches(wanted("isprs", "red"))
    folder, _, _ = vaihingen
    with pytest.raises(DataError, match="required bands are missing: blue; the data set has nir, red, green"):
        IsprsSource(kind="vaihingen", folder=folder, split="val").patches(wanted("isprs", "blue"))
    (folder / "top_mosaic_09cm_area3.tif").unlink()
    with pytest.raises(DataError, match="1 of the 16 train pictures of vaihingen, or their labels, are missing"):
        IsprsSource(kind="vaihingen", folder=folder, split="train").patches(wanted("isprs", "red"))
    (folder / "top_mosaic_09cm_area6.tif").write_bytes(b"no raster")
    with pytest.raises(DataError, match=r"area6\.tif or its labels cannot be read"):
        IsprsSource(kind="vaihingen", folder=folder, split="test").patches(wanted("isprs", "red"))
