"""Published land cover benchmarks as sources, through torchgeo's data set classes: LoveDA, ISPRS Vaihingen and Potsdam.

Nothing is ever downloaded. The splits are the customary ones; where torchgeo's differ, they are narrowed here.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from rspipe.models.data import Patch
from rspipe.models.errors import DataError
from rspipe.models.labelling import Labelled, SourceSpec, Wanted
from rspipe.models.labels import IGNORE_ID, LabelSet
from rspipe.models.tiles import shuffled, tile_name, tiles_of

_BLACK = (0, 0, 0)
"""Boundaries in the eroded labels of ISPRS, which are not scored."""
_VAIHINGEN_VALIDATION = "area30.tif"
_POTSDAM_FLAWED = "7_10_label.tif"
"""Its labels have faults; custom leaves it out."""


class PictureSet(SourceSpec):
    """8-bit pictures of a benchmark, cut into tiles; numbers are scaled to 0 .. 1."""

    folder: Path
    display: bool = True
    tile_px: int = Field(default=1024, ge=64, le=8192)
    """Longest side of a patch."""
    tiles: int | None = Field(default=None, ge=1)
    """So many tiles of each picture, drawn at random; all if not given."""
    seed: int = Field(default=0, ge=0)
    """Of the drawing."""

    def under(self, root: Path) -> Self:
        """Return the source with its folder below another."""
        return self.model_copy(update={"folder": root / self.folder})

    def cut(self, pictures: Iterator[Labelled]) -> list[Patch]:
        """Return the tiles of pictures, one picture in memory at a time."""
        return [patch for number, picture in enumerate(pictures) for patch in self._tiles(picture, number)]

    def _tiles(self, picture: Labelled, number: int) -> list[Patch]:
        height_px, width_px = picture.labels.shape
        tiles = tiles_of(height_px, width_px, self.tile_px)
        drawn = tiles if self.tiles is None else shuffled(tiles, self.seed + number)[: self.tiles]
        return [
            self.patch(
                Labelled(
                    tile_name(picture.name, tile, len(tiles)),
                    picture.numbers[:, *tile].copy(),
                    picture.labels[tile].copy(),
                    picture.pixel_m,
                ),
                self.scene_of(picture.name),
            )
            for tile in drawn
        ]


@dataclass(frozen=True, slots=True)
class Reading:
    """How a data set's samples become labelled pictures."""

    bands: tuple[str, ...]
    classes: tuple[str | None, ...]
    """Name of each id of the data set's masks; None: ignored."""
    pixel_m: float


ISPRS_CLASSES = (None, "clutter", "impervious surface", "building", "low vegetation", "tree", "car")
READINGS: Mapping[str, Reading] = MappingProxyType(
    {
        "loveda": Reading(
            ("red", "green", "blue"),
            (None, "background", "building", "road", "water", "barren", "forest", "agriculture"),
            0.3,
        ),
        "vaihingen": Reading(("nir", "red", "green"), ISPRS_CLASSES, 0.09),
        "potsdam": Reading(("red", "green", "blue", "nir"), ISPRS_CLASSES, 0.05),
    }
)
"""LoveDA: arXiv 2110.08733, raw 0 is "no data". ISPRS: ids as in torchgeo's order of colours, after black."""


class LoveDASource(PictureSet):
    """LoveDA as it is unpacked: Train/Urban/images_png/... The labels of its test split are not public."""

    kind: Literal["loveda"]
    split: Literal["train", "val"]
    areas: tuple[Literal["urban", "rural"], ...] = Field(default=("urban", "rural"), min_length=1, strict=False)

    def patches(self, wanted: Wanted) -> list[Patch]:
        """Read the split.

        Raises:
            DataError: see `SourceSpec.patches`.
        """
        from torchgeo.datasets import LoveDA  # noqa: PLC0415  slow to import, and rarely used

        needed = [f"{self.split.capitalize()}/{area.capitalize()}/images_png" for area in self.areas]
        _require(self.folder, needed)
        found = _opened(lambda: LoveDA(str(self.folder), split=self.split, scene=self.areas, checksum=False))
        return self.cut(_pictures(found, range(len(found)), READINGS[self.kind], (self, wanted)))


class IsprsSource(PictureSet):
    """ISPRS 2D Semantic Labeling as it is unpacked; every picture of the split must be there."""

    kind: Literal["vaihingen", "potsdam"]
    split: Literal["train", "val", "test"]
    """`val` is Vaihingen's area 30; Potsdam has none."""

    def patches(self, wanted: Wanted) -> list[Patch]:
        """Read the split.

        Raises:
            DataError: see `SourceSpec.patches`.
        """
        from torchgeo.datasets import Potsdam2D, Vaihingen2D  # noqa: PLC0415  slow to import, and rarely used

        dataset: Any = {"vaihingen": Vaihingen2D, "potsdam": Potsdam2D}[self.kind]
        theirs: Literal["train", "test"] = "test" if self.split == "test" else "train"
        _require(self.folder, [dataset.image_root])
        found = _opened(lambda: dataset(str(self.folder), split=theirs, checksum=False))
        missing = len(dataset.splits[theirs]) - len(found)
        if missing:
            raise DataError(
                f"{self.folder}: {missing} of the {len(dataset.splits[theirs])} {theirs} pictures of {self.kind}, or "
                f"their labels, are missing; pictures lie in {dataset.image_root}/, labels beside that folder"
            )
        found.colormap = (_BLACK, *dataset.colormap)
        chosen = [index for index, files in enumerate(found.files) if self._holds(Path(files["mask"]).name)]
        if not chosen:
            raise DataError(f"{self.kind} has no {self.split} split; it has train and test")
        return self.cut(_pictures(found, chosen, READINGS[self.kind], (self, wanted)))

    def _holds(self, mask: str) -> bool:
        if self.split == "test":
            return True
        validates = mask.endswith(_VAIHINGEN_VALIDATION)
        return validates if self.split == "val" else not (validates or mask.endswith(_POTSDAM_FLAWED))


def _require(folder: Path, needed: Sequence[str]) -> None:
    missing = [name for name in needed if not (folder / name).is_dir()]
    if missing:
        raise DataError(f"{folder}: has no {' and no '.join(missing)}; download and unpack the data set there yourself")


def _opened(make: Callable[[], Any]) -> Any:  # noqa: ANN401  a data set of torchgeo
    try:
        return make()
    except (OSError, RuntimeError) as error:
        raise DataError(f"the data set cannot be opened: {error}") from error


def _pictures(
    dataset: Any,  # noqa: ANN401  a data set of torchgeo
    indices: Sequence[int],
    reading: Reading,
    asked: tuple[SourceSpec, Wanted],
) -> Iterator[Labelled]:
    source, wanted = asked
    rows = _rows(reading, wanted)
    table = class_table(reading.classes, source.labels, wanted.labels)
    for index in indices:
        image = Path(dataset.files[index]["image"])
        try:
            sample = dataset[index]
        except (OSError, ValueError) as error:
            raise DataError(f"{image} or its labels cannot be read: {error}") from error
        stored, raw = sample["image"].numpy(), sample["mask"].numpy()
        if raw.max() >= len(reading.classes):
            raise DataError(f"{image}: its labels hold {int(raw.max())}, ids run to {len(reading.classes) - 1}")
        numbers = np.full((len(wanted.bands), *raw.shape), np.nan, dtype=np.float32)
        for row, found in enumerate(rows):
            if found is not None:
                numbers[row] = stored[found] / np.float32(255)
        yield Labelled(image.stem, numbers, table[raw], source.pixel_m or reading.pixel_m)


def _rows(reading: Reading, wanted: Wanted) -> list[int | None]:
    missing = [band.name for band in wanted.bands if band.required and band.name not in reading.bands]
    if missing:
        raise DataError(
            f"required bands are missing: {', '.join(missing)}; the data set has {', '.join(reading.bands)}"
        )
    return [reading.bands.index(band.name) if band.name in reading.bands else None for band in wanted.bands]


def class_table(
    classes: Sequence[str | None], named: Mapping[str, str | None] | None, labels: LabelSet
) -> NDArray[np.uint8]:
    """Return our id of each of the data set's ids; `named` renames its classes."""
    renamed = {name: name for name in classes if name is not None} | dict(named or {})
    strange = [name for name in renamed if name not in classes]
    if strange:
        raise DataError(f"labels: the data set has no {', '.join(strange)}, only {', '.join(filter(None, classes))}")
    return np.array([IGNORE_ID if name is None else labels.id_of(renamed[name]) for name in classes], dtype=np.uint8)
