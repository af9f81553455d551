"""The clouds above the ground: four layers, each with a height and an optical thickness at any place in metres."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from rspipe.catalogs.compiled import compiled
from rspipe.catalogs.noise import Spectrum, fractal, gradient_noise, key, smooth_step

HAZE, CUMULUS, DECK, CIRRUS = range(4)
"""The layers from the lowest up."""


class Sky(NamedTuple):
    """What makes one sky: a seed, heights, and thresholds in deviations of the field that they cut."""

    seed: np.uint64
    pixel_m: float
    height_m: tuple[float, float, float, float]
    """Of each layer, lowest first."""
    haze_above: float
    cumulus_above: float
    deck_above: float
    cirrus_above: float
    cumulus_size_m: float
    street: float
    wind_east: float
    wind_south: float


@compiled
def haze_thickness(sky: Sky, x_m: float, y_m: float) -> float:
    """Return the optical thickness of the low haze: smooth banks of 0 to about 4."""
    bank = fractal(key(sky.seed, 20), x_m, y_m, Spectrum(22000.0, 8.0 * sky.pixel_m, 0.45)) - sky.haze_above
    return 2.2 * min(2.0, max(0.0, bank))


@compiled
def cumulus_thickness(sky: Sky, x_m: float, y_m: float) -> float:
    """Return the optical thickness of heaped clouds: cells with a steep, ragged rim, in groups or in streets."""
    along = x_m * sky.wind_east + y_m * sky.wind_south
    across = y_m * sky.wind_east - x_m * sky.wind_south
    group = fractal(key(sky.seed, 21), x_m, y_m, Spectrum(24000.0, 4000.0, 0.5))
    street = gradient_noise(key(sky.seed, 22), along / 30000.0, across / (2.2 * sky.cumulus_size_m))
    gate = 0.55 * (group + sky.street * (street - group))
    if gate + 3.6 * 0.835 < sky.cumulus_above:
        return 0.0
    cell = fractal(key(sky.seed, 23), x_m, y_m, Spectrum(sky.cumulus_size_m, sky.pixel_m, 0.58))
    rise = gate + 0.835 * cell - sky.cumulus_above
    return rise * (5.0 + 45.0 * rise) if rise > 0.0 else 0.0


@compiled
def deck_thickness(sky: Sky, x_m: float, y_m: float) -> float:
    """Return the optical thickness of the layer cloud: wide sheets with rolls and rents in them."""
    sheet = fractal(key(sky.seed, 24), x_m, y_m, Spectrum(48000.0, 1500.0, 0.5)) - sky.deck_above
    if sheet < -0.8:
        return 0.0
    along = x_m * sky.wind_east + y_m * sky.wind_south
    across = y_m * sky.wind_east - x_m * sky.wind_south
    rolls = fractal(key(sky.seed, 25), 0.7 * along, across, Spectrum(2600.0, sky.pixel_m, 0.55))
    rise = sheet + 0.22 * rolls
    return 16.0 * smooth_step(0.0, 0.5, rise) * max(0.2, 1.0 + 0.35 * rolls) + 9.0 * max(0.0, rise)


@compiled
def cirrus_thickness(sky: Sky, x_m: float, y_m: float) -> float:
    """Return the optical thickness of cirrus: drawn-out veils and threads of 0 to about 5."""
    bend_m = 2500.0 * gradient_noise(key(sky.seed, 26), x_m / 30000.0, y_m / 30000.0)
    along = x_m * sky.wind_south - y_m * sky.wind_east + bend_m
    across = x_m * sky.wind_east + y_m * sky.wind_south + bend_m
    veil = (
        fractal(key(sky.seed, 27), 0.45 * along, across, Spectrum(20000.0, 8.0 * sky.pixel_m, 0.45)) - sky.cirrus_above
    )
    if veil <= 0.0:
        return 0.0
    thread = fractal(key(sky.seed, 28), 0.12 * along, across, Spectrum(1800.0, sky.pixel_m, 0.6))
    return 1.9 * veil * max(0.15, 1.0 + 0.4 * thread)


@compiled
def layers_at(sky: Sky, x_m: float, y_m: float, way: tuple[float, float], thickness: NDArray[np.float64]) -> None:
    """Write each layer's optical thickness to `thickness` (4,) where a ray from a place on the ground meets it.

    Args:
        sky: the sky.
        x_m: of the place, to the east.
        y_m: of the place, to the south.
        way: how far east and south the ray goes for each metre that it rises; (0, 0) is straight up.
        thickness: to be filled, lowest layer first.
    """
    east, south = way
    heights = sky.height_m
    thickness[HAZE] = haze_thickness(sky, x_m + heights[HAZE] * east, y_m + heights[HAZE] * south)
    thickness[CUMULUS] = cumulus_thickness(sky, x_m + heights[CUMULUS] * east, y_m + heights[CUMULUS] * south)
    thickness[DECK] = deck_thickness(sky, x_m + heights[DECK] * east, y_m + heights[DECK] * south)
    thickness[CIRRUS] = cirrus_thickness(sky, x_m + heights[CIRRUS] * east, y_m + heights[CIRRUS] * south)
