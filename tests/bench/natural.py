"""Is the coverage of a large natural raster GDAL's, polygon by polygon, and valid in two projections?

cd tests
python -m bench.natural 4096        # minutes, most of them in shapely's coverage_is_valid
"""

import argparse

import numpy as np
import shapely
from bench.vectorize import natural
from blocks import Cut, arcs_of, polygons_of, to_degrees, traced_by_gdal

from rspipe.pipeline.coverage import find_faces


def check(side_px: int, cut: Cut) -> int:
    """Trace a raster in blocks and compare; return the number of polygons.

    Raises:
        SystemExit: a polygon differs from GDAL's, or the polygons are no valid coverage.
    """
    faces = find_faces(natural(side_px, salt=False))
    polygons = polygons_of(arcs_of(faces.labels, cut), faces.count)
    expected = traced_by_gdal(faces.labels)
    theirs = np.array([expected[face] for face in range(faces.count)])
    ours, theirs = (
        shapely.normalize(shapely.simplify(some, 0, preserve_topology=False)) for some in (polygons, theirs)
    )
    if not (len(polygons) == len(expected) and (shapely.to_wkb(ours) == shapely.to_wkb(theirs)).all()):
        raise SystemExit("polygons differ from GDAL's")
    if not shapely.is_valid(polygons).all():
        raise SystemExit("a polygon is not valid")
    for name, some in (("as traced", polygons), ("in degrees", to_degrees(polygons))):
        if not shapely.coverage_is_valid(some):
            raise SystemExit(f"no valid coverage {name}")
    return faces.count


def main() -> None:
    """Check one raster."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("side", type=int, help="in pixels")
    side_px = parser.parse_args().side
    count = check(side_px, Cut(1021, 1531))
    print(f"{side_px} x {side_px}: {count} polygons as GDAL's, valid, a valid coverage in UTM and in degrees")


if __name__ == "__main__":
    main()
