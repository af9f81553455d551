"""Dumb and slow counterparts of the coverage engine: whole rasters labelled again after every single change."""

from collections import defaultdict

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

NODATA = 255
Raster = NDArray[np.uint8]


def faces_of(classes: Raster) -> list[NDArray[np.bool_]]:
    """The 4-connected faces as masks, by first pixel in row-major order."""
    masks = []
    for value in np.unique(classes[classes != NODATA]):
        labels, count = ndimage.label(classes == value)
        masks += [labels == index + 1 for index in range(count)]
    return sorted(masks, key=lambda mask: int(np.flatnonzero(mask)[0]))


def labels_of(classes: Raster) -> NDArray[np.int32]:
    labels = np.full(classes.shape, -1, np.int32)
    for index, mask in enumerate(faces_of(classes)):
        labels[mask] = index
    return labels


def edges_between(labels: NDArray[np.int32], face: int) -> dict[int, int]:
    """Pixel edges that a face shares with each other face."""
    shared: dict[int, int] = defaultdict(int)
    height, width = labels.shape
    for row, column in np.argwhere(labels == face):
        for r, c in ((row - 1, column), (row + 1, column), (row, column - 1), (row, column + 1)):
            if 0 <= r < height and 0 <= c < width and labels[r, c] not in {face, -1}:
                shared[int(labels[r, c])] += 1
    return shared


def sieve_pixels(classes: Raster, least_px: dict[int, int], probabilities: NDArray[np.uint8] | None = None) -> Raster:
    """Sieve by house rule, areas counted in pixels and borders in pixel edges.

    With probabilities (classes, H, W) the neighbour whose class is the most probable one under the face comes first.
    """
    classes = classes.copy()
    while True:
        labels = labels_of(classes)
        masks = faces_of(classes)
        small = [
            (int(mask.sum()), index)
            for index, mask in enumerate(masks)
            if mask.sum() < least_px[int(classes[mask][0])] and edges_between(labels, index)
        ]
        if not small:
            return classes
        face = min(small)[1]
        shared = edges_between(labels, face)
        chance = dict.fromkeys(shared, 0)
        if probabilities is not None:
            chance = {other: int(probabilities[classes[masks[other]][0]][masks[face]].sum()) for other in shared}
        ranks = [(-chance[other], -shared[other], other) for other in shared]
        classes[masks[face]] = classes[masks[min(ranks)[2]]][0]


def filled(classes: Raster, below_px: int) -> Raster:
    """Fill holes by house rule: the smallest first, everything labelled again after each."""
    classes = classes.copy()
    while True:
        framed = np.pad(classes, 1, constant_values=NODATA)
        labels, masks = labels_of(classes), faces_of(classes)
        holes = []
        for index, mask in enumerate(masks):
            ring = ndimage.binary_dilation(np.pad(mask, 1)) & ~np.pad(mask, 1)
            inside = not (framed[ring] == NODATA).any()
            if inside and mask.sum() < below_px and len(edges_between(labels, index)) == 1:
                holes.append((int(mask.sum()), index))
        if not holes:
            return classes
        face = min(holes)[1]
        around = next(iter(edges_between(labels, face)))
        classes[masks[face]] = classes[masks[around]][0]
