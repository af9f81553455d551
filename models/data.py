"""Labelled patches: what a model is trained on and measured with."""

import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import rasterio
import torch
from numpy.typing import NDArray
from rasterio.errors import NotGeoreferencedWarning, RasterioError
from torch import Tensor

from rspipe.models.card import CardBand
from rspipe.models.errors import DataError
from rspipe.models.labels import IGNORE_ID

_SUFFIXES = (".tif", ".tiff", ".png", ".vrt")


@dataclass(frozen=True, slots=True, eq=False)
class Patch:
    """One labelled picture in physical units."""

    name: str
    bands: Tensor
    """(bands, H, W) float32 in the order of a card; NaN where a band has no number."""
    labels: Tensor
    """(H, W) uint8 class ids, `IGNORE_ID` where nothing is known."""
    pixel_m: float
    """Ground size of a pixel."""
    scene: str = ""
    """What it was cut from: patches of one scene are never in two folds. The patch's name unless given."""
    weight: float = 1.0
    """How often it is drawn, relative to other patches."""
    display: bool = False
    """A picture for the eye: gain and offset from its numbers to physical units are unknown."""

    def __post_init__(self) -> None:
        if not self.scene:
            object.__setattr__(self, "scene", self.name)
        if self.weight <= 0:
            raise DataError(f"patch {self.name!r}: weight {self.weight:g} found, more than 0 is needed")
        if self.bands.shape[1:] != self.labels.shape:
            raise DataError(
                f"patch {self.name!r}: bands are {tuple(self.bands.shape[1:])}, labels {tuple(self.labels.shape)} px"
            )


def read_folder(folder: Path, bands: Sequence[CardBand], classes: int, pixel_m: float) -> list[Patch]:
    """Read a folder that holds `images/` and `masks/` as rasters with the same names, sorted by name.

    Bands are found by their description, never by position. A nodata tag, NaN and infinities are missing numbers.

    Args:
        folder: parent of the two folders.
        bands: those to take, in this order; an optional one that a file lacks is all NaN.
        classes: labels at or above this, other than `IGNORE_ID`, are refused.
        pixel_m: ground size of a pixel; the files need not be georeferenced.

    Raises:
        DataError: a folder, a mask or a required band is missing, sizes differ, or a label is no class.
    """
    images = _rasters(folder / "images")
    if not images:
        raise DataError(f"{folder / 'images'}: no raster ({', '.join(_SUFFIXES)}) lies there")
    return [_read_patch(image, bands, classes, pixel_m) for image in images]


def _rasters(folder: Path) -> list[Path]:
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder; labelled data is a folder with images/ and masks/")
    return sorted(path for path in folder.iterdir() if path.suffix.lower() in _SUFFIXES)


def _read_patch(image: Path, bands: Sequence[CardBand], classes: int, pixel_m: float) -> Patch:
    mask = image.parent.parent / "masks" / image.name
    if not mask.is_file():
        raise DataError(f"{image}: has no mask, {mask} does not exist")
    with _quietly():
        numbers, labels = _read_bands(image, bands), _read_labels(mask, classes)
    if numbers.shape[1:] != labels.shape:
        raise DataError(f"{image}: is {numbers.shape[1:]} px, its mask {labels.shape} px; they must agree")
    return Patch(image.stem, torch.from_numpy(numbers), torch.from_numpy(labels), pixel_m)


@contextmanager
def _quietly() -> Iterator[None]:
    """Patches for training are often cut without georeferencing; nothing here needs it, so nothing warns of it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        yield


def _read_bands(path: Path, bands: Sequence[CardBand]) -> NDArray[np.float32]:
    try:
        with rasterio.open(path) as source:
            found = {name: index for index, name in enumerate(source.descriptions, start=1) if name}
            _require(path, bands, found)
            numbers = np.full((len(bands), source.height, source.width), np.nan, dtype=np.float32)
            for row, band in enumerate(bands):
                if band.name in found:
                    numbers[row] = source.read(found[band.name], masked=True, out_dtype="float32").filled(np.nan)
    except RasterioError as error:
        raise DataError(f"{path}: cannot be read: {error}") from error
    numbers[~np.isfinite(numbers)] = np.nan
    return numbers


def _require(path: Path, bands: Sequence[CardBand], found: Mapping[str, int]) -> None:
    missing = [band.name for band in bands if band.required and band.name not in found]
    if missing:
        described = ", ".join(found) or "none"
        raise DataError(f"{path}: required bands are missing: {', '.join(missing)}; bands described there: {described}")


def _read_labels(path: Path, classes: int) -> NDArray[np.uint8]:
    try:
        with rasterio.open(path) as source:
            labels = source.read(1)
    except RasterioError as error:
        raise DataError(f"{path}: cannot be read: {error}") from error
    strange = sorted(set(np.unique(labels).tolist()) - {*range(classes), IGNORE_ID})
    if strange:
        raise DataError(f"{path}: labels {strange} are no class; ids run 0 to {classes - 1}, {IGNORE_ID} is ignored")
    return np.asarray(labels, dtype=np.uint8)
