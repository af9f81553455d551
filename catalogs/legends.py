"""Legends: what the ids of a class raster mean, and how they are painted."""

from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from types import MappingProxyType

from rspipe.catalogs.errors import SourceError

NODATA_ID = 255
"""Never a class: a pixel without a decision."""


@dataclass(frozen=True, slots=True)
class LegendClass:
    """One class. `colour` is 0xRRGGBB written as `#rrggbb`."""

    id: int
    name: str
    colour: str


@dataclass(frozen=True, slots=True)
class Legend:
    """The classes of one task; ids run from 0 without a gap."""

    name: str
    classes: tuple[LegendClass, ...]

    def __post_init__(self) -> None:
        ids = [entry.id for entry in self.classes]
        if ids != list(range(len(ids))) or not ids or len(ids) > NODATA_ID:
            raise SourceError(f"legend {self.name!r}: ids must run 0, 1, 2, ... below {NODATA_ID}, found {ids}")

    def by_name(self, name: str) -> LegendClass:
        """Return the class of that name.

        Raises:
            SourceError: there is none.
        """
        for entry in self.classes:
            if entry.name == name:
                return entry
        known = [entry.name for entry in self.classes]
        raise SourceError(
            f"legend {self.name!r} has no class {name!r}; {_nearest(name, known)}it has {', '.join(known)}"
        )


def legend_of(name: str) -> Legend:
    """Return a legend of `LEGENDS` by name.

    Raises:
        SourceError: there is none of that name.
    """
    if name in LEGENDS:
        return LEGENDS[name]
    raise SourceError(f"unknown legend {name!r}; {_nearest(name, list(LEGENDS))}known legends: {', '.join(LEGENDS)}")


def _nearest(name: str, known: list[str]) -> str:
    near = get_close_matches(name, known, n=1)
    return f"did you mean {near[0]!r}? " if near else ""


def _legend(name: str, *rows: tuple[str, str]) -> Legend:
    """Number rows of (name, colour) from 0."""
    return Legend(name, tuple(LegendClass(number, *row) for number, row in enumerate(rows)))


LEGENDS: Mapping[str, Legend] = MappingProxyType(
    {
        legend.name: legend
        for legend in (
            _legend(
                "cloud-thickness",
                ("clear", "#8cb369"),
                ("thin cloud", "#9ecae1"),
                ("thick cloud", "#3182bd"),
                ("cloud shadow", "#4a3f35"),
            ),
            _legend(
                "loveda",
                ("background", "#ffffff"),
                ("building", "#ff0000"),
                ("road", "#ffff00"),
                ("water", "#0000ff"),
                ("barren", "#9f81b7"),
                ("forest", "#00ff00"),
                ("agriculture", "#ffc380"),
            ),
            _legend(
                "uavid",
                ("background clutter", "#000000"),
                ("building", "#800000"),
                ("road", "#804080"),
                ("tree", "#008000"),
                ("low vegetation", "#808000"),
                ("moving car", "#400080"),
                ("static car", "#c000c0"),
                ("human", "#404000"),
            ),
            _legend(
                "isprs",
                ("impervious surface", "#ffffff"),
                ("building", "#0000ff"),
                ("low vegetation", "#00ffff"),
                ("tree", "#00ff00"),
                ("car", "#ffff00"),
                ("clutter", "#ff0000"),
            ),
            _legend(
                "nlcd",
                ("water", "#466b9f"),
                ("developed", "#ab0000"),
                ("barren", "#b3ac9f"),
                ("forest", "#68ab5f"),
                ("shrubland", "#ccb879"),
                ("herbaceous", "#dfdfc2"),
                ("cultivated", "#ab6c28"),
                ("wetlands", "#b8d9eb"),
            ),
        )
    }
)
"""The legends by name. Colours: our own for clouds; for the others those of the data sets' makers
(LoveDA, arXiv:2110.08733; UAVid, arXiv:1810.10438; ISPRS 2D Semantic Labeling Contest; NLCD, www.mrlc.gov)."""

SOURCE_IDS: Mapping[str, Mapping[int, int]] = MappingProxyType(
    {
        "loveda": MappingProxyType({0: NODATA_ID} | {number: number - 1 for number in range(1, 8)}),
        "nlcd": MappingProxyType({number: number - 1 for number in range(1, 9)}),
    }
)
"""Legend -> id in its makers' masks -> id in ours, where they differ: both start at 1, and LoveDA's 0 is "no data".

The numbers of `nlcd` are those of the grouped classes, not the two-digit codes of the full product.
"""
