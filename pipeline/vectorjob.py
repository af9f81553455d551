"""What the vectorize stage is told: one scene's description, and which step of the work a task is."""

import math
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from rspipe.catalogs.legends import NODATA_ID, Legend
from rspipe.catalogs.scene import Grid
from rspipe.pipeline import store
from rspipe.pipeline.errors import SceneFailedError
from rspipe.pipeline.ground import Ground
from rspipe.pipeline.polygonfile import ExtraField, extras_of
from rspipe.pipeline.rasters import RasterName
from rspipe.pipeline.trace import Block

PROBABILITIES: RasterName = "probabilities"
SIEVED = "sieved.zarr"
POLYGONS = "polygons.parquet"
DEFAULT_MINIMUM_PX = 8.5
"""Nine pixels stay and eight go; half a pixel keeps the projection's scale from deciding."""
STRIP_PX = 1 << 24
"""Pixels that a task works on at once, about; a dozen bytes of memory each."""

StepName = Literal["faces", "sieve", "arcs", "polygons"]


@dataclass(frozen=True, slots=True, kw_only=True)
class VectorizeJob:
    """One scene, inferred by one model."""

    scene: str
    """Slug, for messages."""
    scene_id: str
    acquired_at: datetime | None
    model_id: str
    grid: Grid
    inferred: Path
    """The Zarr group with `classes` and `confidence`."""
    vectors: Path
    """Folder to write `sieved.zarr`, `polygons.parquet` and what the steps hand on into."""
    legend: Legend
    polygon_classes: tuple[int, ...]
    """Ids of the classes that become polygons."""
    minimum_area_m2: float | None = None
    """Smaller faces are merged into a neighbour, 0 keeps every face; None: what covers `DEFAULT_MINIMUM_PX` pixels."""
    class_minimums_m2: tuple[tuple[int, float], ...] = ()
    """Class ids, and the smallest area of a face of each where it is another one."""
    by_probability: bool = False
    """Smaller faces go into the most probable neighbour, not into the one with the longest border."""
    fill_below_m2: float = 0.0
    """Smaller faces that lie wholly inside of one other face become part of it."""
    tolerance_m: float = 0.0
    """Corners of borders go while their triangle is smaller than this squared; 0 keeps the pixels' stairs."""
    smooth: bool = False
    """The corners of borders become curves."""
    max_vertices: int | None = None
    """Polygons with more, before corners go, are split; see `giants`."""
    cell_px: int = 1024
    """Side of the cells that they are split into, from the scene's upper left corner."""
    rasters: tuple[RasterName, ...] = ()
    """Those on request beside `classes` and `confidence`; see `polygonfile.fields_of`."""
    strip_rows_px: int
    """Rows of a strip: whole shards of `classes`. Where they are cut changes no byte of the results."""

    def __post_init__(self) -> None:
        unknown = sorted(set(self.polygon_classes) - {entry.id for entry in self.legend.classes})
        if unknown:
            raise SceneFailedError(f"scene {self.scene}, vectorize: legend {self.legend.name!r} has no class {unknown}")

    @property
    def blocks(self) -> tuple[Block, ...]:
        """The strips of the scene, from the top."""
        height_px, width_px = self.grid.height_px, self.grid.width_px
        return tuple(
            Block(
                rows=slice(start, min(start + self.strip_rows_px, height_px)),
                columns=slice(0, width_px),
                height_px=height_px,
                width_px=width_px,
            )
            for start in range(0, height_px, self.strip_rows_px)
        )

    def faces_file(self, strip: int) -> Path:
        """Return where the step `faces` puts what it found in a strip."""
        return self.vectors / f"faces-{strip:05d}.npz"

    @property
    def extras(self) -> tuple[ExtraField, ...]:
        """Fields of the polygons that are on request."""
        return extras_of(self.rasters, self.max_vertices)

    @property
    def sieve_file(self) -> Path:
        """Where the step `sieve` puts what becomes of every face."""
        return self.vectors / "sieve.npz"

    @property
    def chequered_file(self) -> Path:
        """Where the step `sieve` puts what becomes of every face once giants are cut."""
        return self.vectors / "chequered.npz"

    @property
    def parts_file(self) -> Path:
        """Where it puts which faces were cut."""
        return self.vectors / "parts.npz"

    def arcs_file(self, strip: int) -> Path:
        """Return where the step `arcs` puts the pieces of arcs and the sums of a strip."""
        return self.vectors / f"arcs-{strip:05d}.npz"

    def points_file(self, strip: int) -> Path:
        """Return where the points of these pieces lie."""
        return self.vectors / f"arcs-{strip:05d}-points.npy"

    def least(self, ground: Ground) -> NDArray[np.int64]:
        """Return (256,): the smallest ground area of a face of each class, in units of `ground.areas.unit`."""
        minimum_m2 = self.minimum_area_m2
        if minimum_m2 is None:
            minimum_m2 = DEFAULT_MINIMUM_PX * ground.middle_pixel_m2
        least = np.full(NODATA_ID + 1, math.ceil(minimum_m2 / ground.areas.unit), np.int64)
        for class_id, area_m2 in self.class_minimums_m2:
            least[class_id] = math.ceil(area_m2 / ground.areas.unit)
        return least

    def fill_below(self, ground: Ground) -> int:
        """Return `fill_below_m2` in units of `ground.areas.unit`."""
        return math.ceil(self.fill_below_m2 / ground.areas.unit)

    def read(self, name: str, rows: slice, layer: int | None = None) -> NDArray[Any]:
        """Read whole rows of an inferred raster, or of one of its layers.

        Raises:
            SceneFailedError: the raster is not on the job's grid.
        """
        array = store.open_array(self.inferred, name)
        if array.shape[-2:] != (self.grid.height_px, self.grid.width_px):
            found = f"{name} is {array.shape}, its grid another"
            raise SceneFailedError(f"scene {self.scene}, vectorize: {found}; run --fresh")
        return np.asarray(array[rows, :] if layer is None else array[layer, rows, :])


@dataclass(frozen=True, slots=True, kw_only=True)
class VectorStep:
    """One task of the stage."""

    job: VectorizeJob
    step: StepName
    strip: int = 0
    """Which strip; of no meaning for `sieve` and `polygons`, which are of the whole scene."""


def strip_rows_px(width_px: int, shard_rows_px: int) -> int:
    """Return the height of strips of whole shards of about `STRIP_PX` pixels."""
    return max(1, STRIP_PX // (width_px * shard_rows_px)) * shard_rows_px
