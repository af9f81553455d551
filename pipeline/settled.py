"""What became of a scene's faces, and how a strip's pixels are told by them."""

from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from rspipe.pipeline.arrayfile import read_arrays, write_arrays
from rspipe.pipeline.coverage import NO_FACE, Counts, Faces, Labels, find_faces, relabel
from rspipe.pipeline.facestep import read_part
from rspipe.pipeline.inferred import CLASSES
from rspipe.pipeline.vectorjob import VectorizeJob


@dataclass(frozen=True, slots=True, kw_only=True)
class Settled:
    """The scene's faces, numbered by their first pixels."""

    classes: NDArray[np.uint8]
    """(m,)."""
    pixels: Counts
    areas: Counts
    """In units of `ground.areas.unit`."""
    first: Counts
    """(strips + 1,): the faces that were found in strip i are first[i] .. first[i + 1] of `numbers`."""
    numbers: NDArray[np.int32]
    """The face of the scene that each of them became part of."""

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read what `write` wrote."""
        names = [field.name for field in fields(Settled)]
        return cls(**dict(zip(names, read_arrays(path, *names), strict=True)))

    def write(self, path: Path) -> None:
        """Write it whole or not at all.

        Raises:
            EnvironmentFailedError: the disk is full or cannot be written.
        """
        write_arrays(path, asdict(self))

    def of_strip(self, strip: int) -> NDArray[np.int32]:
        """Return the faces of the scene that a strip's faces became part of."""
        return self.numbers[self.first[strip] : self.first[strip + 1]]


@dataclass(frozen=True, slots=True)
class Framed:
    """A strip with one pixel more on all sides."""

    labels: Labels
    """(rows + 2, W + 2): places in `ids`, `NO_FACE` under nodata and outside of the scene."""
    ids: NDArray[np.int32]
    """Faces of the scene, ascending."""


class Sifted:
    """The strips of a scene as the sieve left them."""

    def __init__(self, job: VectorizeJob, settled: Settled) -> None:
        self.job = job
        self.settled = settled

    @property
    def wholes(self) -> NDArray[np.int32] | None:
        """(m,): the giant that each face was cut from, `NO_FACE` for those that are whole; None where none was cut."""
        return None

    def faces(self, strip: int) -> Faces:
        """Return a strip's own faces, found again, which is as quick as reading them; see `Settled.of_strip`."""
        return find_faces(self.job.read(CLASSES, self.job.blocks[strip].rows))

    def top(self, strip: int) -> Labels:
        """Return the scene's faces along a strip's first row; `bottom` likewise."""
        return named(read_part(self.job, strip).top, self.settled.of_strip(strip))

    def bottom(self, strip: int) -> Labels:
        """See `top`."""
        return named(read_part(self.job, strip).bottom, self.settled.of_strip(strip))

    def framed(self, strip: int) -> Framed:
        """Return a strip and the rows beside it, named as the scene does."""
        block, own = self.job.blocks[strip], self.settled.of_strip(strip)
        above = self.bottom(strip - 1) if strip > 0 else None
        below = self.top(strip + 1) if strip + 1 < len(self.job.blocks) else None
        around = [edge[edge != NO_FACE] for edge in (above, below) if edge is not None]
        ids = np.unique(np.concatenate([own, *around])).astype(np.int32)
        labels = np.full((block.rows.stop - block.rows.start + 2, block.width_px + 2), NO_FACE, np.int32)
        relabel(self.faces(strip), np.searchsorted(ids, own).astype(np.int32), labels[1:-1, 1:-1])
        for row, edge in ((0, above), (-1, below)):
            if edge is not None:
                labels[row, 1:-1] = np.where(edge == NO_FACE, NO_FACE, np.searchsorted(ids, edge))
        return Framed(labels, ids)


def named(labels: Labels, numbers: NDArray[np.int32]) -> Labels:
    """Return labels in other numbers; `NO_FACE` stays."""
    other: Labels = np.append(numbers, np.int32(NO_FACE))[labels]
    return other
