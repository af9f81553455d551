"""Trace: the borders between the faces of one block of a raster, as pieces of arcs.

The lattice is that of pixel corners; node (r, c) is the upper left corner of pixel (r, c). An edge stands between two
pixels of different faces. Where three or four edges meet is a node of the coverage: arcs end there. Each block owns the
upper and the left edges of its pixels, and the last blocks the raster's outer edges: every edge is owned once. Where an
arc goes on in another block the piece is cut; `stitch` joins it again.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from rspipe.catalogs.compiled import compiled, kept

NODE, CUT, LOOP = 0, 1, 2
"""How a piece ends: at a node of the coverage; where another block goes on; nowhere, it is closed."""
EAST, SOUTH, WEST, NORTH = 0, 1, 2, 3
_ROW_STEP = (0, 1, 0, -1)
_COLUMN_STEP = (1, 0, -1, 0)

Labels = NDArray[np.int32]
Points = NDArray[np.int32]


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """One block of a raster: which part of it, and how large the raster is."""

    rows: slice
    columns: slice
    height_px: int
    """Of the raster."""
    width_px: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Pieces:
    """Parts of arcs; n of them, with p points in all."""

    sides: NDArray[np.int32]
    """(n, 2): the faces to the left and to the right of the way from the first point to the last."""
    ends: NDArray[np.int64]
    """(n, 2): numbers of the first and the last point's node, row-major in a lattice of width + 1 columns."""
    kinds: NDArray[np.uint8]
    """(n, 2): `NODE`, `CUT` or `LOOP` at either end."""
    first: NDArray[np.int64]
    """(n + 1,): the points of piece i are first[i] .. first[i + 1]."""
    points: Points
    """(p, 2): row and column of the corners, and of both ends."""


def trace(labels: Labels, block: Block) -> Pieces:
    """Return the pieces of arcs that a block owns.

    Args:
        labels: (rows + 2, columns + 2): the face of each pixel of the block and of the pixels around it, `NO_FACE`
            under nodata and outside of the raster.
        block: where the block lies.
    """
    height_px, width_px = labels.shape[0] - 2, labels.shape[1] - 2
    bottom, right = block.rows.stop == block.height_px, block.columns.stop == block.width_px
    frame = _Frame(labels, height_px, width_px, height_px + bottom, width_px + right)
    sides, kinds, first, points = _trace(frame)
    points += np.array([block.rows.start, block.columns.start], np.int32)
    outer = points[np.column_stack([first[:-1], first[1:] - 1])].astype(np.int64)
    ends = outer[..., 0] * (block.width_px + 1) + outer[..., 1]
    return Pieces(sides=sides, ends=ends, kinds=kinds, first=first, points=points)


class _Frame(NamedTuple):
    """A block as the walks see it."""

    labels: Labels
    height_px: int
    width_px: int
    level_rows: int
    """So many rows of nodes own the edges to the east of them."""
    upright_columns: int
    """So many columns of nodes own the edges to the south of them."""


class _Drawn(NamedTuple):
    """Points drawn so far; `points` is longer than what is used of it."""

    points: Points
    used: int


@kept
def _trace(frame: _Frame) -> tuple[NDArray[np.int32], NDArray[np.uint8], NDArray[np.int64], Points]:
    walked = np.zeros((frame.height_px + 1, frame.width_px + 1), np.uint8)
    sides, kinds, first = np.empty((256, 2), np.int32), np.empty((256, 2), np.uint8), np.zeros(257, np.int64)
    drawn, count = _Drawn(np.empty((4096, 2), np.int32), 0), 0
    for loops in (False, True):
        for row in range(frame.height_px + 1):
            for column in range(frame.width_px + 1):
                node = (row, column)
                if _is_plain(frame.labels, node) or (not loops and not _is_end(frame, node)):
                    continue
                for direction in range(1 if loops else 4):
                    if not _is_open(frame, walked, node, direction):
                        continue
                    if count == sides.shape[0]:
                        sides, kinds, first = _longer(sides), _longer(kinds), _longer_offsets(first)
                    sides[count] = _beside(frame.labels, node, direction)
                    drawn, last = _walk(frame, walked, drawn, (row, column, direction))
                    kinds[count, 0] = LOOP if loops else _kind(frame.labels, node)
                    kinds[count, 1] = LOOP if loops else _kind(frame.labels, last)
                    count += 1
                    first[count] = drawn.used
    return sides[:count].copy(), kinds[:count].copy(), first[: count + 1].copy(), drawn.points[: drawn.used].copy()


@compiled
def _walk(
    frame: _Frame, walked: NDArray[np.uint8], drawn: _Drawn, start: tuple[int, int, int]
) -> tuple[_Drawn, tuple[int, int]]:
    """Walk along owned edges to the next end, or back to the start, and draw corners and ends."""
    row, column, direction = start
    points, used = _with_point(drawn.points, drawn.used, row, column)
    while True:
        _mark(walked, (row, column), direction)
        row, column = row + _ROW_STEP[direction], column + _COLUMN_STEP[direction]
        if (row == start[0] and column == start[1]) or _is_end(frame, (row, column)):
            break
        if not _runs(frame.labels, (row, column), direction):
            points, used = _with_point(points, used, row, column)
            left = (direction + 3) & 3
            direction = left if _runs(frame.labels, (row, column), left) else (direction + 1) & 3
    points, used = _with_point(points, used, row, column)
    return _Drawn(points, used), (row, column)


@compiled
def _with_point(points: Points, used: int, row: int, column: int) -> tuple[Points, int]:
    if used == points.shape[0]:
        longer = np.empty((2 * used, 2), np.int32)
        longer[:used] = points
        points = longer
    points[used, 0], points[used, 1] = row, column
    return points, used + 1


@compiled
def _runs(labels: Labels, node: tuple[int, int], direction: int) -> bool:
    """Tell whether an edge leaves a node; the pixel to the south-east of node (r, c) is `labels[r + 1, c + 1]`."""
    row, column = node
    if direction == EAST:
        return bool(labels[row, column + 1] != labels[row + 1, column + 1])
    if direction == SOUTH:
        return bool(labels[row + 1, column] != labels[row + 1, column + 1])
    if direction == WEST:
        return bool(labels[row, column] != labels[row + 1, column])
    return bool(labels[row, column] != labels[row, column + 1])


@compiled
def _beside(labels: Labels, node: tuple[int, int], direction: int) -> tuple[int, int]:
    """Return the faces to the left and to the right of the edge that leaves a node."""
    row, column = node
    north_west, north_east = labels[row, column], labels[row, column + 1]
    south_west, south_east = labels[row + 1, column], labels[row + 1, column + 1]
    if direction == EAST:
        return north_east, south_east
    if direction == SOUTH:
        return south_east, south_west
    if direction == WEST:
        return south_west, north_west
    return north_west, north_east


@compiled
def _is_plain(labels: Labels, node: tuple[int, int]) -> bool:
    """Tell whether no edge touches a node."""
    row, column = node
    here = labels[row, column]
    return bool(
        here == labels[row, column + 1] and here == labels[row + 1, column] and here == labels[row + 1, column + 1]
    )


@compiled
def _degree(labels: Labels, node: tuple[int, int]) -> int:
    edges = 0
    for direction in range(4):
        edges += _runs(labels, node, direction)
    return edges


@compiled
def _is_owned(frame: _Frame, node: tuple[int, int], direction: int) -> bool:
    row, column = node
    if direction == EAST:
        return row < frame.level_rows and column < frame.width_px
    if direction == SOUTH:
        return row < frame.height_px and column < frame.upright_columns
    if direction == WEST:
        return row < frame.level_rows and column > 0
    return row > 0 and column < frame.upright_columns


@compiled
def _is_end(frame: _Frame, node: tuple[int, int]) -> bool:
    """Tell whether pieces end at a node: it is one of the coverage, or one of its two edges is another block's."""
    inner = 0 < node[0] < frame.height_px and 0 < node[1] < frame.width_px
    edges = 0
    for direction in range(4):
        if _runs(frame.labels, node, direction):
            edges += 1
            if not (inner or _is_owned(frame, node, direction)):
                return True
    return edges > 2


@compiled
def _kind(labels: Labels, node: tuple[int, int]) -> int:
    return NODE if _degree(labels, node) > 2 else CUT


@compiled
def _is_open(frame: _Frame, walked: NDArray[np.uint8], node: tuple[int, int], direction: int) -> bool:
    """Tell whether a walk is still to begin along an edge."""
    if not (_runs(frame.labels, node, direction) and _is_owned(frame, node, direction)):
        return False
    row, column = node[0] - (direction == NORTH), node[1] - (direction == WEST)
    return bool((walked[row, column] >> (direction & 1)) & 1 == 0)


@compiled
def _mark(walked: NDArray[np.uint8], node: tuple[int, int], direction: int) -> None:
    row, column = node[0] - (direction == NORTH), node[1] - (direction == WEST)
    walked[row, column] |= 1 << (direction & 1)


@compiled
def _longer[T: np.generic](pairs: NDArray[T]) -> NDArray[T]:
    longer = np.empty((2 * pairs.shape[0], 2), pairs.dtype)
    longer[: pairs.shape[0]] = pairs
    return longer


@compiled
def _longer_offsets(offsets: NDArray[np.int64]) -> NDArray[np.int64]:
    longer = np.zeros(2 * offsets.size, np.int64)
    longer[: offsets.size] = offsets
    return longer
