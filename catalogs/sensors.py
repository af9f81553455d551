"""Sensors: which bands an instrument has, what its files are called, and how its numbers become physical units.

Sources of the constants:
    Landsat 8-9 Collection 2 Level-1 Data Format Control Book (LSDS-1822) and the MTL files it describes; formulas in
    the Landsat 8 Data Users Handbook (LSDS-1574), section 5. The reflectance gains are the same for every scene and
    band; the division by sin(sun elevation) is left to the user.
    Landsat 4-9 Collection 2 Level-2 Science Product Guide (LSDS-1619 and LSDS-1618): surface reflectance, temperature.
    Sentinel-2 Products Specification Document: reflectance = (DN + offset) / 10000, offset -1000 since baseline 04.00.
"""

import re
from dataclasses import dataclass, replace
from difflib import get_close_matches
from math import isclose, radians, sin
from types import MappingProxyType
from typing import Literal

from rspipe.catalogs.bands import PHYSICAL_UNIT, Unit
from rspipe.catalogs.errors import SceneError, SourceError
from rspipe.catalogs.scene import Conversion, Linear, Planck

_SUFFIXES = r"(_[1-6]0m)?\.(tiff?|jp2)"
_SINCE_OFFSET = (4, 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class SensorBand:
    """One band of a sensor. `native` is the maker's id, as file names carry it."""

    native: str
    name: str
    resolution_m: float | None = None
    dn: Conversion | None = None
    """Digital number -> physical unit, before the sun's elevation; None where a digital number says nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sensor:
    """A sensor at one processing level; `bands` stand in the order of its multi-band files."""

    name: str
    bands: tuple[SensorBand, ...]
    dn_fill: float | None = None
    """The digital number that means "no data" by the product's specification."""
    dn_needs: Literal["nothing", "sun elevation", "processing baseline"] = "nothing"
    dn_advice: str = "declare unit: reflectance with scale: and offset: in scene.yaml"
    """The way out where a digital number says nothing."""

    def band(self, name: str) -> SensorBand | None:
        """Return the band of that common name, or None."""
        return next((band for band in self.bands if band.name == name), None)

    def band_of_label(self, label: str) -> SensorBand | None:
        """Return the band that a description such as `B2`, `B02`, `Band 2` or `blue` means, or None."""
        text = re.sub(r"^band[ _-]?", "b", label.strip().lower())
        return next((band for band in self.bands if text in {band.name, *_spellings(band.native)}), None)

    def band_of_file(self, file_name: str) -> tuple[str, SensorBand] | None:
        """Return what a per-band file's name says: the scene's part of the name, and the band; None if no band."""
        for band in self.bands:
            ids = "|".join(map(re.escape, sorted(_spellings(band.native))))
            found = re.fullmatch(rf"(?:(?P<scene>.+)[_.-])?(?:{ids}){_SUFFIXES}", file_name, re.IGNORECASE)
            if found:
                return found["scene"] or "", band
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Circumstances:
    """What a conversion depends on beside the sensor: stated by the scene's metadata, never guessed."""

    sun_elevation_deg: float | None = None
    processing_baseline: str | None = None
    offset_applied: bool = False
    """The supplier has already removed Sentinel-2's offset ("harmonised" collections)."""


def sensor_of(name: str) -> Sensor:
    """Return a sensor of `SENSORS` by name.

    Raises:
        SourceError: there is none of that name.
    """
    if name in SENSORS:
        return SENSORS[name]
    near = get_close_matches(name, SENSORS, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    raise SourceError(f"unknown sensor {name!r}{hint} Known sensors: {', '.join(SENSORS)}")


def conversion_of(sensor: Sensor | None, band: str, unit: Unit, circumstances: Circumstances) -> Conversion:
    """Return how stored numbers of a band become `PHYSICAL_UNIT[band]`.

    Args:
        sensor: needed for digital numbers only.
        band: a common name.
        unit: what the stored numbers are.
        circumstances: what the scene's metadata says.

    Raises:
        SceneError: the unit does not belong to the band, or a digital number lacks what its formula needs.
    """
    physical = PHYSICAL_UNIT[band]
    if unit is Unit.DN:
        return _of_digital_number(sensor, band, circumstances)
    if unit is physical:
        return Linear(scale=1.0, offset=0.0)
    if unit is Unit.CELSIUS and physical is Unit.KELVIN:
        return Linear(scale=1.0, offset=273.15)
    raise SceneError(f"band {band!r} is measured in {physical}, but its numbers are declared as {unit}")


def agrees_with_tags(conversion: Conversion, scale: float, offset: float) -> bool:
    """Tell whether a file's own scale and offset tags say the same as a sensor's table."""
    gain = conversion.scale if isinstance(conversion, Linear) else conversion.gain
    return isclose(gain, scale, rel_tol=1e-3) and isclose(conversion.offset, offset, rel_tol=1e-3, abs_tol=1e-6)


def _of_digital_number(sensor: Sensor | None, band: str, circumstances: Circumstances) -> Conversion:
    if sensor is None:
        raise SceneError(
            f"band {band!r} holds digital numbers of an unknown sensor; say --sensor NAME or sensor: in scene.yaml"
        )
    entry = sensor.band(band)
    if entry is None:
        known = ", ".join(item.name for item in sensor.bands)
        raise SceneError(f"sensor {sensor.name} has no band {band!r}, only {known}")
    if entry.dn is None:
        raise SceneError(
            f"band {band!r} holds digital numbers, which have no physical meaning for sensor {sensor.name}; "
            f"{sensor.dn_advice}"
        )
    if sensor.dn_needs == "sun elevation" and isinstance(entry.dn, Linear):
        return _under_the_sun(sensor, entry.dn, circumstances.sun_elevation_deg)
    if sensor.dn_needs == "processing baseline" and isinstance(entry.dn, Linear):
        return _of_baseline(sensor, entry.dn, circumstances)
    return entry.dn


def _under_the_sun(sensor: Sensor, dn: Linear, sun_elevation_deg: float | None) -> Linear:
    if sun_elevation_deg is None:
        raise SceneError(
            f"found {sensor.name} digital numbers but no sun elevation, which their reflectance needs; "
            "put SUN_ELEVATION of the MTL file into scene.yaml as sun_elevation_deg:"
        )
    if not 0 < sun_elevation_deg <= 90:
        raise SceneError(f"sun_elevation_deg: {sun_elevation_deg} found, more than 0 and at most 90 is needed")
    height = sin(radians(sun_elevation_deg))
    return Linear(scale=dn.scale / height, offset=dn.offset / height)


def _of_baseline(sensor: Sensor, dn: Linear, circumstances: Circumstances) -> Linear:
    if circumstances.offset_applied:
        return replace(dn, offset=0.0)
    baseline = circumstances.processing_baseline
    if baseline is None:
        raise SceneError(
            f"found {sensor.name} digital numbers but no processing baseline, which decides on their offset; "
            'put PROCESSING_BASELINE of the product into scene.yaml as processing_baseline: "NN.NN"'
        )
    found = re.fullmatch(r"([0-9]{2})\.([0-9]{2})", baseline)
    if not found:
        raise SceneError(f'processing_baseline: {baseline!r} found, two digits, a dot, two digits ("04.00") needed')
    return dn if (int(found[1]), int(found[2])) >= _SINCE_OFFSET else replace(dn, offset=0.0)


def _spellings(native: str) -> set[str]:
    """Return `b2` and `b02` for `B2`: makers and repackagers disagree on the zero."""
    letters, digits, rest = re.fullmatch(r"([A-Z_]+)([0-9]*)([A-Z]?)", native).groups()  # type: ignore[union-attr]
    if not digits:
        return {native.lower()}
    return {f"{letters}{int(digits)}{rest}".lower(), f"{letters}{int(digits):02d}{rest}".lower()}


def _bands(rows: str, dn: Conversion | None = None) -> tuple[SensorBand, ...]:
    """Read rows of `native name resolution`, separated by commas; all share one conversion."""
    entries = (row.split() for row in rows.split(","))
    return tuple(
        SensorBand(native=native, name=name, resolution_m=float(size[0]) if size else None, dn=dn)
        for native, name, *size in entries
    )


def _thermal(native: str, name: str, planck: Planck) -> SensorBand:
    return SensorBand(native=native, name=name, resolution_m=30.0, dn=planck)


_OLI = (
    "B1 coastal 30, B2 blue 30, B3 green 30, B4 red 30, B5 nir 30, B6 swir16 30, B7 swir22 30, B8 pan 15, B9 cirrus 30"
)
_OLI_BANDS = _bands(_OLI, Linear(scale=2e-5, offset=-0.1))
_L2_SR = Linear(scale=2.75e-5, offset=-0.2)
_L2_ST = Linear(scale=0.00341802, offset=149.0)
_OLI_L2_BANDS = (
    *_bands("SR_B1 coastal 30, SR_B2 blue 30, SR_B3 green 30, SR_B4 red 30", _L2_SR),
    *_bands("SR_B5 nir 30, SR_B6 swir16 30, SR_B7 swir22 30", _L2_SR),
    *_bands("ST_B10 lwir11 30", _L2_ST),
)
_ETM_L2_BANDS = (
    *_bands("SR_B1 blue 30, SR_B2 green 30, SR_B3 red 30, SR_B4 nir 30, SR_B5 swir16 30, SR_B7 swir22 30", _L2_SR),
    *_bands("ST_B6 lwir11 30", _L2_ST),
)
_MSI = (
    "B1 coastal 60, B2 blue 10, B3 green 10, B4 red 10, B5 rededge071 20, B6 rededge075 20, B7 rededge078 20, "
    "B8 nir 10, B8A nir08 20, B9 nir09 60, B10 cirrus 60, B11 swir16 20, B12 swir22 20"
)
_MSI_BANDS = _bands(_MSI, Linear(scale=1e-4, offset=-0.1))
_MTL_ADVICE = (
    "their gains differ by scene and stand in its MTL file: convert to top-of-atmosphere reflectance first and "
    "declare unit: reflectance in scene.yaml"
)

SENSORS = MappingProxyType(
    {
        sensor.name: sensor
        for sensor in (
            Sensor(
                name="landsat8",
                bands=(
                    *_OLI_BANDS,
                    _thermal("B10", "lwir11", Planck(gain=3.342e-4, offset=0.1, k1=774.8853, k2=1321.0789)),
                    _thermal("B11", "lwir12", Planck(gain=3.342e-4, offset=0.1, k1=480.8883, k2=1201.1442)),
                ),
                dn_fill=0,
                dn_needs="sun elevation",
            ),
            Sensor(
                name="landsat9",
                bands=(
                    *_OLI_BANDS,
                    _thermal("B10", "lwir11", Planck(gain=3.8e-4, offset=0.1, k1=799.0284, k2=1329.2405)),
                    _thermal("B11", "lwir12", Planck(gain=3.49e-4, offset=0.1, k1=475.6581, k2=1198.3494)),
                ),
                dn_fill=0,
                dn_needs="sun elevation",
            ),
            Sensor(name="landsat8-l2", bands=_OLI_L2_BANDS, dn_fill=0),
            Sensor(name="landsat9-l2", bands=_OLI_L2_BANDS, dn_fill=0),
            Sensor(
                name="landsat7",
                bands=_bands("B1 blue 30, B2 green 30, B3 red 30, B4 nir 30, B5 swir16 30, B7 swir22 30, B8 pan 15"),
                dn_fill=0,
                dn_advice=_MTL_ADVICE,
            ),
            Sensor(name="landsat7-l2", bands=_ETM_L2_BANDS, dn_fill=0),
            Sensor(name="sentinel2", bands=_MSI_BANDS, dn_fill=0, dn_needs="processing baseline"),
            Sensor(
                name="sentinel2-l2a",
                bands=tuple(band for band in _MSI_BANDS if band.name != "cirrus"),
                dn_fill=0,
                dn_needs="processing baseline",
            ),
            Sensor(name="rgb", bands=_bands("R red, G green, B blue")),
            Sensor(name="rgbn", bands=_bands("R red, G green, B blue, N nir")),
        )
    }
)
"""The one table of sensors, by name."""
