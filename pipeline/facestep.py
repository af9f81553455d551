"""The step `faces`: which faces a strip holds, how large they are, and what the small ones touch."""

from dataclasses import asdict

import numpy as np
from numpy.typing import NDArray

from rspipe.pipeline.arrayfile import read_arrays, write_arrays
from rspipe.pipeline.contacts import Contacts, contacts_inside, exposed_inside
from rspipe.pipeline.coverage import NO_CHANCES, Faces, find_faces
from rspipe.pipeline.errors import SceneFailedError
from rspipe.pipeline.ground import measure
from rspipe.pipeline.inferred import CLASSES
from rspipe.pipeline.measures import face_areas, face_pixels, face_sums
from rspipe.pipeline.task import Receipt
from rspipe.pipeline.unite import Part
from rspipe.pipeline.vectorjob import PROBABILITIES, VectorizeJob

_PART = ("classes", "firsts", "top", "bottom", "left", "right")
_CONTACTS = ("ones", "others", "lengths")
_SIZES = ("pixels", "areas")


def find(job: VectorizeJob, strip: int) -> Receipt:
    """Find the faces of one strip.

    Raises:
        SceneFailedError: the classes do not fit the legend or the grid, or the grid's CRS has no areas.
        EnvironmentFailedError: the disk is full or cannot be written.
    """
    block = job.blocks[strip]
    ground = measure(job.grid)
    faces = find_faces(job.read(CLASSES, block.rows))
    _check(job, faces)
    areas = face_areas(faces, ground, block.rows.start)
    part = asdict(Part.of(faces, block))
    small = (areas < job.least(ground)[faces.classes]) | (areas < job.fill_below(ground))
    contacts = contacts_inside(faces, small, ground, block)
    exposed = exposed_inside(faces, block) if job.fill_below_m2 else np.ones(faces.count, np.bool_)
    arrays = {name: part[name] for name in _PART} | asdict(contacts)
    arrays |= {"pixels": face_pixels(faces), "areas": areas, "exposed": exposed, "chances": _chances(job, strip, faces)}
    write_arrays(job.faces_file(strip), arrays)
    return Receipt(outputs=(job.faces_file(strip),), counts={})


def read_part(job: VectorizeJob, strip: int) -> Part:
    """Return what is known of a strip's faces."""
    arrays = read_arrays(job.faces_file(strip), *_PART)
    return Part(block=job.blocks[strip], **dict(zip(_PART, arrays, strict=True)))


def read_contacts(job: VectorizeJob, strip: int) -> Contacts:
    """Return which faces touch inside of a strip."""
    return Contacts(**dict(zip(_CONTACTS, read_arrays(job.faces_file(strip), *_CONTACTS), strict=True)))


def read_sizes(job: VectorizeJob, strip: int) -> list[NDArray[np.int64]]:
    """Return the pixels and the ground areas of a strip's faces."""
    return read_arrays(job.faces_file(strip), *_SIZES)


def read_exposed(job: VectorizeJob, strip: int) -> NDArray[np.bool_]:
    """Return which of a strip's faces touch nodata or the scene's border."""
    return read_arrays(job.faces_file(strip), "exposed")[0]


def read_chances(job: VectorizeJob, strip: int) -> NDArray[np.int64]:
    """Return (n, classes): the probability of each class summed over a strip's faces."""
    return read_arrays(job.faces_file(strip), "chances")[0]


def _chances(job: VectorizeJob, strip: int, faces: Faces) -> NDArray[np.int64]:
    if not job.by_probability:
        return NO_CHANCES
    rows, classes = job.blocks[strip].rows, range(len(job.legend.classes))
    return np.column_stack([face_sums(faces, job.read(PROBABILITIES, rows, layer)) for layer in classes])


def _check(job: VectorizeJob, faces: Faces) -> None:
    strange = [int(value) for value in np.unique(faces.classes) if value >= len(job.legend.classes)]
    if strange:
        found = f"class ids {strange} are not in legend {job.legend.name!r}"
        raise SceneFailedError(f"scene {job.scene}, vectorize: {found}; infer with the model the legend belongs to")
