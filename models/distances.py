"""How far cells lie from what is familiar, counted, so that what several folds found adds up."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rspipe.models.errors import DataError

EDGES = np.geomspace(0.1, 1e4, 1161)
"""Bin i holds EDGES[i - 1] < distance <= EDGES[i]: steps of 1 %. What is nearer is in the first bin, what is further in
the last."""


@dataclass(frozen=True, slots=True, eq=False)
class Distances:
    """Distances of cells that a model had learned nothing of."""

    counts: NDArray[np.int64]
    """(1161), the cells of each bin."""
    scenes: int
    """So many were measured."""

    def __post_init__(self) -> None:
        if self.counts.shape != EDGES.shape:
            raise DataError(f"distances are counted in {len(EDGES)} bins, found {self.counts.shape}")

    @classmethod
    def none(cls) -> Self:
        """Return those of no cell."""
        return cls.of([], scenes=0)

    @classmethod
    def of(cls, lengths: ArrayLike, scenes: int) -> Self:
        """Count distances; `scenes` is how many they are of."""
        bins = np.searchsorted(EDGES, np.asarray(lengths, dtype=np.float64).ravel()).clip(max=len(EDGES) - 1)
        return cls(np.bincount(bins, minlength=len(EDGES)), scenes)

    def __add__(self, other: "Distances") -> "Distances":
        return Distances(self.counts + other.counts, self.scenes + other.scenes)

    def within(self, share: float) -> float:
        """Return a distance that so many of the cells are at most away, 1 % too large at most.

        Raises:
            DataError: there is no cell.
        """
        if not self.scenes:
            raise DataError("no distance was measured: no share of them is within any")
        reached = np.searchsorted(self.counts.cumsum(), share * self.counts.sum())
        return float(EDGES[reached])

    def as_json(self) -> dict[str, Any]:
        """Return what `from_json` reads."""
        return {"scenes": self.scenes, "counts": self.counts.tolist()}

    @classmethod
    def from_json(cls, facts: Mapping[str, Any]) -> Self:
        """Read what `as_json` gave."""
        return cls(np.array(facts["counts"], dtype=np.int64), facts["scenes"])
