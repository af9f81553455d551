"""Vectorize: a scene's classes become a sieved class raster and polygons with honest sizes.

Four steps, the first and the third strip by strip: `faces` finds them, `sieve` settles what becomes of each, `arcs`
writes the sieved raster and traces the borders in it, `polygons` puts the borders together. What is known of the whole
scene are faces and arcs, never pixels.
"""

from collections.abc import Iterator

from rspipe.pipeline import arcstep, facestep, polygonstep, sievestep
from rspipe.pipeline.task import Receipt
from rspipe.pipeline.vectorjob import VectorizeJob, VectorStep

VERSION = 3
"""Part of every key: raised when the same input would give other bytes."""


def run_vectorize(task: VectorStep) -> Receipt:
    """Take one step.

    Raises:
        SceneFailedError: the classes do not fit the legend or the grid, or the grid's CRS has no areas.
        EnvironmentFailedError: the disk is full or cannot be written.
    """
    match task.step:
        case "faces":
            return facestep.find(task.job, task.strip)
        case "sieve":
            return sievestep.settle(task.job)
        case "arcs":
            return arcstep.draw(task.job, task.strip)
        case "polygons":
            return polygonstep.assemble(task.job)


def steps(job: VectorizeJob) -> Iterator[tuple[VectorStep, ...]]:
    """Yield the steps of one scene: those of a tuple need all of the tuple before, and not each other."""
    strips = range(len(job.blocks))
    yield tuple(VectorStep(job=job, step="faces", strip=strip) for strip in strips)
    yield (VectorStep(job=job, step="sieve"),)
    yield tuple(VectorStep(job=job, step="arcs", strip=strip) for strip in strips)
    yield (VectorStep(job=job, step="polygons"),)
