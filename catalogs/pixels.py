"""Pixels of a band, wherever they come from."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol

import numpy as np

from rspipe.catalogs.bands import Unit
from rspipe.catalogs.scene import Band, SimulatedBand


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
