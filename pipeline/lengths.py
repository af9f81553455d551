"""How long arcs are on the ground."""

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray
from pyproj import CRS, Geod, Transformer

from rspipe.catalogs.scene import Grid
from rspipe.pipeline.errors import SceneFailedError
from rspipe.pipeline.stitch import Arcs

_BATCH_POINTS = 1_000_000


def arc_lengths_m(arcs: Arcs, grid: Grid) -> NDArray[np.float64]:
    """Return (n,): the length of each arc along geodesics between its points.

    Raises:
        SceneFailedError: the CRS has no ellipsoid.
    """
    measure = _Ruler.of(grid)
    lengths_m = np.empty(len(arcs), np.float64)
    until = np.cumsum(arcs.sizes)
    first = 0
    while first < len(arcs):
        done = until[first] - arcs.sizes[first]
        stop = max(first + 1, int(np.searchsorted(until, done + _BATCH_POINTS, side="right")))
        sizes, begins = arcs.sizes[first:stop], until[first:stop] - arcs.sizes[first:stop] - done
        places = np.arange(until[stop - 1] - done) + np.repeat(arcs.starts[first:stop] - begins, sizes)
        steps_m = measure(arcs.points[places] / arcs.parts)
        steps_m[begins[1:] - 1] = 0.0
        lengths_m[first:stop] = np.add.reduceat(steps_m, begins)
        first = stop
    return lengths_m


@dataclass(frozen=True, slots=True)
class _Ruler:
    grid: Grid
    geod: Geod
    geographic: Transformer
    radian: float
    """Of one unit of the geographic coordinates."""

    @classmethod
    def of(cls, grid: Grid) -> Self:
        crs = CRS.from_wkt(grid.crs_wkt)
        geod, base = crs.get_geod(), crs.geodetic_crs
        if geod is None or base is None:
            raise SceneFailedError(f"lengths need a CRS with an ellipsoid, {crs.name!r} has none; reproject the scene")
        radian = float(base.axis_info[0].unit_conversion_factor)
        return cls(grid, geod, Transformer.from_crs(crs, base, always_xy=True), radian)

    def __call__(self, nodes: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the distance from each node to the next one, 0 from the last."""
        transform = self.grid.transform
        rows, columns = nodes.T
        places = self.geographic.transform(transform.c + columns * transform.a, transform.f + rows * transform.e)
        east, north = (np.asarray(place) * self.radian for place in places)
        steps_m = self.geod.inv(east[:-1], north[:-1], east[1:], north[1:], radians=True)[2]
        return np.append(np.asarray(steps_m, np.float64), 0.0)
