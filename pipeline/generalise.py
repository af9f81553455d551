"""Generalise: arcs lose the corners that matter least, and the coverage keeps its shape.

Visvalingam and Whyatt (1993): the corner whose triangle with its neighbours is smallest goes first. It may only go if
that triangle holds no corner of any arc: then no arc can come to cross another one, and no island can change its face.

Smooth: the corners that are left become curves, quadratic B-splines, each inside the triangle of a corner and the
middles of its two edges. A corner stays where that triangle holds another one. Where it holds none no edge reaches into
it, nor does the triangle of any other corner that holds none; so curves may be drawn in all of them at once.
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

_Corner = Points | tuple[int, int]
_ALONE = -1
_GONE = -1


CURVE_PARTS = 32
"""Points of curves lie on a lattice of so many parts of a pixel, exactly: at quarters of their way."""
_CUT_SHARE = 3 / 32
"""Of a corner's triangle with its neighbours, so much lies between the corner and the points of its curve."""


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
    lattice = _empty_lattice(ground)
    kinds = (_pairs(arcs.ends), (arcs.sides != NO_FACE).all(axis=1))
    lost = np.zeros(len(arcs), np.int64)
    lines = (arcs.starts, arcs.sizes, arcs.points)
    sizes = _generalise(_Rule(lattice, ground.areas, 2 * smallest_px2), lines, kinds, lost)
    return Generalised(arcs=replace(arcs, sizes=sizes), lost=lost)


def smooth(arcs: Arcs, ground: Ground) -> Generalised:
    """Turn corners into curves.

    Nodes stay, and so does the border of the valid data. Which corners do too hangs on the corners before, so it does
    not matter where one begins.

    Args:
        arcs: the whole coverage, in whole pixels.
        ground: of the raster.
    """
    lattice, lost = _empty_lattice(ground), np.zeros(len(arcs), np.int64)
    lines = (arcs.starts, arcs.sizes, arcs.points)
    kinds = (arcs.ends[:, 0] == CLOSED, (arcs.sides != NO_FACE).all(axis=1))
    curved = _curved(lattice, lines, kinds)
    sizes = _curve_sizes(lines, kinds[0], curved)
    starts = np.cumsum(sizes) - sizes
    points = np.empty((int(sizes.sum()), 2), np.int32)
    _draw_curves(ground.areas, (lines, kinds[0], curved), (starts, sizes, points), lost)
    smoothed = replace(arcs, starts=starts, sizes=sizes, points=points, parts=CURVE_PARTS)
    return Generalised(arcs=smoothed, lost=lost)


def _empty_lattice(ground: Ground) -> _Lattice:
    height_px, width_px = int(ground.areas.rows[-1]) + 1, int(ground.areas.columns[-1]) + 1
    return _Lattice(np.zeros(((height_px + 1) * (width_px + 1) + 7) // 8, np.uint8), width_px + 1)


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
            if not _stands(lattice, row, column):
                continue
            own = (row == one[0] and column == one[1]) or (row == middle[0] and column == middle[1])
            if own or (row == other[0] and column == other[1]):
                continue
            if _is_inside(row, column, triangle):
                return True
    return False


@compiled
def _stands(lattice: _Lattice, row: int, column: int) -> bool:
    node = np.int64(row) * lattice.columns + column
    return bool((lattice.bits[node >> 3] >> (node & 7)) & 1)


@compiled
def _is_inside(row: int, column: int, triangle: tuple[_Corner, _Corner, _Corner]) -> bool:
    one, middle, other = triangle
    first = _side(one, middle, row, column)
    second = _side(middle, other, row, column)
    third = _side(other, one, row, column)
    return (first >= 0 and second >= 0 and third >= 0) or (first <= 0 and second <= 0 and third <= 0)


@compiled
def _side(one: _Corner, other: _Corner, row: int, column: int) -> int:
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


@kept
def _curved(
    lattice: _Lattice,
    lines: tuple[NDArray[np.int64], NDArray[np.int64], Points],
    kinds: tuple[NDArray[np.bool_], NDArray[np.bool_]],
) -> NDArray[np.bool_]:
    """Return (p,): which points become curves; the last point of a closed arc, which is its first, does not count."""
    starts, sizes, points = lines
    closed, inner = kinds
    curved = np.zeros(points.shape[0], np.bool_)
    for arc in range(starts.size):
        for place in range(starts[arc], starts[arc] + sizes[arc]):
            _put(lattice, points[place])
    for arc in range(starts.size):
        if inner[arc]:
            line = points[starts[arc] : starts[arc] + sizes[arc]]
            for place in range(0 if closed[arc] else 1, sizes[arc] - 1):
                one, other = line[place - 1 if place > 0 else sizes[arc] - 2], line[place + 1]
                curved[starts[arc] + place] = _is_free(lattice, one, line[place], other)
    return curved


@compiled
def _is_free(lattice: _Lattice, one: Points, corner: Points, other: Points) -> bool:
    """Tell whether the triangle of a corner and the middles of its edges holds no other; a straight way has none."""
    if _doubled_area(one, corner, other) == 0:
        return False
    row, column = 2 * corner[0], 2 * corner[1]
    before, after = (corner[0] + one[0], corner[1] + one[1]), (corner[0] + other[0], corner[1] + other[1])
    top, bottom = min(row, before[0], after[0]), max(row, before[0], after[0])
    left, right = min(column, before[1], after[1]), max(column, before[1], after[1])
    for level in range((top + 1) // 2, bottom // 2 + 1):
        for upright in range((left + 1) // 2, right // 2 + 1):
            own = level == corner[0] and upright == corner[1]
            if own or not _stands(lattice, level, upright):
                continue
            if _is_inside(2 * level, 2 * upright, (before, (row, column), after)):
                return False
    return True


@kept
def _curve_sizes(
    lines: tuple[NDArray[np.int64], NDArray[np.int64], Points], closed: NDArray[np.bool_], curved: NDArray[np.bool_]
) -> NDArray[np.int64]:
    """Return (n,): how many points each arc has with its curves."""
    starts, sizes, _ = lines
    found = np.empty(starts.size, np.int64)
    for arc in range(starts.size):
        own = curved[starts[arc] : starts[arc] + sizes[arc] - 1]
        found[arc] = 1
        for place in range(own.size):
            follows = own[place - 1] if place > 0 else closed[arc] and own[-1]
            found[arc] += (4 if follows else 5) if own[place] else 1
    return found


@kept
def _draw_curves(
    areas: Lattice,
    found: tuple[tuple[NDArray[np.int64], NDArray[np.int64], Points], NDArray[np.bool_], NDArray[np.bool_]],
    into: tuple[NDArray[np.int64], NDArray[np.int64], Points],
    lost: NDArray[np.int64],
) -> None:
    (starts, sizes, points), closed, curved = found
    for arc in range(starts.size):
        line = points[starts[arc] : starts[arc] + sizes[arc]]
        own = curved[starts[arc] : starts[arc] + sizes[arc] - 1]
        target = into[2][into[0][arc] : into[0][arc] + into[1][arc]]
        used = 0
        for place in range(own.size):
            if not own[place]:
                target[used] = CURVE_PARTS * line[place]
                used += 1
                continue
            one, corner, other = line[place - 1 if place > 0 else sizes[arc] - 2], line[place], line[place + 1]
            if not (own[place - 1] if place > 0 else closed[arc] and own[-1]):
                target[used] = 16 * (one + corner)
                used += 1
            target[used] = 9 * one + 22 * corner + other
            target[used + 1] = 4 * one + 24 * corner + 4 * other
            target[used + 2] = one + 22 * corner + 9 * other
            target[used + 3] = 16 * (corner + other)
            used += 4
            swept = _doubled_area(one, corner, other) / 2 * _CUT_SHARE
            lost[arc] += int(np.rint(swept * _area_at(areas, corner) / areas.unit))
        if closed[arc]:
            target[used] = target[0]
        else:
            target[used] = CURVE_PARTS * line[-1]
