"""The shipped recipe on the folds of the comparison: what `rspipe train` would train, without what scores."""

from dataclasses import dataclass
from functools import lru_cache
from itertools import chain
from pathlib import Path

from bench.folds import Split, labelled_in
from bench.learned import Outcome, finish_and_score
from bench.protocol import Cell

from rspipe.models.checkpoint import resume
from rspipe.models.data import Patch, digest_of
from rspipe.models.labelling import Wanted
from rspipe.models.recipe import Recipe
from rspipe.models.train import Trainer
from rspipe.pipeline.train import simulated_patches
from rspipe.pipeline.training import load_training


@dataclass(frozen=True, slots=True)
class Shipped:
    """A training file, and what is there to train it."""

    training: Path
    """Its `data.train`, `data.beside` and `folds.folders` name what may be learned from."""
    data: Path
    """What its folders are relative to."""
    device: str
    trained: Path | None = None
    """Output of `rspipe train` for the same file and seed: what it has trained, a fold or the first steps, need not be
    trained again. A checkpoint of another recipe or other patches is refused."""


def train_shipped(shipped: Shipped, parts: Split, cell: Cell) -> Outcome:
    """Train as a training file says, on its own sources but for every patch that scores.

    Args:
        shipped: the training.
        parts: which patches score, and which of the data set do not.
        cell: its seed is taken from the recipe's own: seeds are tried upwards, and the last one tried is shipped.
    """
    config = load_training(shipped.training, shipped.data, [])
    recipe = config.recipe.model_copy(update={"seed": config.recipe.seed - cell.seed})
    wanted = Wanted(recipe.card_bands, recipe.label_set, config.data.pixel_m)
    named = (*config.data.train, *(config.folds.folders if config.folds else ()), *(config.data.beside or ()))
    # A scene is told by its patch's name: both lists may name the same folder.
    own = {patch.name: patch for patch in labelled_in(named, wanted)}
    held = {patch.name for patch in parts.scored}
    missing = held - own.keys()
    if missing:
        raise SystemExit(f"{shipped.training.name} names no source of {', '.join(sorted(missing))}")
    scored = [own[name] for name in sorted(held)]
    learned = [patch for name, patch in own.items() if name not in held]
    simulated = _simulated(shipped.training, shipped.data)
    trainer = recipe.trainer(learned, simulated, device=shipped.device)
    if shipped.trained:
        fold = shipped.trained / "checkpoints" / f"fold-{cell.fold}"
        if not resume(trainer, fold, digest_of(chain(learned, simulated), recipe.digest)):
            begin(trainer, recipe, simulated, shipped.trained)
    return finish_and_score(trainer, recipe, scored)


def begin(trainer: Trainer, recipe: Recipe, simulated: list[Patch], trained: Path) -> None:
    """Bring a trainer past the steps on simulated patches that `rspipe train` has made for the same recipe."""
    resume(trainer, trained / "checkpoints" / "simulated", digest_of(simulated, recipe.beginning.digest))


@lru_cache(maxsize=1)
def _simulated(training: Path, data: Path) -> list[Patch]:
    """Compute the simulated patches of a training file, which are the same for all folds and seeds."""
    return simulated_patches(load_training(training, data, []))
