"""What an evaluation found, as JSON and as a table."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, reduce
from operator import add
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rspipe.models.bootstrap import LEVEL, RESAMPLES, Interval, intervals
from rspipe.models.boundary import BoundaryMatch
from rspipe.models.calibration import Reliability
from rspipe.models.card import ModelCard
from rspipe.models.labels import LabelSet
from rspipe.models.metrics import Confusion, Scores
from rspipe.pipeline.evaluating import EvaluateSettings

type Json = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class PictureScore:
    """What one picture adds."""

    name: str
    pixels: int
    confusion: Confusion
    boundary: BoundaryMatch
    reliability: Reliability
    allowed: NDArray[np.int64]
    """(groups, 2): pixels with a partial label, and how many of them were given a class that it allows."""


@dataclass(frozen=True, kw_only=True)
class Assessment:
    """All pictures, pooled."""

    card: ModelCard
    folder: Path
    labels: LabelSet
    settings: EvaluateSettings
    device: str
    pictures: Sequence[PictureScore]

    @cached_property
    def confusion(self) -> Confusion:
        """Of all pictures."""
        return reduce(add, (picture.confusion for picture in self.pictures))

    @cached_property
    def boundary(self) -> BoundaryMatch:
        """Of all pictures."""
        return reduce(add, (picture.boundary for picture in self.pictures))

    @cached_property
    def reliability(self) -> Reliability:
        """Of all pictures."""
        return reduce(add, (picture.reliability for picture in self.pictures))

    @cached_property
    def intervals(self) -> list[Interval]:
        """Of the mean IoU, then of the IoU of each class."""
        return intervals([picture.confusion for picture in self.pictures], _ious, self.settings.seed)

    @cached_property
    def groups(self) -> list[tuple[str, int, int]]:
        """Name, pixels, and pixels with an allowed class, of each partial label."""
        total = sum((picture.allowed for picture in self.pictures), start=np.zeros((len(self.labels.groups), 2), int))
        return [(name, int(pixels), int(hits)) for name, (pixels, hits) in zip(self.labels.groups, total, strict=True)]

    def as_json(self) -> Json:
        """Return everything; what cannot be told is null."""
        mean, *of_classes = self.intervals
        bins = [entry.model_dump() for entry in self.reliability.bins]
        return {
            "model": {"id": self.card.model_id, "version": self.card.version, "sha256": self.card.digest},
            "data": {
                "folder": str(self.folder),
                "pictures": len(self.pictures),
                "pixels": self.pixels,
                "scored_pixels": self.scored_pixels,
            },
            "settings": self._settings(),
            "mean_iou": _score(self.confusion.mean_iou, mean),
            "mean_f1": _number(self.mean_f1),
            "overall_accuracy": _number(self.confusion.overall_accuracy),
            "mean_boundary_f1": _number(self.boundary.mean_f1),
            "classes": [self._class_json(number, interval) for number, interval in enumerate(of_classes)],
            "confusion": self.confusion.counts.tolist(),
            "calibration": {"expected_error": _number(self.reliability.expected_error), "bins": bins},
            "partial_labels": [
                {"any_of": [self.labels.names[member] for member in members], "pixels": pixels, "allowed": hits}
                for members, (_, pixels, hits) in zip(self.labels.groups.values(), self.groups, strict=True)
            ],
            "pictures": [
                {"name": picture.name, "confusion": picture.confusion.counts.tolist()} for picture in self.pictures
            ],
        }

    @property
    def mean_f1(self) -> float:
        """Mean F1 over the classes that were labelled or predicted at all; NaN for no pixel."""
        known = self.confusion.f1[~np.isnan(self.confusion.f1)]
        return float(known.mean()) if known.size else float("nan")

    @property
    def pixels(self) -> int:
        """Of all pictures, scored or not."""
        return sum(picture.pixels for picture in self.pictures)

    @property
    def scored_pixels(self) -> int:
        """Those with a class label and every required band."""
        return int(self.confusion.counts.sum())

    def _settings(self) -> Json:
        settings = self.settings
        window_px, overlap_px = settings.windows or (None, None)
        return {
            "window_px": window_px,
            "overlap_px": overlap_px,
            "views": settings.symmetry,
            "scales": list(settings.scales),
            "dropped": list(settings.dropped),
            "boundary_tolerance_px": settings.tolerance_px,
            "bootstrap": {"level": LEVEL, "resamples": RESAMPLES, "seed": settings.seed},
            "device": self.device,
        }

    def _class_json(self, number: int, interval: Interval) -> Json:
        entry, confusion = self.card.legend.classes[number], self.confusion
        return {
            "id": entry.id,
            "name": entry.name,
            "pixels": int(confusion.counts[number].sum()),
            "iou": _score(confusion.iou[number], interval),
            "f1": _number(confusion.f1[number]),
            "precision": _number(confusion.precision[number]),
            "recall": _number(confusion.recall[number]),
            "boundary_f1": _number(self.boundary.f1[number]),
        }


def _ious(confusion: Confusion) -> Scores:
    return np.array([confusion.mean_iou, *confusion.iou])


def _score(value: float, interval: Interval) -> Json:
    return {"value": _number(value), "low": _number(interval.low), "high": _number(interval.high)}


def _number(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
