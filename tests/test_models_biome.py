"""L8 Biome: tiny scenes laid out as the data set is, read by tiles through torchgeo's real class."""

from itertools import chain
from pathlib import Path

import numpy as np
import pytest
from affine import Affine
from labelled import write_raster

from rspipe.catalogs.bands import PHYSICAL_UNIT
from rspipe.catalogs.legends import legend_of
from rspipe.models.biome import BiomeSource
from rspipe.models.card import CardBand
from rspipe.models.errors import DataError
from rspipe.models.labelling import Wanted
from rspipe.models.labels import LabelSet

HEIGHT, WIDTH = 130, 150
GRID = Affine(30.0, 0.0, 339885.0, 0.0, -30.0, 8286915.0)
SUN_DEG = 41.5
RAW = {0: 255, 64: 3, 128: 0, 192: 1, 255: 2}
"""Raw number -> id in the legend `cloud-thickness`; 0 is fill."""


def wanted(*bands: str) -> Wanted:
    taken = tuple(CardBand(name=name, unit=PHYSICAL_UNIT[name], required=True, mean=0, stddev=1) for name in bands)
    return Wanted(taken, LabelSet.of(legend_of("cloud-thickness"), {}), 30.0)


def write_scene(folder: Path, biome: str, name: str, seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    numbers = rng.integers(1, 30_000, (11, HEIGHT, WIDTH)).astype(np.uint16)
    mask = rng.choice(np.array(list(RAW), dtype=np.uint8), (HEIGHT, WIDTH))
    numbers[:, mask == 0] = 0
    place = folder / biome / name
    write_raster(place / f"{name}.TIF", numbers, transform=GRID, crs="EPSG:32615")
    write_raster(place / f"{name}_fixedmask.TIF", mask[None], transform=GRID, crs="EPSG:32615")
    (place / f"{name}_MTL.txt").write_text(f"GROUP = A\n    SUN_AZIMUTH = 1.0\n    SUN_ELEVATION = {SUN_DEG}\nEND\n")
    return numbers, mask


def test_tiles_hold_reflectance_kelvin_and_our_ids_on_the_scene_s_own_grid(tmp_path: Path) -> None:
    stored, mask = write_scene(tmp_path, "barren", "LC80420082013220LGN00", 0)
    source = BiomeSource(kind="l8biome", folder=tmp_path, tile_px=64, tiles=100)
    patches = source.patches(wanted("swir22", "lwir11", "blue"))
    seen = np.zeros(mask.shape, dtype=int)
    for patch in patches:
        top, left = map(int, patch.name.rsplit("/r", 1)[1].split("c"))
        window = (slice(top, top + patch.labels.shape[0]), slice(left, left + patch.labels.shape[1]))
        seen[window] += 1
        np.testing.assert_array_equal(patch.labels.numpy(), np.vectorize(RAW.get)(mask[window]))
        numbers = stored[:, *window].astype(np.float64)
        fill = mask[window] == 0
        for row, band in ((0, 6), (2, 1)):  # B7 and B2
            reflectance = (numbers[band] * 2e-5 - 0.1) / np.sin(np.deg2rad(SUN_DEG))
            np.testing.assert_allclose(patch.bands[row].numpy(), np.where(fill, np.nan, reflectance), atol=1e-6)
        kelvin = 1321.0789 / np.log(774.8853 / (numbers[9] * 3.342e-4 + 0.1) + 1)  # B10
        np.testing.assert_allclose(patch.bands[1].numpy(), np.where(fill, np.nan, kelvin), rtol=1e-6)
        assert patch.pixel_m == pytest.approx(30.0)
        assert patch.scene == "LC80420082013220LGN00"
    assert (seen == 1).all()


def test_tiles_are_drawn_by_seed_and_fill_is_passed_over(tmp_path: Path) -> None:
    write_scene(tmp_path, "barren", "LC80420082013220LGN00", 0)
    place = tmp_path / "barren" / "LC80420082013220LGN00" / "LC80420082013220LGN00_fixedmask.TIF"
    mask = np.zeros((1, HEIGHT, WIDTH), dtype=np.uint8)
    mask[0, 100:, 120:] = 128
    write_raster(place, mask, transform=GRID, crs="EPSG:32615")
    (only,) = BiomeSource(kind="l8biome", folder=tmp_path, tile_px=64, tiles=4).patches(wanted("red"))
    assert (only.labels == 0).sum() == 30 * 30
    write_scene(tmp_path, "barren", "LC80420082013220LGN00", 0)
    one, same, other = (
        [
            p.name
            for p in BiomeSource(kind="l8biome", folder=tmp_path, tile_px=64, tiles=3, seed=seed).patches(wanted("red"))
        ]
        for seed in (1, 1, 2)
    )
    assert one == same
    assert len(set(one)) == 3
    assert one != other


def test_splits_hold_whole_scenes_of_every_biome(tmp_path: Path) -> None:
    names = [f"LC80420{number:02}2013220LGN00" for number in range(10)]
    for biome in ("barren", "water"):
        for name in names:
            write_scene(tmp_path, biome, name, 0)
    found = {}
    for split in ("train", "val", "test"):
        source = BiomeSource.model_validate({"kind": "l8biome", "folder": tmp_path, "split": split})
        found[split] = [scene.name for scene in source.scenes()]
    assert sorted(chain.from_iterable(found.values())) == sorted(
        f"{biome}/{name}" for biome in ("barren", "water") for name in names
    )
    assert [sum(name.startswith("barren") for name in found[split]) for split in found] == [6, 2, 2]
    watery = BiomeSource(kind="l8biome", folder=tmp_path, biomes=("water",)).scenes()
    assert {scene.name.split("/")[0] for scene in watery} == {"water"}


def test_what_is_missing_is_said_and_nothing_is_downloaded(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no scene of L8 Biome there"):
        BiomeSource(kind="l8biome", folder=tmp_path).patches(wanted("red"))
    write_scene(tmp_path, "barren", "LC80420082013220LGN00", 0)
    place = tmp_path / "barren" / "LC80420082013220LGN00"
    with pytest.raises(DataError, match=r"no scene of water there .* biomes found: barren"):
        BiomeSource(kind="l8biome", folder=tmp_path, biomes=("water",)).patches(wanted("red"))
    with pytest.raises(DataError, match="required bands are missing: rededge071"):
        BiomeSource(kind="l8biome", folder=tmp_path).patches(wanted("rededge071"))
    (place / "LC80420082013220LGN00_MTL.txt").write_text("END\n")
    with pytest.raises(DataError, match="has no SUN_ELEVATION"):
        BiomeSource(kind="l8biome", folder=tmp_path).patches(wanted("red"))
    (place / "LC80420082013220LGN00_MTL.txt").unlink()
    with pytest.raises(DataError, match=r"MTL\.txt: cannot be read"):
        BiomeSource(kind="l8biome", folder=tmp_path).patches(wanted("red"))
    (place / "LC80420082013220LGN00_fixedmask.TIF").unlink()
    with pytest.raises(DataError, match="has no mask"):
        BiomeSource(kind="l8biome", folder=tmp_path).patches(wanted("red"))
