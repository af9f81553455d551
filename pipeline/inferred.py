"""An inferred scene: the arrays that infer writes and all later stages read."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import zarr

from rspipe.catalogs.legends import NODATA_ID, Legend
from rspipe.catalogs.scene import Grid
from rspipe.pipeline import store
from rspipe.pipeline.grid import WindowGrid
from rspipe.pipeline.rasters import CONFIDENCE_SCALE, KINDS, RasterName

CLASSES = "classes"
CONFIDENCE = "confidence"
type InferredArrays = Mapping[str, zarr.Array[Any]]


def array_names(rasters: tuple[RasterName, ...]) -> tuple[str, ...]:
    """Return the arrays of an inferred scene with these rasters on request."""
    return (CLASSES, CONFIDENCE, *rasters)


def create_inferred(
    path: Path, grid: Grid, windows: WindowGrid, legend: Legend, rasters: tuple[RasterName, ...] = ()
) -> None:
    """Lay out the arrays of a scene; what is there already with the same layout stays.

    Args:
        path: the Zarr group.
        grid: of the scene.
        windows: the window grid, which decides where shards are cut.
        legend: of the model.
        rasters: those on request, beside classes and confidence.
    """
    legend_attributes = {
        "flag_values": [entry.id for entry in legend.classes],
        "flag_meanings": " ".join(entry.name.replace(" ", "_") for entry in legend.classes),
        "long_name": f"classes of {legend.name}",
    }
    scale = {"scale_factor": 1 / CONFIDENCE_SCALE, "long_name": "largest blended probability"}
    attributes: dict[str, dict[str, Any]] = {CLASSES: legend_attributes, CONFIDENCE: scale}
    attributes |= {name: {"scale_factor": KINDS[name].scale, "long_name": KINDS[name].meaning} for name in rasters}
    leading = {"probabilities": (len(legend.classes),)}
    plans = [
        store.ArrayPlan(
            name=name,
            shape=(*leading.get(name, ()), grid.height_px, grid.width_px),
            dtype="uint8",
            shard_px=windows.shard_px,
            chunk_px=windows.shard_px,
            fill=NODATA_ID,
            attributes={**attributes[name], "_FillValue": NODATA_ID},
        )
        for name in array_names(rasters)
    ]
    store.create(path, grid, plans)


def open_inferred(inferred: Path, rasters: tuple[RasterName, ...]) -> InferredArrays:
    """Open the arrays of an inferred scene for writing."""
    return {name: store.open_array(inferred, name, write=True) for name in array_names(rasters)}
