"""Rings: the borders of faces as closed walks along pixel edges.

Where two pixels of one face meet at a corner only, a walk turns so that it does not meet itself: every ring is simple,
and rings of one face touch in single points at most (OGC Simple Features 6.1.11). A ring keeps, besides its corners,
every node where a third face begins, so that the polygons form a coverage whose borders match vertex by vertex.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rspipe.catalogs.compiled import compiled, kept
from rspipe.pipeline.coverage import NO_FACE, Faces, Labels

_EAST = 0
_ROW_STEP = (0, 1, 0, -1)
_COLUMN_STEP = (1, 0, -1, 0)
"""Directions are numbered east, south, west, north; the face lies to the right of the walk."""
_RIGHT_AHEAD = ((0, 0), (0, -1), (-1, -1), (-1, 0))
_LEFT_AHEAD = ((-1, 0), (0, 0), (0, -1), (-1, -1))
_LEFT_BEHIND = ((-1, -1), (-1, 0), (0, 0), (0, -1))
"""Pixels around a node that a walk in each direction has just reached, as (row, column) from the node."""


@dataclass(frozen=True, slots=True)
class Rings:
    """Where rings begin, grouped by face in the order asked for; a face's first ring is its outer one."""

    starts: NDArray[np.int64]
    """(k,): row-major number of a pixel of the face; the ring runs along its upper edge."""
    sizes: NDArray[np.int64]
    """(k,): points of each ring; the first one comes twice."""
    first: NDArray[np.int64]
    """(m + 1,): the rings of the i-th face asked for are first[i] .. first[i + 1]."""


def find_rings(faces: Faces, order: NDArray[np.int64]) -> Rings:
    """Return the rings of some faces.

    Args:
        faces: all faces.
        order: (m,): the faces whose rings are wanted, in the order they are wanted in.
    """
    rank = np.full(faces.count, -1, np.int64)
    rank[order] = np.arange(len(order))
    starts, sizes = _find(faces.labels, rank >= 0)
    of_ring = rank[faces.labels.reshape(-1)[starts]]
    grouped = np.argsort(of_ring, kind="stable")
    first = np.searchsorted(of_ring[grouped], np.arange(len(order) + 1))
    return Rings(starts[grouped], sizes[grouped], first)


def ring_nodes(faces: Faces, rings: Rings, part: slice) -> NDArray[np.int32]:
    """Return the nodes of rings as (points, 2): row and column of pixel corners, ring after ring.

    Outer rings run counter-clockwise and holes clockwise on a map with north up.

    Args:
        faces: the faces that `rings` was made from.
        rings: all rings.
        part: which of them.
    """
    sizes = rings.sizes[part]
    nodes = np.empty((int(sizes.sum()), 2), np.int32)
    _trace(faces.labels, rings.starts[part], np.cumsum(sizes), nodes)
    return nodes


@kept
def _find(labels: Labels, wanted: NDArray[np.bool_]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    height, width = labels.shape
    passed = np.zeros((height, width), np.bool_)
    nowhere = np.empty((0, 2), np.int32)
    starts, sizes, count = np.empty(1024, np.int64), np.empty(1024, np.int64), 0
    for row in range(height):
        for column in range(width):
            face = labels[row, column]
            if passed[row, column] or face == NO_FACE or not wanted[face] or _face_at(labels, row - 1, column) == face:
                continue
            if count == starts.size:
                starts, sizes = _doubled(starts), _doubled(sizes)
            starts[count] = row * width + column
            sizes[count] = _walk(labels, (row, column), passed, nowhere)
            count += 1
    return starts[:count], sizes[:count]


@compiled
def _face_at(labels: Labels, row: int, column: int) -> int:
    """Return the face of a pixel; there is none outside of the raster."""
    inside = 0 <= row < labels.shape[0] and 0 <= column < labels.shape[1]
    return labels[row, column] if inside else NO_FACE


@compiled
def _doubled(values: NDArray[np.int64]) -> NDArray[np.int64]:
    longer = np.empty(2 * values.size, np.int64)
    longer[: values.size] = values
    return longer


@kept
def _trace(labels: Labels, starts: NDArray[np.int64], stops: NDArray[np.int64], nodes: NDArray[np.int32]) -> None:
    unmarked = np.empty((0, 0), np.bool_)
    begin = 0
    for ring in range(starts.size):
        corner = (starts[ring] // labels.shape[1], starts[ring] % labels.shape[1])
        _walk(labels, corner, unmarked, nodes[begin : stops[ring]])
        begin = stops[ring]


@compiled
def _walk(labels: Labels, start: tuple[int, int], passed: NDArray[np.bool_], nodes: NDArray[np.int32]) -> int:
    """Walk once around a ring and return how many points it has.

    Args:
        labels: the faces.
        start: the pixel whose upper edge the walk begins with.
        passed: (H, W) or empty: pixels whose upper edge was walked are marked here.
        nodes: the ring's points, or empty: filled from its end, so that the walk's sense is turned round.
    """
    row, column, direction = start[0], start[1], _EAST
    face, count = labels[row, column], 0
    corner = True
    while True:
        if corner:
            if nodes.size:
                nodes[nodes.shape[0] - 1 - count] = (row, column)
            count += 1
        if direction == _EAST and passed.size:
            passed[row, column] = True
        row, column = row + _ROW_STEP[direction], column + _COLUMN_STEP[direction]
        turned = _turn(labels, (row, column), direction, face)
        corner = turned != direction or _is_node(labels, (row, column), direction)
        direction = turned
        if row == start[0] and column == start[1] and direction == _EAST:
            break
    if nodes.size:
        nodes[0] = (row, column)
    return count + 1


@compiled
def _turn(labels: Labels, node: tuple[int, int], direction: int, face: int) -> int:
    """Return the direction that a walk leaves a node in: as far left as the face allows."""
    row, column = _LEFT_AHEAD[direction]
    if _face_at(labels, node[0] + row, node[1] + column) == face:
        return (direction + 3) % 4
    row, column = _RIGHT_AHEAD[direction]
    return direction if _face_at(labels, node[0] + row, node[1] + column) == face else (direction + 1) % 4


@compiled
def _is_node(labels: Labels, node: tuple[int, int], direction: int) -> bool:
    """Return whether what lies to the left of a walk changes at a node."""
    ahead, behind = _LEFT_AHEAD[direction], _LEFT_BEHIND[direction]
    left_ahead = _face_at(labels, node[0] + ahead[0], node[1] + ahead[1])
    return left_ahead != _face_at(labels, node[0] + behind[0], node[1] + behind[1])
