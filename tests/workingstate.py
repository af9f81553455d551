"""A small working state on disk, as the stages before publish leave it, made with rasterio and geopandas."""

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import geopandas as gpd
import numpy as np
import rasterio.features
import shapely
from affine import Affine
from numpy.typing import NDArray
from pyproj import CRS

from rspipe.catalogs.legends import Legend, LegendClass
from rspipe.catalogs.scene import Grid
from rspipe.pipeline import store
from rspipe.pipeline.layout import Layout
from rspipe.pipeline.publish import PublishRunRequest, PublishSceneJob, SceneOutcome

LEGEND = Legend(
    "cloud thickness",
    (
        LegendClass(0, "clear", "#303030"),
        LegendClass(1, "thin cloud", "#7fc8ff"),
        LegendClass(2, "thick cloud", "#f4f4f0"),
        LegendClass(3, "cloud shadow & <haze>", "#5a3a8c"),
    ),
)
CLOUDS = (1, 2, 3)
DATE = datetime(2015, 10, 22, 15, 40, 12, tzinfo=UTC)
UTM18 = str(CRS.from_epsg(32618).to_wkt())


def grid_of(height_px: int, width_px: int, crs_wkt: str = UTM18, left: float = 300_000.0) -> Grid:
    transform = Affine(30.0, 0.0, left, 0.0, -30.0, 4_500_000.0)
    return Grid(crs_wkt=crs_wkt, transform=transform, height_px=height_px, width_px=width_px)


def blobs(height_px: int, width_px: int, seed: int = 0) -> NDArray[np.uint8]:
    """Smooth random classes with a slanted wedge of nodata in the upper left."""
    rng = np.random.default_rng(seed)
    rows, cols = np.mgrid[:height_px, :width_px]
    waves = rng.uniform(4, 12, size=(3, 2))
    field = sum(np.sin(rows * a / height_px + k) * np.cos(cols * b / width_px - k) for k, (a, b) in enumerate(waves))
    classes = np.digitize(np.asarray(field), [0.3, 0.8, 1.3]).astype(np.uint8)
    classes[rows + 0.5 * cols < height_px / 5] = 255
    return classes


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """One scene on disk."""

    job: PublishSceneJob
    classes: NDArray[np.uint8]
    confidence: NDArray[np.uint8]

    def outcome(self) -> SceneOutcome:
        return SceneOutcome(
            scene=self.job.scene,
            scene_id=self.job.scene_id,
            key="5" * 64,
            acquired_at=self.job.acquired_at,
            reason="",
            grid=self.job.grid,
            inputs={"B2.tif": "a" * 64},
            counts={"windows": 4, "skipped": 0},
        )


def make(root: Path, classes: NDArray[np.uint8], *, slug: str = "scene-a", grid: Grid | None = None) -> Made:
    grid = grid or grid_of(*classes.shape)
    layout = Layout(root)
    confidence = np.where(classes == 255, 255, 100 + 20 * (classes % 4)).astype(np.uint8)
    _array(layout.vectors(slug, "pico") / "sieved.zarr", grid, {"classes": classes})
    _array(layout.inferred(slug, "pico"), grid, {"confidence": confidence})
    names = ("blue", "green", "red")
    bands = {name: (classes.astype(np.uint16) + 1) * (40 + 9 * k) for k, name in enumerate(names)}
    _array(layout.bands(slug), grid, bands)
    polygons(classes, grid, f"{slug} true id").to_parquet(layout.vectors(slug, "pico") / "polygons.parquet")
    job = PublishSceneJob(
        root=root, scene=slug, scene_id=f"{slug} true id", acquired_at=DATE, model="pico", model_id="d2ls-pico 1",
        grid=grid, bands=names, legend=LEGEND, polygon_classes=CLOUDS,
    )  # fmt: skip
    return Made(job=job, classes=classes, confidence=confidence)


def polygons(classes: NDArray[np.uint8], grid: Grid, scene_id: str) -> gpd.GeoDataFrame:
    wanted = np.isin(classes, CLOUDS)
    found = list(rasterio.features.shapes(classes, mask=wanted, transform=grid.transform))
    shapes = [shapely.geometry.shape(shape) for shape, _ in found]
    ids = np.array([int(value) for _, value in found], dtype=np.uint8)
    fields = {
        "class_id": ids,
        "class_name": np.array([LEGEND.classes[k].name for k in ids], dtype=object),
        "area_m2": np.array([shape.area for shape in shapes]),
        "perimeter_m": np.array([shape.length for shape in shapes]),
        "confidence_mean": np.full(len(ids), 0.5, dtype=np.float32),
        "confidence_p10": np.full(len(ids), 0.25, dtype=np.float32),
        "scene_id": np.array([scene_id] * len(ids), dtype=object),
        "acquired_at": np.array([DATE.replace(tzinfo=None)] * len(ids), dtype="datetime64[ms]"),
        "model_id": np.array(["d2ls-pico 1"] * len(ids), dtype=object),
    }
    frame = gpd.GeoDataFrame(fields, geometry=shapes, crs=grid.crs_wkt)
    return frame.astype(dict.fromkeys(("class_name", "scene_id", "model_id"), "str")).assign(
        acquired_at=frame["acquired_at"].dt.tz_localize("UTC")
    )


def request_of(root: Path, *outcomes: SceneOutcome, output_crs: str | None = None) -> PublishRunRequest:
    return PublishRunRequest(
        root=root, workflow="cloud_thickness", run_id="f" * 64, config={"infer": {"overlap_px": 64}},
        versions={"rspipe": "0.1.0"}, models=(), legend=LEGEND, polygon_classes=CLOUDS, output_crs=output_crs,
        scenes=outcomes,
    )  # fmt: skip


def failed(slug: str, reason: str, grid: Grid | None) -> SceneOutcome:
    return SceneOutcome(
        key="", scene=slug, scene_id=f"{slug} true id", acquired_at=None, reason=reason, grid=grid, inputs={}, counts={}
    )


def _array(path: Path, grid: Grid, arrays: dict[str, NDArray[np.uint8]] | dict[str, NDArray[np.uint16]]) -> None:
    plans = [
        store.ArrayPlan(
            name=name, shape=array.shape, dtype=array.dtype.name, shard_px=(512, 512), chunk_px=(256, 256), fill=0,
            attributes={},
        )
        for name, array in arrays.items()
    ]  # fmt: skip
    store.create(path, grid, plans)
    for name, array in arrays.items():
        store.open_array(path, name, write=True)[...] = array
