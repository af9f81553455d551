"""Evaluates a model: every labelled picture is predicted, whole or by the windows of a run, and compared."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from rspipe.models.boundary import BoundaryMatch
from rspipe.models.calibration import Reliability
from rspipe.models.card import ModelCard
from rspipe.models.data import Patch, without
from rspipe.models.foldersource import FolderSource
from rspipe.models.labelling import Wanted
from rspipe.models.labels import IGNORE_ID, LabelSet
from rspipe.models.metrics import Confusion
from rspipe.models.predictor import Predictor
from rspipe.models.views import Viewed, views_of
from rspipe.pipeline.assessment import Assessment, PictureScore
from rspipe.pipeline.errors import ConfigError
from rspipe.pipeline.evaluating import EvaluateSettings
from rspipe.pipeline.progress import Progress
from rspipe.pipeline.slide import Blended, slide

STAGE = "evaluate"
ANY_OF = "|"
"""Between the classes of a partial label."""


def evaluate(card_path: Path, folder: Path, settings: EvaluateSettings, progress: Progress) -> Assessment:
    """Measure a model on a folder of labelled pictures. The model is loaded before any picture is read.

    Args:
        card_path: the model's card.
        folder: holds images/ and masks/ with the same names.
        settings: see there.
        progress: is told of every picture.

    Raises:
        ModelError: card or weights are refused.
        DataError: the labelled data cannot be used; nothing is scored then, for a score over fewer pictures than asked
            for would be another score.
        ConfigError: a setting does not fit the model.
        SceneFailedError: the model returned no probabilities.
    """
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    predictor = Predictor.load(card_path, device)
    card = predictor.card
    dropped = _dropped(card, settings.dropped)
    labels = label_set(card, settings.meanings)
    patches = _read(folder, card, labels, settings.meanings)
    _warn_of_pixel_sizes(patches, card, progress)
    judge = _Judge(Viewed(predictor, views_of(settings.symmetry, settings.scales)), device, labels, settings)
    return Assessment(
        card=card,
        folder=folder,
        labels=labels,
        settings=settings,
        device=device.type,
        pictures=tuple(judge.score(patch) for patch in _told(patches, dropped, progress)),
    )


def label_set(card: ModelCard, meanings: Mapping[str, str]) -> LabelSet:
    """Return the classes of a card, and a group for every choice of classes that a mask's number means.

    Raises:
        DataError: a class is unknown.
    """
    groups = {meaning: meaning.split(ANY_OF) for meaning in meanings.values() if ANY_OF in meaning}
    return LabelSet.of(card.legend, groups)


def _read(folder: Path, card: ModelCard, labels: LabelSet, meanings: Mapping[str, str]) -> list[Patch]:
    named = {str(IGNORE_ID): None} | {number: meaning or None for number, meaning in meanings.items()}
    source = FolderSource(folder=folder, labels=named if meanings else None)
    return source.patches(Wanted(bands=card.bands, labels=labels, pixel_m=card.resolution_m.min))


def _dropped(card: ModelCard, names: Sequence[str]) -> list[int]:
    """Return the channels of bands that are to be left out."""
    optional = {band.name: channel for channel, band in enumerate(card.bands) if not band.required}
    strange = [name for name in names if name not in optional]
    if strange:
        known = ", ".join(optional) or "none"
        raise ConfigError(
            f"--drop {strange[0]}: only optional bands can be left out; those of {card.model_id} are {known}"
        )
    return [optional[name] for name in names]


def _warn_of_pixel_sizes(patches: Iterable[Patch], card: ModelCard, progress: Progress) -> None:
    finest_m, coarsest_m = card.resolution_m.min, card.resolution_m.max
    strange = [patch for patch in patches if not 0.99 * finest_m <= patch.pixel_m <= 1.01 * coarsest_m]
    if strange:
        progress.warn(
            f"{len(strange)} pictures have pixels outside of the {finest_m:g} to {coarsest_m:g} m that the model was "
            f"trained for, {strange[0].name} for instance {strange[0].pixel_m:g} m: a run would refuse or resample them"
        )


def _told(patches: Sequence[Patch], dropped: list[int], progress: Progress) -> Iterable[Patch]:
    progress.start(STAGE, len(patches))
    for patch in patches:
        yield without(patch, dropped)
        progress.advance(STAGE)
    progress.finish(STAGE)


@dataclass(frozen=True, slots=True)
class _Judge:
    model: Viewed
    device: torch.device
    labels: LabelSet
    settings: EvaluateSettings

    def score(self, patch: Patch) -> PictureScore:
        blended = self._predict(patch)
        labels = patch.labels.masked_fill(~blended.valid, IGNORE_ID)
        predicted = blended.probabilities.argmax(dim=0).to(torch.uint8)
        truth, guess = labels.numpy(), predicted.numpy()
        classes = self.labels.classes
        return PictureScore(
            name=patch.name,
            pixels=labels.numel(),
            confusion=Confusion.of(truth, guess, classes),
            boundary=BoundaryMatch.of(truth, guess, classes, self.settings.tolerance_px),
            reliability=Reliability.of(blended.probabilities, labels),
            allowed=self._allowed(labels, predicted),
        )

    def _predict(self, patch: Patch) -> Blended:
        if self.settings.windows is not None:
            return slide(self.model, patch, *self.settings.windows, self.device)
        present = patch.bands.isfinite()
        required = [channel for channel, band in enumerate(self.model.card.bands) if band.required]
        probabilities = self.model.probabilities(patch.bands[None], present[None])[0]
        return Blended(probabilities=probabilities.cpu(), valid=present[required].all(dim=0))

    def _allowed(self, labels: Tensor, predicted: Tensor) -> np.ndarray[tuple[int, int], np.dtype[np.int64]]:
        """Return per group how many pixels bear it, and how many of them were given one of its classes."""
        table = self.labels.table
        counts = []
        for group in range(self.labels.classes, self.labels.count):
            chosen = predicted[labels == group]
            counts.append([len(chosen), int(table[group][chosen.long()].sum())])
        return np.array(counts, dtype=np.int64).reshape(-1, 2)
