"""The ground under the clouds: land cover, its reflectance and its warmth, at any place in metres."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from rspipe.catalogs.compiled import compiled
from rspipe.catalogs.noise import Spectrum, bell, fractal, gradient_noise, key, lattice_hash, smooth_step, uniform

DEEP_WATER, SHALLOW_WATER, FOREST, CROP, SHRUB, SOIL, SAND, TOWN, SNOW = range(9)

REFLECTANCE = np.array(
    [
        # blue, green, red, nir, swir16, swir22: at the ground, so that with the air above it Landsat's numbers come out
        [0.026, 0.018, 0.013, 0.008, 0.002, 0.001],
        [0.070, 0.085, 0.060, 0.030, 0.012, 0.008],
        [0.014, 0.030, 0.022, 0.275, 0.128, 0.052],
        [0.022, 0.050, 0.036, 0.400, 0.190, 0.085],
        [0.045, 0.070, 0.090, 0.240, 0.260, 0.165],
        [0.070, 0.105, 0.145, 0.220, 0.270, 0.235],
        [0.125, 0.195, 0.290, 0.370, 0.450, 0.410],
        [0.085, 0.105, 0.115, 0.195, 0.205, 0.175],
        [0.800, 0.790, 0.800, 0.760, 0.090, 0.075],
    ]
)
"""Ground reflectance, one row per cover; chosen by eye to meet Landsat 8 scenes of such places."""

_WARMTH_K = np.array([-5.0, -4.0, -3.0, -1.0, 3.0, 7.0, 12.0, 4.0, -16.0])
_FIELD_M = 420.0


class Ground(NamedTuple):
    """What makes one landscape: a seed, and thresholds in deviations of the field that they cut."""

    seed: np.uint64
    pixel_m: float
    reflectance: NDArray[np.float64]
    """(9, 6): `REFLECTANCE` as it is in this landscape."""
    water_above: float
    dry_above: float
    town_above: float
    snow_above: float
    temperature_k: float
    sunward_east: float
    sunward_south: float


def tinted(seed: np.uint64, snow_whiteness: float, snow_grain: float) -> NDArray[np.float64]:
    """Return `REFLECTANCE` with each cover somewhat darker or brighter, and of another colour, under each seed.

    Args:
        seed: of the landscape.
        snow_whiteness: factor on all bands of snow.
        snow_grain: factor on its last two bands besides.
    """
    shake, covers, bands = np.uint64(key(seed, 14)), *REFLECTANCE.shape
    colour = [[0.07 * bell(shake, cover, band) for band in range(bands)] for cover in range(covers)]
    tone = [[0.15 * bell(shake, cover, bands)] for cover in range(covers)]
    lightness = np.maximum(0.5, 1.0 + np.array(tone) + np.array(colour))
    lightness[SNOW] *= snow_whiteness
    lightness[SNOW, 4:] *= snow_grain
    tinted_reflectance: NDArray[np.float64] = np.minimum(REFLECTANCE * lightness, 0.9)
    return tinted_reflectance


@compiled
def _basin(ground: Ground, x_m: float, y_m: float) -> float:
    """Return the broad rise and fall of the land, which makes its seas and lakes, in deviations."""
    bend_m = 5000.0 * gradient_noise(key(ground.seed, 1), x_m / 21000.0, y_m / 21000.0)
    return fractal(key(ground.seed, 0), x_m + bend_m, y_m - bend_m, Spectrum(36000.0, 2000.0, 0.52))


@compiled
def _hill(ground: Ground, x_m: float, y_m: float) -> float:
    """Return the fine relief, ridges and valleys, in deviations."""
    return 0.09 * fractal(key(ground.seed, 13), x_m, y_m, Spectrum(2200.0, ground.pixel_m, 0.55))


@compiled
def _parcel(ground: Ground, x_m: float, y_m: float) -> tuple[float, float]:
    """Return the vigour and the tone of the field that a place belongs to, each in [0, 1)."""
    block_key = key(ground.seed, 2)
    block_row, block_column = int(np.floor(y_m / 5200.0)), int(np.floor(x_m / 5200.0))
    turn = 0.5 * uniform(block_key, block_row, block_column)
    along, across = x_m + turn * y_m, y_m - turn * x_m
    row = int(np.floor(across / _FIELD_M))
    column = int(np.floor(along / (1.9 * _FIELD_M) + 7.0 * uniform(key(ground.seed, 3), row, block_column)))
    bits = lattice_hash(key(ground.seed, 4), row, column)
    return float(bits & np.uint64(0xFFFF)) * 2.0**-16, float((bits >> np.uint64(16)) & np.uint64(0xFFFF)) * 2.0**-16


@compiled
def _over(cover: NDArray[np.float64], index: int, share: float) -> None:
    """Let one cover take a share of what the others hold."""
    for other in range(cover.size):
        cover[other] *= 1.0 - share
    cover[index] += share


@compiled
def _cover_land(ground: Ground, x_m: float, y_m: float, cover: NDArray[np.float64]) -> None:
    """Share a place on land between the covers: the wild ones, then fields, dry land and towns over them."""
    pixel_m = ground.pixel_m
    wood = fractal(key(ground.seed, 5), x_m, y_m, Spectrum(9000.0, 2.0 * pixel_m, 0.62))
    cover[SHRUB] = 1.0
    _over(cover, FOREST, smooth_step(-0.5, 0.2, wood))
    farmed = smooth_step(0.1, 0.4, fractal(key(ground.seed, 6), x_m, y_m, Spectrum(26000.0, 8.0 * pixel_m, 0.5)))
    if farmed > 0.0:
        vigour, _ = _parcel(ground, x_m, y_m)
        _over(cover, CROP, farmed * smooth_step(0.2, 0.8, vigour))
        _over(cover, SOIL, farmed * smooth_step(0.75, 0.35, vigour))
    dry = fractal(key(ground.seed, 7), x_m, y_m, Spectrum(60000.0, 4.0 * pixel_m, 0.55)) - ground.dry_above
    _over(cover, SOIL, smooth_step(0.0, 0.5, dry))
    _over(cover, SAND, smooth_step(0.5, 1.0, dry))
    town = fractal(key(ground.seed, 8), x_m, y_m, Spectrum(13000.0, 4.0 * pixel_m, 0.5)) - ground.town_above
    _over(cover, TOWN, 0.85 * smooth_step(0.0, 0.35, town))


@compiled
def _cover(ground: Ground, x_m: float, y_m: float, cover: NDArray[np.float64]) -> float:
    """Fill the shares of all covers, and return how the slope is lit: 1 on flat ground."""
    cover[:] = 0.0
    hill = _hill(ground, x_m, y_m)
    height = _basin(ground, x_m, y_m) + hill
    depth = ground.water_above - height
    if depth > 0.05:
        shoal = smooth_step(0.7, 0.0, depth + 0.2 * gradient_noise(key(ground.seed, 9), x_m / 7000.0, y_m / 7000.0))
        cover[SHALLOW_WATER], cover[DEEP_WATER] = shoal, 1.0 - shoal
        return 1.0
    _cover_land(ground, x_m, y_m, cover)
    step_m = 2.0 * ground.pixel_m
    uphill = _hill(ground, x_m + step_m * ground.sunward_east, y_m + step_m * ground.sunward_south) - hill
    _over(cover, SNOW, smooth_step(0.0, 0.25, height - ground.snow_above))
    _over(cover, SAND, 0.7 * smooth_step(-0.06, 0.0, depth))
    _over(cover, SHALLOW_WATER, smooth_step(0.0, 0.05, depth))
    return min(1.6, max(0.4, 1.0 - uphill * 160.0 / step_m * smooth_step(0.0, 1.5, -depth)))


@compiled
def ground_at(ground: Ground, row: int, column: int, cover: NDArray[np.float64], found: NDArray[np.float64]) -> None:
    """Write one pixel's shares of the covers to `cover` (9,), reflectances and then kelvin to `found` (7,)."""
    x_m, y_m = (column + 0.5) * ground.pixel_m, (row + 0.5) * ground.pixel_m
    lit = _cover(ground, x_m, y_m, cover)
    water = cover[DEEP_WATER] + cover[SHALLOW_WATER]
    broad = 0.15 * fractal(key(ground.seed, 10), x_m, y_m, Spectrum(2400.0, ground.pixel_m, 0.68))
    tone = broad + (0.02 + 0.14 * cover[TOWN]) * bell(key(ground.seed, 11), row, column)
    bright = lit * max(0.3, 1.0 + (1.0 - 0.8 * water - 0.7 * cover[SNOW]) * tone)
    warmth_k = 0.0
    for index in range(9):
        warmth_k += cover[index] * _WARMTH_K[index]
    for band in range(6):
        total = 0.0
        for index in range(9):
            total += cover[index] * ground.reflectance[index, band]
        found[band] = total * bright
    found[6] = ground.temperature_k + warmth_k + (1.0 - water) * (3.0 * (lit - 1.0) + 4.0 * broad)
