"""Crops for training: cut from random patches at a random pixel size, turned, and sometimes set together."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor

from rspipe.models.data import Patch
from rspipe.models.errors import DataError
from rspipe.models.labels import IGNORE_ID
from rspipe.models.specs import StrictModel


class CropSpec(StrictModel):
    """How crops are cut."""

    size_px: int = Field(default=128, ge=32, le=2048, multiple_of=32)
    """Side of a crop."""
    coarsest_m: float = Field(default=120.0, gt=0)
    """Crops are averaged down to pixel sizes between the patch's own and this, evenly in the logarithm."""
    mosaic: float = Field(default=0.25, ge=0, le=1)
    """Probability that a crop is set together from four."""
    balanced: float = Field(default=0.75, ge=0, le=1)
    """Probability that a crop is cut around a pixel of a class drawn evenly, instead of anywhere."""


@dataclass(frozen=True, slots=True)
class Size:
    """Rows and columns of a tile."""

    height_px: int
    width_px: int


class Cutter:
    """Cuts crops from a fixed set of patches; all chance comes from the generator that is handed in."""

    def __init__(self, patches: Sequence[Patch], classes: int, spec: CropSpec) -> None:
        if not patches:
            raise DataError("there is no patch to cut crops from")
        self.patches = list(patches)
        self.classes = classes
        self.spec = spec
        self._homes = _homes(self.patches, classes)
        self._finest_m = min(spec.coarsest_m, *(patch.pixel_m for patch in self.patches))
        self._smallest_m = min(min(patch.labels.shape) * patch.pixel_m for patch in self.patches)

    def cut(self, rng: np.random.Generator) -> Patch:
        """Return one crop of `size_px` squared."""
        side = self.spec.size_px
        pixel_m = self._finest_m * (self.spec.coarsest_m / self._finest_m) ** float(rng.uniform(0, 1))
        if rng.random() >= self.spec.mosaic and side * pixel_m <= self._smallest_m:
            return self._tile(rng, Size(side, side), pixel_m)
        split_row, split_column = (int(rng.integers(side // 4, side - side // 4 + 1)) for _ in range(2))
        rows = [
            _joined([self._tile(rng, Size(h, w), pixel_m) for w in (split_column, side - split_column)], axis=-1)
            for h in (split_row, side - split_row)
        ]
        return _joined(rows, axis=-2)

    def _tile(self, rng: np.random.Generator, size: Size, pixel_m: float) -> Patch:
        patch, row, column = self._centre(rng)
        face = int(rng.integers(8))
        height, width = patch.labels.shape
        rows, columns = (size.height_px, size.width_px) if face < 4 else (size.width_px, size.height_px)
        # The shrinking goes no further than the patch reaches: nothing is ever stretched.
        shrink = max(1.0, min(pixel_m / patch.pixel_m, height / rows, width / columns))
        tall, wide = min(height, round(rows * shrink)), min(width, round(columns * shrink))
        top, left = _start(rng, row, tall, height), _start(rng, column, wide, width)
        window = (slice(top, top + tall), slice(left, left + wide))
        piece = Patch(patch.name, patch.bands[:, *window], patch.labels[window], patch.pixel_m)
        return shrunk(turned(piece, face), size, self.classes)

    def _centre(self, rng: np.random.Generator) -> tuple[Patch, int, int]:
        if rng.random() < self.spec.balanced:
            homes = self._homes[int(rng.integers(len(self._homes)))]
            home, pixels = homes[int(rng.integers(len(homes)))]
            patch = self.patches[home]
            row, column = divmod(int(pixels[int(rng.integers(len(pixels)))]), patch.labels.shape[1])
            return patch, row, column
        patch = self.patches[int(rng.integers(len(self.patches)))]
        height, width = patch.labels.shape
        return patch, int(rng.integers(height)), int(rng.integers(width))


def _start(rng: np.random.Generator, centre: int, length: int, limit: int) -> int:
    """Return where a window of that length begins so that it holds the centre and stays inside."""
    lowest, highest = max(0, centre - length + 1), min(centre, limit - length)
    return int(rng.integers(lowest, highest + 1))


def _homes(patches: Sequence[Patch], classes: int) -> list[list[tuple[int, NDArray[np.int64]]]]:
    """Return for each class that occurs the patches that hold it, with the flat indices of its pixels there."""
    flat = [patch.labels.flatten().numpy() for patch in patches]
    found = [[(home, np.flatnonzero(labels == label)) for home, labels in enumerate(flat)] for label in range(classes)]
    kept = [[(home, pixels) for home, pixels in homes if pixels.size] for homes in found]
    return [homes for homes in kept if homes]


def turned(patch: Patch, face: int) -> Patch:
    """Return one of the eight faces of a square: quarter turns, 4 to 7 transposed (height and width change places).

    0 is the patch itself, 1 mirrored left to right, 2 top to bottom, 3 both.
    """
    axes = [axis for axis, bit in ((-1, 1), (-2, 2)) if face & bit]
    bands, labels = patch.bands.flip(axes), patch.labels.flip(axes)
    if face & 4:
        bands, labels = bands.transpose(-1, -2), labels.transpose(-1, -2)
    return replace(patch, bands=bands, labels=labels)


def shrunk(patch: Patch, size: Size, classes: int) -> Patch:
    """Average a patch down to fewer pixels, each label being the one that most of its area has.

    A pixel has a number in a band if at least half of its area has.
    """
    height, width = patch.labels.shape
    if (height, width) == (size.height_px, size.width_px):
        return patch
    known = ~patch.bands.isnan()
    if bool(known.all()):
        bands = _averaged(patch.bands, size)
    else:
        weight, total = _averaged(known.float(), size), _averaged(patch.bands.nan_to_num(0.0), size)
        bands = torch.where(weight >= 0.5, total / weight, torch.nan)
    slots = patch.labels.clamp(max=classes)
    shares = _averaged(torch.stack([slots == label for label in range(classes + 1)]).float(), size)
    winner = shares.argmax(dim=0)
    labels = winner.masked_fill(winner == classes, IGNORE_ID).to(torch.uint8)
    return Patch(patch.name, bands, labels, patch.pixel_m * height / size.height_px)


def _averaged(maps: Tensor, size: Size) -> Tensor:
    return _shares(size.height_px, maps.shape[-2]) @ maps @ _shares(size.width_px, maps.shape[-1]).T


def _shares(coarse: int, fine: int) -> Tensor:
    """Return (coarse, fine): which share of each coarse pixel every fine one covers along an axis."""
    step = fine / coarse
    low, left = np.arange(coarse)[:, None] * step, np.arange(fine)[None, :]
    overlap = np.minimum(low + step, left + 1.0) - np.maximum(low, left)
    return torch.from_numpy((overlap.clip(min=0.0) / step).astype(np.float32))


def _joined(pieces: Sequence[Patch], axis: int) -> Patch:
    bands = torch.cat([piece.bands for piece in pieces], dim=axis)
    labels = torch.cat([piece.labels for piece in pieces], dim=axis)
    name = "+".join(sorted({piece.name for piece in pieces}))
    return Patch(name, bands, labels, pieces[0].pixel_m)
