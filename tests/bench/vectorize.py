"""From a class raster to attributed polygons: ours beside rasterio, contourrs and xarray-spatial.

    cd tests
    python -m bench.vectorize run --side 4096 --rounds 3 --peers PYTHON    # an interpreter that has the peers
    python -m bench.vectorize run --side 10980 --method ours --method contourrs
    python -m bench.vectorize run --side 40000 --method ours --split 100000

The raster is three octaves of smoothed noise cut into four classes, all of them traced, 4-connected; `--salt` sets one
pixel in 200 at random. Every run is a process of its own: it compiles and warms up on a small raster, then reads its
input and goes all the way. `engine` hands back shapely's polygons with class, true area and perimeter, the peers
polygons and class; `generalised` and `coverage-simplify` take corners away from the engine's; `ours` is the stage as
tasks run it, from Zarr to GeoParquet on disk, with statistics of confidence and the sieved raster; `--split` is its
`vectorize.max_vertices`. Memory is the peak above the process that has imported everything and warmed up. Methods take
turns, round after round.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from rspipe.catalogs.scene import Grid
    from rspipe.pipeline.vectorjob import VectorizeJob

MIB = 2**20
TILE_PX = 10_980
SMALL_PX = 256
TOLERANCE_M = 20.0
"""Twice a pixel."""


def natural(side_px: int, *, salt: bool) -> "NDArray[np.uint8]":
    """Return the raster; beyond `TILE_PX` it is mirrored, so that it goes on without a seam."""
    from scipy.ndimage import gaussian_filter

    tile_px = min(side_px, TILE_PX)
    random = np.random.default_rng(0)
    height = np.zeros((tile_px, tile_px), np.float32)
    for smoothness_px, weight in ((24, 48.0), (6, 4.2), (1.5, 0.27)):
        height += weight * gaussian_filter(random.standard_normal((tile_px, tile_px), np.float32), smoothness_px)
    classes = np.digitize(height, np.quantile(height[::7, ::7], (0.45, 0.7, 0.9))).astype(np.uint8)
    if salt:
        places = random.random(classes.shape, np.float32) < 1 / 200
        classes[places] = random.integers(0, 4, int(places.sum()), np.uint8)
    more = side_px - tile_px
    return np.pad(classes, ((0, more), (0, more)), mode="symmetric") if more else classes


def peak_bytes() -> int:
    """Return the largest resident size that this process has had."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmHWM"))


def forget_peak() -> None:
    """Let the peak begin anew."""
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def ours(path: Path, threads: int, max_vertices: int | None) -> int:
    """Take all steps of the stage, strips of one step on several threads."""
    from rspipe.pipeline.vectorize import run_vectorize, steps

    polygons = 0
    with ThreadPoolExecutor(threads) as pool:
        for together in steps(job_of(path, max_vertices)):
            for receipt in pool.map(run_vectorize, together):
                polygons += int(receipt.counts.get("polygons", 0))
    return polygons


def engine(path: Path, threads: int, _: int | None) -> int:
    """Go from a raster in memory to shapely's polygons and their attributes."""
    from bench.engine import polygons_of

    return len(polygons_of(np.load(path / "classes.npy"), stored_grid(path), threads)[0])


def generalised(path: Path, threads: int, _: int | None) -> int:
    """Go the same way, and take away corners whose triangles are smaller than `TOLERANCE_M` squared."""
    from bench.engine import polygons_of

    return len(polygons_of(np.load(path / "classes.npy"), stored_grid(path), threads, TOLERANCE_M)[0])


def coverage_simplified(path: Path, threads: int, _: int | None) -> int:
    """Let GEOS take them away from the engine's polygons, which it takes for a coverage."""
    import shapely
    from bench.engine import polygons_of

    polygons = polygons_of(np.load(path / "classes.npy"), stored_grid(path), threads)[0]
    return len(shapely.coverage_simplify(polygons, TOLERANCE_M))


def job_of(path: Path, max_vertices: int | None) -> "VectorizeJob":
    """Return the job of a raster stored by `store`."""
    from rspipe.catalogs.legends import Legend, LegendClass
    from rspipe.pipeline import store
    from rspipe.pipeline.vectorjob import VectorizeJob, strip_rows_px

    array = store.open_array(path / "inferred.zarr", "classes")
    grid = grid_of(array.shape[0])
    return VectorizeJob(
        scene="bench", scene_id="bench", acquired_at=None, model_id="bench", grid=grid, inferred=path / "inferred.zarr",
        vectors=path / "vectors", legend=Legend("bench", tuple(LegendClass(i, str(i), "#000000") for i in range(4))),
        polygon_classes=(0, 1, 2, 3), minimum_area_m2=0.0, max_vertices=max_vertices,
        strip_rows_px=strip_rows_px(grid.width_px, 1024),
    )  # fmt: skip


def stored_grid(path: Path) -> "Grid":
    """Return the grid of a raster that `save` stored."""
    return grid_of(len(np.load(path / "classes.npy", mmap_mode="r")))


def grid_of(side_px: int) -> "Grid":
    """Return a grid of 10 m pixels in UTM."""
    from affine import Affine
    from pyproj import CRS

    from rspipe.catalogs.scene import Grid

    transform = Affine(10, 0, 400000, 0, -10, 5300000)
    return Grid(crs_wkt=CRS.from_epsg(32633).to_wkt(), transform=transform, height_px=side_px, width_px=side_px)


def save(classes: "NDArray[np.uint8]", path: Path) -> None:
    """Store a raster for ours and for the peers."""
    from rspipe.pipeline import store

    path.mkdir(parents=True)
    np.save(path / "classes.npy", classes)
    plans = [
        store.ArrayPlan(
            name=name, shape=classes.shape, dtype="uint8", shard_px=(1024, 1024), chunk_px=(256, 256), fill=255,
            attributes={},
        )
        for name in ("classes", "confidence")
    ]  # fmt: skip
    store.create(path / "inferred.zarr", grid_of(len(classes)), plans)
    for name in ("classes", "confidence"):
        array = store.open_array(path / "inferred.zarr", name, write=True)
        for row in range(0, len(classes), 1024):
            rows = classes[row : row + 1024]
            array[row : row + 1024, :] = rows if name == "classes" else 254 - rows * np.uint8(17)


def by_rasterio(path: Path, *_: int | None) -> int:
    """Trace and make shapely's polygons the usual way."""
    import shapely.geometry
    from rasterio.features import shapes

    found = [(shapely.geometry.shape(outline), value) for outline, value in shapes(np.load(path / "classes.npy"))]
    return len(found)


def by_contourrs(path: Path, *_: int | None) -> int:
    """Trace into Arrow and make shapely's polygons."""
    import pyarrow as pa
    import shapely

    table = pa.table(import_module("contourrs").shapes_arrow(np.load(path / "classes.npy"), connectivity=4))
    return len(shapely.from_wkb(table["geometry"].to_numpy(zero_copy_only=False)))


def by_xarray_spatial(path: Path, *_: int | None) -> int:
    """Trace by numba and make shapely's polygons."""
    import shapely
    import xarray

    _, outlines = import_module("xrspatial.experimental").polygonize(
        xarray.DataArray(np.load(path / "classes.npy").astype(np.int32)), connectivity=4
    )
    return len([shapely.Polygon(rings[0], rings[1:]) for rings in outlines])


RUNS: "dict[str, Callable[[Path, int, int | None], int]]" = {
    "ours": ours, "engine": engine, "rasterio": by_rasterio, "contourrs": by_contourrs,
    "xarray-spatial": by_xarray_spatial, "generalised": generalised, "coverage-simplify": coverage_simplified,
}  # fmt: skip


def one(method: str, folder: Path, threads: int, max_vertices: int | None) -> None:
    """Warm up, run one method once, and print what it took as JSON."""
    start_s = time.perf_counter()
    RUNS[method](folder / "small", threads, max_vertices)
    warm_s = time.perf_counter() - start_s
    forget_peak()
    idle_bytes = peak_bytes()
    start_s, cpu_s = time.perf_counter(), time.process_time()
    polygons = RUNS[method](folder / "large", threads, max_vertices)
    print(
        json.dumps(
            {
                "polygons": polygons,
                "wall_s": time.perf_counter() - start_s,
                "cpu_s": time.process_time() - cpu_s,
                "warm_s": warm_s,
                "memory_mib": (peak_bytes() - idle_bytes) / MIB,
            }
        )
    )


def run(options: argparse.Namespace) -> None:
    """Make the rasters, let the methods take turns, and print medians."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        save(natural(SMALL_PX, salt=options.salt), folder / "small")
        save(natural(options.side, salt=options.salt), folder / "large")
        found: dict[str, list[dict[str, float]]] = {method: [] for method in options.method or RUNS}
        for _ in range(options.rounds):
            for method, lines in found.items():
                theirs = method in {"rasterio", "contourrs", "xarray-spatial"}
                python = str(options.peers or sys.executable) if theirs else sys.executable
                command = [python, "-m", "bench.vectorize", "one", method, str(folder), str(options.threads)]
                command += [str(options.split)] if options.split else []
                done = subprocess.run(command, check=True, capture_output=True, text=True)
                lines.append(json.loads(done.stdout.splitlines()[-1]))
        print(f"{options.side} x {options.side}{' salted' if options.salt else ''}, {options.threads} threads")
        for method, lines in found.items():
            print(f"{method:>15}: {summary(lines)}", flush=True)


def summary(lines: list[dict[str, float]]) -> str:
    """Return medians and spread of some runs."""
    walls = sorted(line["wall_s"] for line in lines)
    cpu_s, memory_mib, warm_s = (median(line[name] for line in lines) for name in ("cpu_s", "memory_mib", "warm_s"))
    return (
        f"{int(lines[0]['polygons'])} polygons, wall {median(walls):.2f} s ({walls[0]:.2f} to {walls[-1]:.2f}), "
        f"CPU {cpu_s:.2f} s, {memory_mib:.0f} MiB, warm-up {warm_s:.1f} s"
    )


def main() -> None:
    """Do what the command line says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    running = commands.add_parser("run", help="compare")
    running.add_argument("--side", type=int, default=4096)
    running.add_argument("--salt", action="store_true")
    running.add_argument("--rounds", type=int, default=3)
    running.add_argument("--threads", type=int, default=1, help="of ours")
    running.add_argument("--split", type=int, help="vertices of a polygon beyond which ours splits it")
    running.add_argument("--method", action="append", choices=RUNS)
    running.add_argument("--peers", type=Path, help="an interpreter that has the peers")
    single = commands.add_parser("one", help="one run, as `run` starts it")
    single.add_argument("method", choices=RUNS)
    single.add_argument("folder", type=Path)
    single.add_argument("threads", type=int)
    single.add_argument("split", type=int, nargs="?")
    options = parser.parse_args()
    if options.command == "run":
        run(options)
    else:
        one(options.method, options.folder, options.threads, options.split)


if __name__ == "__main__":
    main()
