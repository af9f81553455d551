"""A scene: which bands it has, where their numbers lie, and how these become physical units."""

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Literal

from affine import Affine

from rspipe.catalogs.bands import PHYSICAL_UNIT, Unit
from rspipe.catalogs.errors import SceneError
from rspipe.catalogs.simulation import SimulationSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class Grid:
    """A north-up raster grid. Rows count downwards, `transform` maps (column, row) corners to CRS units."""

    crs_wkt: str
    transform: Affine
    height_px: int
    width_px: int

    def __post_init__(self) -> None:
        if self.height_px < 1 or self.width_px < 1:
            raise SceneError(f"a grid needs at least one pixel, found {self.height_px} x {self.width_px}")
        if self.transform.b or self.transform.d or self.transform.a <= 0 or self.transform.e >= 0:
            raise SceneError(f"a grid must be north-up and unrotated, found {tuple(self.transform)[:6]}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Linear:
    """physical = scale * stored + offset."""

    scale: float
    offset: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Planck:
    """kelvin = k2 / ln(k1 / (gain * stored + offset) + 1), USGS Landsat 8-9 Data Users Handbook, section 5."""

    gain: float
    offset: float
    k1: float
    k2: float


Conversion = Linear | Planck


@dataclass(frozen=True, slots=True, kw_only=True)
class RasterBand:
    """One band of a raster file on disk."""

    path: Path
    index: int
    """1-based, as GDAL counts."""
    block_height_px: int
    block_width_px: int
    south_up: bool = False
    """The file's rows run from south to north: ingest flips them. The grid is always the north-up one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulatedBand:
    """One band of a simulated scene: computed, not read."""

    spec: SimulationSpec
    channel: str
    """One of `simulation.CHANNELS`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Band:
    """One band of a scene.

    Stored numbers equal to one of `fills`, NaN and infinities are invalid.
    """

    name: str
    origin: RasterBand | SimulatedBand
    dtype: str
    """numpy name of the stored numbers, as the source has them."""
    unit: Unit
    """What the source's numbers are; the physical unit follows from `name`."""
    conversion: Conversion
    """Source number -> `PHYSICAL_UNIT[name]`."""
    fills: tuple[float, ...]
    grid: Grid

    def __post_init__(self) -> None:
        if self.name not in PHYSICAL_UNIT:
            raise SceneError(f"unknown band {self.name!r}; known bands are {', '.join(PHYSICAL_UNIT)}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """Everything that is known of one scene before a pixel is read.

    `grid` is the grid of the scene's finest bands; coarser bands are brought onto it by ingest.
    """

    id: str
    slug: str
    """Safe as a file name, unique within a run: see `trust.slug`."""
    sensor: str
    acquired_at: datetime | None
    bands: tuple[Band, ...]
    grid: Grid
    kind: Literal["files", "simulated"]

    def band(self, name: str) -> Band:
        """Return the band of that common name.

        Raises:
            SceneError: the scene has no such band.
        """
        for band in self.bands:
            if band.name == name:
                return band
        found = ", ".join(band.name for band in self.bands)
        raise SceneError(f"scene {self.id!r} has no band {name!r}, only {found}")
