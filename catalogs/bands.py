"""Bands by their STAC common names, and the physical unit that each is measured in."""

from enum import StrEnum
from types import MappingProxyType


class Unit(StrEnum):
    """What the numbers of a raster mean before any conversion."""

    DN = "dn"
    REFLECTANCE = "reflectance"
    KELVIN = "kelvin"
    CELSIUS = "celsius"


PHYSICAL_UNIT = MappingProxyType(
    dict.fromkeys(
        (
            "coastal", "blue", "green", "yellow", "red", "pan",
            "rededge071", "rededge075", "rededge078", "nir", "nir08", "nir09",
            "cirrus", "swir16", "swir22",
        ),
        Unit.REFLECTANCE,
    )
    | dict.fromkeys(("lwir11", "lwir12"), Unit.KELVIN)
)  # fmt: skip
"""Common name -> the unit a model sees it in: top-of-atmosphere reflectance, or brightness temperature in kelvin.

Names follow the STAC `eo` extension, version 1.1 (https://github.com/stac-extensions/eo).
"""

_UNIT_TAGS = {
    "dn": Unit.DN,
    "reflectance": Unit.REFLECTANCE,
    "k": Unit.KELVIN,
    "kelvin": Unit.KELVIN,
    "c": Unit.CELSIUS,
    "degc": Unit.CELSIUS,
    "celsius": Unit.CELSIUS,
}


def unit_of_tag(tag: str) -> Unit | None:
    """Return the unit that a file's tag means, None if it is unsaid or unknown."""
    return _UNIT_TAGS.get(tag.strip().lower())
