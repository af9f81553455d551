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
_END = -1
_ROW_STEP = (0, 1, 0, -1)
_COLUMN_STEP = (1, 0, -1, 0)

Labels = NDArray[np.int32]
Points = NDArray[np.int32]
Nodes = NDArray[np.int64]


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


class _Found(NamedTuple):
    """Pieces found so far; the arrays are longer than what is used of them."""

    sides: NDArray[np.int32]
    kinds: NDArray[np.uint8]
    first: NDArray[np.int64]
    points: Points


@kept
def _trace(frame: _Frame) -> tuple[NDArray[np.int32], NDArray[np.uint8], NDArray[np.int64], Points]:
    corners, ends = _survey(frame)
    walked = np.zeros((frame.height_px + 1, frame.width_px + 1), np.uint8)
    most = 4 * ends.shape[0] + corners.shape[0]
    found = _Found(
        np.empty((most, 2), np.int32),
        np.empty((most, 2), np.uint8),
        np.zeros(most + 1, np.int64),
        np.empty((_most_points(frame, most), 2), np.int32),
    )
    count = 0
    for place in range(ends.shape[0]):
        for direction in range(4):
            count = _piece(frame, walked, found, count, (ends[place, 0], ends[place, 1], direction))
    # What no end led to is closed, and its first corner is one of these. `int`: as a constant, the direction would have
    # everything compiled once more.
    for place in range(corners.shape[0]):
        count = _piece(frame, walked, found, count, (corners[place, 0], corners[place, 1], int(EAST)))
    return (
        found.sides[:count].copy(),
        found.kinds[:count].copy(),
        found.first[: count + 1].copy(),
        found.points[: found.first[count]].copy(),
    )


@compiled
def _survey(frame: _Frame) -> tuple[Nodes, Nodes]:
    """Return the nodes that may be first corners of closed pieces, and those at which pieces end."""
    corners, ends = np.empty((1024, 2), np.int64), np.empty((1024, 2), np.int64)
    corner_count, end_count = 0, 0
    touched = np.empty(frame.width_px + 1, np.bool_)
    for row in range(frame.height_px + 1):
        _mark_touched(frame.labels[row], frame.labels[row + 1], touched)
        for column in range(frame.width_px + 1):
            if not touched[column]:
                continue
            node = (row, column)
            if _is_end(frame, node):
                ends = _with(ends, end_count, node)
                end_count += 1
            elif _leads_south_east(frame.labels, node):
                corners = _with(corners, corner_count, node)
                corner_count += 1
    return corners[:corner_count], ends[:end_count]


@compiled
def _mark_touched(above: Labels, below: Labels, touched: NDArray[np.bool_]) -> None:
    """Mark the nodes between two rows of pixels that an edge touches; without branches, so that it is quick."""
    for column in range(touched.size):
        level = above[column] != below[column]
        touched[column] = level | (above[column] != above[column + 1]) | (below[column] != below[column + 1])


@compiled
def _with(nodes: Nodes, count: int, node: tuple[int, int]) -> Nodes:
    if count == nodes.shape[0]:
        longer = np.empty((2 * count, 2), nodes.dtype)
        longer[:count] = nodes
        nodes = longer
    nodes[count, 0], nodes[count, 1] = node
    return nodes


@compiled
def _most_points(frame: _Frame, pieces: int) -> int:
    """Return how many points there can be at most: every node where an edge turns, and the ends of all pieces."""
    turns = 0
    for row in range(frame.height_px + 1):
        above, below = frame.labels[row], frame.labels[row + 1]
        for column in range(frame.width_px + 1):
            level = (above[column] != below[column]) | (above[column + 1] != below[column + 1])
            upright = (above[column] != above[column + 1]) | (below[column] != below[column + 1])
            turns += level & upright
    return turns + 2 * pieces


@compiled
def _piece(frame: _Frame, walked: NDArray[np.uint8], found: _Found, count: int, start: tuple[int, int, int]) -> int:
    """Draw the piece that begins with an edge, if it is still to be drawn; return how many there are now."""
    node = (start[0], start[1])
    if not _is_open(frame, walked, node, start[2]):
        return count
    used = found.first[count]
    used, last = _walk(frame, walked, (found.points, used), start)
    loop = not _is_end(frame, node)
    found.sides[count, 0], found.sides[count, 1] = _beside(frame.labels, node, start[2])
    found.kinds[count, 0] = LOOP if loop else _kind(frame.labels, node)
    found.kinds[count, 1] = LOOP if loop else _kind(frame.labels, last)
    found.first[count + 1] = used
    return count + 1


@compiled
def _walk(
    frame: _Frame, walked: NDArray[np.uint8], drawn: tuple[Points, int], start: tuple[int, int, int]
) -> tuple[int, tuple[int, int]]:
    """Walk along owned edges to the next end, or back to the start, and draw corners and ends.

    Returns how many points are drawn then, and the last one.
    """
    row, column, direction = start
    sides = _beside(frame.labels, (row, column), direction)
    points, used = drawn
    points[used, 0], points[used, 1] = row, column
    used += 1
    while True:
        _mark(walked, (row, column), direction)
        row, column = row + _ROW_STEP[direction], column + _COLUMN_STEP[direction]
        if row == start[0] and column == start[1]:
            break
        if 0 < row < frame.height_px and 0 < column < frame.width_px:
            turned = _turn(frame.labels, (row, column), direction, sides)
        else:
            turned = _turn_at_border(frame, (row, column), direction)
        if turned == _END:
            break
        if turned != direction:
            points[used, 0], points[used, 1] = row, column
            used += 1
            direction = turned
    points[used, 0], points[used, 1] = row, column
    return used + 1, (row, column)


@compiled
def _turn(labels: Labels, node: tuple[int, int], direction: int, sides: tuple[int, int]) -> int:
    """Return the direction that a walk with these faces beside it leaves a node in, or `_END` at three or four edges.

    Two pixels lie ahead of a walk. Where both are as those beside it is, it goes straight on.
    """
    left, right = _ahead(labels, node, direction)
    if left == sides[0] and right == sides[1]:
        return direction
    if left != right:
        return _END
    if left == sides[1]:
        return (direction + 3) & 3
    return (direction + 1) & 3 if right == sides[0] else _END


@compiled
def _ahead(labels: Labels, node: tuple[int, int], direction: int) -> tuple[int, int]:
    """Return the faces ahead of a walk that reaches a node, to its left and to its right."""
    row, column = node
    if direction == EAST:
        return labels[row, column + 1], labels[row + 1, column + 1]
    if direction == SOUTH:
        return labels[row + 1, column + 1], labels[row + 1, column]
    if direction == WEST:
        return labels[row + 1, column], labels[row, column]
    return labels[row, column], labels[row, column + 1]


@compiled
def _turn_at_border(frame: _Frame, node: tuple[int, int], direction: int) -> int:
    if _is_end(frame, node):
        return _END
    if _runs(frame.labels, node, direction):
        return direction
    left = (direction + 3) & 3
    return left if _runs(frame.labels, node, left) else (direction + 1) & 3


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
def _degree(labels: Labels, node: tuple[int, int]) -> int:
    """Return how many edges meet in a node."""
    row, column = node
    north_west, north_east = labels[row, column], labels[row, column + 1]
    south_west, south_east = labels[row + 1, column], labels[row + 1, column + 1]
    level = int(north_west != south_west) + int(north_east != south_east)
    return level + int(north_west != north_east) + int(south_west != south_east)


@compiled
def _leads_south_east(labels: Labels, node: tuple[int, int]) -> bool:
    row, column = node
    here = labels[row + 1, column + 1]
    return bool(here != labels[row, column + 1] and here != labels[row + 1, column])


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
    if _degree(frame.labels, node) > 2:
        return True
    if 0 < node[0] < frame.height_px and 0 < node[1] < frame.width_px:
        return False
    foreign = 0
    for direction in range(4):
        foreign += _runs(frame.labels, node, direction) and not _is_owned(frame, node, direction)
    return foreign > 0


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
