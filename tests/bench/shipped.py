"""The shipped recipe on the folds of the comparison: what `rspipe train` would train, without what scores."""

from pathlib import Path

from bench.folds import Split
from bench.learned import Outcome, train_and_score

from rspipe.models.labelling import Wanted
from rspipe.models.sources import read_sources
from rspipe.pipeline.train import simulated_patches
from rspipe.pipeline.training import load_training


def train_shipped(training: Path, data: Path, parts: Split, seed: int, device: str) -> Outcome:
    """Train as a training file says, on its own sources but for every patch that scores.

    Args:
        training: the file; its `data.train` and `folds.folders` name what may be learned from.
        data: what its folders are relative to.
        parts: which patches score, and which of the data set do not.
        seed: added to the recipe's own.
        device: where.
    """
    config = load_training(training, data, [])
    recipe = config.recipe.model_copy(update={"seed": config.recipe.seed + seed})
    wanted = Wanted(recipe.card_bands, recipe.label_set, config.data.pixel_m)
    named = (*config.data.train, *(config.folds.folders if config.folds else ()))
    # A scene is told by its patch's name: both lists may name the same folder.
    own = {patch.name: patch for patch in read_sources(named, wanted)}
    held = {patch.name for patch in parts.scored}
    missing = held - own.keys()
    if missing:
        raise SystemExit(f"{training.name} names no source of {', '.join(sorted(missing))}")
    scored = [own[name] for name in sorted(held)]
    learned = [patch for name, patch in own.items() if name not in held]
    return train_and_score(recipe, Split(learned, scored), device, simulated=simulated_patches(config))
