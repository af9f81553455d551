"""The layer `areas`: how much ground each class covers in each scene."""

from collections.abc import Sequence

import pyarrow as pa

from rspipe.catalogs.legends import Legend
from rspipe.pipeline.polygonfile import DATE
from rspipe.pipeline.sceneentry import SceneEntry

AREAS_LAYER = "areas"
FIELDS = pa.schema(
    [
        ("scene_id", pa.string()),
        ("acquired_at", DATE),
        ("class_id", pa.int32()),
        ("class_name", pa.string()),
        ("pixels", pa.int64()),
        ("area_m2", pa.float64()),
        ("share", pa.float64()),
        ("run_id", pa.string()),
    ]
)
"""`share` is that of the valid pixels. Areas are true ground areas of the sieved raster, before any generalising."""


def areas_of(scenes: Sequence[SceneEntry], legend: Legend, run_id: str) -> pa.Table:
    """Return one row per published scene and class of the legend, also where there is nothing of it."""
    rows = [
        {
            "scene_id": scene.scene_id,
            "acquired_at": scene.acquired_utc,
            "class_id": entry.id,
            "class_name": entry.name,
            "pixels": scene.polygons.survey.px(entry.id),
            "area_m2": scene.areas_m2.get(entry.id),
            "share": scene.polygons.survey.share(entry.id),
            "run_id": run_id,
        }
        for scene in scenes
        if scene.polygons is not None
        for entry in legend.classes
    ]
    return pa.Table.from_pylist(rows, schema=FIELDS)
