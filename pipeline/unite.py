"""Unite: the faces that blocks found become the faces of the whole raster, as if there had been no blocks."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rspipe.catalogs.compiled import compiled, kept
from rspipe.pipeline.coverage import NO_FACE, Counts, Faces, Labels
from rspipe.pipeline.trace import Block


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """What must be known of the faces of one block; its pixels are not kept."""

    block: Block
    classes: NDArray[np.uint8]
    """(n,): class of each face."""
    firsts: Counts
    """(n,): row-major number, in the whole raster, of each face's first pixel in the block."""
    top: Labels
    """Faces along the block's upper border; `bottom`, `left` and `right` likewise."""
    bottom: Labels
    left: Labels
    right: Labels

    @classmethod
    def of(cls, faces: Faces, block: Block) -> "Part":
        """Take down the faces of a block."""
        labels = faces.labels
        local = np.empty(faces.count, np.int64)
        _note_firsts(labels.reshape(-1), local)
        rows, columns = np.divmod(local, labels.shape[1])
        return cls(
            block=block,
            classes=faces.classes,
            firsts=(rows + block.rows.start) * block.width_px + columns + block.columns.start,
            top=labels[0].copy(),
            bottom=labels[-1].copy(),
            left=labels[:, 0].copy(),
            right=labels[:, -1].copy(),
        )


@kept
def _note_firsts(labels: Labels, firsts: Counts) -> None:
    seen = 0
    for node in range(labels.size):
        if labels[node] == seen:
            firsts[seen] = node
            seen += 1


@dataclass(frozen=True, slots=True, kw_only=True)
class United:
    """The faces of the whole raster, numbered by their first pixels in row-major order."""

    numbers: tuple[NDArray[np.int32], ...]
    """Per block, the number of each of its faces."""
    classes: NDArray[np.uint8]
    """(m,): class of each face."""

    def total(self, sizes: Sequence[Counts]) -> Counts:
        """Add up what the blocks measured of their faces: (n_i,) per block -> (m,)."""
        totals = np.zeros(len(self.classes), np.int64)
        for numbers, some in zip(self.numbers, sizes, strict=True):
            np.add.at(totals, numbers, some)
        return totals


def unite(parts: Sequence[Part]) -> United:
    """Join the faces of one class that touch across the borders of blocks.

    Args:
        parts: blocks that lie in rows and columns and cover the raster, in any order.
    """
    counts = [len(part.classes) for part in parts]
    offsets = np.concatenate([[0], np.cumsum(counts)])
    parents = np.arange(offsets[-1])
    classes = np.concatenate([part.classes for part in parts])
    for (one, labels), (other, others) in touching(parts):
        _join(
            parents, classes, labels + offsets[one], others + offsets[other], (labels != NO_FACE) & (others != NO_FACE)
        )
    _point_at_roots(parents)
    firsts = np.concatenate([part.firsts for part in parts])
    lowest = firsts.copy()
    np.minimum.at(lowest, parents, firsts)
    roots = np.flatnonzero(parents == np.arange(len(parents)))
    order = roots[np.argsort(lowest[roots])]
    rank = np.empty(len(parents), np.int32)
    rank[order] = np.arange(len(order), dtype=np.int32)
    numbers = np.split(rank[parents], offsets[1:-1])
    return United(numbers=tuple(numbers), classes=classes[order])


def touching(parts: Sequence[Part]) -> Iterator[tuple[tuple[int, Labels], tuple[int, Labels]]]:
    """Yield the faces on either side of each border between two blocks, with the places of these blocks."""
    corners = {(part.block.rows.start, part.block.columns.start): place for place, part in enumerate(parts)}
    for place, part in enumerate(parts):
        below = corners.get((part.block.rows.stop, part.block.columns.start))
        if below is not None:
            yield (place, part.bottom), (below, parts[below].top)
        beside = corners.get((part.block.rows.start, part.block.columns.stop))
        if beside is not None:
            yield (place, part.right), (beside, parts[beside].left)


@kept
def _join(parents: Counts, classes: NDArray[np.uint8], ones: Counts, others: Counts, both: NDArray[np.bool_]) -> None:
    for place in range(ones.size):
        if both[place] and classes[ones[place]] == classes[others[place]]:
            one, other = _root(parents, ones[place]), _root(parents, others[place])
            parents[max(one, other)] = min(one, other)


@compiled
def _root(parents: Counts, node: int) -> int:
    while parents[node] != node:
        parents[node] = parents[parents[node]]
        node = parents[node]
    return node


@kept
def _point_at_roots(parents: Counts) -> None:
    """Point every face at its root; parents come before their children."""
    for face in range(parents.size):
        parents[face] = parents[parents[face]]
