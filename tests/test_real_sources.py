"""All labelled rasters at hand, read by YAML alone, against plain rasterio."""

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path

import geopandas as gpd
import numpy as np
import pytest
import rasterio
from pydantic import TypeAdapter
from rasterio.features import rasterize

from rspipe.catalogs.bands import PHYSICAL_UNIT
from rspipe.catalogs.yamlfile import parse_yaml
from rspipe.models.card import CardBand
from rspipe.models.data import Patch
from rspipe.models.folds import dealt_to_folds
from rspipe.models.labelling import Wanted
from rspipe.models.labels import LabelSet
from rspipe.models.sources import Sources, read_sources

pytestmark = pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")

CLOUD = LabelSet(("clear", "thin cloud", "thick cloud", "cloud shadow"), {"cloud": (1, 2), "clear or shadow": (0, 3)})
MEADOW = LabelSet(("willow", "mesic", "hydric", "xeric", "water", "rocky", "forest"), {})
PIXEL_M = 0.5


def read(text: str, root: Path, labels: LabelSet, bands: Iterable[str]) -> list[Patch]:
    taken = tuple(CardBand(name=name, unit=PHYSICAL_UNIT[name], required=True, mean=0, stddev=1) for name in bands)
    sources = TypeAdapter(Sources).validate_json(json.dumps(parse_yaml(text, "test")))
    return read_sources([source.under(root) for source in sources], Wanted(taken, labels, PIXEL_M)).patches


def counted(patches: Iterable[Patch]) -> Counter[int]:
    total: Counter[int] = Counter()
    for patch in patches:
        values, counts = np.unique(patch.labels.numpy(), return_counts=True)
        total.update(dict(zip(values.tolist(), counts.tolist(), strict=True)))
    return total


def raw_counts(masks: Iterable[Path], meaning: Mapping[int, int]) -> Counter[int]:
    total: Counter[int] = Counter()
    for path in masks:
        with rasterio.open(path) as file:
            values, counts = np.unique(file.read(1), return_counts=True)
        for value, count in zip(values.tolist(), counts.tolist(), strict=True):
            total[meaning.get(value, value)] += count
    return total


def stored(path: Path, index: int = 1) -> np.ndarray:
    with rasterio.open(path) as file:
        numbers: np.ndarray = file.read(index).astype(np.float64)
    return numbers


def test_l8biome(real_data: Path) -> None:
    patches = read("[l8biome/train, l8biome/val]", real_data, CLOUD, ["blue", "lwir11"])
    assert len(patches) == len({patch.scene for patch in patches}) == 29
    masks = [*real_data.glob("l8biome/train/masks/*.tif"), *real_data.glob("l8biome/val/masks/*.tif")]
    assert counted(patches) == raw_counts(masks, {})
    for patch, folder in ((patches[0], "train"), (patches[-1], "val")):
        image = real_data / "l8biome" / folder / "images" / f"{patch.name}.tif"
        np.testing.assert_allclose(patch.bands[1].numpy(), stored(image, 8), rtol=1e-6)


def test_l8biome_rgb(real_data: Path) -> None:
    text = """
    - folder: l8biome-rgb
      bands: [red, green, blue]
      scale: 0.00392156862745098
      display: true
      scene: "LC8[0-9A-Z]+$"
      pixel_m: 30.0
      labels: {"0": clear or shadow, "1": cloud}
    """
    patches = read(text, real_data, CLOUD, ["blue"])
    assert len(patches) == 60
    assert len({patch.scene for patch in patches}) == 47
    assert all(patch.display and patch.pixel_m == 30.0 for patch in patches)
    assert counted(patches) == raw_counts(real_data.glob("l8biome-rgb/masks/*"), {0: 5, 1: 4})
    image = stored(real_data / "l8biome-rgb" / "images" / f"{patches[0].name}.png", 3)
    np.testing.assert_allclose(patches[0].bands[0].numpy(), image / 255, atol=1e-6)


def test_csmask(real_data: Path) -> None:
    text = """
    - folder: csmask
      images: "*_image.tif"
      masks: "*_mask.tif"
      labels: {"0": null, "3": cloud shadow, "4": cloud}
    """
    patches = read(text, real_data, CLOUD, ["red", "swir22"])
    assert [patch.name for patch in patches] == ["landsat5_image", "sentinel2_image"]
    assert counted(patches) == raw_counts(real_data.glob("csmask/*_mask.tif"), {0: 255, 3: 3, 4: 4})
    (one,) = read(text.replace("*", "sentinel2"), real_data, CLOUD, ["red"])
    np.testing.assert_allclose(one.bands[0].numpy(), stored(real_data / "csmask" / "sentinel2_image.tif", 3), rtol=1e-6)


def test_s2_cloud_chips(real_data: Path) -> None:
    text = """
    - folder: s2-cloud-chips
      images: {blue: "*/B02.tif", red: "*/B04.tif", nir: "*/B08.tif"}
      masks: "*/label.tif"
      scale: 0.0001
      labels: {"0": null, "1": cloud}
    """
    patches = read(text, real_data, CLOUD, ["nir"])
    assert [patch.name for patch in patches] == ["chip1", "chip2", "chip3"]
    assert counted(patches) == raw_counts(real_data.glob("s2-cloud-chips/*/label.tif"), {0: 255, 1: 4})
    raw = stored(real_data / "s2-cloud-chips" / "chip2" / "B08.tif")
    np.testing.assert_allclose(patches[1].bands[0].numpy(), np.where(raw == 0, np.nan, raw / 10_000), atol=1e-6)
    assert patches[0].pixel_m == pytest.approx(10.0)


def test_l7_gewata(real_data: Path) -> None:
    labels = LabelSet(("cropland", "bamboo", "bare soil", "coffee", "forest", "wetland"), {})
    text = "[{folder: l7-gewata, images: image.tif, masks: mask.tif, scale: 0.0001}]"
    (patch,) = read(text, real_data, labels, ["swir22"])
    assert counted([patch]) == raw_counts([real_data / "l7-gewata" / "mask.tif"], {})
    raw = stored(real_data / "l7-gewata" / "image.tif", 6)
    np.testing.assert_allclose(patch.bands[0].numpy(), np.where(raw == -32768, np.nan, raw / 10_000), atol=1e-6)
    assert patch.pixel_m == pytest.approx(30.0)


def test_s2_korea_is_split_by_place(real_data: Path) -> None:
    labels = LabelSet(("background", "building", "road", "field", "forest"), {})
    patches = read("[{folder: s2-korea, scale: 0.00392156862745098, by_place: true}]", real_data, labels, ["green"])
    assert counted(patches) == raw_counts(real_data.glob("s2-korea/masks/*.tif"), {})
    bounds = {}
    for path in real_data.glob("s2-korea/images/*.tif"):
        with rasterio.open(path) as file:
            bounds[path.stem] = file.bounds
    fold = dict(zip(bounds, [-1] * len(bounds), strict=True))
    dealt = dealt_to_folds([patch.scene for patch in patches], 5, 0)
    fold |= {patch.name: number for patch, number in zip(patches, dealt.tolist(), strict=True)}
    for one, a in bounds.items():
        for other, b in bounds.items():
            if a.left < b.right and b.left < a.right and a.bottom < b.top and b.bottom < a.top:
                assert fold[one] == fold[other]
    assert set(fold.values()) == set(range(5))


@pytest.mark.slow
def test_dubai_is_split_by_tile(real_data: Path) -> None:
    labels = LabelSet(("land", "building", "road", "vegetation", "water"), {})
    text = """
    - folder: dubai
      bands: [red, green, blue]
      scale: 0.00392156862745098
      display: true
      scene: "tile([0-9]+)"
    """
    patches = read(text, real_data, labels, ["red", "green", "blue"])
    assert len(patches) == 45
    assert counted(patches) == raw_counts(real_data.glob("dubai/masks/*.png"), {})
    folds = dealt_to_folds([patch.scene for patch in patches], 5, 0)
    homes = {(patch.name.split("_")[0], fold) for patch, fold in zip(patches, folds.tolist(), strict=True)}
    assert len(homes) == 5
    only = text.replace("bands:", 'images: "images/tile2_*"\n      masks: "masks/tile2_*"\n      bands:')
    assert {patch.name for patch in read(only, real_data, labels, ["red"])} == {f"tile2_part{n}" for n in range(1, 10)}


def test_zion(real_data: Path) -> None:
    names = ("water", "developed", "barren", "forest", "shrubland", "herbaceous", "cultivated", "wetlands")
    meant = ", ".join(f'"{number}": {name}' for number, name in enumerate(names, start=1))
    text = f"[{{kind: scenes, scenes: [zion], masks: nlcd.tif, labels: {{{meant}}}}}]"
    patches = read(text, real_data, LabelSet(names, {}), ["red"])
    assert counted(patches) == raw_counts([real_data / "zion" / "nlcd.tif"], {n: n - 1 for n in range(1, 9)})
    assert {patch.scene for patch in patches} == {"LC80380342015230LGN00-zion"}
    raw = stored(real_data / "zion" / "B4.tif")
    expected = (2e-5 * raw - 0.1) / np.sin(np.deg2rad(58.8))
    found = np.concatenate([patch.bands[0].numpy() for patch in patches])
    np.testing.assert_allclose(found[raw < 65535], expected[raw < 65535], atol=1e-6)


def test_s2_redclover(real_data: Path) -> None:
    meant = ", ".join(f"{name}: {name}" for name in MEADOW.names)
    text = f"""
    - kind: scenes
      scenes: [s2-redclover/20200802, s2-redclover/20210708]
      polygons: s2-redclover/train_polygons.shp
      attribute: class
      labels: {{{meant}}}
    """
    patches = read(text, real_data, MEADOW, ["red", "swir16"])
    assert [patch.name for patch in patches] == ["s2-redclover-20200802", "s2-redclover-20210708"]
    frame = gpd.read_file(real_data / "s2-redclover" / "train_polygons.shp")
    for patch, date in zip(patches, ("20200802", "20210708"), strict=True):
        with rasterio.open(real_data / "s2-redclover" / date / "B04.tif") as file:
            onto, raw = frame.to_crs(file.crs), file.read(1)
            burned = np.full(file.shape, 255)
            for label, name in enumerate(MEADOW.names):
                shapes = onto.geometry[onto["class"] == name]
                burned[rasterize(shapes, out_shape=file.shape, transform=file.transform) == 1] = label
        np.testing.assert_array_equal(patch.labels.numpy(), burned)
        valid = (raw != -32768) & (raw != 0)
        np.testing.assert_allclose(patch.bands[0].numpy()[valid], raw[valid] / 10_000, atol=1e-6)
        assert not patch.bands[1].isnan().all()
