"""Simulated scenes: bands and truth of any block, computed from the scene's seed and the block's place alone."""

from dataclasses import dataclass, replace
from functools import lru_cache
from math import cos, inf, radians, sin, tan
from statistics import NormalDist
from types import TracebackType
from typing import Self

import numpy as np
from affine import Affine
from numpy.typing import NDArray
from pyproj import CRS

from rspipe.catalogs.bands import PHYSICAL_UNIT, Unit
from rspipe.catalogs.clouds import Sky
from rspipe.catalogs.errors import SceneError
from rspipe.catalogs.landscape import Ground, tinted
from rspipe.catalogs.legends import NODATA_ID
from rspipe.catalogs.noise import key, uniform
from rspipe.catalogs.radiation import THICK_ID, THIN_ID, Measured, World, measure
from rspipe.catalogs.scene import Band, Grid, Linear, Scene, SimulatedBand
from rspipe.catalogs.simulation import CHANNELS, Clouds, Land, SimulationSpec

EPSG = 32618
ORIGIN_EAST_M, ORIGIN_NORTH_M = 300_000.0, 4_600_000.0
"""Upper left corner of every simulated scene."""
FILL = 0
MARGIN_SHARE = 0.16
"""Share of the width that the wedge beyond the swath takes from the first row."""
HAZE_HEIGHT_M = 800.0
FREEZING_K = 273.0
GREY = (0.3, 0.9)
"""Factors on the reflectance of snow that make it ice: young sea ice turns back a third of what fresh snow does."""

_REFLECTANCE = Linear(scale=2e-5, offset=-0.1)
_KELVIN = Linear(scale=0.01, offset=0.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulatedBlock:
    """What one block of a scene holds."""

    bands: NDArray[np.float32]
    """(8, H, W), in the order of `CHANNELS`: reflectance, kelvin last; NaN outside the swath."""
    thickness: NDArray[np.float32]
    """(H, W), optical thickness of all layers; NaN outside the swath."""
    labels: NDArray[np.uint8]
    """(H, W), ids of the cloud-thickness legend, 255 outside the swath."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Polar:
    """The polar climate of a training patch."""

    grey_ice: float = 0.0
    """Probability that grey ice lies where there is snow else."""

    def __post_init__(self) -> None:
        if not 0.0 <= self.grey_ice <= 1.0:
            raise SceneError(f"polar climate: grey_ice is {self.grey_ice}; it must lie in 0 .. 1")


@dataclass(frozen=True, slots=True)
class SimulatedReader:
    """Reads one band of a simulated scene in the numbers that a file of it would hold."""

    band: Band

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """There is nothing to close."""

    def read(self, rows: slice, cols: slice) -> NDArray[np.uint16]:
        """Return the stored numbers (H, W) of a block.

        Raises:
            SceneError: the band is not simulated, or the block leaves the scene.
        """
        origin = self.band.origin
        if not isinstance(origin, SimulatedBand):
            raise SceneError(f"band {self.band.name!r} lies in {origin.path}: it is read, not simulated")
        block = _stored_block(origin.spec, (rows.start, rows.stop), (cols.start, cols.stop))
        numbers: NDArray[np.uint16] = block[CHANNELS.index(origin.channel)].copy()
        return numbers


def scene(spec: SimulationSpec) -> Scene:
    """Return the scene that a specification describes; nothing is computed yet."""
    grid = Grid(
        crs_wkt=CRS.from_epsg(EPSG).to_wkt(),
        transform=Affine(spec.pixel_size_m, 0.0, ORIGIN_EAST_M, 0.0, -spec.pixel_size_m, ORIGIN_NORTH_M),
        height_px=spec.height_px,
        width_px=spec.width_px,
    )
    bands = tuple(
        Band(
            name=channel,
            origin=SimulatedBand(spec=spec, channel=channel),
            dtype="uint16",
            unit=Unit.DN,
            conversion=conversion(channel),
            fills=(float(FILL),),
            grid=grid,
        )
        for channel in CHANNELS
    )
    name = f"simulated-{spec.seed}"
    return Scene(id=name, slug=name, sensor="simulated", acquired_at=None, bands=bands, grid=grid, kind="simulated")


def conversion(channel: str) -> Linear:
    """Return how a channel's stored numbers become physical ones."""
    return _KELVIN if PHYSICAL_UNIT[channel] is Unit.KELVIN else _REFLECTANCE


def stored(channel: str, physical: NDArray[np.float32]) -> NDArray[np.uint16]:
    """Return physical numbers as the source's integers; NaN becomes the fill, and no other number does."""
    linear = conversion(channel)
    numbers = np.rint((physical.astype(np.float64) - linear.offset) / linear.scale)
    return np.where(np.isnan(physical), FILL, np.clip(numbers, 1, 65535)).astype(np.uint16)


def compute_block(spec: SimulationSpec, rows: slice, cols: slice) -> SimulatedBlock:
    """Compute all bands and the truth of one block; any sub-block equals the same part of the whole.

    Raises:
        SceneError: the block is empty or leaves the scene.
    """
    _require_inside(spec, rows, cols)
    shape = (rows.stop - rows.start, cols.stop - cols.start)
    measured = Measured(
        bands=np.empty((len(CHANNELS), *shape), np.float32),
        thickness=np.empty(shape, np.float32),
        labels=np.empty(shape, np.uint8),
    )
    measure(world_of(spec), rows.start, cols.start, measured)
    return SimulatedBlock(bands=measured.bands, thickness=measured.thickness, labels=measured.labels)


def training_patch(
    seed: int, index: int, size_px: int, pixel_size_m: float, polar: Polar | None = None
) -> SimulatedBlock:
    """Return one patch under a landscape, sky and sun of its own, in a polar climate if one is given."""
    spec = patch_spec(seed, index, size_px, pixel_size_m)
    if polar is not None:
        spec = frozen(spec, polar)
    return compute_block(spec, slice(0, size_px), slice(0, size_px))


def thick_from(block: SimulatedBlock, thickness: float, unsure: float) -> NDArray[np.uint8]:
    """Return the labels (H, W) of a block where cloud counts as thick from another optical thickness on.

    Args:
        block: bands and truth.
        thickness: from which on cloud is thick.
        unsure: pixels of cloud whose thickness is within that share of it are 255.
    """
    cloud = (block.labels == THIN_ID) | (block.labels == THICK_ID)
    answer = np.where(cloud, np.uint8(THIN_ID), block.labels)
    answer[cloud & (block.thickness >= (1.0 - unsure) * thickness)] = NODATA_ID
    answer[cloud & (block.thickness >= (1.0 + unsure) * thickness)] = THICK_ID
    return answer


def frozen(spec: SimulationSpec, polar: Polar) -> SimulationSpec:
    """Return the same patch in a polar climate: mostly snow or ice of some grain, at 240 to 275 K under a low sun.

    Colder snow, that of the ice sheets, has the colours of tall ice cloud: it would teach that such cloud is clear.
    """
    draw = np.random.default_rng(spec.seed)
    land = Land(
        water=float(draw.choice((0.0, 0.2, 0.5))),
        dry=0.0,
        town=0.0,
        snow=float(draw.uniform(0.4, 1.0)),
        temperature_k=float(draw.uniform(240.0, 275.0)),
        snow_grain=float(np.clip(np.exp(draw.normal(0.3, 0.6)), 0.3, 3.2)),
    )
    sun_elevation_deg = float(draw.uniform(12.0, 50.0))
    if draw.random() < polar.grey_ice:
        land = replace(land, snow_whiteness=float(draw.uniform(*GREY)))
    return replace(spec, land=land, sun_elevation_deg=sun_elevation_deg)


def patch_spec(seed: int, index: int, size_px: int, pixel_size_m: float) -> SimulationSpec:
    """Draw the specification of one training patch: seasons, climates and weathers of all kinds."""
    draw = np.random.default_rng((seed, index))
    temperature_k = float(draw.normal(289.0, 10.0))
    cold = temperature_k < 278.0

    def share(likely: float, most: float) -> float:
        return float(draw.uniform(0.02, most)) if draw.random() < likely else 0.0

    return SimulationSpec(
        seed=int(draw.integers(2**62)),
        height_px=size_px,
        width_px=size_px,
        pixel_size_m=pixel_size_m,
        sun_elevation_deg=float(draw.uniform(22.0, 68.0)),
        sun_azimuth_deg=float(draw.uniform(90.0, 270.0)),
        wedge=False,
        land=Land(
            water=share(0.6, 0.5),
            dry=share(0.6, 0.9),
            town=share(0.4, 0.3),
            snow=share(0.8, 1.0) if cold else share(0.1, 0.1),
            temperature_k=float(np.clip(temperature_k, 255.0, 312.0)),
        ),
        clouds=Clouds(
            haze=share(0.4, 0.6),
            cumulus=share(0.6, 0.6),
            deck=share(0.4, 0.7),
            cirrus=share(0.5, 0.7),
            cumulus_height_m=float(draw.uniform(700.0, 3000.0)),
            cumulus_size_m=float(np.exp(draw.uniform(np.log(800.0), np.log(9000.0)))),
            street=float(draw.uniform(0.0, 1.0)),
            deck_height_m=float(draw.uniform(1200.0, 10_500.0)),
            cirrus_height_m=float(draw.uniform(7000.0, 12_000.0)),
            wind_azimuth_deg=float(draw.uniform(0.0, 360.0)),
            grain=drawn_grain(draw),
            dryness=drawn_dryness(draw),
        ),
    )


def drawn_grain(draw: np.random.Generator) -> float:
    """Draw a `Clouds.grain`: thick ice cloud turns back 0.12 to 0.3 at 1.6 micrometres, water cloud 0.3 to 0.75."""
    return float(np.clip(np.exp(draw.normal(-0.2, 0.3)), 0.45, 1.25))


def drawn_dryness(draw: np.random.Generator) -> float:
    """Draw a `Clouds.dryness`."""
    return float(draw.uniform(0.2, 1.0))


@lru_cache(maxsize=2)
def _stored_block(spec: SimulationSpec, rows: tuple[int, int], cols: tuple[int, int]) -> NDArray[np.uint16]:
    """Compute a block once for all its bands (8, H, W): readers of the eight ask for the same block in turn."""
    bands = compute_block(spec, slice(*rows), slice(*cols)).bands
    return np.stack([stored(channel, band) for channel, band in zip(CHANNELS, bands, strict=True)])


def _require_inside(spec: SimulationSpec, rows: slice, cols: slice) -> None:
    for name, part, size_px in (("rows", rows, spec.height_px), ("columns", cols, spec.width_px)):
        if part.step not in (None, 1) or not 0 <= part.start < part.stop <= size_px:
            raise SceneError(f"simulated scene {spec.seed}: {name} {part} are not a block of its {size_px}")


def _threshold(share: float) -> float:
    """Return the number of deviations that a normal field exceeds on that share of the area."""
    return -NormalDist().inv_cdf(min(share, 0.9999)) if share > 0.0 else 99.0


@lru_cache(maxsize=64)
def world_of(spec: SimulationSpec) -> World:
    """Return all that decides the pixels of a scene."""
    land, clouds = spec.land, spec.clouds
    seed = np.uint64(spec.seed)
    azimuth, wind = radians(spec.sun_azimuth_deg), radians(clouds.wind_azimuth_deg)
    ground = Ground(
        seed=seed,
        pixel_m=spec.pixel_size_m,
        reflectance=tinted(seed, land.snow_whiteness, land.snow_grain),
        water_above=-_threshold(land.water),
        dry_above=_threshold(land.dry),
        town_above=_threshold(land.town),
        snow_above=_threshold(land.snow),
        temperature_k=land.temperature_k,
        sunward_east=sin(azimuth),
        sunward_south=-cos(azimuth),
    )
    sky = Sky(
        seed=seed,
        pixel_m=spec.pixel_size_m,
        height_m=(HAZE_HEIGHT_M, clouds.cumulus_height_m, clouds.deck_height_m, clouds.cirrus_height_m),
        haze_above=_threshold(clouds.haze),
        cumulus_above=_threshold(clouds.cumulus),
        deck_above=_threshold(clouds.deck),
        cirrus_above=_threshold(clouds.cirrus),
        cumulus_size_m=clouds.cumulus_size_m,
        street=clouds.street,
        wind_east=sin(wind),
        wind_south=-cos(wind),
    )
    return World(
        seed=seed,
        ground=ground,
        sky=sky,
        sunward=sunward(spec),
        margin_px=MARGIN_SHARE * spec.width_px if spec.wedge else -inf,
        height_px=spec.height_px,
        width_px=spec.width_px,
        vapour_glow=_vapour_glow(seed, land.temperature_k),
        grain=clouds.grain,
        dryness=clouds.dryness,
        sensor_noise=0.0012,
    )


def _vapour_glow(seed: np.uint64, temperature_k: float) -> float:
    """Return the reflectance of the cirrus band above black ground; half of that of white ground.

    The colder the air, the less vapour it holds: snow shows at about 0.2 at 220 K, 0.03 at 255 K, 0.01 at freezing.
    """
    chance = uniform(np.uint64(key(seed, 48)), 0, 0)
    dry = 0.1 * 2.0 ** ((219.0 - temperature_k) / 12.0) if temperature_k < FREEZING_K else 0.0
    return 0.001 + 0.005 * chance**3 + dry * (0.5 + chance)


def sunward(spec: SimulationSpec) -> tuple[float, float]:
    """Return how far a ray to the sun goes east and south for each metre that it rises: from a shadow to its cloud."""
    azimuth, elevation = radians(spec.sun_azimuth_deg), radians(spec.sun_elevation_deg)
    return sin(azimuth) / tan(elevation), -cos(azimuth) / tan(elevation)
