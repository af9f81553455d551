"""How well a class map agrees with its labels: everything is read off one pooled confusion matrix."""

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from rspipe.models.errors import DataError

type Counts = NDArray[np.int64]
type Scores = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Confusion:
    """Pixel counts, pooled over everything that was added. A score without a pixel to stand on is NaN."""

    counts: Counts
    """(N, N): rows are labels, columns are predictions."""

    def __post_init__(self) -> None:
        if self.counts.ndim != 2 or self.counts.shape[0] != self.counts.shape[1]:
            raise DataError(f"a confusion matrix is square, found {self.counts.shape}")

    @classmethod
    def empty(cls, classes: int) -> Self:
        """Return the matrix of no pixel."""
        return cls(np.zeros((classes, classes), dtype=np.int64))

    @classmethod
    def of(cls, labels: NDArray[np.integer], predicted: NDArray[np.integer], classes: int) -> Self:
        """Count one picture. Labels of N or more, and pixels whose prediction is no class, are left out.

        Args:
            labels: class ids of any shape.
            predicted: class ids of the same shape.
            classes: N.

        Raises:
            DataError: the shapes differ.
        """
        if labels.shape != predicted.shape:
            raise DataError(f"labels have shape {labels.shape}, predictions {predicted.shape}")
        kept = (labels >= 0) & (labels < classes) & (predicted >= 0) & (predicted < classes)
        pairs = labels[kept].astype(np.int64) * classes + predicted[kept].astype(np.int64)
        return cls(np.bincount(pairs, minlength=classes * classes).reshape(classes, classes))

    def __add__(self, other: "Confusion") -> "Confusion":
        return Confusion(self.counts + other.counts)

    @property
    def iou(self) -> Scores:
        """(N,) intersection over union of each class."""
        return ratio(self._hits, self._labelled + self._predicted - self._hits)

    @property
    def f1(self) -> Scores:
        """(N,) harmonic mean of precision and recall of each class."""
        return ratio(2 * self._hits, self._labelled + self._predicted)

    @property
    def precision(self) -> Scores:
        """(N,) share of the pixels given to a class that belong to it."""
        return ratio(self._hits, self._predicted)

    @property
    def recall(self) -> Scores:
        """(N,) share of the pixels of a class that were given to it."""
        return ratio(self._hits, self._labelled)

    @property
    def mean_iou(self) -> float:
        """Mean IoU over the classes that were labelled or predicted at all; NaN for no pixel."""
        known = self.iou[~np.isnan(self.iou)]
        return float(known.mean()) if known.size else float("nan")

    @property
    def overall_accuracy(self) -> float:
        """Share of all counted pixels that are right; NaN for no pixel."""
        total = self.counts.sum()
        return float(self._hits.sum() / total) if total else float("nan")

    def merged(self, groups: NDArray[np.integer]) -> "Confusion":
        """Return the matrix after classes are united: class n becomes class `groups[n]`."""
        size = int(groups.max()) + 1
        united = np.zeros((size, size), dtype=np.int64)
        np.add.at(united, (groups[:, None], groups[None, :]), self.counts)
        return Confusion(united)

    @property
    def _hits(self) -> Counts:
        return np.diagonal(self.counts)

    @property
    def _labelled(self) -> Counts:
        return np.asarray(self.counts.sum(axis=1))

    @property
    def _predicted(self) -> Counts:
        return np.asarray(self.counts.sum(axis=0))


def ratio(part: Counts, whole: Counts) -> Scores:
    """Divide counts; NaN where there is nothing to divide by."""
    scores: Scores = np.divide(part, whole, out=np.full(part.shape, np.nan), where=whole > 0)
    return scores
