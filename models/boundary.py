"""Boundary F1: how well outlines agree.

After Csurka et al., "What is a good evaluation measure for semantic segmentation?" (BMVC 2013), with matches pooled
over all pictures instead of averaged over them. A pixel lies on a class's boundary if it is of that class and one of
its four neighbours is of another; where nothing is known, and at the picture's edge, there is no boundary. A boundary
pixel is matched if a boundary pixel of the same class in the other map lies no further away than the tolerance, in a
straight line between pixel centres.
"""

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from rspipe.catalogs.legends import NODATA_ID
from rspipe.models.errors import DataError
from rspipe.models.metrics import Counts, Scores, ratio

TOLERANCE_PX = 2

type ClassMap = NDArray[np.uint8]
type Mask = NDArray[np.bool_]


@dataclass(frozen=True, slots=True, eq=False)
class BoundaryMatch:
    """Counts of boundary pixels, pooled over everything that was added. A score without a pixel is NaN."""

    counts: Counts
    """(4, N): predicted and matched, predicted, labelled and matched, labelled."""

    @classmethod
    def empty(cls, classes: int) -> Self:
        """Return the match of no picture."""
        return cls(np.zeros((4, classes), dtype=np.int64))

    @classmethod
    def of(cls, labels: ClassMap, predicted: ClassMap, classes: int, tolerance_px: float = TOLERANCE_PX) -> Self:
        """Compare one picture.

        Args:
            labels: (H, W) class ids; whatever is no class hides the prediction too.
            predicted: (H, W) class ids.
            classes: N.
            tolerance_px: how far apart two boundary pixels may lie.

        Raises:
            DataError: the shapes differ.
        """
        if labels.shape != predicted.shape:
            raise DataError(f"labels have shape {labels.shape}, predictions {predicted.shape}")
        known = (labels < classes) & (predicted < classes)
        truth, guess = (np.where(known, ids, np.uint8(NODATA_ID)) for ids in (labels, predicted))
        columns = []
        for number in range(classes):
            drawn, wanted = _boundary(guess, number), _boundary(truth, number)
            hits = drawn & _near(wanted, tolerance_px), wanted & _near(drawn, tolerance_px)
            columns.append([mask.sum() for mask in (hits[0], drawn, hits[1], wanted)])
        return cls(np.array(columns, dtype=np.int64).T)

    def __add__(self, other: "BoundaryMatch") -> "BoundaryMatch":
        return BoundaryMatch(self.counts + other.counts)

    @property
    def f1(self) -> Scores:
        """(N,) harmonic mean of the matched shares of predicted and of labelled boundaries."""
        predicted_matched, predicted, labelled_matched, labelled = self.counts
        precision, recall = ratio(predicted_matched, predicted), ratio(labelled_matched, labelled)
        # A class that only one of the two maps draws has no match, hence a score of 0, not none at all.
        both, either = np.nan_to_num(precision) + np.nan_to_num(recall), predicted + labelled > 0
        harmonic = np.divide(2 * precision * recall, both, out=np.zeros(len(both)), where=both > 0)
        return np.where(either, harmonic, np.nan)

    @property
    def mean_f1(self) -> float:
        """Mean over the classes with a boundary in either map; NaN for none."""
        known = self.f1[~np.isnan(self.f1)]
        return float(known.mean()) if known.size else float("nan")


def _boundary(ids: ClassMap, number: int) -> Mask:
    inside, edge = ids == number, np.zeros(ids.shape, dtype=np.bool_)
    other = ~inside & (ids != NODATA_ID)
    edge[1:] |= other[:-1]
    edge[:-1] |= other[1:]
    edge[:, 1:] |= other[:, :-1]
    edge[:, :-1] |= other[:, 1:]
    boundary: Mask = inside & edge
    return boundary


def _near(mask: Mask, tolerance_px: float) -> Mask:
    """Return the pixels whose distance to a pixel of the mask is at most the tolerance."""
    reach, (height, width) = int(tolerance_px), mask.shape
    padded, near = np.pad(mask, reach), np.zeros(mask.shape, dtype=np.bool_)
    for down in range(-reach, reach + 1):
        for right in range(-reach, reach + 1):
            if down**2 + right**2 <= tolerance_px**2:
                near |= padded[reach + down : reach + down + height, reach + right : reach + right + width]
    return near
