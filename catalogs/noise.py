"""Noise without state: every value is a hash of a key and of global lattice coordinates."""

from math import floor, sqrt
from typing import NamedTuple

import numpy as np

from rspipe.catalogs.compiled import compiled

_STREAM = np.uint64(0xD6E8FEB86659FD93)
_ROW = np.uint64(0x9E3779B97F4A7C15)
_COLUMN = np.uint64(0xC2B2AE3D27D4EB4F)
_FIRST = np.uint64(0xBF58476D1CE4E5B9)
_SECOND = np.uint64(0x94D049BB133111EB)
_SHIFT_30, _SHIFT_27, _SHIFT_31, _SHIFT_32, _SHIFT_16, _SHIFT_48, _SHIFT_11 = (
    np.uint64(30), np.uint64(27), np.uint64(31), np.uint64(32), np.uint64(16), np.uint64(48), np.uint64(11)
)  # fmt: skip
_LOW_32 = np.uint64(0xFFFFFFFF)
_LOW_16 = np.uint64(0xFFFF)

_UNIT_DEVIATION = 5.696
"""Brings `gradient_noise` to a standard deviation of one; measured over 10^7 points."""


class Spectrum(NamedTuple):
    """The octaves of a fractal: from `wavelength_m` halving down to what pixels of `pixel_m` can show."""

    wavelength_m: float
    pixel_m: float
    persistence: float
    """Amplitude of an octave over that of the next coarser one."""


@compiled
def mix(bits: np.uint64) -> np.uint64:
    """Scramble 64 bits: the finaliser of SplitMix64 (Steele, Lea, Flood 2014, figure 17)."""
    bits = (bits ^ (bits >> _SHIFT_30)) * _FIRST
    bits = (bits ^ (bits >> _SHIFT_27)) * _SECOND
    return bits ^ (bits >> _SHIFT_31)


@compiled
def key(seed: np.uint64, stream: int) -> np.uint64:
    """Return the key of one independent stream of numbers under a seed."""
    return mix(seed + np.uint64(stream + 1) * _STREAM)


@compiled
def lattice_hash(stream_key: np.uint64, row: int, column: int) -> np.uint64:
    """Return 64 random bits that belong to one lattice point; negative coordinates wrap modulo 2^64."""
    return mix(stream_key + np.uint64(row) * _ROW + np.uint64(column) * _COLUMN)


@compiled
def uniform(stream_key: np.uint64, row: int, column: int) -> float:
    """Return a number in [0, 1) that belongs to one lattice point."""
    return float(np.int64(lattice_hash(stream_key, row, column) >> _SHIFT_11)) * 2.0**-53


@compiled
def bell(stream_key: np.uint64, row: int, column: int) -> float:
    """Return a nearly normal number, mean 0 and deviation 1: the sum of four 16-bit uniforms (Irwin-Hall)."""
    bits = lattice_hash(stream_key, row, column)
    total = (bits & _LOW_16) + ((bits >> _SHIFT_16) & _LOW_16) + ((bits >> _SHIFT_32) & _LOW_16) + (bits >> _SHIFT_48)
    return (float(np.int64(total)) * 2.0**-16 - 2.0 + 2.0**-15) * sqrt(3.0)


@compiled
def _slope(bits: np.uint64, dx: float, dy: float) -> float:
    # Signed whole numbers become floats in one instruction, unsigned ones in several.
    east = float(np.int64(bits & _LOW_32)) * 2.0**-31 - 1.0
    south = float(np.int64(bits >> _SHIFT_32)) * 2.0**-31 - 1.0
    return east * dx + south * dy


@compiled
def _ease(t: float) -> float:
    return t * t * t * (t * (t * 6.0 - 15.0) + 10.0)


@compiled
def gradient_noise(stream_key: np.uint64, x: float, y: float) -> float:
    """Return Perlin's gradient noise (2002 easing) at a point of the unit lattice; mean 0, deviation about 1."""
    column, row = floor(x), floor(y)
    dx, dy = x - column, y - row
    north_west = _slope(lattice_hash(stream_key, row, column), dx, dy)
    north_east = _slope(lattice_hash(stream_key, row, column + 1), dx - 1.0, dy)
    south_west = _slope(lattice_hash(stream_key, row + 1, column), dx, dy - 1.0)
    south_east = _slope(lattice_hash(stream_key, row + 1, column + 1), dx - 1.0, dy - 1.0)
    across, down = _ease(dx), _ease(dy)
    north = north_west + across * (north_east - north_west)
    south = south_west + across * (south_east - south_west)
    return (north + down * (south - north)) * _UNIT_DEVIATION


@compiled
def fractal(stream_key: np.uint64, x_m: float, y_m: float, spectrum: Spectrum) -> float:
    """Return fractal noise at a place; with every octave present its deviation is 1.

    Octaves finer than two pixels fade out, those finer than one are left out; the coarse ones are the same at any
    pixel size.
    """
    total, amplitude, wavelength_m = 0.0, sqrt(1.0 - spectrum.persistence * spectrum.persistence), spectrum.wavelength_m
    x, y = x_m / wavelength_m, y_m / wavelength_m
    while wavelength_m > spectrum.pixel_m:
        fade = min(1.0, wavelength_m / spectrum.pixel_m - 1.0)
        total += fade * amplitude * gradient_noise(stream_key, x, y)
        # Each octave is turned by an angle of cosine 0.8, so that no lattice direction shows in the sum.
        x, y = 1.6 * x - 1.2 * y + 17.3, 1.2 * x + 1.6 * y + 5.9
        amplitude *= spectrum.persistence
        wavelength_m *= 0.5
        stream_key += _STREAM
    return total


@compiled
def smooth_step(low: float, high: float, value: float) -> float:
    """Return 0 up to `low`, 1 from `high` on, and a smooth rise between."""
    t = min(1.0, max(0.0, (value - low) / (high - low)))
    return t * t * (3.0 - 2.0 * t)
