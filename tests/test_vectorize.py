from datetime import UTC, datetime
from pathlib import Path

import geopandas
import numpy as np
import pyarrow.parquet as pq
import pytest
import shapely
from affine import Affine
from numpy.typing import NDArray
from pyproj import CRS
from rasterio.features import rasterize

from rspipe.catalogs.legends import Legend, LegendClass
from rspipe.catalogs.scene import Grid
from rspipe.pipeline import store
from rspipe.pipeline.errors import SceneFailedError
from rspipe.pipeline.vectorize import VectorizeJob, run_vectorize

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
    plans = [
        store.ArrayPlan(
            name=name, shape=classes.shape, dtype="uint8", shard_px=(64, 64), chunk_px=(32, 32), fill=255, attributes={}
        )
        for name in layers
    ]
    store.create(folder / "inferred.zarr", grid, plans)
    for name, values in layers.items():
        store.open_array(folder / "inferred.zarr", name, write=True)[:] = values.astype(np.uint8)
    fields = {
        "scene": "s", "scene_id": "S", "acquired_at": DATE, "model_id": "m", "grid": grid, "legend": LEGEND,
        "inferred": folder / "inferred.zarr", "vectors": folder / "vectors", "polygon_classes": (0, 1, 2),
    }  # fmt: skip
    return VectorizeJob(**(fields | changes))  # type: ignore[arg-type]


def random_classes(height: int, width: int, seed: int = 0) -> NDArray[np.uint8]:
    coarse = np.random.default_rng(seed).integers(0, 3, (height // 5 + 1, width // 5 + 1))
    classes = np.kron(coarse, np.ones((5, 5), int))[:height, :width].astype(np.uint8)
    noise = np.random.default_rng(seed + 1).random(classes.shape)
    classes[noise < 0.1] = 1
    classes[noise > 0.95] = 255
    return classes


def test_polygons_painted_again_are_the_sieved_raster(tmp_path: Path) -> None:
    job = make_job(tmp_path, random_classes(130, 97))
    run_vectorize(job)
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
    first = {path: path.read_bytes() for path in run_vectorize(job).outputs}
    assert {path: path.read_bytes() for path in run_vectorize(job).outputs} == first


def test_attributes(tmp_path: Path) -> None:
    classes = np.array([[2, 2, 0], [2, 2, 255]], np.uint8)
    confidence = np.array([[254, 127, 10], [254, 254, 255]], np.uint8)
    job = make_job(tmp_path, classes, confidence, minimum_area_m2=0.0)
    receipt = run_vectorize(job)
    polygons = geopandas.read_parquet(job.vectors / "polygons.parquet")
    assert list(polygons.class_id) == [0, 2]
    assert list(polygons.class_name) == ["a", "c"]
    np.testing.assert_allclose(polygons.confidence_mean, [10 / 254, (3 + 0.5) / 4])
    np.testing.assert_allclose(polygons.confidence_p10, [10 / 254, 0.5])
    assert set(polygons.acquired_at.dt.to_pydatetime()) == {DATE}
    assert receipt.counts["valid_px"] == 5
    assert receipt.counts["class_2_px"] == 4
    assert receipt.counts["polygons"] == 2
    assert receipt.counts["class_2_m2"] == polygons.area_m2[1]


@pytest.mark.parametrize("classes", [np.full((5, 4), 255, np.uint8), np.zeros((5, 4), np.uint8)])
def test_a_layer_without_polygons_has_the_schema(tmp_path: Path, classes: NDArray[np.uint8]) -> None:
    job = make_job(tmp_path, classes, polygon_classes=(1,), acquired_at=None)
    assert run_vectorize(job).counts["polygons"] == 0
    polygons = geopandas.read_parquet(job.vectors / "polygons.parquet")
    assert list(polygons.columns) == [
        "class_id", "class_name", "area_m2", "perimeter_m", "confidence_mean", "confidence_p10", "scene_id",
        "acquired_at", "model_id", "geometry",
    ]  # fmt: skip
    assert polygons.crs == CRS.from_epsg(32633)


def test_one_pixel(tmp_path: Path) -> None:
    job = make_job(tmp_path, np.array([[1]], np.uint8), acquired_at=None)
    assert run_vectorize(job).counts["polygons"] == 1
    table = pq.read_table(job.vectors / "polygons.parquet")
    assert table["acquired_at"].null_count == 1
    square = shapely.from_wkb(table["geometry"][0].as_py())
    assert shapely.equals(square, shapely.box(400000, 5299970, 400030, 5300000))


def test_a_class_outside_the_legend_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SceneFailedError, match=r"\[7\] are not in legend 'abc'"):
        run_vectorize(make_job(tmp_path, np.full((2, 2), 7, np.uint8)))


def test_a_grid_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    job = make_job(tmp_path, np.zeros((4, 4), np.uint8))
    grid = Grid(crs_wkt=job.grid.crs_wkt, transform=job.grid.transform, height_px=4, width_px=5)
    with pytest.raises(SceneFailedError, match="classes is"):
        run_vectorize(make_job(tmp_path / "other", np.zeros((4, 4), np.uint8), grid=grid))
