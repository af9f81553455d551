"""Stitch: the pieces that blocks traced become arcs that know nothing of blocks."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from rspipe.catalogs.compiled import compiled, kept
from rspipe.pipeline.trace import CUT, EAST, NODE, NORTH, SOUTH, WEST, Pieces, Points

Counts = NDArray[np.int64]
CLOSED = -1
"""End of an arc that has none: it runs round in a circle."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Arcs:
    """The borders between faces, each once; n of them.

    An open arc begins at the end node with the lower number; one that returns to its node begins in the lower direction
    there. A closed one begins at its uppermost, then leftmost corner, eastwards, and repeats it at the end. Arcs are in
    the order of their first edges. So nothing of them hangs on the blocks, but where in `points` they lie.
    """

    sides: NDArray[np.int32]
    """(n, 2): the faces to the left and to the right."""
    ends: NDArray[np.int64]
    """(n, 2): numbers of the end nodes, row-major in a lattice of width + 1 columns; `CLOSED` for a closed arc."""
    headings: NDArray[np.uint8]
    """(n, 2): the directions in which the edges at either end leave it, whatever becomes of the points between."""
    starts: NDArray[np.int64]
    """(n,): where in `points` each arc begins."""
    sizes: NDArray[np.int64]
    """(n,): how many points it has."""
    points: Points
    """Rows and columns of corners and of both ends, in parts of a pixel."""
    parts: int = 1
    """So many parts are a pixel."""

    def __len__(self) -> int:
        return len(self.starts)


class _Chains(NamedTuple):
    """Which pieces make up each arc, in order: piece p is step 2 p, or 2 p + 1 where it is walked backwards."""

    first: NDArray[np.int64]
    """(n + 1,): the steps of arc i are first[i] .. first[i + 1]."""
    steps: NDArray[np.int64]


class _Lines(NamedTuple):
    """Points of many lines; line i is points[first[i] : first[i] + sizes[i]]."""

    first: NDArray[np.int64]
    sizes: NDArray[np.int64]
    points: Points


def stitch(blocks: Iterable[Pieces]) -> Arcs:
    """Join the pieces of all blocks of a raster.

    Args:
        blocks: they are gone through twice, and their points only in the second round: these may lie on disk.
    """
    heads = [(block.sides, block.ends, block.kinds, np.diff(block.first)) for block in blocks]
    sides, ends, kinds, sizes = (np.concatenate(arrays) for arrays in zip(*heads, strict=True))
    del heads
    chains = _Chains(*_chain(_mates(kinds, ends)))
    room = np.concatenate([[0], np.cumsum(sizes[chains.steps >> 1])])
    lines = _Lines(
        room[chains.first[:-1]], np.empty(len(chains.first) - 1, np.int64), np.empty((room[-1], 2), np.int32)
    )
    _copy_all(blocks, chains, room, lines.points)
    _join(chains, room, lines)
    outer = np.column_stack([chains.steps[chains.first[:-1]], chains.steps[chains.first[1:] - 1] ^ 1])
    arc_ends = ends.reshape(-1)[outer]
    arc_ends[kinds.reshape(-1)[outer] != NODE] = CLOSED
    turned, headings = np.empty(len(outer), np.bool_), np.empty((len(outer), 2), np.uint8)
    first_edges = _settle(lines, arc_ends, turned, headings)
    arc_sides = sides[outer[:, 0] >> 1]
    arc_sides = np.where((turned ^ (outer[:, 0] & 1 == 1))[:, None], arc_sides[:, ::-1], arc_sides)
    order = np.argsort(first_edges, kind="stable")
    return Arcs(
        sides=arc_sides[order],
        ends=np.where(turned[:, None], arc_ends[:, ::-1], arc_ends)[order],
        headings=headings[order],
        starts=lines.first[order],
        sizes=lines.sizes[order],
        points=lines.points,
    )


def _copy_all(blocks: Iterable[Pieces], chains: _Chains, room: Counts, points: Points) -> None:
    """Copy every piece to its place among the arcs' points, turned round where its arc runs against it."""
    places, backwards = np.empty(len(chains.steps), np.int64), np.empty(len(chains.steps), np.bool_)
    places[chains.steps >> 1] = room[:-1]
    backwards[chains.steps >> 1] = chains.steps & 1 == 1
    done = 0
    for block in blocks:
        part = slice(done, done + len(block.sides))
        _copy(block.first, np.asarray(block.points), (places[part], backwards[part]), points)
        done = part.stop


@kept
def _copy(first: Counts, source: Points, targets: tuple[Counts, NDArray[np.bool_]], points: Points) -> None:
    for piece in range(first.size - 1):
        size, place = first[piece + 1] - first[piece], targets[0][piece]
        for index in range(size):
            points[place + (size - 1 - index if targets[1][piece] else index)] = source[first[piece] + index]


def _mates(kinds: NDArray[np.uint8], ends: Counts) -> Counts:
    """Return for each end (2 p + side) the end that it goes on with in another block, or -1."""
    cut = np.flatnonzero(kinds.reshape(-1) == CUT)
    pairs = cut[np.argsort(ends.reshape(-1)[cut], kind="stable")].reshape(-1, 2)
    mates = np.full(kinds.size, -1, np.int64)
    mates[pairs] = pairs[:, ::-1]
    return mates


@kept
def _chain(mates: Counts) -> tuple[Counts, Counts]:
    count = mates.size // 2
    taken = np.zeros(count, np.bool_)
    first, steps = np.zeros(count + 1, np.int64), np.empty(count, np.int64)
    arcs, used = 0, 0
    for circles in (False, True):
        for end in range(mates.size):
            if taken[end >> 1] or not (circles or mates[end] == -1):
                continue
            step = end
            while not taken[step >> 1]:
                taken[step >> 1] = True
                steps[used] = step
                used += 1
                following = mates[step ^ 1]
                if following == -1:
                    break
                step = following
            arcs += 1
            first[arcs] = used
    return first[: arcs + 1].copy(), steps[:used].copy()


@kept
def _join(chains: _Chains, room: Counts, lines: _Lines) -> None:
    """Close each arc's pieces up; what only a block's border made a point is left out."""
    for arc in range(lines.first.size):
        begin, used = lines.first[arc], lines.first[arc]
        for index in range(chains.first[arc], chains.first[arc + 1]):
            for place in range(room[index] + (index > chains.first[arc]), room[index + 1]):
                point = lines.points[place]
                if used - begin > 1 and _is_between(lines.points[used - 2], lines.points[used - 1], point):
                    used -= 1
                lines.points[used] = point
                used += 1
        lines.sizes[arc] = used - begin


@compiled
def _is_between(one: Points, middle: Points, other: Points) -> bool:
    level = one[0] == middle[0] and middle[0] == other[0]
    return bool(level or (one[1] == middle[1] and middle[1] == other[1]))


@kept
def _settle(
    lines: _Lines, ends: NDArray[np.int64], turned: NDArray[np.bool_], headings: NDArray[np.uint8]
) -> NDArray[np.int64]:
    """Bring each line to its own start and direction; return the order in which the first edges stand."""
    edges = np.empty(lines.first.size, np.int64)
    columns = 1
    for place in range(lines.points.shape[0]):
        columns = max(columns, lines.points[place, 1] + 1)
    for arc in range(lines.first.size):
        line = lines.points[lines.first[arc] : lines.first[arc] + lines.sizes[arc]]
        if ends[arc, 0] == CLOSED:
            line = _opened(line)
            lines.sizes[arc] = line.shape[0]
            turned[arc] = line[1, 0] != line[0, 0]
        else:
            forth, back = _heading(line[0], line[1]), _heading(line[-1], line[-2])
            turned[arc] = ends[arc, 1] < ends[arc, 0] or (ends[arc, 0] == ends[arc, 1] and back < forth)
        if turned[arc]:
            line[:] = line[::-1].copy()
        headings[arc, 0], headings[arc, 1] = _heading(line[0], line[1]), _heading(line[-1], line[-2])
        edges[arc] = 4 * (line[0, 0] * columns + line[0, 1]) + headings[arc, 0]
    return edges


@compiled
def _opened(line: Points) -> Points:
    """Let a closed line begin at its uppermost, then leftmost corner."""
    circle = line[:-1]
    if _is_between(circle[-1], circle[0], circle[1]):
        circle = circle[1:]
    lowest = 0
    for place in range(circle.shape[0]):
        row, column = circle[place]
        if row < circle[lowest, 0] or (row == circle[lowest, 0] and column < circle[lowest, 1]):
            lowest = place
    round_trip = np.concatenate((circle[lowest:], circle[: lowest + 1]))
    line[: round_trip.shape[0]] = round_trip
    return line[: round_trip.shape[0]]


@compiled
def _heading(one: Points, other: Points) -> int:
    if one[0] == other[0]:
        return EAST if other[1] > one[1] else WEST
    return SOUTH if other[0] > one[0] else NORTH
