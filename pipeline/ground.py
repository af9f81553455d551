"""True sizes on the ground: areas of a grid's pixels and lengths of their edges, whatever the projection does."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from rspipe.catalogs.compiled import compiled, kept
from rspipe.catalogs.scene import Grid
from rspipe.pipeline.errors import SceneFailedError

if TYPE_CHECKING:
    from pyproj import CRS, Geod

TOLERANCE = 1e-7
"""Largest relative error of what is interpolated between the nodes of a lattice."""
_FIRST_CELLS = 2
_FINENESS = 24
"""Sizes are whole multiples of 2^-24 of about one pixel: sums of them are exact, so they do not depend on any order."""
_NEAREST_TO_POLE_RAD = math.pi / 2 - 1e-5
"""PROJ, too, takes derivatives no nearer to a pole, where longitudes end."""

Positions = NDArray[np.float64]
Sizes = NDArray[np.float64]
SizeAt = Callable[[Positions, Positions], Sizes]
"""Sizes at the crossings of rows and columns, in pixels from the grid's upper left corner: (r,), (c,) -> (r, c)."""


class Lattice(NamedTuple):
    """A smooth size known at some rows and columns, bilinear between them; read it by `fill_row`.

    rows, columns: ascending indices, the first 0, the last that of the last row or column.
    values: sizes at their crossings, in m or m2.
    unit: a power of two, in m or m2; what `fill_row` gives are whole multiples of it.
    """

    rows: NDArray[np.int64]
    columns: NDArray[np.int64]
    values: Sizes
    unit: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Ground:
    """True sizes of everything a class raster of H x W pixels is made of, on the ellipsoid of its CRS.

    The relative error of one size stays below 2e-7 for projected CRSs. For geographic ones areas and edges along
    parallels are exact; edges along meridians are those of the middle latitude (below 1e-6 for pixels up to 2 degrees).
    """

    areas: Lattice
    """Areas of the H x W pixels."""
    level: Lattice
    """Lengths of the (H + 1) x W edges that run along rows; edge (r, c) is the upper one of pixel (r, c)."""
    upright: Lattice
    """Lengths of the H x (W + 1) edges that run along columns; edge (r, c) is the left one of pixel (r, c)."""

    @property
    def middle_pixel_m2(self) -> float:
        """Area of the pixel in the middle of the grid."""
        row, column = (int(self.areas.rows[-1]) + 1) // 2, (int(self.areas.columns[-1]) + 1) // 2
        line = np.empty(int(self.areas.columns[-1]) + 1, np.int64)
        fill_row(self.areas, min(row, int(self.areas.rows[-1])), self.areas.unit, line)
        return float(line[min(column, line.size - 1)]) * self.areas.unit


@kept
def fill_row(lattice: Lattice, row: int, unit: float, line: NDArray[np.int64]) -> None:
    """Write the sizes of one row, in whole multiples of `unit`, into `line`, one per column of the lattice."""
    above = int(np.searchsorted(lattice.rows, row, side="right")) - 1
    below = min(above + 1, lattice.rows.size - 1)
    share = (row - lattice.rows[above]) / max(lattice.rows[below] - lattice.rows[above], 1)
    for cell in range(lattice.columns.size):
        following = min(cell + 1, lattice.columns.size - 1)
        first, stop = lattice.columns[cell], max(lattice.columns[following], lattice.columns[cell] + 1)
        west, east = lattice.values[above, cell], lattice.values[above, following]
        west += share * (lattice.values[below, cell] - west)
        east += share * (lattice.values[below, following] - east)
        slope = (east - west) / (stop - first)
        for column in range(first, stop):
            line[column] = np.int64(np.rint((west + slope * (column - first)) / unit))


@kept
def add_edges(
    lattices: tuple[Lattice, Lattice], first: NDArray[np.int64], points: NDArray[np.int32], lengths: NDArray[np.int64]
) -> None:
    """Add up the lengths of the pixel edges that lines run along, in whole multiples of the lattices' own units.

    Args:
        lattices: `Ground.level` and `Ground.upright`.
        first: (n + 1,): the points of line i are first[i] .. first[i + 1].
        points: (p, 2): rows and columns of pixel corners, each right above, below or beside the one before.
        lengths: (2, n): level and upright length of each line; what is found is added.
    """
    for line in range(lengths.shape[1]):
        for place in range(first[line], first[line + 1] - 1):
            row, column = points[place]
            next_row, next_column = points[place + 1]
            for edge in range(min(column, next_column), max(column, next_column)):
                lengths[0, line] += _size_at(lattices[0], row, edge)
            for edge in range(min(row, next_row), max(row, next_row)):
                lengths[1, line] += _size_at(lattices[1], edge, column)


@compiled
def _size_at(lattice: Lattice, row: int, column: int) -> int:
    """Return what `fill_row` writes for one column of one row."""
    above = _cell(lattice.rows, row)
    below = min(above + 1, lattice.rows.size - 1)
    share = (row - lattice.rows[above]) / max(lattice.rows[below] - lattice.rows[above], 1)
    cell = _cell(lattice.columns, column)
    following = min(cell + 1, lattice.columns.size - 1)
    first, stop = lattice.columns[cell], max(lattice.columns[following], lattice.columns[cell] + 1)
    west, east = lattice.values[above, cell], lattice.values[above, following]
    west += share * (lattice.values[below, cell] - west)
    east += share * (lattice.values[below, following] - east)
    slope = (east - west) / (stop - first)
    return int(np.int64(np.rint((west + slope * (column - first)) / lattice.unit)))


@compiled
def _cell(nodes: NDArray[np.int64], index: int) -> int:
    """Return the last node that is not behind an index; nodes are spread almost evenly."""
    last = nodes.size - 1
    if last == 0:
        return 0
    cell = min(index * last // nodes[last], last)
    while cell < last and nodes[cell + 1] <= index:
        cell += 1
    while nodes[cell] > index:
        cell -= 1
    return int(cell)


def measure(grid: Grid) -> Ground:
    """Return the true sizes of a grid's pixels and edges.

    Projected CRSs: sizes on the map through the projection's local derivatives (area over the areal scale), taken on a
    lattice that is refined until values between its nodes are predicted within `TOLERANCE`. Geographic CRSs: the closed
    form of the area between parallels (Snyder 1987, equation 3-12) and of arcs of parallels.

    Raises:
        SceneFailedError: the CRS is neither projected nor geographic, or does not reach over the whole grid.
    """
    from pyproj import CRS  # noqa: PLC0415 - a run's first use; `rspipe --help` must not pay for it

    crs = CRS.from_wkt(grid.crs_wkt)
    if crs.is_geographic:
        return _geographic(crs, grid)
    if crs.is_projected:
        return _projected(crs, grid)
    raise SceneFailedError(f"areas need a projected or geographic CRS, found {crs.type_name} {crs.name!r}; reproject")


def _projected(crs: "CRS", grid: Grid) -> Ground:
    height, width = grid.height_px, grid.width_px
    edge_m = _metres(crs) * abs(grid.transform.a), _metres(crs) * abs(grid.transform.e)

    def area(rows: Positions, columns: Positions) -> Sizes:
        return edge_m[0] * edge_m[1] / abs(_scales(crs, grid, rows, columns).areal)

    def level(rows: Positions, columns: Positions) -> Sizes:
        scales = _scales(crs, grid, rows, columns)
        return edge_m[0] * np.hypot(scales.y_east, scales.y_north) / abs(scales.areal)

    def upright(rows: Positions, columns: Positions) -> Sizes:
        scales = _scales(crs, grid, rows, columns)
        return edge_m[1] * np.hypot(scales.x_east, scales.x_north) / abs(scales.areal)

    return Ground(
        areas=_refined(height, width, lambda rows, columns: area(rows + 0.5, columns + 0.5)),
        level=_refined(height + 1, width, lambda rows, columns: level(rows, columns + 0.5)),
        upright=_refined(height, width + 1, lambda rows, columns: upright(rows + 0.5, columns)),
    )


def _metres(crs: "CRS") -> float:
    """Return the metres in one unit of a projected CRS."""
    return float(crs.axis_info[0].unit_conversion_factor)


class _Scales(NamedTuple):
    """Derivatives of map coordinates by distances on the ground, and their determinant; all without unit."""

    x_east: Sizes
    x_north: Sizes
    y_east: Sizes
    y_north: Sizes

    @property
    def areal(self) -> Sizes:
        return self.x_east * self.y_north - self.x_north * self.y_east


def _scales(crs: "CRS", grid: Grid, rows: Positions, columns: Positions) -> _Scales:
    """Return the projection's derivatives at crossings of rows and columns.

    PROJ differentiates by angles on a body of radius 1; the arcs of these angles are those of the CRS's own ellipsoid,
    which is not always the one that the projection computes on (Web Mercator).
    """
    from pyproj import Proj  # noqa: PLC0415 - see `measure`

    projection = Proj(crs)
    x, y = np.meshgrid(grid.transform.c + grid.transform.a * columns, grid.transform.f + grid.transform.e * rows)
    longitude, latitude = projection(x, y, inverse=True)
    limit = math.degrees(_NEAREST_TO_POLE_RAD)
    factors = projection.get_factors(longitude, np.clip(latitude, -limit, limit))
    meridian, parallel = _radii(crs, np.radians(np.clip(latitude, -limit, limit)))
    derivatives = [factors.dx_dlam / parallel, factors.dx_dphi / meridian]
    derivatives += [factors.dy_dlam / parallel, factors.dy_dphi / meridian]
    if not all(np.isfinite(derivative).all() for derivative in derivatives):
        raise SceneFailedError(f"the grid reaches beyond what CRS {crs.name!r} can map; crop or reproject the scene")
    return _Scales(*derivatives)


def _radii(crs: "CRS", latitude_rad: Positions) -> tuple[Sizes, Sizes]:
    """Return the radii of curvature along the meridian and of the parallel, over the semi-major axis."""
    flatness = _ellipsoid(crs).es
    root = np.sqrt(1.0 - flatness * np.sin(latitude_rad) ** 2)
    return (1.0 - flatness) / root**3, np.cos(latitude_rad) / root


def _ellipsoid(crs: "CRS") -> "Geod":
    geod = crs.get_geod()
    if geod is None:
        raise SceneFailedError(f"areas need a CRS with an ellipsoid, {crs.name!r} has none; reproject the scene")
    return geod


def _refined(height: int, width: int, size_at: SizeAt) -> Lattice:
    """Return the lattice over height x width indices whose halved cells would not change it by `TOLERANCE`."""
    cells = _FIRST_CELLS
    coarse = _lattice(_spread(height, cells), _spread(width, cells), size_at)
    while coarse.rows.size < height or coarse.columns.size < width:
        cells *= 2
        fine = _lattice(_spread(height, cells), _spread(width, cells), size_at)
        if abs(_predicted(coarse, fine) / fine.values - 1.0).max() < TOLERANCE:
            return fine
        coarse = fine
    return coarse


def _spread(length: int, cells: int) -> NDArray[np.int64]:
    return np.unique(np.rint(np.linspace(0, length - 1, cells + 1)).astype(np.int64))


def _lattice(rows: NDArray[np.int64], columns: NDArray[np.int64], size_at: SizeAt) -> Lattice:
    values = size_at(rows.astype(np.float64), columns.astype(np.float64))
    unit = 2.0 ** (math.floor(math.log2(float(values.max()))) - _FINENESS)
    return Lattice(rows, columns, values, unit)


def _predicted(coarse: Lattice, fine: Lattice) -> Sizes:
    lines = np.array([np.interp(fine.columns, coarse.columns, line) for line in coarse.values])
    return np.array([np.interp(fine.rows, coarse.rows, line) for line in lines.T]).T


def _geographic(crs: "CRS", grid: Grid) -> Ground:
    radian = float(crs.axis_info[0].unit_conversion_factor)
    axis_m = _ellipsoid(crs).a
    wide, high = grid.transform.a * radian, -grid.transform.e * radian
    # A global grid of pixels centred on the poles reaches half a pixel beyond them, where there is no ground.
    borders = np.clip((grid.transform.f + grid.transform.e * np.arange(grid.height_px + 1)) * radian, *_POLES)
    strips = axis_m**2 * wide * -np.diff(_area_from_equator(crs, borders))
    arcs = axis_m * wide * _radii(crs, borders)[1]
    middles = (borders[:-1] + borders[1:]) / 2
    rises = axis_m * high * _radii(crs, middles)[0]
    return Ground(
        areas=_by_rows(strips, grid.width_px),
        level=_by_rows(arcs, grid.width_px),
        upright=_by_rows(rises, grid.width_px + 1),
    )


_POLES = (-math.pi / 2, math.pi / 2)


def _area_from_equator(crs: "CRS", latitude_rad: Positions) -> Sizes:
    """Return the area per radian of longitude between the equator and a parallel, over the squared semi-major axis."""
    flatness, sine = _ellipsoid(crs).es, np.sin(latitude_rad)
    if flatness == 0.0:
        return sine
    eccentricity = math.sqrt(flatness)
    bulge = sine / (1.0 - flatness * sine**2) + np.arctanh(eccentricity * sine) / eccentricity
    return (1.0 - flatness) / 2.0 * bulge


def _by_rows(values: Sizes, width: int) -> Lattice:
    columns = np.unique([0, width - 1]).astype(np.int64)

    def size_at(rows: Positions, columns: Positions) -> Sizes:
        return np.repeat(values[rows.astype(np.int64)][:, None], columns.size, axis=1)

    return _lattice(np.arange(values.size, dtype=np.int64), columns, size_at)
