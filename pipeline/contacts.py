"""Contacts: which faces touch, and how long their shared borders are, inside of blocks and across their borders."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from rspipe.catalogs.compiled import compiled, kept
from rspipe.pipeline.coverage import NO_FACE, Borders, Counts, Faces, Labels
from rspipe.pipeline.ground import Ground, fill_row
from rspipe.pipeline.trace import Block
from rspipe.pipeline.unite import Part, United, touching

BORDER_COARSENESS = 2.0**17
"""Borders are compared in 128ths to 256ths of an edge: smaller advantages come from the projection, and are ties."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Contacts:
    """Pairs of faces that touch; a pair may come more than once."""

    ones: NDArray[np.int32]
    others: NDArray[np.int32]
    """Never the same as `ones`."""
    lengths: Counts
    """In units of `border_unit_m`."""

    @classmethod
    def of(cls, ones: NDArray[np.int32], others: NDArray[np.int32], lengths: Counts) -> Self:
        """Add up the lengths of each pair, whichever way round it comes."""
        low, high = np.minimum(ones, others).astype(np.int64), np.maximum(ones, others).astype(np.int64)
        keys, places = np.unique(low << 32 | high, return_inverse=True)
        totals = np.zeros(len(keys), np.int64)
        np.add.at(totals, places, lengths)
        return cls(ones=(keys >> 32).astype(np.int32), others=(keys & 0xFFFFFFFF).astype(np.int32), lengths=totals)


def border_unit_m(ground: Ground) -> float:
    """Return the unit in which shared borders are compared."""
    return max(ground.level.unit, ground.upright.unit) * BORDER_COARSENESS


def contacts_inside(faces: Faces, small: NDArray[np.bool_], ground: Ground, block: Block) -> Contacts:
    """Return the contacts of the small faces of a block with other faces of that block.

    Args:
        faces: of the block.
        small: (n,): which of them might be merged into a neighbour; contacts of two others decide nothing.
        ground: of the whole raster.
        block: where the block lies.
    """
    if not small.any():
        nothing = np.empty(0, np.int32)
        return Contacts(ones=nothing, others=nothing, lengths=nothing.astype(np.int64))
    height, width = faces.labels.shape
    unit = border_unit_m(ground)
    level, upright = np.empty(block.width_px, np.int64), np.empty(block.width_px + 1, np.int64)
    found = _Found(np.empty((1024, 2), np.int32), np.empty(1024, np.int64), 0)
    above = np.full(width, NO_FACE, np.int32)
    for row in range(height):
        fill_row(ground.level, row + block.rows.start, unit, level)
        fill_row(ground.upright, row + block.rows.start, unit, upright)
        found = _note_row((above, faces.labels[row]), small, (level[block.columns], upright[block.columns]), found)
        above = faces.labels[row]
    pairs = found.pairs[: found.used]
    return Contacts.of(pairs[:, 0], pairs[:, 1], found.lengths[: found.used])


def contacts_between(parts: Sequence[Part], united: United, ground: Ground) -> Contacts:
    """Return the contacts of different faces across the borders of blocks, in the numbers of the whole raster."""
    ones, others, lengths = [], [], []
    for (place, labels), (next_place, next_labels) in touching(parts):
        first, second = parts[place].block, parts[next_place].block
        one = np.append(united.numbers[place], np.int32(NO_FACE))[labels]
        other = np.append(united.numbers[next_place], np.int32(NO_FACE))[next_labels]
        differ = (one != other) & (one != NO_FACE) & (other != NO_FACE)
        along = _level(ground, second) if first.columns == second.columns else _upright(ground, second)
        ones.append(one[differ])
        others.append(other[differ])
        lengths.append(along[differ])
    nothing = np.empty(0, np.int32)
    return Contacts.of(
        np.concatenate([nothing, *ones]), np.concatenate([nothing, *others]), np.concatenate([nothing, *lengths])
    )


def borders(contacts: Sequence[Contacts], small: NDArray[np.bool_]) -> Borders:
    """Gather the shared borders of small faces.

    Args:
        contacts: in the numbers of the whole raster.
        small: (m,): which faces might be merged into a neighbour.
    """
    ones = np.concatenate([part for each in contacts for part in (each.ones, each.others)])
    others = np.concatenate([part for each in contacts for part in (each.others, each.ones)])
    lengths = np.concatenate([part for each in contacts for part in (each.lengths, each.lengths)])
    wanted = small[ones]
    ones, others, lengths = ones[wanted], others[wanted], lengths[wanted]
    order = np.lexsort((others, ones))
    first = np.searchsorted(ones[order], np.arange(len(small) + 1))
    return Borders(first, others[order], lengths[order])


def exposed_inside(faces: Faces, block: Block) -> NDArray[np.bool_]:
    """Return (n,): which faces of a block touch nodata in it, or the border of the raster."""
    exposed = np.zeros(faces.count + 1, np.bool_)
    framed = np.pad(faces.labels, 1, mode="edge")
    if block.rows.start == 0:
        framed[0] = NO_FACE
    if block.rows.stop == block.height_px:
        framed[-1] = NO_FACE
    if block.columns.start == 0:
        framed[:, 0] = NO_FACE
    if block.columns.stop == block.width_px:
        framed[:, -1] = NO_FACE
    for one, other in ((framed[1:], framed[:-1]), (framed[:, 1:], framed[:, :-1])):
        # Nodata, `NO_FACE`, is the last entry.
        exposed[one[other == NO_FACE]] = True
        exposed[other[one == NO_FACE]] = True
    return exposed[:-1]


def exposed_between(parts: Sequence[Part], united: United) -> NDArray[np.int32]:
    """Return faces of the whole raster that touch nodata across the border of two blocks."""
    found = [np.empty(0, np.int32)]
    for (place, labels), (next_place, next_labels) in touching(parts):
        for here, mine, theirs in ((place, labels, next_labels), (next_place, next_labels, labels)):
            found.append(united.numbers[here][mine[(theirs == NO_FACE) & (mine != NO_FACE)]])
    return np.concatenate(found)


class _Found(NamedTuple):
    """Edges between faces found so far; the arrays are longer than what is used of them."""

    pairs: NDArray[np.int32]
    lengths: Counts
    used: int


@kept
def _note_row(
    rows: tuple[Labels, Labels], small: NDArray[np.bool_], lengths: tuple[Counts, Counts], found: _Found
) -> _Found:
    """Note the edges above and to the left of one row's pixels; `rows` are the row before and this one."""
    pairs, sizes, used = found.pairs, found.lengths, found.used
    needed = used + 2 * rows[1].size
    if needed > sizes.size:
        room = 2 * needed
        longer_pairs, longer_sizes = np.empty((room, 2), np.int32), np.empty(room, np.int64)
        longer_pairs[:used], longer_sizes[:used] = pairs[:used], sizes[:used]
        pairs, sizes = longer_pairs, longer_sizes
    for column in range(rows[1].size):
        here, above = rows[1][column], rows[0][column]
        if _counts(here, above, small):
            pairs[used, 0], pairs[used, 1], sizes[used] = here, above, lengths[0][column]
            used += 1
        left = rows[1][column - 1] if column else NO_FACE
        if _counts(here, left, small):
            pairs[used, 0], pairs[used, 1], sizes[used] = here, left, lengths[1][column]
            used += 1
    return _Found(pairs, sizes, used)


@compiled
def _counts(one: int, other: int, small: NDArray[np.bool_]) -> bool:
    if min(one, other) == NO_FACE or one == other:
        return False
    return bool(small[one] or small[other])


def _level(ground: Ground, below: Block) -> Counts:
    """Return the lengths of the edges along a block's upper border."""
    line = np.empty(below.width_px, np.int64)
    fill_row(ground.level, below.rows.start, border_unit_m(ground), line)
    return line[below.columns]


def _upright(ground: Ground, beside: Block) -> Counts:
    """Return the lengths of the edges along a block's left border."""
    line, lengths = np.empty(beside.width_px + 1, np.int64), np.empty(beside.rows.stop - beside.rows.start, np.int64)
    for place in range(len(lengths)):
        fill_row(ground.upright, beside.rows.start + place, border_unit_m(ground), line)
        lengths[place] = line[beside.columns.start]
    return lengths
