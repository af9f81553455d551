"""What the faces of a coverage measure: pixels, ground areas, perimeters, and statistics of a raster under them.

Sizes are added as integers (see `ground`): sums are exact, so nothing depends on the order in which pixels are visited.
"""

import numpy as np
from numpy.typing import NDArray

from rspipe.catalogs.compiled import kept
from rspipe.pipeline.coverage import NO_FACE, Faces, Labels
from rspipe.pipeline.ground import Ground, fill_row

Counts = NDArray[np.int64]
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


def face_areas(faces: Faces, ground: Ground) -> Counts:
    """Return (n,): ground area of each face in units of `ground.areas.unit`, the exact sum over its pixels."""
    totals = np.zeros(faces.count, np.int64)
    line = np.empty(faces.labels.shape[1], np.int64)
    for row, labels in enumerate(faces.labels):
        fill_row(ground.areas, row, ground.areas.unit, line)
        _add(labels, line, totals)
    return totals


@kept
def _add(labels: Labels, sizes: Counts, totals: Counts) -> None:
    for node in range(labels.size):
        if labels[node] != NO_FACE:
            totals[labels[node]] += sizes[node]


def face_perimeters(faces: Faces, ground: Ground) -> NDArray[np.float64]:
    """Return (n,): length of each face's border in metres, holes included, the exact sum over its pixels' edges."""
    level, upright = np.zeros(faces.count, np.int64), np.zeros(faces.count, np.int64)
    height, width = faces.labels.shape
    line, outside = np.empty(width + 1, np.int64), np.full(width, NO_FACE, np.int32)
    for row in range(height + 1):
        below = faces.labels[row] if row < height else outside
        fill_row(ground.level, row, ground.level.unit, line)
        _add_borders(faces.labels[row - 1] if row else outside, below, line, level)
    for row, labels in enumerate(faces.labels):
        edged = np.concatenate([outside[:1], labels, outside[:1]])
        fill_row(ground.upright, row, ground.upright.unit, line)
        _add_borders(edged[:-1], edged[1:], line, upright)
    return level * ground.level.unit + upright * ground.upright.unit


@kept
def _add_borders(before: Labels, after: Labels, lengths: Counts, totals: Counts) -> None:
    """Add the edges between pairs of pixels to the faces on either side."""
    for node in range(before.size):
        one, other = before[node], after[node]
        if one != other:
            if one != NO_FACE:
                totals[one] += lengths[node]
            if other != NO_FACE:
                totals[other] += lengths[node]


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
