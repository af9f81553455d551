"""USGS L8 Biome as a source: whole Landsat 8 scenes, through torchgeo's data set class, read by tiles."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from rspipe.catalogs.bands import Unit
from rspipe.catalogs.errors import CatalogError
from rspipe.catalogs.pixels import physical
from rspipe.catalogs.scene import Grid
from rspipe.catalogs.sensors import SENSORS, Circumstances, conversion_of
from rspipe.models.benchmarks import class_table
from rspipe.models.data import Patch
from rspipe.models.errors import DataError
from rspipe.models.imagery import grid_of
from rspipe.models.labelling import Labelled, SourceSpec, Wanted
from rspipe.models.labels import IGNORE_ID
from rspipe.models.tiles import Tile, shuffled, tile_name, tiles_of

CLASSES = (None, "cloud shadow", "clear", "thin cloud", "thick cloud")
"""In the order of torchgeo's ids: fill, then raw 64, 128, 192 and 255."""
_LANDSAT = SENSORS["landsat8"]
_SUN = re.compile(r"^\s*SUN_ELEVATION\s*=\s*([-+.0-9eE]+)\s*$", re.MULTILINE)
_SHARES = MappingProxyType({"train": (0.0, 0.6), "val": (0.6, 0.8), "test": (0.8, 1.0)})
_SPLIT_SEED = 42


@dataclass(frozen=True, slots=True)
class BiomeScene:
    """The files of one scene."""

    image: Path
    """All eleven bands, digital numbers."""
    mask: Path
    metadata: Path

    @property
    def name(self) -> str:
        """Biome and scene id."""
        return f"{self.image.parent.parent.name}/{self.image.stem}"

    def sun_elevation_deg(self) -> float:
        """Return what the metadata says.

        Raises:
            DataError: it is missing or does not say it.
        """
        try:
            found = _SUN.search(self.metadata.read_text(encoding="utf-8", errors="replace"))
        except OSError as error:
            raise DataError(
                f"{self.metadata}: cannot be read ({error.strerror}); reflectance needs its SUN_ELEVATION"
            ) from error
        if found is None:
            raise DataError(f"{self.metadata}: has no SUN_ELEVATION, which reflectance needs")
        return float(found[1])


class BiomeSource(SourceSpec):
    """L8 Biome as it is unpacked: BIOME/SCENE/SCENE.TIF, SCENE_fixedmask.TIF and SCENE_MTL.txt. Fill is ignored."""

    kind: Literal["l8biome"]
    folder: Path
    biomes: tuple[str, ...] | None = Field(default=None, min_length=1, strict=False)
    """Names of folders; all if not given."""
    split: Literal["train", "val", "test"] | None = None
    """Three, one and one fifth of each biome's scenes; whole scenes, always the same. All if not given."""
    tile_px: int = Field(default=512, ge=64, le=4096)
    tiles: int = Field(default=4, ge=1)
    """So many labelled tiles of each scene, drawn at random."""
    seed: int = Field(default=0, ge=0)
    """Of the drawing."""

    def under(self, root: Path) -> Self:
        """Return the source with its folder below another."""
        return self.model_copy(update={"folder": root / self.folder})

    def patches(self, wanted: Wanted) -> list[Patch]:
        """Read tiles of all scenes.

        Raises:
            DataError: see `SourceSpec.patches`.
        """
        return [patch for number, scene in enumerate(self.scenes()) for patch in self._patches(scene, number, wanted)]

    def scenes(self) -> list[BiomeScene]:
        """Return the scenes of the split, sorted by biome and id.

        Raises:
            DataError: there are none, or a mask is missing.
        """
        images = sorted(path for path in self.folder.glob("*/*/LC8*.TIF") if not path.stem.endswith("_fixedmask"))
        biomes = dict.fromkeys(path.parent.parent.name for path in images)
        strange = [biome for biome in self.biomes or () if biome not in biomes]
        if not images or strange:
            raise DataError(
                f"{self.folder}: no scene of {', '.join(strange) or 'L8 Biome'} there (BIOME/SCENE/SCENE.TIF); biomes "
                f"found: {', '.join(biomes) or 'none'}. Download and unpack the data set there yourself"
            )
        chosen = [
            self._split([path for path in images if path.parent.parent.name == biome])
            for biome in self.biomes or biomes
        ]
        return [_scene(path) for part in chosen for path in part]

    def _split(self, images: list[Path]) -> list[Path]:
        if self.split is None:
            return images
        low, high = _SHARES[self.split]
        deck = np.random.default_rng(_SPLIT_SEED).permutation(len(images))
        return [images[place] for place in sorted(deck[round(low * len(images)) : round(high * len(images))])]

    def _patches(self, scene: BiomeScene, number: int, wanted: Wanted) -> Iterator[Patch]:
        grid = grid_of(scene.image)
        if grid is None:
            raise DataError(f"{scene.image}: does not say where it lies")
        reader = _Reader.open(scene, grid, wanted)
        table = class_table(CLASSES, self.labels, wanted.labels)
        tiles = tiles_of(grid.height_px, grid.width_px, self.tile_px)
        left = self.tiles
        for tile in shuffled(tiles, self.seed + number):
            if not left:
                break
            labels = table[reader.mask(tile)]
            if (labels != IGNORE_ID).any():
                left -= 1
                name = tile_name(scene.name, tile, len(tiles))
                pixel_m = self.pixel_m_at(grid, wanted, scene.name)
                yield self.patch(Labelled(name, reader.numbers(tile), labels, pixel_m), self.scene_of(scene.image.stem))


@dataclass(frozen=True, slots=True)
class _Reader:
    """Reads tiles of one scene on its own grid: torchgeo's default would warp it."""

    dataset: Any
    grid: Grid
    bands: tuple[str, ...]
    conversions: Mapping[str, Any]

    @classmethod
    def open(cls, scene: BiomeScene, grid: Grid, wanted: Wanted) -> Self:
        from pyproj import CRS  # noqa: PLC0415  only this data set asks for its CRS
        from torchgeo.datasets import L8Biome  # noqa: PLC0415  slow to import, and rarely used

        native = {band.name: band.native for band in _LANDSAT.bands}
        missing = [band.name for band in wanted.bands if band.required and band.name not in native]
        if missing:
            raise DataError(f"required bands are missing: {', '.join(missing)}; L8 Biome has {', '.join(native)}")
        sun = Circumstances(sun_elevation_deg=scene.sun_elevation_deg())
        known = [band.name for band in wanted.bands if band.name in native]
        try:
            conversions = {name: conversion_of(_LANDSAT, name, Unit.DN, sun) for name in known}
            dataset = L8Biome(
                str(scene.image.parent),
                crs=CRS.from_wkt(grid.crs_wkt),
                res=(grid.transform.a, -grid.transform.e),
                bands=[native[name] for name in known],
            )
        except (CatalogError, OSError, RuntimeError) as error:
            raise DataError(f"{scene.image}: {error}") from error
        return cls(dataset, grid, tuple(band.name for band in wanted.bands), conversions)

    def mask(self, tile: Tile) -> NDArray[np.int64]:
        return np.asarray(self.dataset.mask[self._place(tile)]["mask"].numpy(), dtype=np.int64)

    def numbers(self, tile: Tile) -> NDArray[np.float32]:
        stored = dict(zip(self.conversions, self.dataset.image[self._place(tile)]["image"].numpy(), strict=True))
        rows, columns = tile
        out = np.full((len(self.bands), rows.stop - rows.start, columns.stop - columns.start), np.nan, dtype=np.float32)
        for row, name in enumerate(self.bands):
            if name in stored:
                numbers = physical(stored[name], self.conversions[name])
                out[row] = np.where(stored[name] == _LANDSAT.dn_fill, np.nan, numbers)
        return out

    def _place(self, tile: Tile) -> tuple[slice, slice, slice]:
        rows, columns = tile
        left, top = self.grid.transform @ (columns.start, rows.start)
        right, bottom = self.grid.transform @ (columns.stop, rows.stop)
        _, _, time = self.dataset.bounds
        return slice(left, right), slice(bottom, top), time


def _scene(image: Path) -> BiomeScene:
    mask = image.with_name(f"{image.stem}_fixedmask.TIF")
    if not mask.is_file():
        raise DataError(f"{image}: has no mask {mask.name} beside it")
    return BiomeScene(image, mask, image.with_name(f"{image.stem}_MTL.txt"))
