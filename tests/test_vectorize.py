from datetime import UTC, datetime
from pathlib import Path

import geopandas
import numpy as np
import pyarrow.parquet as pq
import pytest
import shapely
from affine import Affine
from numpy.typing import NDArray
from oracle_coverage import filled, sieve_pixels
from pyproj import CRS, Transformer
from rasterio.features import rasterize

from rspipe.catalogs.legends import Legend, LegendClass
from rspipe.catalogs.scene import Grid
from rspipe.pipeline import store
from rspipe.pipeline.errors import SceneFailedError
from rspipe.pipeline.vectorize import run_vectorize, steps
from rspipe.pipeline.vectorjob import VectorizeJob

LEGEND = Legend("abc", tuple(LegendClass(i, name, "#000000") for i, name in enumerate(("a", "b", "c"))))
DATE = datetime(2015, 10, 22, tzinfo=UTC)


def make_job(
    folder: Path, classes: NDArray[np.uint8], confidence: NDArray[np.uint8] | None = None, **changes: object
) -> VectorizeJob:
    height, width = classes.shape
    grid = Grid(
        crs_wkt=CRS.from_epsg(32633).to_wkt(),
        transform=Affine(30, 0, 400000, 0, -30, 5300000),
        height_px=height,
        width_px=width,
    )
    layers = {
        "classes": classes,
        "confidence": np.where(classes == 255, 255, 200) if confidence is None else confidence,
    }
    if changes.get("rasters") == ("unfamiliarity",):
        layers["unfamiliarity"] = np.where(classes == 255, 255, np.arange(classes.size).reshape(classes.shape) % 97)
    if changes.get("rasters") == ("probabilities",):
        layers["probabilities"] = np.random.default_rng(5).integers(0, 255, (3, height, width))
    plans = [
        store.ArrayPlan(
            name=name, shape=layer.shape, dtype="uint8", shard_px=(64, 64), chunk_px=(32, 32), fill=255, attributes={}
        )
        for name, layer in layers.items()
    ]
    store.create(folder / "inferred.zarr", grid, plans)
    for name, values in layers.items():
        store.open_array(folder / "inferred.zarr", name, write=True)[:] = values.astype(np.uint8)
    fields = {
        "scene": "s", "scene_id": "S", "acquired_at": DATE, "model_id": "m", "grid": grid, "legend": LEGEND,
        "inferred": folder / "inferred.zarr", "vectors": folder / "vectors", "polygon_classes": (0, 1, 2),
        "strip_rows_px": 64,
    }  # fmt: skip
    return VectorizeJob(**(fields | changes))  # type: ignore[arg-type]


def vectorize(job: VectorizeJob) -> dict[str, int | float]:
    """Take all steps, as a run does; return what they counted."""
    counts: dict[str, int | float] = {}
    for together in steps(job):
        for step in together:
            receipt = run_vectorize(step)
            assert all(path.is_file() for path in receipt.outputs)
            counts |= receipt.counts
    return counts


def random_classes(height: int, width: int, seed: int = 0, side_px: int = 5) -> NDArray[np.uint8]:
    coarse = np.random.default_rng(seed).integers(0, 3, (height // side_px + 1, width // side_px + 1))
    classes = np.kron(coarse, np.ones((side_px, side_px), int))[:height, :width].astype(np.uint8)
    noise = np.random.default_rng(seed + 1).random(classes.shape)
    classes[noise < 0.1] = 1
    classes[noise > 0.95] = 255
    return classes


def test_polygons_painted_again_are_the_sieved_raster(tmp_path: Path) -> None:
    job = make_job(tmp_path, random_classes(130, 97))
    vectorize(job)
    polygons = geopandas.read_parquet(job.vectors / "polygons.parquet")
    sieved = np.asarray(store.open_array(job.vectors / "sieved.zarr", "classes")[:])
    painted = rasterize(
        zip(polygons.geometry, polygons.class_id, strict=True),
        out_shape=sieved.shape, transform=job.grid.transform, fill=255, dtype="uint8",
    )  # fmt: skip
    np.testing.assert_array_equal(painted, sieved)
    assert polygons.crs == CRS.from_epsg(32633)
    assert polygons.is_valid.all()
    assert shapely.coverage_is_valid(polygons.geometry.to_numpy())
    assert shapely.coverage_is_valid(polygons.to_crs(4326).geometry.to_numpy())


def test_the_second_run_writes_the_same_bytes(tmp_path: Path) -> None:
    job = make_job(tmp_path, random_classes(70, 70))
    vectorize(job)
    first = {path: path.read_bytes() for path in job.vectors.rglob("*") if path.is_file()}
    vectorize(job)
    assert {path: path.read_bytes() for path in job.vectors.rglob("*") if path.is_file()} == first


@pytest.mark.parametrize("lines", [{}, {"tolerance_m": 60.0, "smooth": True}], ids=["stairs", "curves"])
@pytest.mark.parametrize("strip_rows_px", [64, 128])
@pytest.mark.parametrize("side_px", [5, 8], ids=["between strips", "along strips"])
def test_strips_change_no_byte(tmp_path: Path, strip_rows_px: int, lines: dict[str, object], side_px: int) -> None:
    classes, confidence = random_classes(200, 150, 0, side_px), np.random.default_rng(3).integers(1, 255, (200, 150))
    confidence[classes == 255] = 255
    whole, cut = (
        make_job(tmp_path / name, classes, confidence.astype(np.uint8), strip_rows_px=rows, **lines)
        for name, rows in (("whole", 256), ("cut", strip_rows_px))
    )
    assert vectorize(cut) == vectorize(whole)
    assert (cut.vectors / "polygons.parquet").read_bytes() == (whole.vectors / "polygons.parquet").read_bytes()
    shards = sorted((whole.vectors / "sieved.zarr" / "classes").rglob("c/*/*"))
    assert len(shards) == 12
    for shard in shards:
        assert (cut.vectors / shard.relative_to(whole.vectors)).read_bytes() == shard.read_bytes()


def geodesic(polygons: geopandas.GeoDataFrame) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Areas and perimeters by pyproj, along geodesics between points no more than a pixel apart."""
    crs = CRS.from_user_input(polygons.crs)
    pixel = 30 if crs.is_projected else 30 / 111_000
    dense = shapely.segmentize(polygons.geometry.to_numpy(), pixel)
    there = Transformer.from_crs(crs, 4326, always_xy=True).transform
    moved = shapely.transform(dense, lambda points: np.column_stack(there(*points.T)))
    geod = crs.get_geod()
    assert geod is not None
    areas_m2 = [geod.geometry_area_perimeter(shapely.orient_polygons(shape))[0] for shape in moved]
    return np.array(areas_m2), np.array([geod.geometry_length(shapely.boundary(shape)) for shape in moved])


@pytest.mark.parametrize("lines", [{}, {"tolerance_m": 60.0}, {"tolerance_m": 60.0, "smooth": True}])
@pytest.mark.parametrize("crs", [32633, 3035, 4326], ids=["UTM", "LAEA", "geographic"])
def test_sizes_are_geodesic_ones(tmp_path: Path, crs: int, lines: dict[str, object]) -> None:
    west, north = Transformer.from_crs(4326, crs, always_xy=True).transform(12.0, 62.0)
    step = 30 / 111_000 if crs == 4326 else 30
    grid = Grid(
        crs_wkt=CRS.from_epsg(crs).to_wkt(), transform=Affine(step, 0, west, 0, -step, north), height_px=90, width_px=70
    )
    job = make_job(tmp_path, random_classes(90, 70), None, grid=grid, **lines)
    vectorize(job)
    polygons = geopandas.read_parquet(job.vectors / "polygons.parquet")
    assert shapely.coverage_is_valid(polygons.geometry.to_numpy())
    areas_m2, perimeters_m = geodesic(polygons)
    # GeographicLib's own sums are good to a tenth of a square metre.
    np.testing.assert_allclose(polygons.area_m2, areas_m2, rtol=1e-5, atol=0.1)
    np.testing.assert_allclose(polygons.perimeter_m, perimeters_m, rtol=1e-5)


def test_generalising_drops_corners_and_keeps_the_area(tmp_path: Path) -> None:
    exact, smooth = (
        make_job(tmp_path / str(tolerance), random_classes(130, 97), tolerance_m=tolerance) for tolerance in (0.0, 90.0)
    )
    assert vectorize(exact) == vectorize(smooth)
    before, after = (geopandas.read_parquet(job.vectors / "polygons.parquet") for job in (exact, smooth))
    assert shapely.get_num_coordinates(after.geometry).sum() < 0.8 * shapely.get_num_coordinates(before.geometry).sum()
    assert after.area.sum() == pytest.approx(before.area.sum(), rel=1e-12)
    assert after.area_m2.sum() == pytest.approx(before.area_m2.sum(), rel=1e-12)
    assert shapely.coverage_is_valid(after.geometry.to_numpy())


@pytest.mark.parametrize("strip_rows_px", [64, 256])
def test_small_faces_go_into_the_most_probable_neighbour_on_request(tmp_path: Path, strip_rows_px: int) -> None:
    classes = random_classes(130, 30)
    job = make_job(
        tmp_path, classes, rasters=("probabilities",), by_probability=True, strip_rows_px=strip_rows_px,
        minimum_area_m2=4.5 * 900,
    )  # fmt: skip
    vectorize(job)
    probabilities = np.asarray(store.open_array(job.inferred, "probabilities")[:])
    sieved = np.asarray(store.open_array(job.vectors / "sieved.zarr", "classes")[:])
    np.testing.assert_array_equal(sieved, sieve_pixels(classes, dict.fromkeys(range(3), 5), probabilities))
    assert np.any(sieved != sieve_pixels(classes, dict.fromkeys(range(3), 5)))


def test_attributes(tmp_path: Path) -> None:
    classes = np.array([[2, 2, 0], [2, 2, 255]], np.uint8)
    confidence = np.array([[254, 127, 10], [254, 254, 255]], np.uint8)
    job = make_job(tmp_path, classes, confidence, minimum_area_m2=0.0)
    counts = vectorize(job)
    polygons = geopandas.read_parquet(job.vectors / "polygons.parquet")
    assert list(polygons.class_id) == [0, 2]
    assert list(polygons.class_name) == ["a", "c"]
    np.testing.assert_allclose(polygons.confidence_mean, [10 / 254, (3 + 0.5) / 4])
    np.testing.assert_allclose(polygons.confidence_p10, [10 / 254, 0.5])
    assert set(polygons.acquired_at.dt.to_pydatetime()) == {DATE}
    assert counts["valid_px"] == 5
    assert counts["class_2_px"] == 4
    assert counts["polygons"] == 2
    assert counts["class_2_m2"] == polygons.area_m2[1]


def test_each_class_may_have_a_smallest_area_of_its_own(tmp_path: Path) -> None:
    classes = random_classes(40, 30)
    job = make_job(tmp_path, classes, minimum_area_m2=0.0, class_minimums_m2=((1, 4.5 * 900),))
    vectorize(job)
    sieved = np.asarray(store.open_array(job.vectors / "sieved.zarr", "classes")[:])
    np.testing.assert_array_equal(sieved, sieve_pixels(classes, {0: 0, 1: 5, 2: 0}))


def test_holes_are_filled_across_strips_but_never_nodata(tmp_path: Path) -> None:
    classes = np.zeros((140, 90), np.uint8)
    classes[20:120, 10:80] = 1
    classes[60:70, 30:40] = 2  # across the border of two strips
    classes[62:66, 33:36] = 0
    classes[90:94, 30:34] = 2
    classes[91, 31] = 255
    job = make_job(tmp_path, classes, minimum_area_m2=0.0, fill_below_m2=150 * 900)
    vectorize(job)
    sieved = np.asarray(store.open_array(job.vectors / "sieved.zarr", "classes")[:])
    np.testing.assert_array_equal(sieved, filled(classes, 150))
    assert (sieved[60:70, 30:40] == 1).all()
    assert (sieved[90:94, 30:34] == 2).sum() == 15


def test_unfamiliarity_is_averaged_over_polygons_of_several_strips(tmp_path: Path) -> None:
    classes = random_classes(150, 90)
    job = make_job(tmp_path, classes, rasters=("unfamiliarity",), minimum_area_m2=0.0)
    vectorize(job)
    polygons = geopandas.read_parquet(job.vectors / "polygons.parquet")
    assert polygons.columns.get_loc("unfamiliarity_mean") == polygons.columns.get_loc("confidence_p10") + 1
    steps_of = (np.arange(classes.size).reshape(classes.shape) % 97).astype(float)
    numbers = rasterize(
        zip(polygons.geometry, range(1, len(polygons) + 1), strict=True),
        out_shape=classes.shape, transform=job.grid.transform, dtype="int32",
    )  # fmt: skip
    expected = [steps_of[numbers == number + 1].mean() / 40 for number in range(len(polygons))]
    np.testing.assert_allclose(polygons.unfamiliarity_mean, expected)


@pytest.mark.parametrize("classes", [np.full((5, 4), 255, np.uint8), np.zeros((5, 4), np.uint8)])
def test_a_layer_without_polygons_has_the_schema(tmp_path: Path, classes: NDArray[np.uint8]) -> None:
    job = make_job(tmp_path, classes, polygon_classes=(1,), acquired_at=None)
    assert vectorize(job)["polygons"] == 0
    polygons = geopandas.read_parquet(job.vectors / "polygons.parquet")
    assert list(polygons.columns) == [
        "class_id", "class_name", "area_m2", "perimeter_m", "confidence_mean", "confidence_p10", "scene_id",
        "acquired_at", "model_id", "geometry",
    ]  # fmt: skip
    assert polygons.crs == CRS.from_epsg(32633)


def test_one_pixel(tmp_path: Path) -> None:
    job = make_job(tmp_path, np.array([[1]], np.uint8), acquired_at=None)
    assert vectorize(job)["polygons"] == 1
    table = pq.read_table(job.vectors / "polygons.parquet")
    assert table["acquired_at"].null_count == 1
    square = shapely.from_wkb(table["geometry"][0].as_py())
    assert shapely.equals(square, shapely.box(400000, 5299970, 400030, 5300000))


def test_a_class_outside_the_legend_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SceneFailedError, match=r"\[7\] are not in legend 'abc'"):
        vectorize(make_job(tmp_path, np.full((2, 2), 7, np.uint8)))


def test_a_grid_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    job = make_job(tmp_path, np.zeros((4, 4), np.uint8))
    grid = Grid(crs_wkt=job.grid.crs_wkt, transform=job.grid.transform, height_px=4, width_px=5)
    with pytest.raises(SceneFailedError, match="classes is"):
        vectorize(make_job(tmp_path / "other", np.zeros((4, 4), np.uint8), grid=grid))
