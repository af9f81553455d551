"""Assemble: arcs become the rings of polygons.

A walk keeps its face to the left. Where arcs meet it turns as far right as the face allows: every ring is simple, and
rings of one face touch in single points at most (OGC Simple Features 6.1.11). Every node stays in each ring that passes
through it, so that the polygons form a coverage whose borders match vertex by vertex.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from rspipe.catalogs.compiled import compiled, kept
from rspipe.pipeline.stitch import CLOSED, Arcs
from rspipe.pipeline.trace import Points

_NONE = -1


@dataclass(frozen=True, slots=True, kw_only=True)
class Outlines:
    """The rings of some faces, grouped by face in the order asked for; a face's first ring is its outer one.

    A ring is a round of steps: arc a is step 2 a, or 2 a + 1 where it is walked backwards.
    """

    steps: NDArray[np.int64]
    first_step: NDArray[np.int64]
    """(k + 1,): the steps of ring i are first_step[i] .. first_step[i + 1]."""
    first_ring: NDArray[np.int64]
    """(m + 1,): the rings of the i-th face asked for are first_ring[i] .. first_ring[i + 1]."""


class _Junctions(NamedTuple):
    """Where steps begin, and what begins at each node."""

    nodes: NDArray[np.int64]
    """(2 n,): the node at which each step begins; it ends where the step back begins. `CLOSED` for a closed arc."""
    headings: NDArray[np.uint8]
    """(2 n,): the direction in which it begins."""
    exits: NDArray[np.int64]
    """(nodes, 4): the step that begins at a node in a direction, or `_NONE`."""


def outlines(arcs: Arcs, faces: int, order: NDArray[np.int64]) -> Outlines:
    """Return the rings of some faces: outer ones counter-clockwise and holes clockwise on a map with north up.

    Args:
        arcs: the whole coverage.
        faces: how many faces there are.
        order: (m,): the faces whose rings are wanted, in the order they are wanted in.
    """
    rank = np.full(faces + 1, _NONE, np.int64)
    rank[order] = np.arange(len(order))
    of_step = rank[arcs.sides.reshape(-1)]
    steps, first_step = _rings(_junctions(arcs), arcs.sides.reshape(-1), of_step >= 0)
    turns = np.concatenate([[0], np.cumsum(_areas(arcs.starts, arcs.sizes, arcs.points, steps))])
    holes = turns[first_step[1:]] < turns[first_step[:-1]]
    of_ring = of_step[steps[first_step[:-1]]]
    grouped = np.lexsort((holes, of_ring))
    sizes = np.diff(first_step)[grouped]
    starts = np.concatenate([[0], np.cumsum(sizes)])
    places = np.arange(len(steps)) + np.repeat(first_step[:-1][grouped] - starts[:-1], sizes)
    first_ring = np.searchsorted(of_ring[grouped], np.arange(len(order) + 1))
    return Outlines(steps=steps[places], first_step=starts, first_ring=first_ring)


def ring_points(arcs: Arcs, rings: Outlines, part: slice) -> tuple[Points, NDArray[np.int64]]:
    """Return the points of rings, ring after ring, each closed, and where each ring begins, (rings + 1,).

    Args:
        arcs: what `rings` was made from.
        rings: all rings.
        part: which of them.
    """
    first = rings.first_step[part.start : part.stop + 1]
    steps = rings.steps[first[0] : first[-1]]
    inner = np.concatenate([[0], np.cumsum(arcs.sizes[steps >> 1] - 1)])
    begins = inner[first - first[0]] + np.arange(len(first))
    points = np.empty((int(begins[-1]), 2), np.int32)
    _fill(arcs.starts, arcs.sizes, arcs.points, (steps, first - first[0], points))
    return points, begins


def _junctions(arcs: Arcs) -> _Junctions:
    headings = arcs.headings.reshape(-1)
    ends = arcs.ends.reshape(-1)
    met, nodes = np.unique(ends, return_inverse=True)
    nodes = nodes.astype(np.int64)
    is_open = ends != CLOSED
    nodes[~is_open] = CLOSED
    exits = np.full((len(met), 4), _NONE, np.int64)
    exits[nodes[is_open], headings[is_open]] = np.flatnonzero(is_open)
    return _Junctions(nodes, headings, exits)


@kept
def _rings(
    junctions: _Junctions, lefts: NDArray[np.int32], wanted: NDArray[np.bool_]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    steps, first = np.empty(lefts.size, np.int64), np.zeros(lefts.size + 1, np.int64)
    taken, used, rings = ~wanted, 0, 0
    for start in range(lefts.size):
        if taken[start]:
            continue
        step = start
        while True:
            taken[step] = True
            steps[used] = step
            used += 1
            if junctions.nodes[step] == CLOSED:
                break
            step = _following(junctions, lefts, step)
            if step == start:
                break
        rings += 1
        first[rings] = used
    return steps[:used].copy(), first[: rings + 1].copy()


@compiled
def _following(junctions: _Junctions, lefts: NDArray[np.int32], step: int) -> int:
    """Return the step that a walk goes on with: right, straight on or left, whichever first keeps the face."""
    node, ahead = junctions.nodes[step ^ 1], junctions.headings[step ^ 1] + 2
    for turn in (1, 0, 3):
        following = junctions.exits[node, (ahead + turn) & 3]
        if following != _NONE and lefts[following] == lefts[step]:
            return int(following)
    return step


@kept
def _areas(
    starts: NDArray[np.int64], sizes: NDArray[np.int64], points: Points, steps: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Return what each step adds to twice its ring's area, positive for counter-clockwise on a map with north up."""
    areas = np.empty(steps.size, np.int64)
    for index in range(steps.size):
        arc = steps[index] >> 1
        total = np.int64(0)
        for place in range(starts[arc], starts[arc] + sizes[arc] - 1):
            row, column = np.int64(points[place, 0]), np.int64(points[place, 1])
            total += np.int64(points[place + 1, 1]) * row - column * np.int64(points[place + 1, 0])
        areas[index] = -total if steps[index] & 1 else total
    return areas


@kept
def _fill(
    starts: NDArray[np.int64],
    sizes: NDArray[np.int64],
    source: Points,
    rings: tuple[NDArray[np.int64], NDArray[np.int64], Points],
) -> None:
    steps, first, points = rings
    used = 0
    for ring in range(first.size - 1):
        for index in range(first[ring], first[ring + 1]):
            arc, backwards = steps[index] >> 1, steps[index] & 1 == 1
            for place in range(0 if index == first[ring] else 1, sizes[arc]):
                points[used] = source[starts[arc] + (sizes[arc] - 1 - place if backwards else place)]
                used += 1
