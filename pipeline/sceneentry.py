"""One scene of a run, as the run's own layers show it."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from rspipe.catalogs.scene import Grid
from rspipe.pipeline.polygonfile import PolygonFile


@dataclass(frozen=True, slots=True, kw_only=True)
class SceneEntry:
    """What became of a scene."""

    scene_id: str
    folder: str
    """Where its rasters lie, relative to the GeoPackage."""
    acquired_at: datetime | None
    reason: str
    """Why it failed; empty for a published scene."""
    grid: Grid | None
    """None if the scene failed before its grid was known."""
    polygons: PolygonFile | None
    """None for a failed scene."""
    areas_m2: Mapping[int, float]
    """Class id to ground area."""

    @property
    def acquired_utc(self) -> datetime | None:
        """`acquired_at` in UTC; a time without a zone is taken as UTC."""
        moment = self.acquired_at
        return None if moment is None else moment.replace(tzinfo=moment.tzinfo or UTC).astimezone(UTC)
