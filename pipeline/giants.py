"""Giants: polygons with more vertices than other programs bear are cut on a fixed grid, into faces of their own.

A face whose parts in the cells of a chequerboard count as two classes falls apart at the board's lines by itself: its
parts are found, united over strips, measured and traced as any faces are.
"""

from dataclasses import asdict, dataclass, fields
from typing import Self

import numpy as np
from numpy.typing import NDArray

from rspipe.catalogs.compiled import compiled, kept
from rspipe.catalogs.legends import NODATA_ID
from rspipe.pipeline.arrayfile import read_arrays, write_arrays
from rspipe.pipeline.coverage import NO_FACE, Counts, Faces, Labels, find_faces
from rspipe.pipeline.errors import SceneFailedError
from rspipe.pipeline.ground import measure
from rspipe.pipeline.measures import face_areas, face_pixels
from rspipe.pipeline.settled import Settled, Sifted, named
from rspipe.pipeline.unite import Part, unite
from rspipe.pipeline.vectorjob import VectorizeJob

MOST_VERTICES = 4
"""A pixel brings its face so many vertices at most."""


class Chequered(Sifted):
    """The strips of a scene in which the parts of giants are faces."""

    def __init__(self, before: Sifted, settled: Settled, parts: "Parts") -> None:
        super().__init__(before.job, settled)
        self.before = before
        self.parts = parts

    @property
    def wholes(self) -> NDArray[np.int32] | None:
        """See `Sifted`."""
        return self.parts.wholes

    def faces(self, strip: int) -> Faces:
        """See `Sifted`."""
        return chequered(self.before, self.before.faces(strip), strip, self.parts.giants)

    def top(self, strip: int) -> Labels:
        """See `Sifted`."""
        return named(self.parts.tops[strip], self.settled.of_strip(strip))

    def bottom(self, strip: int) -> Labels:
        """See `Sifted`."""
        return named(self.parts.bottoms[strip], self.settled.of_strip(strip))


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """What was cut."""

    giants: NDArray[np.bool_]
    """(m,): which faces were, numbered as before."""
    wholes: NDArray[np.int32]
    """(k,): the giant that each face was cut from, numbered as before; `NO_FACE` for those that are whole."""
    tops: Labels
    """(strips, W): the strips' own faces along their first rows; `bottoms` likewise."""
    bottoms: Labels

    @classmethod
    def none(cls) -> Self:
        """Return what says that no face was cut."""
        edges = np.empty((0, 0), np.int32)
        return cls(giants=np.zeros(0, np.bool_), wholes=np.empty(0, np.int32), tops=edges, bottoms=edges)


def open_faces(job: VectorizeJob) -> Sifted:
    """Return the strips of a scene as they become polygons."""
    sifted = Sifted(job, Settled.read(job.sieve_file))
    parts = _read_parts(job)
    return sifted if parts is None else Chequered(sifted, Settled.read(job.chequered_file), parts)


def _read_parts(job: VectorizeJob) -> Parts | None:
    """Return what was cut, or None if no face was."""
    if job.max_vertices is None:
        return None
    names = [field.name for field in fields(Parts)]
    parts = Parts(**dict(zip(names, read_arrays(job.parts_file, *names), strict=True)))
    return parts if parts.giants.any() else None


def cut(sifted: Sifted, max_vertices: int) -> None:
    """Cut all faces with more vertices, and write what `open_faces` reads.

    Raises:
        SceneFailedError: there are too many classes for a second name of each that has giants.
        EnvironmentFailedError: the disk is full or cannot be written.
    """
    giants = np.zeros(len(sifted.settled.classes), np.bool_)
    if sifted.settled.pixels.max(initial=0) * MOST_VERTICES > max_vertices:
        giants = vertices(sifted) > max_vertices
    if giants.any():
        settled, parts = _parts(sifted, giants)
    else:
        settled, parts = sifted.settled, Parts.none()
    settled.write(sifted.job.chequered_file)
    write_arrays(sifted.job.parts_file, asdict(parts))


def _parts(sifted: Sifted, giants: NDArray[np.bool_]) -> tuple[Settled, Parts]:
    job, ground = sifted.job, measure(sifted.job.grid)
    parts, sizes, origins = [], [], []
    for strip, block in enumerate(job.blocks):
        before = sifted.faces(strip)
        faces = chequered(sifted, before, strip, giants)
        part = Part.of(faces, block)
        parts.append(part)
        sizes.append((face_pixels(faces), face_areas(faces, ground, block.rows.start)))
        rows, columns = np.divmod(part.firsts, block.width_px)
        origins.append(named(before.labels[rows - block.rows.start, columns], sifted.settled.of_strip(strip)))
    united = unite(parts)
    pixels, areas = (united.total(some) for some in zip(*sizes, strict=True))
    wholes = np.empty(len(united.classes), np.int32)
    wholes[np.concatenate(united.numbers)] = np.concatenate(origins)
    settled = Settled(
        classes=sifted.settled.classes[wholes],
        pixels=pixels,
        areas=areas,
        first=np.cumsum([0, *(len(numbers) for numbers in united.numbers)]),
        numbers=np.concatenate(united.numbers),
    )
    tops, bottoms = np.stack([part.top for part in parts]), np.stack([part.bottom for part in parts])
    wholes = np.where(giants[wholes], wholes, np.int32(NO_FACE))
    return settled, Parts(giants=giants, wholes=wholes, tops=tops, bottoms=bottoms)


def vertices(sifted: Sifted) -> Counts:
    """Return (m,): how many vertices the polygon of each face has before any is dropped."""
    totals = np.zeros(len(sifted.settled.classes), np.int64)
    for strip, block in enumerate(sifted.job.blocks):
        framed = sifted.framed(strip)
        own = np.zeros(len(framed.ids), np.int64)
        # The nodes under the last row are those above the next strip's first.
        _count(framed.labels, len(framed.labels) - (block.rows.stop < block.height_px), own)
        totals[framed.ids] += own
    return totals


@kept
def _count(labels: Labels, rows: int, totals: Counts) -> None:
    """Count the vertices at the lattice nodes above so many rows."""
    for row in range(1, rows):
        for column in range(1, labels.shape[1]):
            above_left, above_right = labels[row - 1, column - 1], labels[row - 1, column]
            left, right = labels[row, column - 1], labels[row, column]
            if not above_left == above_right == left == right:
                _meet((above_left, above_right, right, left), totals)


@compiled
def _meet(around: tuple[int, int, int, int], totals: Counts) -> None:
    """Count what the four pixels around a node bring to their faces: corners, and nodes on straight borders."""
    for place in range(4):
        face, joined = around[place], 0
        for other in range(4):
            if around[other] == face:
                if other < place:
                    break
                joined += 1
        else:
            if face == NO_FACE:
                continue
            if joined != 2:
                totals[face] += 1
            elif around[(place + 2) & 3] == face:
                totals[face] += 2
            else:
                # The two that are not of this face: it goes on straight between them if they are one.
                begin = 2 if around[(place + 1) & 3] == face else 1
                totals[face] += around[(place + begin) & 3] != around[(place + begin + 1) & 3]


def chequered(sifted: Sifted, faces: Faces, strip: int, giants: NDArray[np.bool_]) -> Faces:
    """Return the faces of a strip in which giants fall apart into the cells of a chequerboard.

    Args:
        sifted: the scene.
        faces: what `sifted` says of the strip.
        strip: which one.
        giants: (m,): which faces of the scene.

    Raises:
        SceneFailedError: there are too many classes for a second name of each that has giants.
    """
    job, settled, own = sifted.job, sifted.settled, sifted.settled.of_strip(strip)
    torn = np.unique(settled.classes[giants])
    seconds = np.arange(NODATA_ID + 1)
    seconds[torn] = np.arange(len(torn)) + len(job.legend.classes)
    if seconds[:NODATA_ID].max() >= NODATA_ID:
        found = f"{len(job.legend.classes)} classes, {len(torn)} of them with polygons to be split"
        raise SceneFailedError(f"scene {job.scene}, vectorize: {found}, are more than {NODATA_ID}; unset max_vertices")
    names = settled.classes[own]
    others = np.where(giants[own], seconds[names], names).astype(np.uint8)
    painted = np.empty(faces.labels.shape, np.uint8)
    _paint(faces.labels, (names, others), (job.blocks[strip].rows.start, job.cell_px), painted)
    return find_faces(painted)


@kept
def _paint(
    labels: Labels,
    names: tuple[NDArray[np.uint8], NDArray[np.uint8]],
    board: tuple[int, int],
    into: NDArray[np.uint8],
) -> None:
    first_row, cell_px = board
    for row in range(labels.shape[0]):
        for column in range(labels.shape[1]):
            face = labels[row, column]
            odd = ((first_row + row) // cell_px + column // cell_px) & 1
            into[row, column] = NODATA_ID if face == NO_FACE else names[odd][face]
