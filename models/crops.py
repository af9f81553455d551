"""Crops for training: cut from random patches at a random pixel size, turned, and sometimes set together."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor

from rspipe.models.data import Patch, is_holed
from rspipe.models.display import DisplaySpec, unstretched
from rspipe.models.errors import DataError
from rspipe.models.labels import IGNORE_ID
from rspipe.models.specs import StrictModel

SMART_TRIES = 10
TRANSPOSED = 4
"""Faces from here on have height and width exchanged."""


class CropSpec(StrictModel):
    """How crops are cut.

    Crops are only ever averaged down, never stretched: a coarser sensor sees the mean of a finer one, but no rule makes
    up what a finer one would have seen.
    """

    size_px: int = Field(default=128, ge=32, le=2048, multiple_of=32)
    """Side of a crop."""
    finest_m: float = Field(default=0.0, ge=0)
    """Crops of finer patches are averaged down to this at least."""
    coarsest_m: float = Field(default=120.0, gt=0)
    """Crops are averaged down to pixel sizes between the patch's own, or `finest_m`, and this, evenly in the
    logarithm."""
    mosaic: float = Field(default=0.25, ge=0, le=1)
    """Probability that a crop is set together from four."""
    balanced: float = Field(default=0.75, ge=0, le=1)
    """Probability that a crop is cut around a pixel of a label drawn evenly, instead of anywhere. A label is as likely
    as the heaviest patch that holds it."""
    max_ratio: float | None = Field(default=None, gt=0, le=1)
    """Where given, a crop that is no mosaic is drawn again, ten times at most, until it holds more than one label and
    the most frequent one covers less than this part of the labelled pixels (the papers' smart crop, at 0.75)."""
    display: DisplaySpec = DisplaySpec()
    """How display pictures become reflectances."""


@dataclass(frozen=True, slots=True)
class Size:
    """Rows and columns of a tile."""

    height_px: int
    width_px: int


@dataclass(frozen=True, slots=True)
class Spot:
    """A pixel of a patch that a crop shall hold."""

    patch: Patch
    row: int
    column: int


@dataclass(frozen=True, slots=True)
class Home:
    """Where a label is found."""

    label: int
    weight: float
    """That of the heaviest of the patches."""
    patches: tuple[int, ...]


class Cutter:
    """Cuts crops from a fixed set of patches; all chance comes from the generator that is handed in."""

    def __init__(self, patches: Sequence[Patch], spec: CropSpec) -> None:
        if not patches:
            raise DataError("there is no patch to cut crops from")
        needed = spec.size_px - spec.size_px // 4
        for patch in patches:
            if min(patch.labels.shape) < needed:
                found = " x ".join(str(side) for side in patch.labels.shape)
                raise DataError(f"patch {patch.name!r}: {found} px, crops of {spec.size_px} px need {needed} at least")
        self.patches = list(patches)
        self.spec = spec
        self._weights = np.array([patch.weight for patch in self.patches])
        self._homes = _homes(self.patches)

    def cut(self, rng: np.random.Generator) -> Patch:
        """Return one crop of `size_px` squared."""
        side = self.spec.size_px
        spot = self._spot(rng)
        finest_m = max(spot.patch.pixel_m, self.spec.finest_m)
        pixel_m = finest_m * max(1.0, self.spec.coarsest_m / finest_m) ** float(rng.uniform(0, 1))
        reach_m = min(spot.patch.labels.shape) * spot.patch.pixel_m
        if rng.random() >= self.spec.mosaic and side * pixel_m <= reach_m:
            return self._single(spot, pixel_m, rng)
        split_row, split_column = (int(rng.integers(side // 4, side - side // 4 + 1)) for _ in range(2))
        rows = [
            _joined([self._tile(rng, Size(h, w), pixel_m) for w in (split_column, side - split_column)], axis=-1)
            for h in (split_row, side - split_row)
        ]
        return _joined(rows, axis=-2)

    def _single(self, spot: Spot, pixel_m: float, rng: np.random.Generator) -> Patch:
        size = Size(self.spec.size_px, self.spec.size_px)
        for _ in range(SMART_TRIES):
            piece = _window(spot, size, pixel_m, rng)
            if self.spec.max_ratio is None or is_varied(piece.labels, self.spec.max_ratio):
                break
            spot = self._spot(rng)
        return self._finished(piece, size, rng, int(rng.integers(8)))

    def _tile(self, rng: np.random.Generator, size: Size, pixel_m: float) -> Patch:
        face = int(rng.integers(8))
        if face >= TRANSPOSED:
            size = Size(size.width_px, size.height_px)
        return self._finished(_window(self._spot(rng), size, pixel_m, rng), size, rng, face)

    def _finished(self, piece: Patch, size: Size, rng: np.random.Generator, face: int) -> Patch:
        return turned(unstretched(shrunk(piece, size), self.spec.display, rng), face)

    def _spot(self, rng: np.random.Generator) -> Spot:
        if self._homes and rng.random() < self.spec.balanced:
            home = self._homes[_drawn(np.array([home.weight for home in self._homes]), rng)]
            patch = self.patches[home.patches[_drawn(self._weights[list(home.patches)], rng)]]
            pixels = np.flatnonzero(patch.labels.numpy() == home.label)
            row, column = divmod(int(pixels[int(rng.integers(len(pixels)))]), patch.labels.shape[1])
            return Spot(patch, row, column)
        patch = self.patches[_drawn(self._weights, rng)]
        height, width = patch.labels.shape
        return Spot(patch, int(rng.integers(height)), int(rng.integers(width)))


def _homes(patches: Sequence[Patch]) -> list[Home]:
    """Return for each label that occurs the patches that hold it."""
    held = [np.flatnonzero(np.bincount(patch.labels.flatten().numpy(), minlength=IGNORE_ID)) for patch in patches]
    homes = []
    for label in sorted(set(np.concatenate(held).tolist()) - {IGNORE_ID}):
        holders = tuple(home for home, labels in enumerate(held) if label in labels)
        homes.append(Home(label, max(patches[home].weight for home in holders), holders))
    return homes


def _drawn(weights: NDArray[np.float64], rng: np.random.Generator) -> int:
    """Draw an index, each as likely as its weight."""
    sums = weights.cumsum()
    return int(np.searchsorted(sums, rng.random() * sums[-1], side="right"))


def _window(spot: Spot, size: Size, pixel_m: float, rng: np.random.Generator) -> Patch:
    """Cut a window around a pixel that has the ground extent of so many pixels of that size."""
    patch, (rows, columns) = spot.patch, (size.height_px, size.width_px)
    height, width = patch.labels.shape
    # The shrinking goes no further than the patch reaches: nothing is ever stretched.
    shrink = max(1.0, min(pixel_m / patch.pixel_m, height / rows, width / columns))
    tall, wide = min(height, round(rows * shrink)), min(width, round(columns * shrink))
    top, left = _start(rng, spot.row, tall, height), _start(rng, spot.column, wide, width)
    window = (slice(top, top + tall), slice(left, left + wide))
    return replace(patch, bands=patch.bands[:, *window], labels=patch.labels[window])


def _start(rng: np.random.Generator, centre: int, length: int, limit: int) -> int:
    """Return where a window of that length begins so that it holds the centre and stays inside."""
    lowest, highest = max(0, centre - length + 1), min(centre, limit - length)
    return int(rng.integers(lowest, highest + 1))


def is_varied(labels: Tensor, max_ratio: float) -> bool:
    """Tell whether there is more than one label, ignored ones aside, and the most frequent one is below that share."""
    counts = np.bincount(labels.flatten().numpy(), minlength=IGNORE_ID)[:IGNORE_ID]
    return int((counts > 0).sum()) > 1 and bool(counts.max() < max_ratio * counts.sum())


def turned(patch: Patch, face: int) -> Patch:
    """Return one of the eight faces of a square: quarter turns, 4 to 7 transposed (height and width change places).

    0 is the patch itself, 1 mirrored left to right, 2 top to bottom, 3 both.
    """
    axes = [axis for axis, bit in ((-1, 1), (-2, 2)) if face & bit]
    bands, labels = patch.bands.flip(axes), patch.labels.flip(axes)
    if face & TRANSPOSED:
        bands, labels = bands.transpose(-1, -2), labels.transpose(-1, -2)
    return replace(patch, bands=bands, labels=labels)


def shrunk(patch: Patch, size: Size) -> Patch:
    """Average a patch down to fewer pixels, each label being the one that most of its area has.

    A pixel has a number in a band if at least half of its area has. Classes, groups and ignored pixels each count for
    themselves; of equal areas the lowest label wins.
    """
    height, width = patch.labels.shape
    if (height, width) == (size.height_px, size.width_px):
        return patch
    if not is_holed(patch.bands):
        bands = _averaged(patch.bands, size)
    else:
        known = ~patch.bands.isnan()
        weight, total = _averaged(known.float(), size), _averaged(patch.bands.nan_to_num(0.0), size)
        bands = torch.where(weight >= 0.5, total / weight, torch.nan)
    present = np.flatnonzero(np.bincount(patch.labels.flatten().numpy()))
    largest = torch.zeros(size.height_px, size.width_px)
    winner = torch.full(largest.shape, int(present[0]), dtype=torch.uint8)
    for label in present.tolist() if len(present) > 1 else ():
        area = _averaged((patch.labels == label).float(), size)
        winner.masked_fill_(area > largest, label)
        largest = torch.maximum(largest, area)
    return replace(patch, bands=bands, labels=winner, pixel_m=patch.pixel_m * height / size.height_px)


def _averaged(maps: Tensor, size: Size) -> Tensor:
    return _shares(size.height_px, maps.shape[-2]) @ maps @ _shares(size.width_px, maps.shape[-1]).T


@lru_cache(maxsize=256)
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
    return replace(pieces[0], name=name, bands=bands, labels=labels)
