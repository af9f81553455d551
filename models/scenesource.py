"""Whole scenes as a source, read as the pipeline reads them: bands and units by `scene.yaml`, tags or sensor."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from rspipe.catalogs.errors import CatalogError
from rspipe.catalogs.files import RefusedScene, list_scenes
from rspipe.catalogs.pixels import BandReader, is_number, open_band, physical
from rspipe.catalogs.scene import Band, RasterBand, Scene
from rspipe.catalogs.warp import source_window, subgrid, warp
from rspipe.models.card import CardBand
from rspipe.models.data import Patch
from rspipe.models.errors import DataError
from rspipe.models.labelling import DrawnSpec, Labelled, Wanted
from rspipe.models.labels import IGNORE_ID
from rspipe.models.masks import Translation, check_fit, read_mask
from rspipe.models.polygons import Drawn
from rspipe.models.tiles import Tile, tile_name, tiles_of


class SceneSource(DrawnSpec):
    """Scenes with a mask beside each, or with polygons for all. Only tiles that hold a label are read."""

    kind: Literal["scenes"]
    scenes: Annotated[tuple[Path, ...], Field(min_length=1, strict=False)]
    """Folders, files or globs, as a workflow names them."""
    sensor: str | None = None
    tile_px: int = Field(default=1024, ge=64, le=8192)
    """Longest side of a patch."""

    @model_validator(mode="after")
    def _labelled(self) -> Self:
        if not (self.masks or self.polygons):
            raise ValueError("give masks: (a file beside each scene) or polygons:")
        return self

    def under(self, root: Path) -> Self:
        """Return the source with its paths below a folder."""
        polygons = root / self.polygons if self.polygons else None
        scenes = tuple(root / scene for scene in self.scenes)
        return self.model_copy(update={"scenes": scenes, "polygons": polygons})

    def patches(self, wanted: Wanted) -> list[Patch]:
        """Read the labelled tiles of all scenes.

        Raises:
            DataError: see `SourceSpec.patches`.
        """
        try:
            listed = list_scenes(self.scenes, self.sensor)
        except CatalogError as error:
            raise DataError(str(error)) from error
        drawn = self._polygons(wanted)
        found = [patch for scene in listed for patch in self._patches(_usable(scene), drawn, wanted)]
        if not found:
            raise DataError(f"{', '.join(map(str, self.scenes))}: no scene holds a labelled pixel")
        return found

    def _polygons(self, wanted: Wanted) -> Drawn | None:
        if self.polygons is None or self.attribute is None or self.labels is None:
            return None
        return Drawn.read(self.polygons, self.attribute, self.labels, wanted.labels)

    def _patches(self, scene: Scene, drawn: Drawn | None, wanted: Wanted) -> Iterator[Patch]:
        labels = drawn.burned(scene.grid) if drawn else self._mask(scene, wanted)
        pixel_m = self.pixel_m_at(scene.grid, wanted, scene.id)
        tiles = tiles_of(scene.grid.height_px, scene.grid.width_px, self.tile_px)
        for tile in tiles:
            if (labels[tile] != IGNORE_ID).any():
                name = tile_name(scene.id, tile, len(tiles))
                labelled = Labelled(name, read_tile(scene, wanted.bands, tile), labels[tile], pixel_m)
                yield self.patch(labelled, self.scene_of(scene.id))

    def _mask(self, scene: Scene, wanted: Wanted) -> NDArray[np.uint8]:
        folder, pattern = _folder_of(scene), self.masks or ""
        found = sorted(folder.glob(pattern))
        if len(found) != 1:
            raise DataError(f"{folder}: masks: {pattern!r} must match one file, {len(found)} found")
        labels = read_mask(found[0], Translation.of(wanted.labels, self.labels))
        check_fit(found[0], labels, (scene.grid.height_px, scene.grid.width_px), scene.grid)
        return labels


def read_tile(scene: Scene, bands: Sequence[CardBand], tile: Tile) -> NDArray[np.float32]:
    """Read a part of a scene.

    Args:
        scene: the scene.
        bands: those to take, in this order; an optional one that the scene lacks is all NaN.
        tile: rows and columns of the scene's grid.

    Returns:
        (bands, H, W) in physical units, NaN where there is no number.

    Raises:
        DataError: the scene lacks a required band, or a file cannot be read.
    """
    rows, columns = tile
    out = np.full((len(bands), rows.stop - rows.start, columns.stop - columns.start), np.nan, dtype=np.float32)
    has = {band.name: band for band in scene.bands}
    missing = [band.name for band in bands if band.required and band.name not in has]
    if missing:
        raise DataError(
            f"scene {scene.id!r}: required bands are missing: {', '.join(missing)}; it has {', '.join(has)}"
        )
    try:
        with ExitStack() as stack:
            for row, band in enumerate(bands):
                if band.name in has:
                    own = has[band.name]
                    out[row] = _read(scene, own, stack.enter_context(open_band(own)), tile)
    except CatalogError as error:
        raise DataError(f"scene {scene.id!r}: {error}") from error
    return out


def _read(scene: Scene, band: Band, reader: BandReader, tile: Tile) -> NDArray[np.float32]:
    if band.grid == scene.grid:
        return _physical(reader.read(*tile), band)
    target = subgrid(scene.grid, *tile)
    window = source_window(band.grid, target)
    if window is None:
        return np.full((target.height_px, target.width_px), np.nan, dtype=np.float32)
    return warp(_physical(reader.read(*window), band), subgrid(band.grid, *window), target)


def _physical(stored: NDArray[np.generic], band: Band) -> NDArray[np.float32]:
    numbers = physical(stored, band.conversion)
    return np.where(is_number(stored, band.fills), numbers, np.nan).astype(np.float32)


def _usable(listed: Scene | RefusedScene) -> Scene:
    if isinstance(listed, RefusedScene):
        raise DataError(f"scene {listed.id!r} cannot be used: {listed.reason}")
    return listed


def _folder_of(scene: Scene) -> Path:
    origin = scene.bands[0].origin
    if not isinstance(origin, RasterBand):
        raise DataError(f"scene {scene.id!r} is simulated and has no mask beside it")
    return origin.path.parent
