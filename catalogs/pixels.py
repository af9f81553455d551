"""Pixels of a band, wherever they come from."""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from rspipe.catalogs.bands import Unit
from rspipe.catalogs.scene import Band, Conversion, Linear, Planck, SimulatedBand


class BandReader(Protocol):
    """Reads one band by ranges of its own grid; for one thread at a time."""

    def read(self, rows: slice, cols: slice) -> np.ndarray[tuple[int, int], np.dtype[Any]]:
        """Return stored numbers of shape (rows, cols), north-up, in the source's dtype.

        Raises:
            SceneError: they cannot be had.
        """
        ...


@contextmanager
def open_band(band: Band) -> Iterator[BandReader]:
    """Open a band for reading, and close it after.

    Raises:
        SceneError: its file cannot be opened, or is not the one that the scene was listed from.
    """
    if isinstance(band.origin, SimulatedBand):
        from rspipe.catalogs.simulated import SimulatedReader  # noqa: PLC0415  reading files needs no simulator

        yield SimulatedReader(band)
        return
    from rspipe.catalogs.rasters import RasterReader  # noqa: PLC0415  a simulated scene needs no GDAL

    with RasterReader(band) as reader:
        yield reader


def is_number(numbers: NDArray[Any], fills: Sequence[float]) -> NDArray[np.bool_]:
    """Tell where stored numbers are finite and none of the fills."""
    valid = np.isfinite(numbers)
    for fill in fills:
        if not math.isnan(fill):
            valid &= numbers != fill
    return valid


def physical(numbers: NDArray[Any], conversion: Conversion) -> NDArray[np.float64]:
    """Convert source numbers to reflectance or kelvin, in double precision."""
    values = numbers.astype(np.float64)
    match conversion:
        case Linear(scale=scale, offset=offset):
            return values * scale + offset
        case Planck(gain=gain, offset=offset, k1=k1, k2=k2):
            radiance = np.maximum(values * gain + offset, np.finfo(np.float64).tiny)
            return np.asarray(k2 / np.log(k1 / radiance + 1.0), dtype=np.float64)


def plausible_range(unit: Unit) -> tuple[float, float]:
    """Return the least and greatest value, in that physical unit, that a valid pixel can have.

    Wide on purpose: it tells a wrong unit or a missing scale from an odd pixel. Saturated digital numbers (65535) reach
    a reflectance of 6.6 (Sentinel-2) or 7 (Landsat, sun at 10 degrees).

    Raises:
        ValueError: the unit is not a physical one.
    """
    ranges = {Unit.REFLECTANCE: (-2.0, 10.0), Unit.KELVIN: (100.0, 450.0)}
    if unit not in ranges:
        raise ValueError(f"{unit} is not a physical unit; convert first")
    return ranges[unit]
