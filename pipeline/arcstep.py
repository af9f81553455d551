"""The step `arcs`: a strip of the sieved classes, the pieces of arcs in it, and what is measured along its pixels."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rspipe.catalogs.legends import NODATA_ID
from rspipe.pipeline import store
from rspipe.pipeline.arrayfile import map_large, read_arrays, write_arrays, write_large
from rspipe.pipeline.coverage import NO_FACE, Counts, Faces, Labels
from rspipe.pipeline.giants import open_faces
from rspipe.pipeline.ground import measure
from rspipe.pipeline.inferred import CLASSES, CONFIDENCE
from rspipe.pipeline.measures import border_lengths, face_histograms, face_quantiles, face_sums, piece_lengths
from rspipe.pipeline.rasters import RasterName
from rspipe.pipeline.task import Receipt
from rspipe.pipeline.trace import Pieces, trace
from rspipe.pipeline.vectorjob import SIEVED, VectorizeJob

LOW_SHARE = 0.1
UNFAMILIAR: RasterName = "unfamiliarity"
_PIECES = ("sides", "ends", "kinds", "first")


@dataclass(frozen=True, slots=True, kw_only=True)
class StripSums:
    """What a strip measured of its faces, (k,) each."""

    faces: NDArray[np.int32]
    """Which faces of the scene, ascending."""
    level: Counts
    """Lengths of level edges, in units of `ground.level.unit`; `upright` likewise."""
    upright: Counts
    sums: Counts
    """Of the confidence under each face."""
    low: NDArray[np.uint8]
    """The confidence that `LOW_SHARE` of a face's pixels in the strip do not exceed."""
    unfamiliarity: Counts
    """Of the raster of that name, in its steps; 0 where it was not asked for."""
    open: NDArray[np.intp]
    """(j,): places of the faces that go on in the strip above or below."""
    histograms: Counts
    """(j, 256): of the confidence under these."""


def draw(job: VectorizeJob, strip: int) -> Receipt:
    """Write a strip of the sieved classes, its pieces of arcs, and its sums.

    Raises:
        SceneFailedError: the rasters do not lie on the job's grid.
        EnvironmentFailedError: the disk is full or cannot be written.
    """
    block, ground = job.blocks[strip], measure(job.grid)
    scene = open_faces(job)
    framed = scene.framed(strip)
    classes = scene.settled.classes[framed.ids]
    outputs = _write_classes(job, classes, strip, framed.labels[1:-1, 1:-1])
    pieces = trace(framed.labels, block)
    level, upright = (border_lengths(some, pieces.sides, len(framed.ids)) for some in piece_lengths(pieces, ground))
    inner = Faces(np.ascontiguousarray(framed.labels[1:-1, 1:-1]), classes)
    confidence = job.read(CONFIDENCE, block.rows)
    unfinished = _open(framed.labels)
    sums = StripSums(
        faces=framed.ids,
        level=level,
        upright=upright,
        sums=face_sums(inner, confidence),
        low=face_quantiles(inner, confidence, LOW_SHARE),
        unfamiliarity=_unfamiliarity(job, strip, inner),
        open=unfinished,
        histograms=face_histograms(inner, confidence, unfinished),
    )
    sides = np.append(framed.ids, np.int32(NO_FACE))[pieces.sides]
    arrays = {"sides": sides, "ends": pieces.ends, "kinds": pieces.kinds, "first": pieces.first, **asdict(sums)}
    write_large(job.points_file(strip), pieces.points)
    write_arrays(job.arcs_file(strip), arrays)
    return Receipt(outputs=(*outputs, job.points_file(strip), job.arcs_file(strip)), counts={})


def _unfamiliarity(job: VectorizeJob, strip: int, faces: Faces) -> Counts:
    if UNFAMILIAR not in job.rasters:
        return np.zeros(faces.count, np.int64)
    return face_sums(faces, job.read(UNFAMILIAR, job.blocks[strip].rows))


@dataclass(frozen=True, slots=True)
class PiecesOnDisk:
    """What the strips of a scene left: read anew in every round, so that memory holds one strip's at a time."""

    job: VectorizeJob

    def __iter__(self) -> Iterator[Pieces]:
        """Yield the pieces of each strip; their points stay on disk until they are touched."""
        for strip in range(len(self.job.blocks)):
            arrays = dict(zip(_PIECES, read_arrays(self.job.arcs_file(strip), *_PIECES), strict=True))
            yield Pieces(points=map_large(self.job.points_file(strip)), **arrays)


def read_sums(job: VectorizeJob, strip: int) -> StripSums:
    """Return what a strip measured."""
    names = [field.name for field in fields(StripSums)]
    return StripSums(**dict(zip(names, read_arrays(job.arcs_file(strip), *names), strict=True)))


def _open(labels: Labels) -> NDArray[np.intp]:
    """Return the faces that go on beyond the strip's first or last row."""
    shared = [labels[row, 1:-1][labels[row, 1:-1] == labels[beyond, 1:-1]] for row, beyond in ((1, 0), (-2, -1))]
    found = np.unique(np.concatenate(shared))
    faces: NDArray[np.intp] = found[found != NO_FACE].astype(np.intp)
    return faces


def _write_classes(job: VectorizeJob, classes: NDArray[np.uint8], strip: int, labels: Labels) -> tuple[Path, ...]:
    rows, target = job.blocks[strip].rows, job.vectors / SIEVED
    store.clear(target, [CLASSES], rows)
    array = store.open_array(target, CLASSES, write=True)
    # The label of nodata, -1, reads the last entry.
    array[rows, :] = np.append(classes, np.uint8(NODATA_ID))[labels]
    return store.written_files(target, [CLASSES], rows)
