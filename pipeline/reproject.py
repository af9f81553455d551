"""Polygons from one CRS to another, with edges that stay where they were and neighbours that still touch."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray
from pyproj import CRS, Transformer

from rspipe.catalogs.scene import Grid
from rspipe.pipeline.errors import ConfigError

EARTH_RADIUS_M = 6_371_008.8
MOST_SAG_PX = 0.01
"""A straight edge may leave the true curve by this much of a pixel."""
LATTICE = 33
_HALF_TURN_DEG = 180.0

Geometries = NDArray[np.object_]


@dataclass(frozen=True, slots=True)
class Reprojection:
    """From `source_wkt` to `target_wkt`; `longest` is the longest edge that is kept whole, in units of the source."""

    source_wkt: str
    target_wkt: str
    longest: float

    def apply(self, geometries: Geometries) -> Geometries:
        """Return the geometries in the target CRS; those across the 180th meridian are split there.

        Raises:
            ConfigError: the target CRS has no coordinates for them.
        """
        if same_crs(self.source_wkt, self.target_wkt):
            return geometries
        target = CRS.from_wkt(self.target_wkt)
        transformer = Transformer.from_crs(CRS.from_wkt(self.source_wkt), target, always_xy=True)
        dense = densify(geometries, self.longest)
        moved = shapely.transform(dense, lambda points: np.column_stack(transformer.transform(*points.T)))
        if not np.isfinite(shapely.get_coordinates(moved)).all():
            found = f"{target.name} cannot hold a scene that lies in {CRS.from_wkt(self.source_wkt).name}"
            raise ConfigError(f"output.crs: {found}; choose a CRS that covers all scenes")
        return split_at_dateline(moved) if target.is_geographic else moved


def holds(target: CRS, grid: Grid) -> bool:
    """Tell whether a CRS has coordinates for a whole grid, judged by `LATTICE` x `LATTICE` of its points."""
    share = np.linspace(0, 1, LATTICE)
    left, top = grid.transform @ (0, 0)
    right, bottom = grid.transform @ (grid.width_px, grid.height_px)
    x, y = np.meshgrid(left + (right - left) * share, top + (bottom - top) * share)
    there = Transformer.from_crs(CRS.from_wkt(grid.crs_wkt), target, always_xy=True).transform(x, y)
    return bool(np.isfinite(there).all())


def same_crs(first_wkt: str, second_wkt: str) -> bool:
    """Tell whether two CRSs give the same coordinates, axis order aside (it is always x, y here)."""
    return first_wkt == second_wkt or CRS.from_wkt(first_wkt).equals(CRS.from_wkt(second_wkt), ignore_axis_order=True)


def longest_edge(crs_wkt: str, pixel: float) -> float:
    """Return how long an edge may be, in units of the CRS, before its sag on the sphere exceeds `MOST_SAG_PX`.

    The sag of a chord of length L on a circle of radius R is L^2 / 8R.

    Args:
        crs_wkt: CRS of the edge.
        pixel: side of a pixel in units of the CRS.
    """
    crs = CRS.from_wkt(crs_wkt)
    unit_m = math.radians(EARTH_RADIUS_M) if crs.is_geographic else crs.axis_info[0].unit_conversion_factor
    return math.sqrt(8 * EARTH_RADIUS_M * MOST_SAG_PX * pixel * unit_m) / unit_m


def densify(geometries: Geometries, longest: float) -> Geometries:
    """Cut every edge longer than `longest` into equal pieces.

    Both polygons at a shared edge get the same points, bit for bit: an edge is cut from its lesser end, whichever way
    a ring runs through it (`shapely.segmentize` cuts in the direction of the ring, and rounds differently).
    """
    kind, points, offsets = shapely.to_ragged_array(geometries)
    if not len(points):
        return geometries
    rings = offsets[0]
    starts, ends = points[:-1], points[1:]
    pieces = np.maximum(1, np.ceil(np.hypot(*(ends - starts).T) / longest)).astype(np.int64)
    pieces[rings[1:-1] - 1] = 1
    before = np.concatenate([[0], np.cumsum(pieces), [pieces.sum() + 1]])
    edge = np.repeat(np.arange(len(pieces)), pieces)
    step = np.arange(len(edge)) - before[edge]
    dense = np.vstack([_points_on(starts[edge], ends[edge], step, pieces[edge]), points[-1:]])
    return np.asarray(shapely.from_ragged_array(kind, dense, (before[rings], *offsets[1:])))


def _points_on(start: Any, end: Any, step: Any, pieces: Any) -> Any:  # noqa: ANN401 - arrays (n, 2), (n, 2), (n,), (n,)
    """Return point `step` of `pieces` on each edge, computed from the edge's lesser end; step 0 is the start itself."""
    swap = (start[:, 0] > end[:, 0]) | ((start[:, 0] == end[:, 0]) & (start[:, 1] > end[:, 1]))
    low, high = np.where(swap[:, None], end, start), np.where(swap[:, None], start, end)
    share = np.where(swap, pieces - step, step) / pieces
    return np.where(step[:, None] == 0, start, low + (high - low) * share[:, None])


def split_at_dateline(geometries: Geometries) -> Geometries:
    """Cut geographic polygons that reach across the 180th meridian, so that no edge runs around the globe.

    A polygon is taken to cross when its longitudes, read naively, span more than half a turn.
    """
    bounds = shapely.bounds(geometries)
    crossing = np.flatnonzero(bounds[:, 2] - bounds[:, 0] > _HALF_TURN_DEG)
    split = geometries.copy()
    for index in crossing:
        split[index] = _split(geometries[index])
    return split


def _split(geometry: shapely.Geometry) -> shapely.Geometry:
    unrolled = shapely.transform(
        geometry,
        lambda points: np.column_stack([np.where(points[:, 0] < 0, points[:, 0] + 360, points[:, 0]), points[:, 1]]),
    )
    west = shapely.intersection(unrolled, shapely.box(0, -90, _HALF_TURN_DEG, 90))
    east = shapely.intersection(unrolled, shapely.box(_HALF_TURN_DEG, -90, 360, 90))
    back = shapely.transform(east, lambda points: points - [360.0, 0.0])
    parts = [part for side in (west, back) for part in shapely.get_parts(side) if part.geom_type == "Polygon"]
    return shapely.multipolygons(parts)
