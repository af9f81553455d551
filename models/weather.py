"""Weather over real ground: simulated clouds and their shadows laid over labelled crops, and the labels they make."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import NamedTuple, Self

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field

from rspipe.catalogs.radiation import (
    ABSORPTION,
    AIR,
    CLEAR_ID,
    ICE_CLOUD,
    LAPSE_K_M,
    SCATTER_BACK,
    SHADOW_ID,
    SHORTWAVE_INFRARED,
    SKYLIGHT,
    THICK_ID,
    THIN_ID,
    WATER_CLOUD,
)
from rspipe.catalogs.simulated import drawn_dryness, drawn_grain
from rspipe.catalogs.simulation import CHANNELS
from rspipe.catalogs.skies import SkyBlock, training_sky
from rspipe.models.card import CardBand
from rspipe.models.crops import CropSpec, Cutter
from rspipe.models.data import Patch
from rspipe.models.errors import DataError
from rspipe.models.labels import IGNORE_ID, LabelSet
from rspipe.models.specs import StrictModel

type Plane = NDArray[np.float32]

REFLECTIVE = 6
CIRRUS_ROW, KELVIN_ROW = CHANNELS.index("cirrus"), CHANNELS.index("lwir11")
COLDEST_K = 212.0
NEAREST = 3
"""Skies are drawn from that part of all whose pixel size is nearest to the crop's: one in so many."""
TRIES = 4
BARE_SHARE = 0.3
"""Of a patch's pixels must be ground where skies are laid over it."""
WORTH_LAYING = (0.03, 0.95)
"""Shares of cloud between which a piece of sky teaches something; the last try is taken as it comes."""


class WeatherSpec(StrictModel):
    """How often crops of real ground get a sky, and from which optical thickness on its clouds have which label."""

    share: float = Field(default=0.0, ge=0, le=1)
    """Probability that a crop is cut anywhere and gets a sky."""
    thin_from: float = Field(default=0.6, gt=0)
    thick_from: float = Field(default=3.5, gt=0)
    """A fifth of the light turned back: people who label Landsat scenes call that thick."""
    shadow_from: float = Field(default=4.0, gt=0)
    """In the sun's way: a quarter of the light lost."""
    unsure: float = Field(default=0.25, ge=0, lt=1)
    """Pixels whose thickness is within that share of a threshold are not learned from."""
    skies: int = Field(default=120, ge=1)
    """How many are simulated; their pixel sizes spread evenly from the finest patch's to the coarsest of a crop."""
    size_px: int = Field(default=256, ge=64)
    """Side of a sky, at least that of a crop."""
    seed: int = Field(default=0, ge=0)


@dataclass(frozen=True, slots=True)
class Light:
    """What a sky does not say of the light in it."""

    ground_k: float
    """Temperature near the ground; clouds are colder by their height."""
    cooling_k: float = 5.0
    """How much colder ground in full shadow is."""
    skylight: float = 1.0
    """How much of the sky's light stays in a shadow, relative to `radiation.SKYLIGHT`."""
    whiteness: float = 1.0
    """Reflectance of a thick cloud, relative to `radiation.WATER_CLOUD`."""
    grain: float = 1.0
    """As of `simulation.Clouds`, like the next."""
    dryness: float = 1.0

    @classmethod
    def drawn(cls, kelvin: Plane, rng: np.random.Generator) -> Self:
        """Draw a light over ground whose temperatures (H, W) may be missing."""
        known = kelvin[np.isfinite(kelvin)]
        return cls(
            ground_k=float(np.median(known)) if known.size else 288.0,
            cooling_k=float(rng.uniform(1.0, 7.0)),
            skylight=float(np.exp(rng.normal(0.0, 0.25))),
            whiteness=float(min(1.05, np.exp(rng.normal(0.0, 0.05)))),
            grain=drawn_grain(rng),
            dryness=drawn_dryness(rng),
        )


class Layer(NamedTuple):
    """One layer of a sky."""

    passed: Plane
    """The share of light that it lets through."""
    height_m: float
    lit: Plane
    """How bright its top is."""


def through(thickness: Plane) -> Plane:
    """Return the share of light that a layer lets through, as `radiation.transmission` does for one pixel."""
    return np.float32(1.0) / (np.float32(1.0) + np.float32(SCATTER_BACK) * thickness)


def veiled(bands: Plane, ground: NDArray[np.bool_], sky: SkyBlock, light: Light) -> Plane:
    """Return what a sensor measures when a sky stands above what it measured without: the simulator's own physics.

    Args:
        bands: (8, H, W) in the order of `CHANNELS`; NaN stays NaN.
        ground: (H, W), where the sky's shadows fall; not on what is cloud already.
        sky: of the same (H, W).
        light: the rest.
    """
    seen = _shaded(bands, np.where(ground, np.float32(1.0) - through(sky.shade), np.float32(0.0)), light)
    for thickness, height_m in zip(sky.thickness, sky.height_m, strict=True):
        if thickness.any():
            _cover(seen, Layer(through(thickness), height_m, light.whiteness * sky.light), light)
            warm = np.exp(-ABSORPTION * thickness)
            cloud_k = max(COLDEST_K, light.ground_k - 2.0 - LAPSE_K_M * height_m)
            seen[KELVIN_ROW] = seen[KELVIN_ROW] * warm + cloud_k * (1.0 - warm)
    return seen


def _shaded(bands: Plane, lost: Plane, light: Light) -> Plane:
    seen = bands.copy()
    for row in range(REFLECTIVE):
        air = np.minimum(np.float32(AIR[row]), bands[row])
        kept = min(0.6, light.skylight * SKYLIGHT[row])
        seen[row] = air * (1.0 - 0.15 * lost) + (bands[row] - air) * (1.0 - (1.0 - kept) * lost)
    seen[KELVIN_ROW] -= light.cooling_k * lost
    return seen


def _cover(seen: Plane, layer: Layer, light: Light) -> None:
    passed, ice = layer.passed, _smooth_step(3500.0, 7000.0, layer.height_m)
    for row in range(REFLECTIVE):
        white = WATER_CLOUD[row] + ice * (ICE_CLOUD[row] - WATER_CLOUD[row])
        white *= light.grain if row >= SHORTWAVE_INFRARED else 1.0
        seen[row] = seen[row] * passed + layer.lit * white * (1.0 - passed)
    above_vapour = light.dryness * _smooth_step(500.0, 10_000.0, layer.height_m) ** 2
    seen[CIRRUS_ROW] = seen[CIRRUS_ROW] * passed + 0.9 * above_vapour * (1.0 - passed)


def _smooth_step(low: float, high: float, value: float) -> float:
    part = min(1.0, max(0.0, (value - low) / (high - low)))
    return part * part * (3.0 - 2.0 * part)


def relabelled(
    labels: NDArray[np.uint8], ground: NDArray[np.bool_], sky: SkyBlock, spec: WeatherSpec
) -> NDArray[np.uint8]:
    """Return the labels (H, W) of a crop below a sky.

    Thin cloud over anything but ground is of unknown thickness, and so is every pixel near a threshold: these are
    ignored. What is thick already stays so.
    """
    total = sky.thickness.sum(axis=0)
    low, high = 1.0 - spec.unsure, 1.0 + spec.unsure
    answer = labels.copy()
    bare = ground & (total < spec.thin_from) & (labels != SHADOW_ID)
    answer[bare & (sky.shade >= low * spec.shadow_from)] = IGNORE_ID
    answer[bare & (sky.shade >= high * spec.shadow_from)] = SHADOW_ID
    answer[total >= low * spec.thin_from] = IGNORE_ID
    answer[ground & (total >= spec.thin_from) & (total < low * spec.thick_from)] = THIN_ID
    answer[total >= high * spec.thick_from] = THICK_ID
    answer[labels == THICK_ID] = THICK_ID
    answer[labels == IGNORE_ID] = IGNORE_ID
    return answer


class Weather:
    """Lays pieces of a fixed set of skies over crops; all chance comes from the generator that is handed in."""

    def __init__(
        self, skies: Sequence[SkyBlock], card: Sequence[CardBand], labels: LabelSet, spec: WeatherSpec
    ) -> None:
        strange = [band.name for band in card if band.name not in CHANNELS]
        if strange or not skies:
            found = f"bands {', '.join(strange)}" if strange else "no sky"
            raise DataError(f"weather: found {found}; it needs skies, and bands out of {', '.join(CHANNELS)}")
        self.skies = list(skies)
        self.spec = spec
        self._rows = [CHANNELS.index(band.name) for band in card]
        self._ground = grounds(labels)
        self._sizes = np.log([sky.pixel_m for sky in self.skies])

    def laid(self, patch: Patch, rng: np.random.Generator) -> Patch:
        """Return a crop below a sky.

        Raises:
            DataError: the crop is larger than the skies.
        """
        bands = np.full((len(CHANNELS), *patch.labels.shape), np.nan, dtype=np.float32)
        bands[self._rows] = patch.bands.numpy()
        labels = patch.labels.numpy()
        ground = np.isin(labels, self._ground)
        sky = self._drawn(labels.shape, patch.pixel_m, rng)
        seen = veiled(bands, ground, sky, Light.drawn(bands[KELVIN_ROW], rng))[self._rows]
        under = relabelled(labels, ground, sky, self.spec)
        return replace(patch, bands=torch.from_numpy(seen), labels=torch.from_numpy(under))

    def _drawn(self, shape: tuple[int, ...], pixel_m: float, rng: np.random.Generator) -> SkyBlock:
        near = np.argsort(np.abs(self._sizes - np.log(pixel_m)), kind="stable")[: -(-len(self.skies) // NEAREST)]
        for _ in range(TRIES):
            sky = _cut(self.skies[int(near[rng.integers(len(near))])], shape, rng)
            share = float(np.mean(sky.thickness.sum(axis=0) >= self.spec.thin_from))
            if WORTH_LAYING[0] < share < WORTH_LAYING[1]:
                break
        return sky


def _cut(sky: SkyBlock, shape: tuple[int, ...], rng: np.random.Generator) -> SkyBlock:
    """Return a piece of a sky, turned to one of its eight faces, thicker or thinner as a whole."""
    planes = np.concatenate([sky.thickness, sky.shade[None], sky.light[None]])
    if rng.random() < 0.5:
        planes = planes.transpose(0, 2, 1)
    spare = [has - wants for has, wants in zip(planes.shape[1:], shape, strict=True)]
    if min(spare) < 0:
        raise DataError(f"weather: a crop of {shape} px is larger than the skies, {sky.shade.shape} px")
    top, left = (int(rng.integers(room + 1)) for room in spare)
    planes = planes[:, top : top + shape[0], left : left + shape[1]]
    planes = planes[:, :: int(rng.choice((-1, 1))), :: int(rng.choice((-1, 1)))]
    denser = np.float32(np.exp(rng.normal(0.0, 0.25)))
    return replace(sky, thickness=planes[:4] * denser, shade=planes[4] * denser, light=planes[5])


@lru_cache(maxsize=1)
def skies_of(spec: WeatherSpec, finest_m: float, coarsest_m: float) -> tuple[SkyBlock, ...]:
    """Compute the skies that a specification asks for; folds that follow one another share them."""
    # Steps of the golden ratio cover the range of pixel sizes evenly, however many skies there are.
    sizes_m = [finest_m * (coarsest_m / finest_m) ** (index * 0.6180339887 % 1) for index in range(spec.skies)]
    return tuple(training_sky(spec.seed, index, spec.size_px, pixel_m) for index, pixel_m in enumerate(sizes_m))


class Overcast:
    """Cuts crops anywhere from the patches that show enough ground, and lays skies over them."""

    def __init__(self, cutter: Cutter, weather: Weather) -> None:
        self.cutter = cutter
        self.weather = weather

    @classmethod
    def over(
        cls, patches: Sequence[Patch], crop: CropSpec, card: Sequence[CardBand], labels: LabelSet, spec: WeatherSpec
    ) -> Self:
        """Lay simulated skies over real patches; display pictures have no reflectances to start from.

        Raises:
            DataError: no patch shows enough ground.
        """
        ground = torch.tensor(grounds(labels), dtype=torch.uint8)
        bare = [patch for patch in patches if _bare(patch, ground) and not patch.display]
        if not bare:
            raise DataError(
                f"weather.share is {spec.share}, but no patch shows ground on {BARE_SHARE:.0%} of its pixels"
            )
        finest_m = min(crop.coarsest_m, *(patch.pixel_m for patch in bare))
        weather = Weather(skies_of(spec, finest_m, crop.coarsest_m), card, labels, spec)
        return cls(Cutter(bare, crop.model_copy(update={"balanced": 0.0, "max_ratio": None})), weather)

    def cut(self, rng: np.random.Generator) -> Patch:
        """Return one crop below a sky."""
        return self.weather.laid(self.cutter.cut(rng), rng)


def _bare(patch: Patch, ground: torch.Tensor) -> bool:
    return bool(torch.isin(patch.labels, ground).float().mean() >= BARE_SHARE)


def grounds(labels: LabelSet) -> list[int]:
    """Return the labels of pixels that are surely no cloud."""
    return [label for label, members in enumerate(labels.members) if set(members) <= {CLEAR_ID, SHADOW_ID}]
