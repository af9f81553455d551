"""Light on its way: sun, shadow, ground, air and cloud layers become what the sensor measures."""

import sys
from collections.abc import Callable
from hashlib import sha256
from math import nan
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from rspipe.catalogs import clouds, landscape, noise
from rspipe.catalogs.clouds import CIRRUS, CUMULUS, DECK, HAZE, Sky, cumulus_thickness, deck_thickness, layers_at
from rspipe.catalogs.compiled import compiled, kept
from rspipe.catalogs.landscape import Ground, ground_at
from rspipe.catalogs.legends import NODATA_ID
from rspipe.catalogs.noise import bell, key, smooth_step

AIR = np.array([0.083, 0.049, 0.027, 0.011, 0.002, 0.001])
"""Reflectance of clean air above black ground: blue, green, red, nir, swir16, swir22."""

SKYLIGHT = np.array([0.28, 0.20, 0.15, 0.09, 0.05, 0.04])
"""Share of the light on the ground that a shadow does not take."""

WATER_CLOUD = np.array([0.98, 0.93, 0.96, 1.00, 0.62, 0.46])
ICE_CLOUD = np.array([0.97, 0.92, 0.94, 0.97, 0.25, 0.27])
"""Reflectance of a cloud too thick to see through."""

SHORTWAVE_INFRARED = 4
"""The first of the two reflectances that depend on how large drops and crystals are."""

SCATTER_BACK = 0.075
"""Half of 1 - g, with g = 0.85: two-stream transmission 1 / (1 + 0.075 tau) (Bohren 1987)."""

_SLANT = 0.213
"""Columns per row by which the edge of the swath leans: the track of a polar orbit at 40 degrees latitude."""
LAPSE_K_M = 0.0065
ABSORPTION = 0.6
"""Thermal absorption depth over visible optical thickness."""

THIN_FROM = 0.7
THICK_FROM = 6.0
"""Optical thickness from which a pixel is thin and thick cloud: about 5 % and 30 % of the light turned back."""
SHADOW_FROM = 4.0
"""Optical thickness in the sun's way from which a clear pixel is in shadow: a quarter of the light lost."""
CLEAR_ID, THIN_ID, THICK_ID, SHADOW_ID = range(4)


class World(NamedTuple):
    """All that decides the value of a pixel."""

    seed: np.uint64
    ground: Ground
    sky: Sky
    sunward: tuple[float, float]
    """How far east and south a ray to the sun goes for each metre that it rises."""
    margin_px: float
    """Width of the part beyond the swath in the first row, at the left; in the last row, at the right."""
    height_px: int
    width_px: int
    vapour_glow: float
    """Reflectance of the cirrus band above the lowest ground."""
    grain: float
    """As of `simulation.Clouds`."""
    dryness: float
    """As of `simulation.Clouds`."""
    sensor_noise: float


class Measured(NamedTuple):
    """The arrays that `measure` fills: bands (8, H, W), thickness (H, W) and class (H, W)."""

    bands: NDArray[np.float32]
    thickness: NDArray[np.float32]
    labels: NDArray[np.uint8]


@compiled
def transmission(thickness: float) -> float:
    """Return the share of light that a layer of that optical thickness lets through, diffuse light included."""
    return 1.0 / (1.0 + SCATTER_BACK * thickness)


@compiled
def decay(depth: float) -> float:
    """Return e^-depth within 0.002, by sums and products alone so that every processor rounds it alike."""
    part = depth * 0.0625
    root = 1.0 / (1.0 + part + 0.5 * part * part)
    root *= root
    root *= root
    root *= root
    return root * root


@compiled
def sunlit(world: World, x_m: float, y_m: float, thickness: NDArray[np.float64]) -> float:
    """Return how the sun meets a cloud's top: above 1 on the slopes that face it."""
    east_m, south_m = 160.0 * world.sunward[0], 160.0 * world.sunward[1]
    slope = 0.0
    if thickness[CUMULUS] > 1.0:
        slope += thickness[CUMULUS] - cumulus_thickness(world.sky, x_m + east_m, y_m + south_m)
    if thickness[DECK] > 1.0:
        slope += 2.0 * (thickness[DECK] - deck_thickness(world.sky, x_m + east_m, y_m + south_m))
    return 1.0 + min(0.16, max(-0.35, 0.010 * slope))


@compiled
def _through_layers(world: World, lit: float, thickness: NDArray[np.float64], found: NDArray[np.float64]) -> None:
    """Carry the light of the ground, eight numbers in `found`, up through the layers, the lowest first."""
    for layer in range(4):
        if thickness[layer] > 0.0:
            height_m = world.sky.height_m[layer]
            through = transmission(thickness[layer])
            ice = smooth_step(3500.0, 7000.0, height_m)
            for band in range(6):
                cloud = WATER_CLOUD[band] + ice * (ICE_CLOUD[band] - WATER_CLOUD[band])
                if band >= SHORTWAVE_INFRARED:
                    cloud *= world.grain
                found[band] = found[band] * through + lit * cloud * (1.0 - through)
            above_vapour = smooth_step(500.0, 10_000.0, height_m)
            found[6] = found[6] * through + world.dryness * 0.9 * above_vapour * above_vapour * (1.0 - through)
            warm = decay(ABSORPTION * thickness[layer])
            cloud_k = max(212.0, world.ground.temperature_k - 2.0 - LAPSE_K_M * height_m)
            found[7] = found[7] * warm + cloud_k * (1.0 - warm)


@compiled
def _label(thickness: float, shade: float) -> int:
    if thickness >= THICK_FROM:
        return THICK_ID
    if thickness >= THIN_FROM:
        return THIN_ID
    return SHADOW_ID if shade >= SHADOW_FROM else CLEAR_ID


@compiled
def summed(thickness: NDArray[np.float64]) -> float:
    """Return the optical thickness of all layers together."""
    return float(thickness[HAZE] + thickness[CUMULUS] + thickness[DECK] + thickness[CIRRUS])


@compiled
def _upwelling(world: World, ground: NDArray[np.float64], shade: float, found: NDArray[np.float64]) -> None:
    """Write what leaves the ground and the clean air above it, eight numbers, to `found`."""
    lost = 1.0 - transmission(shade)
    for band in range(6):
        air = AIR[band] * (1.0 - 0.15 * lost)
        found[band] = air + ground[band] * (1.0 - (1.0 - SKYLIGHT[band]) * lost)
    found[6] = world.vapour_glow * (1.0 + ground[3])
    found[7] = ground[6] - 5.0 * lost


@compiled
def _write(world: World, found: NDArray[np.float64], place: tuple[int, int], pixel: NDArray[np.float32]) -> None:
    """Write a pixel's eight numbers as a sensor with noise sees them."""
    row, column = place
    for band in range(7):
        deviation = world.sensor_noise * (0.2 + found[band])
        pixel[band] = found[band] + deviation * bell(key(world.seed, 40 + band), row, column)
    pixel[7] = found[7] + 40.0 * world.sensor_noise * bell(key(world.seed, 47), row, column)


@compiled
def _outside_swath(world: World, row: int, column: int) -> bool:
    """Tell whether the slanting swath leaves a pixel out: at the upper left or at the lower right."""
    left_px = column + _SLANT * row
    right_px = world.width_px - 1 - column + _SLANT * (world.height_px - 1 - row)
    return min(left_px, right_px) < world.margin_px


def _build(sources: int) -> Callable[[World, int, int, Measured], int]:
    """Compile the loop over a block; `sources` tells the compiler's cache which state of all files it belongs to."""

    def loop(world: World, first_row: int, first_column: int, measured: Measured) -> int:
        thickness, cover, ground, found = np.empty(4), np.empty(9), np.empty(7), np.empty(8)
        pixel_m = world.ground.pixel_m
        for i in range(measured.labels.shape[0]):
            for j in range(measured.labels.shape[1]):
                row, column = first_row + i, first_column + j
                if _outside_swath(world, row, column):
                    measured.bands[:, i, j], measured.thickness[i, j], measured.labels[i, j] = nan, nan, NODATA_ID
                    continue
                x_m, y_m = (column + 0.5) * pixel_m, (row + 0.5) * pixel_m
                layers_at(world.sky, x_m, y_m, world.sunward, thickness)
                shade = summed(thickness)
                ground_at(world.ground, row, column, cover, ground)
                _upwelling(world, ground, shade, found)
                layers_at(world.sky, x_m, y_m, (0.0, 0.0), thickness)
                total = summed(thickness)
                if total > 0.0:
                    _through_layers(world, sunlit(world, x_m, y_m, thickness), thickness, found)
                _write(world, found, (row, column), measured.bands[:, i, j])
                measured.thickness[i, j] = total
                measured.labels[i, j] = _label(total, shade)
        return sources

    return kept(loop)


def sources() -> int:
    """Return a digest of every file that the compiled loop is made from."""
    digest = sha256()
    for module in (noise, landscape, clouds, sys.modules[__name__]):
        digest.update(Path(str(module.__file__)).read_bytes())
    return int.from_bytes(digest.digest()[:7])


_LOOP = _build(sources())


def measure(world: World, first_row: int, first_column: int, measured: Measured) -> None:
    """Fill the arrays of a block with what the sensor measures there, and with the truth.

    Args:
        world: what decides the value of a pixel.
        first_row: of the block, in the scene.
        first_column: likewise.
        measured: arrays to fill: reflectance in seven bands, then kelvin; optical thickness; class id.
    """
    _LOOP(world, first_row, first_column, measured)
