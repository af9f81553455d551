"""Changes of light, air, sensor and coverage that leave the classes of a crop as they are."""

from collections.abc import Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field, field_validator, model_validator
from torch import Tensor

from rspipe.catalogs.bands import Unit
from rspipe.catalogs.radiation import AIR
from rspipe.catalogs.simulation import CHANNELS
from rspipe.models.card import CardBand
from rspipe.models.data import Patch, is_holed
from rspipe.models.errors import DataError
from rspipe.models.labels import IGNORE_ID
from rspipe.models.specs import StrictModel

CENTRE_UM: MappingProxyType[str, float] = MappingProxyType(
    {
        "coastal": 0.443, "blue": 0.482, "green": 0.561, "yellow": 0.6, "red": 0.655, "pan": 0.59,
        "rededge071": 0.704, "rededge075": 0.74, "rededge078": 0.782, "nir": 0.865, "nir08": 0.865, "nir09": 0.945,
        "swir16": 1.609, "swir22": 2.201,
    }
)  # fmt: skip
"""Centre wavelengths, micrometres (Landsat 8 OLI and Sentinel-2 MSI). The cirrus band sees no haze: it is left out."""


CLEARED = (0.5, 1.2)
"""How much of the air's light `surface` takes away, relative to `radiation.AIR`: correction is rough."""
ROUNDING = 1e-9


class BandSet(StrictModel):
    """Bands that a sensor lacks together: those of `drop`, or every optional one but those of `keep`."""

    drop: tuple[str, ...] = ()
    keep: tuple[str, ...] | None = None
    probability: float = Field(gt=0, le=1)

    @model_validator(mode="after")
    def _one_of_them(self) -> Self:
        if bool(self.drop) == (self.keep is not None):
            raise ValueError("a set of bands names those to drop or those to keep, one of the two")
        return self

    def lacks(self, band: CardBand) -> bool:
        """Tell whether a sensor of this set is without a band."""
        if band.required:
            return False
        return band.name in self.drop if self.keep is None else band.name not in self.keep


class AugmentSpec(StrictModel):
    """How far a crop is changed; 0 switches a change off."""

    gain: float = Field(default=0.08, ge=0, lt=1)
    """Deviation of the logarithm of one factor on all reflectances: sun, terrain, calibration."""
    band_gain: float = Field(default=0.03, ge=0, lt=1)
    """Deviation of the logarithm of a further factor per band."""
    haze: float = Field(default=0.03, ge=0, lt=1)
    """Largest reflectance in blue that the air adds or takes away; falls with wavelength to the power 1.3."""
    surface: float = Field(default=0.0, ge=0, le=1)
    """Probability that the light of clean air is taken away, more or less of it: as in surface reflectance."""
    warming_k: float = Field(default=5.0, ge=0)
    """Deviation of a shift of all temperatures."""
    blur_px: float = Field(default=0.7, ge=0)
    """Largest deviation of a Gaussian blur, applied to half of the crops."""
    noise: float = Field(default=0.002, ge=0)
    """Deviation of noise per pixel: in reflectance, and in hundreds of kelvin."""
    sand: float = Field(default=0.0, ge=0, le=1)
    """Probability that a bright line of bare ground, one to three pixels wide, winds through what is labelled 0."""
    band_loss: float = Field(default=0.2, ge=0, le=1)
    """Probability, for each optional band, that it is missing: mostly everywhere, sometimes behind a line."""
    band_sets: tuple[BandSet, ...] = ()
    """Sensors with fewer bands; one at most is drawn, none with what their probabilities leave. `band_loss` comes on
    top."""
    hole: float = Field(default=0.15, ge=0, le=1)
    """Probability that what lies behind a line is nodata in every band."""

    @field_validator("band_sets")
    @classmethod
    def _probable(cls, sets: tuple[BandSet, ...]) -> tuple[BandSet, ...]:
        total = sum(some.probability for some in sets)
        if total > 1 + ROUNDING:
            raise ValueError(f"the probabilities of all sets add up to {total:g}, at most 1 is possible")
        return sets

    def check_bands(self, card: Sequence[CardBand]) -> None:
        """See that every set names bands that may be missing.

        Raises:
            DataError: a set drops a band that is required, or names one that the model does not take.
        """
        needed = {band.name: band.required for band in card}
        for index, some in enumerate(self.band_sets):
            named = (*some.drop, *(some.keep or ()))
            strange = [name for name in named if name not in needed]
            lost = [name for name in some.drop if needed.get(name)]
            if strange:
                raise DataError(f"band_sets.{index}: {', '.join(strange)} are no bands of the model")
            if lost:
                raise DataError(f"band_sets.{index}: {', '.join(lost)} are required; make them optional or keep them")


def augmented(patch: Patch, card: Sequence[CardBand], spec: AugmentSpec, rng: np.random.Generator) -> Patch:
    """Return a changed copy; labels change only where the crop becomes nodata, to `IGNORE_ID`.

    Args:
        patch: a crop in physical units.
        card: what its bands are.
        spec: how far to go.
        rng: all chance comes from here.
    """
    bands = patch.bands
    if rng.random() < spec.sand:
        bands = with_sand(bands, patch.labels, card, rng)
    if rng.random() < 0.5:
        bands = blurred(bands, float(rng.uniform(0, spec.blur_px)))
    if spec.surface and rng.random() < spec.surface:
        bands = without_air(bands, card, float(rng.uniform(*CLEARED)))
    bands = relit(bands, card, spec, rng)
    bands = _without_bands(bands, card, spec, rng)
    labels = patch.labels
    if rng.random() < spec.hole:
        hidden = torch.from_numpy(behind_line(labels.shape, rng))
        bands, labels = bands.masked_fill(hidden, torch.nan), labels.masked_fill(hidden, IGNORE_ID)
    return replace(patch, bands=bands, labels=labels)


def relit(bands: Tensor, card: Sequence[CardBand], spec: AugmentSpec, rng: np.random.Generator) -> Tensor:
    """Change light, air, temperature and noise: (bands, H, W) -> (bands, H, W).

    Haze of strength h adds h (1 - R) to a reflectance R, so that nothing bright becomes brighter than haze itself.
    """
    common, haze = float(np.exp(rng.normal(0, spec.gain))), float(rng.uniform(-0.3, 1) * spec.haze)
    warming = float(rng.normal(0, spec.warming_k))
    changes = []
    for entry in card:
        own = float(np.exp(rng.normal(0, spec.band_gain)))
        if entry.unit is Unit.KELVIN:
            changes.append((1.0, warming, 100.0))
            continue
        seen = entry.name in CENTRE_UM
        path = haze * (CENTRE_UM["blue"] / CENTRE_UM[entry.name]) ** 1.3 if seen else 0.0
        changes.append(((1 - path) * common * own, path, 1.0 if seen else 0.1))
    gain, offset, grain = torch.tensor(changes, dtype=torch.float32).T[:, :, None, None]
    changed = torch.addcmul(offset, bands, gain)
    if spec.noise:
        noise = torch.from_numpy(rng.standard_normal(bands.shape, dtype=np.float32))
        changed.addcmul_(noise, grain * spec.noise)
    return changed


def without_air(bands: Tensor, card: Sequence[CardBand], share: float) -> Tensor:
    """Take away what clean air adds to reflectances: (bands, H, W) -> (bands, H, W).

    Light a of the air turns R into a + (1 - a) R. Nothing becomes darker than black.
    """
    air = dict(zip(CHANNELS, AIR.tolist(), strict=False))
    rows = []
    for entry, band in zip(card, bands, strict=True):
        light = share * air.get(entry.name, 0.0)
        rows.append(((band - light) / (1 - light)).clamp(min=0) if light else band)
    return torch.stack(rows)


def with_sand(bands: Tensor, labels: Tensor, card: Sequence[CardBand], rng: np.random.Generator) -> Tensor:
    """Lay a winding line of sand over the pixels labelled 0: (bands, H, W) -> (bands, H, W).

    Beaches and roads are as thin as small clouds and as bright. Sand brightens from blue to shortwave infrared; the
    cirrus band does not see it, and its temperature is the ground's.
    """
    distance = _from_winding_line(labels.shape, rng)
    cover = torch.from_numpy(np.clip(rng.uniform(0.5, 1.5) + 0.5 - distance, 0, 1).astype(np.float32))
    cover = torch.where(labels == 0, cover, 0.0) * float(rng.uniform(0.4, 1.0))
    brightness = float(rng.uniform(0.2, 0.55))
    rows = []
    for entry, band in zip(card, bands, strict=True):
        if entry.name not in CENTRE_UM:
            rows.append(band)
            continue
        sand = brightness * (0.45 + 0.35 * min(CENTRE_UM[entry.name], 1.65))
        rows.append(band + cover * (sand - band))
    return torch.stack(rows)


def _from_winding_line(shape: tuple[int, ...], rng: np.random.Generator) -> NDArray[np.float64]:
    """Return the distance (H, W), in pixels, from a sine through the middle half."""
    height, width = shape
    angle, swing = rng.uniform(0, 2 * np.pi), rng.uniform(0, 0.1) * min(height, width)
    wavelength = rng.uniform(0.3, 2.0) * max(height, width)
    down, across = np.ogrid[:height, :width]
    down = down - rng.uniform(0.25, 0.75) * height
    across = across - rng.uniform(0.25, 0.75) * width
    along, aside = across * np.cos(angle) + down * np.sin(angle), down * np.cos(angle) - across * np.sin(angle)
    return np.asarray(np.abs(aside - swing * np.sin(2 * np.pi * along / wavelength)))


def blurred(bands: Tensor, deviation_px: float) -> Tensor:
    """Blur with a Gaussian; missing numbers stay missing and lend nothing to their neighbours."""
    if deviation_px <= 0:
        return bands
    down, across = (_gaussian(size, deviation_px) for size in bands.shape[1:])
    if not is_holed(bands):
        return down @ bands @ across.T / (down.sum(1)[:, None] * across.sum(1))
    known = ~bands.isnan()
    total, weight = down @ bands.nan_to_num(0.0) @ across.T, down @ known.to(bands.dtype) @ across.T
    return torch.where(known, total / weight, torch.nan)


def _gaussian(size: int, deviation_px: float) -> Tensor:
    """Return (size, size): how much each pixel lends to each other one along an axis, up to three deviations."""
    steps = torch.arange(size)
    distance = (steps[:, None] - steps).abs()
    kernel = torch.exp(-0.5 * (distance / deviation_px) ** 2)
    return kernel.masked_fill(distance > int(np.ceil(3 * deviation_px)), 0.0)


def _without_bands(bands: Tensor, card: Sequence[CardBand], spec: AugmentSpec, rng: np.random.Generator) -> Tensor:
    missing = torch.zeros(bands.shape, dtype=torch.bool)
    if spec.band_sets:
        ends = np.cumsum([some.probability for some in spec.band_sets])
        drawn = int(np.searchsorted(ends, rng.random(), side="right"))
        for some in spec.band_sets[drawn : drawn + 1]:
            missing[[row for row, entry in enumerate(card) if some.lacks(entry)]] = True
    for row, entry in enumerate(card):
        if not entry.required and rng.random() < spec.band_loss:
            missing[row] = True if rng.random() < 0.6 else torch.from_numpy(behind_line(bands.shape[1:], rng))
    return bands.masked_fill(missing, torch.nan)


def behind_line(shape: tuple[int, ...], rng: np.random.Generator) -> NDArray[np.bool_]:
    """Return a mask (H, W) of what lies on one side of a random straight line through the middle half."""
    height, width = shape
    angle = rng.uniform(0, 2 * np.pi)
    row, column = rng.uniform(0.25, 0.75) * height, rng.uniform(0.25, 0.75) * width
    down, across = np.ogrid[:height, :width]
    side = (down + 0.5 - row) * np.sin(angle) + (across + 0.5 - column) * np.cos(angle)
    return np.asarray(side > 0)
