"""Trains a model: the weights that are shipped, the folds that measure them, and the card that tells of both."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from rspipe.catalogs.simulated import Polar, thick_from, training_patch
from rspipe.catalogs.simulation import CHANNELS
from rspipe.models.acquaint import acquainted, distances_of
from rspipe.models.card import ModelCard
from rspipe.models.crops import Size, shrunk
from rspipe.models.data import Patch, digest_of, without
from rspipe.models.distances import Distances
from rspipe.models.familiar import in_units_of
from rspipe.models.folds import dealt_to_folds
from rspipe.models.labelling import SourceSpec, Wanted
from rspipe.models.mlm import Calibration, Familiar, GroundResolution, Training
from rspipe.models.normalise import Normaliser
from rspipe.models.recipe import Recipe
from rspipe.models.registry import resolve
from rspipe.models.score import scored
from rspipe.models.sources import read_sources
from rspipe.models.train import Trainer
from rspipe.models.weights import inference_parameters, save_weights
from rspipe.pipeline.atomic import write_text
from rspipe.pipeline.calibrate import scan_temperatures
from rspipe.pipeline.devices import devices_of
from rspipe.pipeline.errors import ConfigError
from rspipe.pipeline.fit import Fitting, fit_on
from rspipe.pipeline.lock import locked
from rspipe.pipeline.measured import Measured, folds_in_words, in_words, sum_of
from rspipe.pipeline.progress import Progress
from rspipe.pipeline.training import SimulatedPatches, TrainingConfig
from rspipe.pipeline.trainlog import TrainLog


def train(config: TrainingConfig, output: Path, progress: Progress) -> Path:
    """Train, measure and write weights and card; what an interrupted call finished is not done again.

    Args:
        config: the training.
        output: folder of the weights, the card, the log and the checkpoints.
        progress: is told of every step.

    Returns:
        The path of the card.

    Raises:
        DataError: labelled data cannot be used, or a checkpoint belongs to another recipe.
        ConfigError: there are fewer patches than folds, or simulated bands do not fit.
        EnvironmentFailedError: the folder cannot be written, or another training is at work there.
    """
    torch.set_num_threads(config.threads)
    with locked(output / ".rspipe" / "lock"):
        progress.log_to(output / "progress.jsonl")
        run = _Run(config, output, progress, simulated_patches(config))
        own, beside = run.read(config.data.train), run.read(config.data.beside or ())
        run = replace(run, begun=run.begin(own + beside))
        trainer = run.fit("final", own + beside)
        return run.ship(trainer, own, run.cross_validate(beside))


@dataclass(frozen=True, slots=True)
class _Run:
    config: TrainingConfig
    output: Path
    progress: Progress
    simulated: list[Patch]
    begun: Fitting | None = None
    """The steps that see simulated patches only: the same for the final weights and every fold."""

    @property
    def recipe(self) -> Recipe:
        return self.config.recipe

    def read(self, sources: Sequence[SourceSpec]) -> list[Patch]:
        if not sources:
            return []
        wanted = Wanted(self.recipe.card_bands, self.recipe.label_set, self.config.data.pixel_m)
        found = read_sources(sources, wanted)
        if found.warning:
            self.progress.warn(found.warning)
        return found.patches

    @property
    def lacking(self) -> dict[str, list[int]]:
        """Names of the bands that the folds are also scored without -> their channels."""
        names = [band.name for band in self.recipe.bands]
        sets = self.config.folds.without if self.config.folds else ()
        return {", ".join(bands): [names.index(band) for band in bands] for bands in sets}

    def cross_validate(self, beside: list[Patch]) -> list[Measured]:
        settings = self.config.folds
        if settings is None:
            return []
        patches = self.read(settings.folders)
        scenes = [patch.scene for patch in patches]
        if len(set(scenes)) < settings.count:
            found = f"only {len(patches)} patches from {len(set(scenes))} scenes"
            raise ConfigError(f"folds.count is {settings.count}, there are {found}")
        dealt = dealt_to_folds(scenes, settings.count, settings.seed)
        return [self._fold(fold, patches, dealt == fold, beside) for fold in range(settings.count)]

    def _fold(self, fold: int, patches: Sequence[Patch], held: NDArray[np.bool_], beside: list[Patch]) -> Measured:
        kept = [patch for patch, out in zip(patches, held, strict=True) if not out]
        learned = kept + beside
        unseen = [patch for patch, out in zip(patches, held, strict=True) if out]
        physical = {patch.scene for patch in unseen if not patch.display}
        done = self.output / f"measured-{fold}-{self._digest(learned)[:16]}.json"
        if done.is_file():
            found = Measured.from_json(done.read_text(encoding="utf-8"))
            if found.lacking.keys() == self.lacking.keys() and found.distances.scenes == len(physical):
                return found
        trainer = self.fit(f"fold-{fold}", learned)
        measured = replace(self.measure(trainer, unseen), distances=self.distances(trainer, kept, unseen))
        self.tell(f"fold-{fold}", measured)
        write_text(done, json.dumps(measured.as_json()) + "\n")
        return measured

    def begin(self, patches: list[Patch]) -> Fitting | None:
        """Fit the steps that see simulated patches only, so that no run has to repeat them; None if there are none.

        Args:
            patches: real ones; they change nothing.
        """
        steps = self.recipe.feed.simulated_steps
        if not 0 < steps < self.recipe.optimiser.steps:
            return None
        fitting = replace(self._fitting("simulated", []), until=steps, digest=self._digest([], self.recipe.beginning))
        self._carried_out(fitting, patches)
        return fitting

    def fit(self, name: str, patches: list[Patch]) -> Trainer:
        trainer = self._carried_out(replace(self._fitting(name, patches), begun=self.begun), patches)
        trainer.settle()
        return trainer

    def _fitting(self, name: str, patches: list[Patch]) -> Fitting:
        return Fitting(
            name=name,
            recipe=self.recipe,
            output=self.output,
            digest=self._digest(patches),
            checkpoint_steps=self.config.checkpoint_steps,
            threads=self.config.threads,
            init_from=self._start(),
        )

    def _carried_out(self, fitting: Fitting, patches: list[Patch]) -> Trainer:
        devices, done = devices_of(self.config.devices, self.recipe.feed.batch), 0

        def told(step: int) -> None:
            nonlocal done
            self.progress.advance(fitting.name, step - done)
            done = step

        self.progress.start(fitting.name, fitting.until or self.recipe.optimiser.steps)
        trainer = fit_on(devices, fitting, (patches, self.simulated), told)
        self.progress.finish(fitting.name)
        return trainer

    def _digest(self, patches: Sequence[Patch], recipe: Recipe | None = None) -> str:
        """Return the SHA-256 over the recipe, or another one, and every number that is learned from."""
        start, settings = self._start(), (recipe or self.recipe).digest
        return digest_of(chain(patches, self.simulated), settings + (ModelCard.read(start).digest if start else ""))

    def _start(self) -> Path | None:
        return None if self.config.init_from is None else resolve(self.config.init_from)

    def measure(self, trainer: Trainer, patches: list[Patch]) -> Measured:
        classes, coarsest_m = self.recipe.model.classes, self.recipe.feed.crop.coarsest_m
        normalise = Normaliser.of(self.recipe.card_bands, torch.device("cpu"))
        coarse = [_coarsened(patch, coarsest_m) for patch in patches]
        native, averaged = (scored(trainer.model, some, normalise, classes) for some in (patches, coarse))
        card = self._card("held-out.safetensors", "0" * 64, trainer, "")
        lacking = {
            bands: scored(trainer.model, [without(patch, rows) for patch in patches], normalise, classes)
            for bands, rows in self.lacking.items()
        }
        blended = scan_temperatures(trainer.model, card, patches)
        return Measured(native=native, coarse=averaged, blended=blended, lacking=lacking)

    def familiar(self, trainer: Trainer, learned: Sequence[Patch]) -> Familiar | None:
        known = [patch for patch in learned if not patch.display] or self.simulated
        normalise = Normaliser.of(self.recipe.card_bands, trainer.device)
        return acquainted(trainer.model, known, normalise) if known else None

    def distances(self, trainer: Trainer, learned: Sequence[Patch], unseen: Sequence[Patch]) -> Distances:
        familiar = self.familiar(trainer, learned)
        if familiar is None:
            return Distances.none()
        return distances_of(trainer.model, unseen, Normaliser.of(self.recipe.card_bands, trainer.device), familiar)

    def tell(self, name: str, measured: Measured) -> None:
        native, coarse = measured.native.confusion, measured.coarse.confusion
        line = {"run": name, "recipe": self.recipe.digest, "mean_iou": native.mean_iou}
        TrainLog(self.output).append(line | {"native": native.counts.tolist(), "coarse": coarse.counts.tolist()})
        self.progress.note(f"{name}: {in_words(measured.native, self.recipe.legend_classes)}")

    def ship(self, trainer: Trainer, own: list[Patch], folds: list[Measured]) -> Path:
        """Write weights and card.

        Familiar is what `data.train` shows: what was learned beside it, often of other sensors and with fewer bands,
        would make nearly everything look familiar.
        """
        score = self.config.data.score
        held = self.measure(trainer, self.read(score)) if score else None
        if held:
            TrainLog(self.output).cut("score", 0)
            self.tell("score", held)
        weights = self.output / f"{self.config.name}.safetensors"
        card = self._card(weights.name, save_weights(trainer.model, weights), trainer, self._metrics(folds, held))
        path = self.output / f"{self.config.name}.json"
        card = replace(card, familiar=self.familiar(trainer, own))
        (calibrated(card, sum_of(folds)) if folds else card).write(path)
        return path

    def _metrics(self, folds: list[Measured], held: Measured | None) -> str:
        legend, lines = self.recipe.legend_classes, []
        if folds:
            lines.append(folds_in_words(folds, legend, self.recipe.feed.crop.coarsest_m))
        if held:
            lines.append(f"These weights on the held-back patches, scored once: {in_words(held.native, legend)}.")
        return "\n".join(lines) or "Not measured."

    def _card(self, weights_name: str, weights_sha256: str, trainer: Trainer, metrics: str) -> ModelCard:
        text, recipe = self.config.card, self.recipe
        return ModelCard(
            model_id=text.model_id,
            version=text.version,
            title=text.title,
            description=text.description,
            licence=text.licence,
            made_at=text.made_at,
            spec=recipe.model,
            parameters=inference_parameters(trainer.model),
            bands=recipe.card_bands,
            legend=recipe.legend_classes,
            resolution_m=GroundResolution(min=self.config.data.pixel_m, max=recipe.feed.crop.coarsest_m),
            window_px=text.window_px,
            overlap_px=text.overlap_px,
            temperature=1.0,
            training=Training(data=text.data, metrics=metrics, limits=text.limits),
            weights_name=weights_name,
            weights_sha256=weights_sha256,
        )


def calibrated(card: ModelCard, measured: Measured) -> ModelCard:
    """Return a card with what only held-out scenes can tell.

    That is the temperature that fits them, its reliability table, and how far the unfamiliar begins.
    """
    if card.familiar and measured.distances.scenes:
        card = replace(card, familiar=in_units_of(measured.distances, card.familiar))
    found = measured.blended.calibrated
    if not found.bins:
        return card
    calibration = Calibration(
        scenes=len(measured.native.scenes),
        window_px=card.window_px,
        overlap_px=card.overlap_px,
        expected_error=round(found.expected_error, 4),
        bins=found.bins,
    )
    return replace(card, temperature=measured.blended.temperature, calibration=calibration)


def _coarsened(patch: Patch, pixel_m: float) -> Patch:
    height, width = (max(1, round(side * patch.pixel_m / pixel_m)) for side in patch.labels.shape)
    return shrunk(patch, Size(height, width))


def simulated_patches(config: TrainingConfig) -> list[Patch]:
    """Compute the simulated patches that a training asks for, none if it asks for none.

    Raises:
        ConfigError: the recipe has a band that simulated scenes lack.
    """
    settings = config.simulated
    if settings is None:
        return []
    names = [band.name for band in config.recipe.bands]
    strange = [name for name in names if name not in CHANNELS]
    if strange:
        raise ConfigError(f"simulated: scenes have no band {', '.join(strange)}, only {', '.join(CHANNELS)}")
    rows = [CHANNELS.index(name) for name in names]
    return [_simulated_patch(settings, index, rows, config) for index in range(settings.patches)]


def _simulated_patch(settings: SimulatedPatches, index: int, rows: list[int], config: TrainingConfig) -> Patch:
    finest_m, coarsest_m = config.data.pixel_m, config.recipe.feed.crop.coarsest_m
    # Steps of the golden ratio cover the range of pixel sizes evenly, however many patches there are; those of the
    # plastic number pick the polar ones evenly among all sizes.
    pixel_m = finest_m * (coarsest_m / finest_m) ** (index * 0.6180339887 % 1)
    polar = Polar(grey_ice=settings.grey_ice) if index * 0.7548776662 % 1 < settings.polar else None
    block = training_patch(settings.seed, index, settings.size_px, pixel_m, polar)
    labels = thick_from(block, settings.thick_from, settings.unsure)
    return Patch(f"simulated-{index}", torch.from_numpy(block.bands[rows]), torch.from_numpy(labels), pixel_m)
