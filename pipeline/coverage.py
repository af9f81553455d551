"""The coverage of a class raster: its faces, and how small ones are merged into others.

A face is a 4-connected set of pixels of one class. Faces are numbered by their first pixel in row-major order. Sizes
are integers (see `ground`): sums are exact, so nothing depends on the order in which pixels are visited.
"""

from dataclasses import dataclass
from heapq import heapify, heappop, heappush
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from rspipe.catalogs.compiled import compiled, kept
from rspipe.catalogs.legends import NODATA_ID
from rspipe.pipeline.errors import SceneFailedError

NO_FACE = -1
"""Label of a pixel without a class."""
LARGEST_PX = 2**31 - 1
_NODATA = np.uint8(NODATA_ID)
_NONE = -1

Labels = NDArray[np.int32]
Counts = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Faces:
    """The faces of one class raster."""

    labels: Labels
    """(H, W): face of each pixel, `NO_FACE` under nodata."""
    classes: NDArray[np.uint8]
    """(n,): class of each face."""

    @property
    def count(self) -> int:
        """Number of faces, n."""
        return len(self.classes)


def find_faces(classes: NDArray[np.uint8]) -> Faces:
    """Return the 4-connected faces of a class raster.

    Args:
        classes: (H, W), 255 = nodata.

    Raises:
        SceneFailedError: more pixels than labels can count.
    """
    if classes.size > LARGEST_PX:
        raise SceneFailedError(f"{classes.shape} pixels are more than {LARGEST_PX}; split the scene into parts")
    runs = _find_runs(classes)
    _join_runs(runs, classes)
    of_face = _number(runs.parents, runs.classes)
    labels = np.empty(classes.shape, np.int32)
    _fill(runs, labels)
    return Faces(labels, of_face)


class _Runs(NamedTuple):
    """The runs of equal pixels in rows, row after row; those of nodata too."""

    begins: NDArray[np.int32]
    """(k,): the column of each run's first pixel; it ends where the next one of its row begins."""
    first: NDArray[np.int64]
    """(H + 1,): the runs of row r are first[r] .. first[r + 1]."""
    parents: NDArray[np.int32]
    """(k,): runs of one face are a tree, its root the first of them. In the end the number of each run's face."""
    classes: NDArray[np.uint8]
    """(k,)."""


@kept
def _find_runs(classes: NDArray[np.uint8]) -> _Runs:
    height, width = classes.shape
    first = np.zeros(height + 1, np.int64)
    for row in range(height):
        changes = 1
        for column in range(1, width):
            changes += classes[row, column] != classes[row, column - 1]
        first[row + 1] = first[row] + changes
    begins, of_run = np.empty(first[height], np.int32), np.empty(first[height], np.uint8)
    for row in range(height):
        run = first[row]
        begins[run], of_run[run] = 0, classes[row, 0]
        for column in range(1, width):
            if classes[row, column] != classes[row, column - 1]:
                run += 1
                begins[run], of_run[run] = column, classes[row, column]
    return _Runs(begins, first, np.arange(begins.size).astype(np.int32), of_run)


@kept
def _join_runs(runs: _Runs, classes: NDArray[np.uint8]) -> None:
    """Join runs of one class that touch from row to row."""
    width = classes.shape[1]
    for row in range(1, classes.shape[0]):
        above, last = runs.first[row - 1], runs.first[row] - 1
        for run in range(runs.first[row], runs.first[row + 1]):
            end = runs.begins[run + 1] if run + 1 < runs.first[row + 1] else width
            while True:
                if runs.classes[above] == runs.classes[run]:
                    _unite(runs.parents, above, run)
                above_end = runs.begins[above + 1] if above < last else width
                if above_end > end or above == last:
                    break
                above += 1
                if above_end == end:
                    break


@compiled
def _root(parents: NDArray[np.int32], node: int) -> int:
    while parents[node] != node:
        parents[node] = parents[parents[node]]
        node = parents[node]
    return node


@compiled
def _unite(parents: NDArray[np.int32], one: int, other: int) -> None:
    """Join two trees; the smaller node becomes the root."""
    one, other = _root(parents, one), _root(parents, other)
    parents[max(one, other)] = min(one, other)


@kept
def _number(parents: NDArray[np.int32], classes: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Replace trees by numbers in place, in the order of their roots, and return the class of each number."""
    of_face, count = np.empty(parents.size, np.uint8), 0
    for node in range(parents.size):
        if parents[node] != node:
            parents[node] = parents[parents[node]]
        elif classes[node] == _NODATA:
            parents[node] = NO_FACE
        else:
            parents[node] = count
            of_face[count] = classes[node]
            count += 1
    return of_face[:count].copy()


@kept
def _fill(runs: _Runs, labels: Labels) -> None:
    height, width = labels.shape
    for row in range(height):
        for run in range(runs.first[row], runs.first[row + 1]):
            end = runs.begins[run + 1] if run + 1 < runs.first[row + 1] else width
            labels[row, runs.begins[run] : end] = runs.parents[run]


def relabel(faces: Faces, numbers: NDArray[np.int32], labels: Labels) -> None:
    """Write the faces' labels in other numbers.

    Args:
        faces: the faces.
        numbers: (n,): new number of each face; `NO_FACE` stays.
        labels: (H, W): where to.
    """
    _relabel(faces.labels, numbers, labels)


@kept
def _relabel(labels: Labels, numbers: NDArray[np.int32], into: Labels) -> None:
    for row in range(labels.shape[0]):
        for column in range(labels.shape[1]):
            face = labels[row, column]
            into[row, column] = face if face == NO_FACE else numbers[face]


@dataclass(frozen=True, slots=True)
class Borders:
    """Which faces the small ones touch, and how long they do so; one entry per pixel edge, large faces have none."""

    first: NDArray[np.int64]
    """(n + 1,): the entries of face i are first[i] .. first[i + 1]."""
    neighbours: NDArray[np.int32]
    lengths: NDArray[np.int32]
    """In units of `contacts.border_unit_m`."""


@dataclass(frozen=True, slots=True)
class Sieved:
    """What became of each face."""

    numbers: NDArray[np.int32]
    """(n,): the new face that each face belongs to, numbered by first pixels as before."""
    classes: NDArray[np.uint8]
    """(m,): class of each new face."""


class _Graph(NamedTuple):
    """Faces while they merge. A merged face is known by the smallest number in it, its root."""

    parents: NDArray[np.int32]
    followers: NDArray[np.int32]
    """The members of a merged face form a chain that begins at its root."""
    tails: NDArray[np.int32]
    classes: NDArray[np.uint8]
    areas: NDArray[np.int64]
    first: NDArray[np.int64]
    neighbours: NDArray[np.int32]
    lengths: NDArray[np.int32]
    shared: NDArray[np.int64]
    """Length of the border with the face at hand; zero between any two uses."""
    chances: NDArray[np.int64]
    """See `Rule`."""


@dataclass(frozen=True, slots=True)
class Holes:
    """Which faces may be filled: those below an area that lie wholly inside of one other face."""

    below: int
    """In the units of the areas; 0 fills none."""
    exposed: NDArray[np.bool_]
    """(n,): faces that touch nodata or the raster's border, and so lie inside of nothing."""


@dataclass(frozen=True, slots=True)
class Rule:
    """What is merged, and into what."""

    least: Counts
    """(256,): smallest area of a face of each class, in the units of the areas."""
    holes: Holes
    """What is filled."""
    chances: Counts
    """(n, classes): the probability of each class, summed over each face: a small face goes into the neighbour whose
    class is the most probable one in it. (0, 0): into the one with the longest border."""


NO_CHANCES: Counts = np.empty((0, 0), np.int64)


def sieve(classes: NDArray[np.uint8], areas: Counts, borders: Borders, rule: Rule) -> Sieved:
    """Merge small faces into neighbours until none is left that has a neighbour.

    The smallest face goes first (ties: the lower number) into the neighbour with which it shares the longest border
    (ties: the lower number) and takes its class; neighbours that now have equal classes unite. Nodata is no neighbour.
    Where probabilities are given the most probable neighbour comes before the one with the longest border. Then holes
    are filled, the smallest first.

    Args:
        classes: (n,): class of each face; faces are numbered by their first pixels.
        areas: (n,): ground area of each face.
        borders: see `contacts.borders`; every face below its class's smallest area, or below `rule.holes.below`, must
            be in it.
        rule: what is merged, and into what.
    """
    least, holes = rule.least, rule.holes
    count = len(classes)
    graph = _Graph(
        parents=np.arange(count, dtype=np.int32),
        followers=np.full(count, _NONE, np.int32),
        tails=np.arange(count, dtype=np.int32),
        classes=classes.copy(),
        areas=areas.copy(),
        first=borders.first,
        neighbours=borders.neighbours,
        lengths=borders.lengths,
        shared=np.zeros(count, np.int64),
        chances=rule.chances.copy(),
    )
    small = np.flatnonzero(areas < least[classes])
    _merge_all(graph, least, small)
    if holes.below:
        _fill_all(graph, holes.below, holes.exposed.copy(), np.flatnonzero(areas < holes.below))
    _flatten(graph.parents)
    roots = graph.parents == np.arange(count)
    numbers = (np.cumsum(roots) - 1).astype(np.int32)[graph.parents]
    return Sieved(numbers, graph.classes[roots])


@kept
def _merge_all(graph: _Graph, least: NDArray[np.int64], small: NDArray[np.int64]) -> None:
    heap = [(np.int64(0), np.int64(-1)) for _ in range(small.size)]
    for index in range(small.size):
        heap[index] = (graph.areas[small[index]], small[index])
    heapify(heap)
    while len(heap) > 0:
        area, face = heappop(heap)
        if graph.parents[face] != face or graph.areas[face] != area:
            continue  # Merged since it was put on the heap.
        merged = _merge(graph, int(face))
        if merged != _NONE and graph.areas[merged] < least[graph.classes[merged]]:
            heappush(heap, (graph.areas[merged], np.int64(merged)))


@kept
def _fill_all(graph: _Graph, below: int, exposed: NDArray[np.bool_], small: NDArray[np.int64]) -> None:
    for face in range(graph.parents.size):
        exposed[_root(graph.parents, face)] |= exposed[face]
    heap = [(np.int64(0), np.int64(0)) for _ in range(0)]
    for hole in small:
        if graph.parents[hole] == hole:
            heappush(heap, (graph.areas[hole], hole))
    while len(heap) > 0:
        area, popped = heappop(heap)
        face = int(popped)
        if graph.parents[face] != face or graph.areas[face] != area or area >= below or exposed[face]:
            continue
        touched = _neighbours(graph, face)
        for other in touched:
            graph.shared[other] = 0
        if len(touched) != 1:
            continue
        around = touched[0]
        merged = _absorb(graph, face, around)
        graph.classes[merged] = graph.classes[around]
        exposed[merged] = exposed[around]
        heappush(heap, (graph.areas[merged], np.int64(merged)))


@compiled
def _merge(graph: _Graph, face: int) -> int:
    """Merge a face into one of its neighbours; return what it became part of, or `_NONE` if it has no neighbour."""
    touched = _neighbours(graph, face)
    best = _NONE
    for other in touched:
        if best == _NONE or _is_better(graph, face, other, best):
            best = other
    for other in touched:
        graph.shared[other] = 0
    if best == _NONE:
        return _NONE
    winner = graph.classes[best]
    merged = _absorb(graph, face, best)
    for other in touched:
        if other != best and graph.classes[other] == winner:
            merged = _absorb(graph, merged, other)
    graph.classes[merged] = winner
    return merged


@compiled
def _is_better(graph: _Graph, face: int, one: int, other: int) -> bool:
    """Tell whether a face rather goes into one neighbour than into another."""
    if graph.chances.size > 0:
        chance, rival = graph.chances[face, graph.classes[one]], graph.chances[face, graph.classes[other]]
        if chance != rival:
            return bool(chance > rival)
    if graph.shared[one] != graph.shared[other]:
        return bool(graph.shared[one] > graph.shared[other])
    return one < other


@compiled
def _neighbours(graph: _Graph, face: int) -> list[int]:
    """Return the roots of all faces around a root, each once; their shared borders are left in `graph.shared`."""
    touched = [face for _ in range(0)]
    member = face
    while member != _NONE:
        for entry in range(graph.first[member], graph.first[member + 1]):
            other = _root(graph.parents, graph.neighbours[entry])
            if other == face:
                continue
            if graph.shared[other] == 0:
                touched.append(other)
            graph.shared[other] += graph.lengths[entry]
        member = graph.followers[member]
    return touched


@compiled
def _absorb(graph: _Graph, one: int, other: int) -> int:
    root, child = min(one, other), max(one, other)
    graph.parents[child] = root
    graph.areas[root] += graph.areas[child]
    if graph.chances.size > 0:
        graph.chances[root] += graph.chances[child]
    graph.followers[graph.tails[root]] = child
    graph.tails[root] = graph.tails[child]
    return root


@kept
def _flatten(parents: NDArray[np.int32]) -> None:
    """Point every face at its root; parents come before their children."""
    for face in range(parents.size):
        parents[face] = parents[parents[face]]
