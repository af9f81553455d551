"""Generalise: arcs lose the corners that matter least, and the coverage keeps its shape.

Visvalingam and Whyatt (1993): the corner whose triangle with its neighbours is smallest goes first. It may only go if
that triangle holds no corner of any arc: then no arc can come to cross another one, and no island can change its face.
"""

from dataclasses import replace
from heapq import heappop, heappush
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from rspipe.catalogs.compiled import compiled, kept
from rspipe.pipeline.coverage import NO_FACE
from rspipe.pipeline.stitch import CLOSED, Arcs
from rspipe.pipeline.trace import Points

_ALONE = -1
_GONE = -1


class _Lattice(NamedTuple):
    """Where corners stand: one bit per node."""

    bits: NDArray[np.uint8]
    columns: int


def generalise(arcs: Arcs, height_px: int, width_px: int, smallest_px2: float) -> Arcs:
    """Return the arcs without the corners whose triangles are smaller than an area.

    Arcs are treated one after another, in their order. Their ends stay; a closed arc, and one that returns to its node,
    keeps four points; of several arcs between the same two nodes one at most becomes straight. The border of the valid
    data stays as it is: the coverage keeps its area, and fits its neighbours.

    Args:
        arcs: the whole coverage; `points` are changed in place, it is not to be used afterwards.
        height_px: of the raster.
        width_px: of the raster.
        smallest_px2: area of a triangle, in pixels.
    """
    lattice = _Lattice(np.zeros(((height_px + 1) * (width_px + 1) + 7) // 8, np.uint8), width_px + 1)
    pairs = _pairs(arcs.ends)
    inner = (arcs.sides != NO_FACE).all(axis=1)
    sizes = _generalise(lattice, (arcs.starts, arcs.sizes, arcs.points), (pairs, inner), 2 * smallest_px2)
    return replace(arcs, sizes=sizes)


def _pairs(ends: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return a number for each pair of nodes that arcs join, `_ALONE` for arcs that end where they begin."""
    open_ = (ends[:, 0] != CLOSED) & (ends[:, 0] != ends[:, 1])
    _, numbers = np.unique(ends[open_], axis=0, return_inverse=True)
    pairs = np.full(len(ends), _ALONE, np.int64)
    pairs[open_] = numbers.reshape(-1)
    return pairs


@kept
def _generalise(
    lattice: _Lattice,
    arcs: tuple[NDArray[np.int64], NDArray[np.int64], Points],
    kinds: tuple[NDArray[np.int64], NDArray[np.bool_]],
    limit: float,
) -> NDArray[np.int64]:
    starts, sizes, points = arcs
    pairs, inner = kinds
    straight = np.zeros(pairs.size, np.bool_)
    for arc in range(starts.size):
        for place in range(starts[arc], starts[arc] + sizes[arc]):
            _put(lattice, points[place])
        if sizes[arc] == 2:
            straight[pairs[arc]] = True
    kept_sizes = sizes.copy()
    for arc in range(starts.size):
        line = points[starts[arc] : starts[arc] + sizes[arc]]
        least = 4 if pairs[arc] == _ALONE else 3 if straight[pairs[arc]] else 2
        if inner[arc] and line.shape[0] > least:
            kept_sizes[arc] = _thin(lattice, line, least, limit)
        if pairs[arc] != _ALONE and kept_sizes[arc] == 2:
            straight[pairs[arc]] = True
    return kept_sizes


@compiled
def _thin(lattice: _Lattice, line: Points, least: int, limit: float) -> int:
    """Drop corners of one arc, close up what is left, and return how many points that is."""
    count = line.shape[0]
    links = _Links(np.arange(-1, count - 1), np.arange(1, count + 1), np.zeros(count, np.int64))
    heap = [(np.int64(0), np.int64(0)) for _ in range(0)]
    for place in range(1, count - 1):
        _rank(links, line, place, limit, heap)
    left = count
    while left > least and len(heap) > 0:
        area, corner = heappop(heap)
        place = int(corner)
        if links.areas[place] != area:
            continue  # A neighbour has gone since, or it has gone itself.
        one, other = links.before[place], links.after[place]
        if _holds_corner(lattice, (line[one], line[place], line[other])):
            continue
        _lift(lattice, line[place])
        links.areas[place] = _GONE
        links.after[one], links.before[other] = other, one
        left -= 1
        for near in (one, other):
            if 0 < near < count - 1:
                _rank(links, line, near, limit, heap)
    return _close_up(line, links.areas)


class _Links(NamedTuple):
    """The corners that are left, each with its neighbours and twice the area of its triangle."""

    before: NDArray[np.int64]
    after: NDArray[np.int64]
    areas: NDArray[np.int64]


@compiled
def _rank(links: _Links, line: Points, place: int, limit: float, heap: list[tuple[np.int64, np.int64]]) -> None:
    links.areas[place] = _doubled_area(line[links.before[place]], line[place], line[links.after[place]])
    if links.areas[place] < limit:
        entry = (np.int64(links.areas[place]), np.int64(place))
        heappush(heap, entry)


@compiled
def _close_up(line: Points, areas: NDArray[np.int64]) -> int:
    used = 0
    for place in range(areas.size):
        if areas[place] != _GONE:
            line[used] = line[place]
            used += 1
    return used


@compiled
def _doubled_area(one: Points, middle: Points, other: Points) -> int:
    down, right = np.int64(middle[0]) - one[0], np.int64(middle[1]) - one[1]
    far_down, far_right = np.int64(other[0]) - one[0], np.int64(other[1]) - one[1]
    return int(abs(down * far_right - right * far_down))


@compiled
def _holds_corner(lattice: _Lattice, triangle: tuple[Points, Points, Points]) -> bool:
    """Tell whether a corner other than its own lies in a triangle or on its border."""
    one, middle, other = triangle
    top, bottom = min(one[0], middle[0], other[0]), max(one[0], middle[0], other[0])
    left, right = min(one[1], middle[1], other[1]), max(one[1], middle[1], other[1])
    for row in range(top, bottom + 1):
        for column in range(left, right + 1):
            node = np.int64(row) * lattice.columns + column
            if not (lattice.bits[node >> 3] >> (node & 7)) & 1:
                continue
            own = (row == one[0] and column == one[1]) or (row == middle[0] and column == middle[1])
            if own or (row == other[0] and column == other[1]):
                continue
            if _is_inside(row, column, triangle):
                return True
    return False


@compiled
def _is_inside(row: int, column: int, triangle: tuple[Points, Points, Points]) -> bool:
    one, middle, other = triangle
    first = _side(one, middle, row, column)
    second = _side(middle, other, row, column)
    third = _side(other, one, row, column)
    return (first >= 0 and second >= 0 and third >= 0) or (first <= 0 and second <= 0 and third <= 0)


@compiled
def _side(one: Points, other: Points, row: int, column: int) -> int:
    down, right = np.int64(other[0]) - one[0], np.int64(other[1]) - one[1]
    return int(down * (column - one[1]) - right * (row - one[0]))


@compiled
def _put(lattice: _Lattice, point: Points) -> None:
    node = np.int64(point[0]) * lattice.columns + point[1]
    lattice.bits[node >> 3] |= np.uint8(1 << (node & 7))


@compiled
def _lift(lattice: _Lattice, point: Points) -> None:
    node = np.int64(point[0]) * lattice.columns + point[1]
    lattice.bits[node >> 3] &= ~np.uint8(1 << (node & 7))
