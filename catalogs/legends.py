"""Legends: what the ids of a class raster mean, and how they are painted."""

from dataclasses import dataclass

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
        known = ", ".join(entry.name for entry in self.classes)
        raise SourceError(f"legend {self.name!r} has no class {name!r}; it has {known}")
