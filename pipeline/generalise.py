"""Generalise: arcs lose the corners that matter least, and the coverage keeps its shape.

Visvalingam and Whyatt (1993): the corner whose triangle with its neighbours is smallest goes first. It may only go if
that triangle holds no corner of any arc: then no arc can come to cross another one, and no island can change its face.
"""

from dataclasses import dataclass, replace
from heapq import heappop, heappush
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from rspipe.catalogs.compiled import compiled, kept
from rspipe.pipeline.coverage import NO_FACE
from rspipe.pipeline.ground import Ground, Lattice
from rspipe.pipeline.stitch import CLOSED, Arcs
from rspipe.pipeline.trace import Points

_ALONE = -1
_GONE = -1


class _Lattice(NamedTuple):
    """Where corners stand: one bit per node."""

    bits: NDArray[np.uint8]
    columns: int


class _Rule(NamedTuple):
    """What decides whether a corner goes, and what it counts."""

    lattice: _Lattice
    areas: Lattice
    limit: float
    """Twice the area of the smallest triangle that stays."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Generalised:
    """Arcs with fewer corners, and what that did to the faces beside them."""

    arcs: Arcs
    lost: NDArray[np.int64]
    """(n,): ground area that went from the left to the right of each arc, in units of `ground.areas.unit`."""

    def gains(self, faces: int) -> NDArray[np.int64]:
        """Return (faces,): the ground area that each face gained; their sum is 0."""
        gained = np.zeros(faces + 1, np.int64)
        # What is outside of all faces, `NO_FACE`, is the last entry.
        np.add.at(gained, self.arcs.sides[:, 0], -self.lost)
        np.add.at(gained, self.arcs.sides[:, 1], self.lost)
        return gained[:-1]


def generalise(arcs: Arcs, ground: Ground, smallest_px2: float) -> Generalised:
    """Drop the corners whose triangles are smaller than an area.

    Arcs are treated one after another, in their order. Their ends stay; a closed arc, and one that returns to its node,
    keeps four points; of several arcs between the same two nodes one at most becomes straight. The border of the valid
    data stays as it is: the coverage keeps its area, and fits its neighbours.

    Args:
        arcs: the whole coverage; `points` are changed in place, it is not to be used afterwards.
        ground: of the raster.
        smallest_px2: area of a triangle, in pixels.
    """
    height_px, width_px = int(ground.areas.rows[-1]) + 1, int(ground.areas.columns[-1]) + 1
    lattice = _Lattice(np.zeros(((height_px + 1) * (width_px + 1) + 7) // 8, np.uint8), width_px + 1)
    kinds = (_pairs(arcs.ends), (arcs.sides != NO_FACE).all(axis=1))
    lost = np.zeros(len(arcs), np.int64)
    lines = (arcs.starts, arcs.sizes, arcs.points)
    sizes = _generalise(_Rule(lattice, ground.areas, 2 * smallest_px2), lines, kinds, lost)
    return Generalised(arcs=replace(arcs, sizes=sizes), lost=lost)


def _pairs(ends: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return a number for each pair of nodes that arcs join, `_ALONE` for arcs that end where they begin."""
    open_ = (ends[:, 0] != CLOSED) & (ends[:, 0] != ends[:, 1])
    _, numbers = np.unique(ends[open_], axis=0, return_inverse=True)
    pairs = np.full(len(ends), _ALONE, np.int64)
    pairs[open_] = numbers.reshape(-1)
    return pairs


@kept
def _generalise(
    rule: _Rule,
    arcs: tuple[NDArray[np.int64], NDArray[np.int64], Points],
    kinds: tuple[NDArray[np.int64], NDArray[np.bool_]],
    lost: NDArray[np.int64],
) -> NDArray[np.int64]:
    starts, sizes, points = arcs
    pairs, inner = kinds
    straight = np.zeros(pairs.size, np.bool_)
    for arc in range(starts.size):
        for place in range(starts[arc], starts[arc] + sizes[arc]):
            _put(rule.lattice, points[place])
        if sizes[arc] == 2:
            straight[pairs[arc]] = True
    kept_sizes = sizes.copy()
    for arc in range(starts.size):
        line = points[starts[arc] : starts[arc] + sizes[arc]]
        least = 4 if pairs[arc] == _ALONE else 3 if straight[pairs[arc]] else 2
        if inner[arc] and line.shape[0] > least:
            kept_sizes[arc], lost[arc] = _thin(rule, line, least)
        if pairs[arc] != _ALONE and kept_sizes[arc] == 2:
            straight[pairs[arc]] = True
    return kept_sizes


@compiled
def _thin(rule: _Rule, line: Points, least: int) -> tuple[int, int]:
    """Drop corners of one arc, close up what is left; return how many points that is, and what its left side lost."""
    count = line.shape[0]
    links = _Links(np.arange(-1, count - 1), np.arange(1, count + 1), np.zeros(count, np.int64))
    heap = [(np.int64(0), np.int64(0)) for _ in range(0)]
    for place in range(1, count - 1):
        _rank(links, line, place, rule.limit, heap)
    left, lost = count, np.int64(0)
    while left > least and len(heap) > 0:
        area, corner = heappop(heap)
        place = int(corner)
        if links.areas[place] != area:
            continue  # A neighbour has gone since, or it has gone itself.
        one, other = links.before[place], links.after[place]
        if _holds_corner(rule.lattice, (line[one], line[place], line[other])):
            continue
        _lift(rule.lattice, line[place])
        lost += _swept(rule.areas, line[one], line[place], line[other])
        links.areas[place] = _GONE
        links.after[one], links.before[other] = other, one
        left -= 1
        for near in (one, other):
            if 0 < near < count - 1:
                _rank(links, line, near, rule.limit, heap)
    return _close_up(line, links.areas), int(lost)


class _Links(NamedTuple):
    """The corners that are left, each with its neighbours and twice the area of its triangle."""

    before: NDArray[np.int64]
    after: NDArray[np.int64]
    areas: NDArray[np.int64]


@compiled
def _rank(links: _Links, line: Points, place: int, limit: float, heap: list[tuple[np.int64, np.int64]]) -> None:
    links.areas[place] = abs(_doubled_area(line[links.before[place]], line[place], line[links.after[place]]))
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
    """Return twice the area of a triangle; above 0 if the way turns left in its middle, on a map with north up."""
    down, right = np.int64(middle[0]) - one[0], np.int64(middle[1]) - one[1]
    far_down, far_right = np.int64(other[0]) - one[0], np.int64(other[1]) - one[1]
    return int(down * far_right - right * far_down)


@compiled
def _swept(areas: Lattice, one: Points, middle: Points, other: Points) -> int:
    """Return the ground area that a left side loses when the way from one point to another leaves out the middle."""
    return int(np.rint(_doubled_area(one, middle, other) / 2 * _area_at(areas, middle) / areas.unit))


@compiled
def _area_at(areas: Lattice, node: Points) -> float:
    """Return the ground area of a pixel at a node, as `ground.fill_row` does for whole rows."""
    row, column = min(np.int64(node[0]), areas.rows[-1]), min(np.int64(node[1]), areas.columns[-1])
    above = np.searchsorted(areas.rows, row, side="right") - 1
    left = np.searchsorted(areas.columns, column, side="right") - 1
    below, right = min(above + 1, areas.rows.size - 1), min(left + 1, areas.columns.size - 1)
    down = (row - areas.rows[above]) / max(areas.rows[below] - areas.rows[above], 1)
    across = (column - areas.columns[left]) / max(areas.columns[right] - areas.columns[left], 1)
    west = areas.values[above, left] + down * (areas.values[below, left] - areas.values[above, left])
    east = areas.values[above, right] + down * (areas.values[below, right] - areas.values[above, right])
    return float(west + across * (east - west))


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
