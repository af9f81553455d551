"""What the faces of a coverage measure: pixels, ground areas, perimeters, and statistics of a raster under them.

Sizes are added as integers (see `ground`): sums are exact, so nothing depends on the order in which pixels are visited,
nor on how the raster is cut into strips.
"""

import numpy as np
from numpy.typing import NDArray

from rspipe.catalogs.compiled import kept
from rspipe.pipeline.coverage import NO_FACE, Counts, Faces, Labels
from rspipe.pipeline.ground import Ground, add_edges, fill_row
from rspipe.pipeline.trace import Pieces

_BINS = 16


def face_pixels(faces: Faces) -> Counts:
    """Return (n,): pixels of each face."""
    totals = np.zeros(faces.count, np.int64)
    _count(faces.labels.reshape(-1), totals)
    return totals


@kept
def _count(labels: Labels, totals: Counts) -> None:
    for node in range(labels.size):
        if labels[node] != NO_FACE:
            totals[labels[node]] += 1


def face_areas(faces: Faces, ground: Ground, first_row: int = 0) -> Counts:
    """Return (n,): ground area of each face in units of `ground.areas.unit`, the exact sum over its pixels.

    Args:
        faces: of whole rows of a raster.
        ground: of the raster.
        first_row: the row of the raster that is the faces' first one.
    """
    totals = np.zeros(faces.count, np.int64)
    line = np.empty(faces.labels.shape[1], np.int64)
    for row, labels in enumerate(faces.labels):
        fill_row(ground.areas, row + first_row, ground.areas.unit, line)
        _add(labels, line, totals)
    return totals


@kept
def _add(labels: Labels, sizes: Counts, totals: Counts) -> None:
    for node in range(labels.size):
        if labels[node] != NO_FACE:
            totals[labels[node]] += sizes[node]


def piece_lengths(pieces: Pieces, ground: Ground) -> tuple[Counts, Counts]:
    """Return (n,) twice: the lengths of the level and of the upright edges of pieces of arcs.

    They are in units of `ground.level.unit` and `ground.upright.unit`: exact sums over single edges, so nothing
    depends on where pieces are cut.
    """
    lengths = np.zeros((2, len(pieces.sides)), np.int64)
    add_edges((ground.level, ground.upright), pieces.first, pieces.points, lengths)
    return lengths[0], lengths[1]


def border_lengths(lengths: Counts, sides: Labels, faces: int) -> Counts:
    """Return (faces,): the length of each face's border.

    Args:
        lengths: (n,): of the pieces of arcs.
        sides: (n, 2): the faces on either side of each.
        faces: how many faces there are.
    """
    totals = np.zeros(faces + 1, np.int64)
    # What is outside of all faces, `NO_FACE`, is the last entry.
    np.add.at(totals, sides.reshape(-1), np.repeat(lengths, 2))
    return totals[:-1]


def face_sums(faces: Faces, values: NDArray[np.uint8]) -> Counts:
    """Return (n,): the sum of a raster's values over each face.

    Args:
        faces: the faces.
        values: (H, W).
    """
    totals = np.zeros(faces.count, np.int64)
    _add_values(faces.labels.reshape(-1), values.reshape(-1), totals)
    return totals


@kept
def _add_values(labels: Labels, values: NDArray[np.uint8], totals: Counts) -> None:
    for node in range(labels.size):
        if labels[node] != NO_FACE:
            totals[labels[node]] += values[node]


def face_quantiles(faces: Faces, values: NDArray[np.uint8], share: float) -> NDArray[np.uint8]:
    """Return (n,): the smallest value of each face that at least `share` of its pixels do not exceed.

    Two histograms of 16 bins, the second inside of the bin that the first one chose, take an eighth of the memory of
    one of 256 bins and give the same answer.

    Args:
        faces: the faces.
        values: (H, W).
        share: above 0, at most 1.
    """
    labels, flat = faces.labels.reshape(-1), values.reshape(-1)
    numbers = np.arange(faces.count)
    histogram = np.zeros((faces.count, _BINS), np.int32)
    _count_high(labels, flat, histogram)
    running = histogram.cumsum(axis=1, dtype=np.int64)
    rank = np.ceil(share * running[:, -1]).astype(np.int64)
    high = (running < rank[:, None]).sum(axis=1).astype(np.uint8)
    rank -= np.where(high > 0, running[numbers, np.maximum(high, 1) - 1], 0)
    histogram[:] = 0
    _count_low(labels, flat, high, histogram)
    low = (histogram.cumsum(axis=1, dtype=np.int64) < rank[:, None]).sum(axis=1)
    return (high * _BINS + low).astype(np.uint8)


@kept
def _count_high(labels: Labels, values: NDArray[np.uint8], histogram: NDArray[np.int32]) -> None:
    for node in range(labels.size):
        if labels[node] != NO_FACE:
            histogram[labels[node], values[node] >> 4] += 1


@kept
def _count_low(
    labels: Labels, values: NDArray[np.uint8], high: NDArray[np.uint8], histogram: NDArray[np.int32]
) -> None:
    for node in range(labels.size):
        if labels[node] != NO_FACE and values[node] >> 4 == high[labels[node]]:
            histogram[labels[node], values[node] & 15] += 1


def face_histograms(faces: Faces, values: NDArray[np.uint8], chosen: NDArray[np.intp]) -> Counts:
    """Return (k, 256): how often each value comes under each of some faces.

    Args:
        faces: the faces.
        values: (H, W).
        chosen: (k,): which of the faces.
    """
    places = np.full(faces.count, NO_FACE, np.int32)
    places[chosen] = np.arange(len(chosen), dtype=np.int32)
    histograms = np.zeros((len(chosen), 256), np.int64)
    if len(chosen):
        _count_chosen(faces.labels.reshape(-1), values.reshape(-1), places, histograms)
    return histograms


@kept
def _count_chosen(labels: Labels, values: NDArray[np.uint8], places: NDArray[np.int32], histograms: Counts) -> None:
    for node in range(labels.size):
        if labels[node] != NO_FACE and places[labels[node]] != NO_FACE:
            histograms[places[labels[node]], values[node]] += 1


def histogram_quantiles(histograms: Counts, share: float) -> NDArray[np.uint8]:
    """Return (k,): what `face_quantiles` says, from whole histograms (k, 256)."""
    running = histograms.cumsum(axis=1)
    rank = np.ceil(share * running[:, -1]).astype(np.int64)
    return (running < rank[:, None]).sum(axis=1).astype(np.uint8)
