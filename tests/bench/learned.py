"""The networks: one trainer, one recipe but for the model, one way of scoring."""

import json
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from bench.protocol import Cell, Protocol

from rspipe.models.data import Patch
from rspipe.models.metrics import Confusion
from rspipe.models.normalise import Normaliser
from rspipe.models.recipe import Recipe
from rspipe.models.score import scored


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a run of any kind hands back."""

    patches: dict[str, Confusion]
    steps: int
    parameters: int


def recipe_of(protocol: Protocol, cell: Cell) -> Recipe:
    """Return the recipe of a cell, checked."""
    return Recipe.model_validate_json(json.dumps(protocol.recipe(cell)))


def train_and_score(recipe: Recipe, learned: Sequence[Patch], held: Sequence[Patch], device: torch.device) -> Outcome:
    """Train on some patches, then predict the others whole, with the average of the weights."""
    trainer = recipe.trainer(list(learned), [], device=str(device))
    for facts in trainer.run():
        if facts["step"] % 50 == 0:
            print(f"step {facts['step']:.0f} loss {facts['loss']:.3f}", flush=True)
    trainer.settle()
    normalise = Normaliser.of(recipe.card_bands, torch.device("cpu"))
    classes = recipe.model.classes
    patches = {patch.name: scored(trainer.model, [patch], normalise, classes).confusion for patch in held}
    return Outcome(patches, trainer.step, sum(parameter.numel() for parameter in trainer.model.parameters()))
