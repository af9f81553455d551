"""The step `polygons`: the arcs of all strips become the polygons of a scene, with what is known of them."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import shapely
from numpy.typing import NDArray

from rspipe.pipeline import atomic
from rspipe.pipeline.arcstep import LOW_SHARE, UNFAMILIAR, PiecesOnDisk, StripSums, read_sums
from rspipe.pipeline.assemble import Outlines, outlines, ring_points
from rspipe.pipeline.coverage import NO_FACE, Counts
from rspipe.pipeline.generalise import generalise, smooth
from rspipe.pipeline.geoparquet import GEOMETRY, geo_metadata
from rspipe.pipeline.giants import open_faces
from rspipe.pipeline.ground import measure
from rspipe.pipeline.lengths import arc_lengths_m
from rspipe.pipeline.measures import histogram_quantiles
from rspipe.pipeline.polygonfile import PART_OF, UNFAMILIARITY, fields_of
from rspipe.pipeline.rasters import KINDS
from rspipe.pipeline.settled import Settled, Sifted
from rspipe.pipeline.stitch import Arcs, stitch
from rspipe.pipeline.task import Receipt
from rspipe.pipeline.vectorjob import POLYGONS, VectorizeJob

CONFIDENCE_SCALE = 254.0
_BATCH_POINTS = 1_000_000
_REPEATED = ["class_name", "scene_id", "model_id"]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Sums:
    """What the strips measured along the pixels of the scene's faces."""

    areas_m2: NDArray[np.float64]
    """(m,)."""
    perimeters_m: NDArray[np.float64]
    confidence: Counts
    unfamiliarity: Counts
    low: NDArray[np.uint8]


class _GoingOn(NamedTuple):
    """The faces that may go on in the next strip: only of them histograms are kept, whatever the scene's height."""

    faces: NDArray[np.int32]
    """(k,), ascending."""
    histograms: Counts
    """(k, 256): of the confidence under these, over all strips so far."""

    def over(self, found: StripSums, low: NDArray[np.uint8]) -> "_GoingOn":
        """Go on to the next strip; for faces that ended before it, write into `low` what the histogram says."""
        faces, histograms = found.faces[found.open], found.histograms.copy()
        goes_on = np.isin(self.faces, faces, assume_unique=True)
        low[self.faces[~goes_on]] = histogram_quantiles(self.histograms[~goes_on], LOW_SHARE)
        histograms[np.searchsorted(faces, self.faces[goes_on])] += self.histograms[goes_on]
        return _GoingOn(faces, histograms)


def assemble(job: VectorizeJob) -> Receipt:
    """Write the polygons of the classes asked for, by class and then by first pixel.

    Raises:
        EnvironmentFailedError: the disk is full or cannot be written.
    """
    scene = open_faces(job)
    settled = scene.settled
    wanted = np.flatnonzero(np.isin(settled.classes, job.polygon_classes))
    order = wanted[np.argsort(settled.classes[wanted], kind="stable")].astype(np.int64)
    arcs = stitch(PiecesOnDisk(job))
    sums = _sums(job, settled)
    if job.tolerance_m or job.smooth:
        arcs, sums = _generalised(job, arcs, sums)
    rings = outlines(arcs, len(settled.classes), order)
    _write(job, _columns(job, scene, sums, order), _geometries(job, arcs, rings))
    return Receipt(outputs=(job.vectors / POLYGONS,), counts={"polygons": len(order)})


def _sums(job: VectorizeJob, settled: Settled) -> _Sums:
    ground, count = measure(job.grid), len(settled.classes)
    level, upright, confidence, unfamiliarity = (np.zeros(count, np.int64) for _ in range(4))
    low, going_on = np.zeros(count, np.uint8), _GoingOn(np.empty(0, np.int32), np.empty((0, 256), np.int64))
    for strip in range(len(job.blocks)):
        found = read_sums(job, strip)
        level[found.faces] += found.level
        upright[found.faces] += found.upright
        confidence[found.faces] += found.sums
        unfamiliarity[found.faces] += found.unfamiliarity
        # A face that lies beyond the strip's border has no pixel in it, and says 0.
        low[found.faces] = np.maximum(low[found.faces], found.low)
        going_on = going_on.over(found, low)
    low[going_on.faces] = histogram_quantiles(going_on.histograms, LOW_SHARE)
    perimeters_m = level * ground.level.unit + upright * ground.upright.unit
    areas_m2 = np.multiply(settled.areas, ground.areas.unit, dtype=np.float64)
    return _Sums(
        areas_m2=areas_m2, perimeters_m=perimeters_m, confidence=confidence, unfamiliarity=unfamiliarity, low=low
    )


def _generalised(job: VectorizeJob, arcs: Arcs, sums: _Sums) -> tuple[Arcs, _Sums]:
    """Drop the corners that matter least, round the others, and say what the faces measure then."""
    ground, count = measure(job.grid), len(sums.areas_m2)
    gains = np.zeros(count, np.int64)
    if job.tolerance_m:
        found = generalise(arcs, ground, job.tolerance_m**2 / ground.middle_pixel_m2)
        arcs, gains = found.arcs, gains + found.gains(count)
    if job.smooth:
        found = smooth(arcs, ground)
        arcs, gains = found.arcs, gains + found.gains(count)
    lengths_m = arc_lengths_m(arcs, job.grid)
    perimeters_m = np.zeros(count + 1)
    # What is outside of all faces, `NO_FACE`, is the last entry.
    np.add.at(perimeters_m, arcs.sides.reshape(-1), np.repeat(lengths_m, 2))
    areas_m2 = sums.areas_m2 + gains * ground.areas.unit
    return arcs, replace(sums, areas_m2=areas_m2, perimeters_m=perimeters_m[:-1])


def _columns(job: VectorizeJob, scene: Sifted, sums: _Sums, order: Counts) -> list[pa.Array]:
    """Return the attributes in the order of `fields_of`."""
    fields, pixels = fields_of(job.extras), scene.settled.pixels[order]
    ids = scene.settled.classes[order].astype(np.int32)
    names = pa.array([entry.name for entry in job.legend.classes], pa.string())
    columns = {
        "class_id": pa.array(ids),
        "class_name": names.take(pa.array(ids)),
        "area_m2": pa.array(sums.areas_m2[order]),
        "perimeter_m": pa.array(sums.perimeters_m[order]),
        "confidence_mean": pa.array(sums.confidence[order] / pixels / CONFIDENCE_SCALE),
        "confidence_p10": pa.array(sums.low[order] / CONFIDENCE_SCALE),
        UNFAMILIARITY: pa.array(sums.unfamiliarity[order] / pixels * KINDS[UNFAMILIAR].scale),
        PART_OF: _part_of(scene.wholes, order),
    }
    for name, value in (("scene_id", job.scene_id), ("acquired_at", job.acquired_at), ("model_id", job.model_id)):
        columns[name] = pa.repeat(pa.scalar(value, fields.field(name).type), len(order))
    return [columns[field.name] for field in fields]


def _part_of(wholes: NDArray[np.int32] | None, order: Counts) -> pa.Array:
    if wholes is None:
        return pa.nulls(len(order), pa.int64())
    giants = wholes[order].astype(np.int64)
    return pa.array(giants, mask=giants == NO_FACE)


def _geometries(job: VectorizeJob, arcs: Arcs, rings: Outlines) -> Iterator[NDArray[np.object_]]:
    """Yield the polygons as WKB, some at a time: whole polygons of about `_BATCH_POINTS` points."""
    transform = job.grid.transform
    corner, step = (transform.c, transform.f), (transform.a / arcs.parts, transform.e / arcs.parts)
    lengths = np.concatenate([[0], np.cumsum(arcs.sizes[rings.steps >> 1])])
    until = lengths[rings.first_step[rings.first_ring]]
    first, count = 0, len(rings.first_ring) - 1
    while first < count:
        stop = max(first + 1, int(np.searchsorted(until, until[first] + _BATCH_POINTS, side="right")) - 1)
        part = slice(int(rings.first_ring[first]), int(rings.first_ring[stop]))
        nodes, begins = ring_points(arcs, rings, part)
        offsets = (begins, rings.first_ring[first : stop + 1] - part.start)
        shapes = shapely.from_ragged_array(shapely.GeometryType.POLYGON, corner + nodes[:, ::-1] * step, offsets)
        yield shapely.to_wkb(shapes, byte_order=1)
        first = stop


def _write(job: VectorizeJob, attributes: list[pa.Array], batches: Iterator[NDArray[np.object_]]) -> None:
    fields = fields_of(job.extras).append(pa.field(GEOMETRY, pa.binary()))
    schema = fields.with_metadata({"geo": json.dumps(geo_metadata(job.grid.crs_wkt, ["Polygon"]))})
    with (
        atomic.replacing(job.vectors / POLYGONS) as path,
        pq.ParquetWriter(path, schema, compression="zstd", version="2.6", use_dictionary=_REPEATED) as writer,
    ):
        first = 0
        for wkb in batches:
            columns = [column.slice(first, len(wkb)) for column in attributes]
            writer.write_table(pa.Table.from_arrays([*columns, pa.array(wkb, pa.binary())], schema=schema))
            first += len(wkb)
