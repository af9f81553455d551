"""A folder of labelled pictures as a source."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import AfterValidator, Field, model_validator

from rspipe.catalogs.bands import PHYSICAL_UNIT
from rspipe.models.data import Patch
from rspipe.models.errors import DataError
from rspipe.models.folds import places_of
from rspipe.models.imagery import BandPlace, Packing, Picture, grid_of, places_in, read_picture
from rspipe.models.labelling import DrawnSpec, Labelled, Wanted
from rspipe.models.labels import IGNORE_ID
from rspipe.models.masks import Translation, check_fit, read_mask
from rspipe.models.patterns import Key, Pattern
from rspipe.models.polygons import Drawn


def _band(name: str) -> str:
    if name not in PHYSICAL_UNIT:
        raise ValueError(f"unknown band {name!r}; known are {', '.join(PHYSICAL_UNIT)}")
    return name


def _pattern(text: str) -> str:
    try:
        return Pattern(text).text
    except DataError as error:
        raise ValueError(str(error)) from error


type BandName = Annotated[str, AfterValidator(_band)]
type PatternText = Annotated[str, AfterValidator(_pattern)]


class FolderSource(DrawnSpec, Packing):
    """Rasters in a folder, beside masks whose names agree in what the wildcards stand for."""

    kind: Literal["folder"] = "folder"
    folder: Path
    images: PatternText | Mapping[BandName, PatternText] = "images/*"
    """Pattern of files that hold all bands, or band -> pattern of its own files."""
    bands: tuple[BandName, ...] | None = Field(default=None, min_length=1, strict=False)
    """The bands of each file by position; not given: by their description."""

    by_place: bool = False
    """Pictures that overlap on the ground are one scene, instead of those that `scene` finds."""

    @model_validator(mode="after")
    def _patterns(self) -> Self:
        if not isinstance(self.images, str) and (self.bands is not None or not self.images):
            raise ValueError("images: is either a pattern (with bands: if files name none) or band -> pattern")
        if self.by_place and self.scene is not None:
            raise ValueError("give either scene: or by_place:, one of the two")
        if self.masks is not None:
            _pattern(self.masks)
        return self

    def under(self, root: Path) -> Self:
        """Return the source with its paths below a folder."""
        polygons = root / self.polygons if self.polygons else None
        return self.model_copy(update={"folder": root / self.folder, "polygons": polygons})

    def patches(self, wanted: Wanted) -> list[Patch]:
        """Read all patches, sorted by file name.

        Raises:
            DataError: see `SourceSpec.patches`.
        """
        pictures = self._pictures()
        labelling = self._drawn_polygons(wanted) if self.polygons else self._masks(pictures, wanted)
        found = [self._patch(key, places, wanted, labelling) for key, places in pictures.items()]
        if self.by_place:
            found = [replace(patch, scene=place) for patch, place in zip(found, self._places(pictures), strict=True)]
        kept = [patch for patch in found if self.polygons is None or bool((patch.labels != IGNORE_ID).any())]
        if not kept:
            raise DataError(f"{self.polygons}: no polygon lies on any picture of {self.folder}")
        return kept

    def _pictures(self) -> dict[Key, dict[str, BandPlace]]:
        if isinstance(self.images, str):
            found = Pattern(self.images).files(self.folder)
            return {key: places_in(path, self.bands) for key, path in found.items()}
        by_band = {band: Pattern(text).files(self.folder) for band, text in self.images.items()}
        keys = next(iter(by_band.values())).keys()
        for band, files in by_band.items():
            if files.keys() != keys:
                odd = ["/".join(key) for key in files.keys() ^ keys]
                raise DataError(
                    f"{self.folder}: band {band!r} and the first one differ in {', '.join(sorted(odd)[:5])}"
                )
        return {key: {band: BandPlace(files[key], 1) for band, files in by_band.items()} for key in keys}

    def _places(self, pictures: Mapping[Key, Mapping[str, BandPlace]]) -> list[str]:
        files = [next(iter(places.values())).path for places in pictures.values()]
        grids = [grid for path in files if (grid := grid_of(path))]
        if len(grids) != len(files):
            raise DataError(f"{self.folder}: by_place: {len(files) - len(grids)} pictures do not say where they lie")
        return [f"{self.folder.name}/place{number}" for number in places_of(grids)]

    def _masks(self, pictures: Mapping[Key, Mapping[str, BandPlace]], wanted: Wanted) -> "_Masks":
        pattern = Pattern(self.masks or "masks/*")
        first = self.images if isinstance(self.images, str) else next(iter(self.images.values()))
        if pattern.wildcards != Pattern(first).wildcards:
            raise DataError(f"{self.folder}: {first!r} and {pattern.text!r} differ in how many wildcards they have")
        files = pattern.files(self.folder)
        for key, places in pictures.items():
            if key not in files:
                raise DataError(f"{next(iter(places.values())).path}: has no mask among {self.folder / pattern.text}")
        return _Masks(files, Translation.of(wanted.labels, self.labels))

    def _drawn_polygons(self, wanted: Wanted) -> "_Polygons":
        if self.polygons is None or self.attribute is None or self.labels is None:
            raise DataError("polygons: goes with attribute: and labels:")
        return _Polygons(Drawn.read(self.polygons, self.attribute, self.labels, wanted.labels))

    def _patch(
        self, key: Key, places: Mapping[str, BandPlace], wanted: Wanted, labelling: "_Masks | _Polygons"
    ) -> Patch:
        first = next(iter(places.values())).path
        pattern = Pattern(self.images if isinstance(self.images, str) else next(iter(self.images.values())))
        picture = read_picture(places, wanted.bands, self)
        labels = labelling.read(key, picture, first)
        pixel_m = self.pixel_m_at(picture.grid, wanted, str(first))
        return self.patch(Labelled(pattern.name(self.folder, first), picture.numbers, labels, pixel_m))


@dataclass(frozen=True, slots=True)
class _Masks:
    files: Mapping[Key, Path]
    translation: Translation

    def read(self, key: Key, picture: Picture, _: Path) -> NDArray[np.uint8]:
        labels = read_mask(self.files[key], self.translation)
        check_fit(self.files[key], labels, picture.numbers.shape[1:], picture.grid)
        return labels


@dataclass(frozen=True, slots=True)
class _Polygons:
    drawn: Drawn

    def read(self, _: Key, picture: Picture, path: Path) -> NDArray[np.uint8]:
        if picture.grid is None:
            raise DataError(f"{path}: does not say where it lies, so no polygon can be burned onto it")
        return self.drawn.burned(picture.grid)
