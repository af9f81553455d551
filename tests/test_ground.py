from itertools import pairwise

import numpy as np
import pytest
from affine import Affine
from numpy.typing import NDArray
from pyproj import CRS, Geod, Transformer

from rspipe.catalogs.scene import Grid
from rspipe.pipeline.errors import SceneFailedError
from rspipe.pipeline.ground import Ground, Lattice, add_edges, fill_row, measure

SCENES = {
    "utm": (32633, Affine(300, 0, 300000, 0, -300, 6100000), 900, 700),
    "utm-south-edge": (32733, Affine(1000, 0, 150000, 0, -1000, 9900000), 300, 300),
    "laea": (3035, Affine(100, 0, 4000000, 0, -100, 3000000), 500, 400),
    "laea-oblong": (3035, Affine(500, 0, 2500000, 0, -200, 5400000), 300, 600),
    "web-mercator": (3857, Affine(200, 0, 1000000, 0, -200, 9000000), 300, 300),
    "us-feet": (2263, Affine(300, 0, 950000, 0, -300, 250000), 300, 300),
    "polar": (3413, Affine(1000, 0, -150000, 0, -1000, 150500), 300, 300),
    "degrees": (4326, Affine(0.01, 0, 20, 0, -0.02, 71), 300, 200),
    "degrees-dateline": (4326, Affine(0.05, 0, 179, 0, -0.05, -10), 60, 60),
    "nzgd-dateline": (32601, Affine(1000, 0, 200000, 0, -1000, 500000), 200, 200),
}


def grid_of(name: str) -> Grid:
    epsg, transform, height, width = SCENES[name]
    return Grid(crs_wkt=CRS.from_epsg(epsg).to_wkt(), transform=transform, height_px=height, width_px=width)


def sizes(lattice: Lattice) -> NDArray[np.float64]:
    out = np.empty((int(lattice.rows[-1]) + 1, int(lattice.columns[-1]) + 1), np.int64)
    for row in range(len(out)):
        fill_row(lattice, row, lattice.unit, out[row])
    return np.multiply(out, lattice.unit, dtype=np.float64)


def geodesic(grid: Grid, rows: NDArray[np.float64], columns: NDArray[np.float64]) -> tuple[float, float]:
    """Area and length on the ellipsoid of a line of pixel corners."""
    crs = CRS.from_wkt(grid.crs_wkt)
    geod = crs.get_geod() or Geod(ellps="WGS84")
    to_degrees = Transformer.from_crs(crs, crs.geodetic_crs or crs, always_xy=True)
    x, y = grid.transform.c + grid.transform.a * columns, grid.transform.f + grid.transform.e * rows
    longitude, latitude = to_degrees.transform(x, y)
    area, _ = geod.polygon_area_perimeter(longitude, latitude)
    return abs(area), float(geod.line_length(longitude, latitude))


def around(top: int, bottom: int, left: int, right: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """A box's border as a closed line of several points per pixel."""
    down, across = np.linspace(top, bottom, 2000), np.linspace(left, right, 2000)
    rows = np.concatenate([np.full(2000, top), down, np.full(2000, bottom), down[::-1]])
    columns = np.concatenate([across, np.full(2000, right), across[::-1], np.full(2000, left)])
    return rows.astype(np.float64), columns.astype(np.float64)


@pytest.mark.parametrize("name", SCENES)
def test_areas_agree_with_densified_geodesics(name: str) -> None:
    grid = grid_of(name)
    areas = sizes(measure(grid).areas)
    height, width = areas.shape
    for top, left in ((0, 0), (height // 2, width // 3), (height - 20, width - 30)):
        expected, _ = geodesic(grid, *around(top, top + 20, left, left + 30))
        assert areas[top : top + 20, left : left + 30].sum() == pytest.approx(expected, rel=1e-5)
    assert areas.sum() == pytest.approx(geodesic(grid, *around(0, height, 0, width))[0], rel=1e-5)


@pytest.mark.parametrize("name", SCENES)
def test_lengths_agree_with_densified_geodesics(name: str) -> None:
    grid = grid_of(name)
    ground = measure(grid)
    level, upright = sizes(ground.level), sizes(ground.upright)
    height, width = grid.height_px, grid.width_px
    for row in (0, height // 3, height):
        line = np.linspace(0, width, 5000)
        assert level[row].sum() == pytest.approx(geodesic(grid, np.full(5000, float(row)), line)[1], rel=1e-5)
    for column in (0, width // 3, width):
        line = np.linspace(0, height, 5000)
        assert upright[:, column].sum() == pytest.approx(
            geodesic(grid, line, np.full(5000, float(column)))[1], rel=1e-5
        )


@pytest.mark.parametrize("name", SCENES)
def test_lines_of_edges_are_sums_of_whole_rows_and_columns(name: str) -> None:
    ground = measure(grid_of(name))
    level, upright = sizes(ground.level), sizes(ground.upright)
    height, width = upright.shape[0], level.shape[1]
    random = np.random.default_rng(1)
    rows, columns = random.integers(0, height + 1, 40), random.integers(0, width + 1, 40)
    # One line: from corner to corner, along a row and then along a column; there and back.
    points = np.array([[(r, c), (r, d)] for r, (c, d) in zip(rows, pairwise(columns), strict=False)]).reshape(-1, 2)
    lengths = np.zeros((2, 1), np.int64)
    add_edges((ground.level, ground.upright), np.array([0, len(points)]), points.astype(np.int32), lengths)
    along = [level[r, min(c, d) : max(c, d)].sum() for (r, c), (_, d) in points.reshape(-1, 2, 2)]
    down = [upright[min(r, q) : max(r, q), c].sum() for (r, c), (q, _) in points[1:-1].reshape(-1, 2, 2)]
    assert lengths[0, 0] * ground.level.unit == pytest.approx(sum(along), rel=1e-12)
    assert lengths[1, 0] * ground.upright.unit == pytest.approx(sum(down), rel=1e-12)


def test_the_whole_earth_has_its_area() -> None:
    transform = Affine(0.5, 0, -180, 0, -0.5, 90)
    grid = Grid(crs_wkt=CRS.from_epsg(4326).to_wkt(), transform=transform, height_px=360, width_px=720)
    # 4 pi times the square of the authalic radius of WGS 84, 6371007.1809 m (NIMA TR8350.2, table 3.3).
    assert sizes(measure(grid).areas).sum() == pytest.approx(4 * np.pi * 6371007.1809**2, rel=1e-9)


@pytest.mark.parametrize("shape", [(1, 1), (1, 7), (2, 1), (5, 3)])
def test_small_grids(shape: tuple[int, int]) -> None:
    transform = Affine(30, 0, 500000, 0, -30, 0)
    grid = Grid(crs_wkt=CRS.from_epsg(32633).to_wkt(), transform=transform, height_px=shape[0], width_px=shape[1])
    ground: Ground = measure(grid)
    # On the central meridian of UTM the scale is 0.9996 by definition.
    np.testing.assert_allclose(sizes(ground.areas), np.full(shape, 900 / 0.9996**2), rtol=1e-7)
    np.testing.assert_allclose(sizes(ground.level), np.full((shape[0] + 1, shape[1]), 30 / 0.9996), rtol=1e-7)
    assert ground.middle_pixel_m2 == pytest.approx(900 / 0.9996**2)


def test_a_local_crs_is_refused() -> None:
    wkt = 'LOCAL_CS["mine",UNIT["metre",1],AXIS["Easting",EAST],AXIS["Northing",NORTH]]'
    grid = Grid(crs_wkt=wkt, transform=Affine(1, 0, 0, 0, -1, 0), height_px=2, width_px=2)
    with pytest.raises(SceneFailedError, match="projected or geographic"):
        measure(grid)
