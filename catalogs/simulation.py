"""What a simulated scene is asked to be: numbers alone, so that it can be written into a key or a file."""

from dataclasses import dataclass, field, fields

from rspipe.catalogs.errors import SourceError

VERSION = 2
"""Part of every key: raised when the same specification would give other pixels."""
CHANNELS = ("blue", "green", "red", "nir", "swir16", "swir22", "cirrus", "lwir11")
"""The bands of every simulated scene, in the order in which they are computed."""


def _require(name: str, value: float, low: float, high: float) -> None:
    if not low <= value <= high:
        raise SourceError(f"simulated scene: {name} is {value}; it must lie in {low:g} .. {high:g}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Land:
    """The ground. Shares are of the area that a very large scene would have; 0 switches a cover off."""

    water: float = 0.25
    dry: float = 0.2
    town: float = 0.08
    snow: float = 0.01
    temperature_k: float = 292.0
    """Of a meadow; the other covers are warmer or colder than that. Below freezing the air is dry, and the cirrus band
    sees the ground."""
    snow_grain: float = 1.0
    """Factor on the shortwave infrared reflectance of snow: fine grains turn back more of it than coarse ones."""
    snow_whiteness: float = 1.0
    """Factor on all bands of snow: bare, wet or dirty ice is grey."""

    def __post_init__(self) -> None:
        for name in ("water", "dry", "town", "snow"):
            _require(f"land.{name}", getattr(self, name), 0.0, 1.0)
        _require("land.temperature_k", self.temperature_k, 220.0, 320.0)
        _require("land.snow_grain", self.snow_grain, 0.1, 4.0)
        _require("land.snow_whiteness", self.snow_whiteness, 0.1, 1.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Clouds:
    """The sky. Shares are of the area that a very large scene would have; 0 switches a layer off."""

    haze: float = 0.15
    cumulus: float = 0.2
    deck: float = 0.08
    cirrus: float = 0.2
    cumulus_height_m: float = 1600.0
    cumulus_size_m: float = 3200.0
    """Wavelength of the coarsest cells."""
    street: float = 0.4
    """0: cumulus stands in groups; 1: in streets along the wind."""
    deck_height_m: float = 3200.0
    cirrus_height_m: float = 9500.0
    wind_azimuth_deg: float = 70.0
    grain: float = 1.0
    """Factor on their shortwave infrared reflectance: large drops and crystals turn back less of it than small ones."""
    dryness: float = 1.0
    """Factor on what the cirrus band sees of them: vapour above takes the rest."""

    def __post_init__(self) -> None:
        for name in ("haze", "cumulus", "deck", "cirrus", "street"):
            _require(f"clouds.{name}", getattr(self, name), 0.0, 1.0)
        for name in ("cumulus_height_m", "deck_height_m", "cirrus_height_m"):
            _require(f"clouds.{name}", getattr(self, name), 100.0, 18_000.0)
        _require("clouds.cumulus_size_m", self.cumulus_size_m, 300.0, 50_000.0)
        _require("clouds.wind_azimuth_deg", self.wind_azimuth_deg, 0.0, 360.0)
        _require("clouds.grain", self.grain, 0.1, 1.6)
        _require("clouds.dryness", self.dryness, 0.0, 1.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulationSpec:
    """One simulated scene.

    Raises:
        SourceError: a number is out of its range; the message names it.
    """

    seed: int = 0
    height_px: int = 2048
    width_px: int = 2048
    pixel_size_m: float = 30.0
    sun_elevation_deg: float = 42.0
    sun_azimuth_deg: float = 150.0
    wedge: bool = True
    """Leave the corners beyond a slanting swath edge without data."""
    land: Land = field(default_factory=Land)
    clouds: Clouds = field(default_factory=Clouds)

    def __post_init__(self) -> None:
        _require("seed", self.seed, 0, 2**63 - 1)
        _require("height_px", self.height_px, 1, 10_000_000)
        _require("width_px", self.width_px, 1, 10_000_000)
        _require("pixel_size_m", self.pixel_size_m, 10.0, 500.0)
        _require("sun_elevation_deg", self.sun_elevation_deg, 10.0, 90.0)
        _require("sun_azimuth_deg", self.sun_azimuth_deg, 0.0, 360.0)
        for entry in fields(self):
            if entry.name.endswith("_px") or entry.name == "seed":
                value = getattr(self, entry.name)
                if not isinstance(value, int):
                    raise SourceError(f"simulated scene: {entry.name} is {value!r}; it must be a whole number")
