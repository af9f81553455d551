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
    labels = np.empty(classes.shape, np.int32)
    _join_pixels(classes, labels.reshape(-1))
    count = _number(labels.reshape(-1))
    of_face = np.empty(count, np.uint8)
    _note_classes(labels.reshape(-1), classes.reshape(-1), of_face)
    return Faces(labels, of_face)


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
def _join_pixels(classes: NDArray[np.uint8], parents: NDArray[np.int32]) -> None:
    """Make a tree of every face; its root is its first pixel, and every parent comes before its children."""
    height, width = classes.shape
    for row in range(height):
        for column in range(width):
            node, value = row * width + column, classes[row, column]
            if value == _NODATA:
                parents[node] = NO_FACE
                continue
            left = column > 0 and classes[row, column - 1] == value
            above = row > 0 and classes[row - 1, column] == value
            parents[node] = _root(parents, node - 1) if left else node
            if above and not (left and classes[row - 1, column - 1] == value):
                _unite(parents, node, node - width)


@kept
def _number(parents: NDArray[np.int32]) -> int:
    """Replace trees by numbers in place, in the order of their roots, and return how many there are."""
    count = 0
    for node in range(parents.size):
        if parents[node] == node:
            parents[node] = count
            count += 1
        elif parents[node] != NO_FACE:
            parents[node] = parents[parents[node]]
    return count


@kept
def _note_classes(labels: Labels, classes: NDArray[np.uint8], of_face: NDArray[np.uint8]) -> None:
    seen = 0
    for node in range(labels.size):
        if labels[node] == seen:
            of_face[seen] = classes[node]
            seen += 1


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


def sieve(classes: NDArray[np.uint8], areas: Counts, least: Counts, borders: Borders) -> Sieved:
    """Merge small faces into neighbours until none is left that has a neighbour.

    The smallest face goes first (ties: the lower number) into the neighbour with which it shares the longest border
    (ties: the lower number) and takes its class; neighbours that now have equal classes unite. Nodata is no neighbour.

    Args:
        classes: (n,): class of each face; faces are numbered by their first pixels.
        areas: (n,): ground area of each face.
        least: (256,): smallest area of a face of each class, in the same units.
        borders: see `contacts.borders`; every face below its class's smallest area must be in it.
    """
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
    )
    small = np.flatnonzero(areas < least[classes])
    _merge_all(graph, least, small)
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


@compiled
def _merge(graph: _Graph, face: int) -> int:
    """Merge a face into one of its neighbours; return what it became part of, or `_NONE` if it has no neighbour."""
    touched = _neighbours(graph, face)
    best = _NONE
    for other in touched:
        longer = best == _NONE or graph.shared[other] > graph.shared[best]
        if longer or (graph.shared[other] == graph.shared[best] and other < best):
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
    graph.followers[graph.tails[root]] = child
    graph.tails[root] = graph.tails[child]
    return root


@kept
def _flatten(parents: NDArray[np.int32]) -> None:
    """Point every face at its root; parents come before their children."""
    for face in range(parents.size):
        parents[face] = parents[parents[face]]
