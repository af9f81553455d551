"""The networks: one trainer, one recipe but for the model, one way of scoring."""

import json
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from bench.folds import Split
from bench.protocol import Cell, Protocol

from rspipe.models.build import build
from rspipe.models.data import Patch
from rspipe.models.metrics import Confusion
from rspipe.models.normalise import Normaliser
from rspipe.models.recipe import Recipe
from rspipe.models.score import scored
from rspipe.models.teacher import BandView, CardTeacher, Teacher, TeacherBand
from rspipe.models.train import Trainer


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a run of any kind hands back."""

    patches: dict[str, Confusion]
    steps: int
    parameters: int


def recipe_of(protocol: Protocol, cell: Cell, part: str = "model") -> Recipe:
    """Return the recipe of a cell, or of its `teacher`, checked."""
    return Recipe.model_validate_json(json.dumps(protocol.recipe(cell, part)))


def train_and_score(recipe: Recipe, parts: Split, device: str, teacher: Recipe | None = None) -> Outcome:
    """Train on some patches, then predict the others whole.

    Args:
        recipe: what is trained.
        parts: what it learns from and what it is scored on.
        device: where.
        teacher: a larger model, trained first on the same patches, whose maps the other one imitates.
    """
    trainer = recipe.trainer(parts.learned, [], device=device)
    if teacher:
        trainer.teacher = _taught(teacher, parts, device)
    return finish_and_score(trainer, recipe, parts.scored)


def finish_and_score(trainer: Trainer, recipe: Recipe, held: Sequence[Patch]) -> Outcome:
    """Train to the last step, then predict patches whole."""
    finished(trainer)
    normalise = Normaliser.of(recipe.card_bands, torch.device("cpu"))
    classes = recipe.model.classes
    patches = {patch.name: scored(trainer.model, [patch], normalise, classes).confusion for patch in held}
    return Outcome(patches, trainer.step, sum(parameter.numel() for parameter in trainer.model.parameters()))


def finished(trainer: Trainer) -> Trainer:
    """Train to the last step, and take the weights that are used."""
    for facts in trainer.run():
        if facts["step"] % 50 == 0:
            print(f"step {facts['step']:.0f} loss {facts['loss']:.3f}", flush=True)
    trainer.settle()
    return trainer


def _taught(recipe: Recipe, parts: Split, device: str) -> Teacher:
    trainer = recipe.trainer(parts.learned, [], device=device)
    finished(trainer)
    view = [TeacherBand(name=band.name, mean=band.mean, stddev=band.stddev) for band in recipe.bands]
    network = build(recipe.model)
    network.load_state_dict(trainer.model.state_dict())
    return CardTeacher(network, BandView(recipe.card_bands, view)).to(device)
