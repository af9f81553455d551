"""What a trained model scored, as sums that add up over folds, and in words."""

import json
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from rspipe.catalogs.legends import Legend
from rspipe.models.metrics import Confusion
from rspipe.models.score import Score


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What one model scored on patches it had not seen."""

    native: Score
    coarse: Score
    """The same patches averaged to the coarsest pixel size of the recipe."""

    def as_json(self) -> dict[str, list[list[int]] | list[float]]:
        """Return what `from_json` reads."""
        return {
            "native": self.native.confusion.counts.tolist(),
            "native_surprise": self.native.surprise.tolist(),
            "coarse": self.coarse.confusion.counts.tolist(),
            "coarse_surprise": self.coarse.surprise.tolist(),
        }

    @classmethod
    def from_json(cls, text: str) -> "Measured":
        """Read what `as_json` gave."""
        facts = json.loads(text)
        native, coarse = (
            Score(Confusion(np.array(facts[name], dtype=np.int64)), np.array(facts[f"{name}_surprise"]))
            for name in ("native", "coarse")
        )
        return cls(native=native, coarse=coarse)


def sum_of(folds: Sequence[Measured]) -> Measured:
    """Pool the sums of several folds."""
    native, coarse = folds[0].native, folds[0].coarse
    for fold in folds[1:]:
        native, coarse = native + fold.native, coarse + fold.coarse
    return Measured(native=native, coarse=coarse)


def in_words(confusion: Confusion, legend: Legend) -> str:
    """Return the mean IoU and that of each class."""
    per_class = ", ".join(f"{entry.name} {iou:.2f}" for entry, iou in zip(legend.classes, confusion.iou, strict=True))
    return f"mIoU {confusion.mean_iou:.3f} ({per_class})"


def folds_in_words(folds: Sequence[Measured], legend: Legend, coarsest_m: float) -> str:
    """Return what a cross-validation found: pooled scores, and how far the folds lie apart."""
    total = sum_of(folds)
    spreads = np.array([fold.native.confusion.iou for fold in folds])
    ranges = ", ".join(
        f"{entry.name} {iou:.2f} ({low:.2f} to {high:.2f})"
        for entry, iou, low, high in zip(
            legend.classes, total.native.confusion.iou, np.nanmin(spreads, 0), np.nanmax(spreads, 0), strict=True
        )
    )
    means = [fold.native.confusion.mean_iou for fold in folds]
    return (
        f"{len(folds)}-fold cross-validation of this recipe, confusion pooled over all held-out patches: mIoU "
        f"{total.native.confusion.mean_iou:.3f} (folds {min(means):.2f} to {max(means):.2f}); IoU per class, with its "
        f"range over the folds: {ranges}. The same patches averaged to {coarsest_m:g} m: "
        f"{in_words(total.coarse.confusion, legend)}."
    )
