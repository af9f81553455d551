"""What a trained model scored, as sums that add up over folds, and in words."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import reduce
from operator import add
from types import MappingProxyType
from typing import Any

import numpy as np

from rspipe.catalogs.legends import Legend
from rspipe.models.bootstrap import LEVEL, Interval, intervals
from rspipe.models.calibration import TemperatureScan
from rspipe.models.distances import Distances
from rspipe.models.metrics import Confusion, Scores
from rspipe.models.score import Score


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What one model scored on patches it had not seen."""

    native: Score
    coarse: Score
    """The same patches averaged to the coarsest pixel size of the recipe."""
    blended: TemperatureScan
    """The same patches by the windows of the card, under every temperature."""
    lacking: Mapping[str, Score] = field(default_factory=lambda: MappingProxyType({}))
    """Names of bands, joined by commas -> the same patches without these."""
    distances: Distances = field(default_factory=Distances.none)
    """The same patches from what was familiar to the model."""

    def __add__(self, other: "Measured") -> "Measured":
        return Measured(
            native=self.native + other.native,
            coarse=self.coarse + other.coarse,
            blended=self.blended + other.blended,
            lacking={bands: score + other.lacking[bands] for bands, score in self.lacking.items()},
            distances=self.distances + other.distances,
        )

    def as_json(self) -> dict[str, Any]:
        """Return what `from_json` reads."""
        return {
            "native": _listed(self.native),
            "coarse": _listed(self.coarse),
            "surprise": self.blended.surprise.tolist(),
            "reliability": self.blended.reliability.tolist(),
            "lacking": {bands: _listed(score) for bands, score in self.lacking.items()},
            "distances": self.distances.as_json(),
        }

    @classmethod
    def from_json(cls, text: str) -> "Measured":
        """Read what `as_json` gave."""
        facts = json.loads(text)
        return cls(
            native=_score(facts["native"]),
            coarse=_score(facts["coarse"]),
            blended=TemperatureScan(np.array(facts["surprise"]), np.array(facts["reliability"])),
            lacking={bands: _score(listed) for bands, listed in facts.get("lacking", {}).items()},
            distances=Distances.from_json(facts["distances"]) if "distances" in facts else Distances.none(),
        )


def sum_of(folds: Sequence[Measured]) -> Measured:
    """Pool the sums of several folds."""
    return reduce(add, folds)


def in_words(score: Score, legend: Legend) -> str:
    """Return the mean IoU and that of each class, each with its interval over scenes."""
    confusion = score.confusion
    mean, *of_classes = intervals(list(score.scenes.values()), _ious)
    per_class = ", ".join(
        f"{entry.name} {iou:.2f} [{_range(interval)}]"
        for entry, iou, interval in zip(legend.classes, confusion.iou, of_classes, strict=True)
    )
    return f"mIoU {confusion.mean_iou:.3f} [{_range(mean)}]: {per_class}"


def folds_in_words(folds: Sequence[Measured], legend: Legend, coarsest_m: float) -> str:
    """Return what a cross-validation found, a line per statement: pooled scores, and how far the folds lie apart."""
    total = sum_of(folds)
    means = [fold.native.confusion.mean_iou for fold in folds]
    how = (
        f"{len(folds)}-fold cross-validation of this recipe over {len(total.native.scenes)} scenes, all held-out "
        f"pixels pooled, in brackets {LEVEL:.0%} bootstrap intervals over scenes:"
    )
    native = f"{in_words(total.native, legend)}; folds {min(means):.2f} to {max(means):.2f}."
    coarse = f"The same averaged to {coarsest_m:g} m: {in_words(total.coarse, legend)}."
    lacking = [f"Without {bands}: {in_words(score, legend)}." for bands, score in total.lacking.items()]
    return "\n".join([how, native, coarse, *lacking])


def _ious(confusion: Confusion) -> Scores:
    return np.array([confusion.mean_iou, *confusion.iou])


def _range(interval: Interval) -> str:
    return "unknown" if np.isnan(interval.low) else f"{interval.low:.2f} to {interval.high:.2f}"


def _score(listed: Mapping[str, list[list[int]]]) -> Score:
    return Score({scene: Confusion(np.array(counts, dtype=np.int64)) for scene, counts in listed.items()})


def _listed(score: Score) -> dict[str, list[list[int]]]:
    return {scene: confusion.counts.tolist() for scene, confusion in score.scenes.items()}
