from itertools import pairwise

import numpy as np
from blocks import Cut, Raster, arcs_of, cuts, lines_of, rasters
from hypothesis import given

from rspipe.pipeline.coverage import find_faces
from rspipe.pipeline.stitch import CLOSED


@given(rasters, cuts)
def test_arcs_know_nothing_of_blocks(classes: Raster, cut: Cut) -> None:
    labels = find_faces(classes).labels
    assert lines_of(arcs_of(labels, cut)) == lines_of(arcs_of(labels))


@given(rasters, cuts)
def test_every_edge_between_faces_is_drawn_once(classes: Raster, cut: Cut) -> None:
    labels = np.pad(find_faces(classes).labels, 1, constant_values=-1)
    arcs = arcs_of(labels[1:-1, 1:-1], cut)
    drawn = set()
    for arc, (start, size) in enumerate(zip(arcs.starts, arcs.sizes, strict=True)):
        points = arcs.points[start : start + size].astype(int)
        for (row, column), (next_row, next_column) in pairwise(points):
            down, right = np.sign(next_row - row), np.sign(next_column - column)
            for step in range(abs(next_row - row) + abs(next_column - column)):
                r, c = row + step * down, column + step * right
                # The pixels to the left and to the right of a step from one corner to the next.
                left = labels[r + (right < 0) + (down > 0), c + (right > 0) + (down > 0)]
                right_side = labels[r + (right > 0) + (down > 0), c + (right > 0) + (down < 0)]
                assert (left, right_side) == tuple(arcs.sides[arc])
                drawn.add((min(r, r + down), min(c, c + right), bool(right)))
    level = {(r, c, True) for r, c in np.argwhere(labels[1:, 1:-1] != labels[:-1, 1:-1])}
    upright = {(r, c, False) for r, c in np.argwhere(labels[1:-1, 1:] != labels[1:-1, :-1])}
    assert drawn == level | upright


def test_a_closed_arc_begins_at_its_first_corner() -> None:
    labels = np.zeros((4, 4), np.int32)
    labels[1:3, 1:3] = 1
    arcs = arcs_of(labels, Cut(2, 2))
    inner = int(np.flatnonzero((arcs.sides == 1).any(axis=1))[0])
    assert arcs.ends[inner].tolist() == [CLOSED, CLOSED]
    line = arcs.points[arcs.starts[inner] : arcs.starts[inner] + arcs.sizes[inner]]
    assert line.tolist() == [[1, 1], [1, 3], [3, 3], [3, 1], [1, 1]]
    assert arcs.sides[inner].tolist() == [0, 1]
