"""How the shipped recipe does on pictures of other sensors that it did not learn from.

    OMP_NUM_THREADS=1 python -m bench.sensors DATA                  # in tests/: what there is to leave out
    OMP_NUM_THREADS=1 python -m bench.sensors DATA --out NAME ...   # one training each, ten minutes of one core

DATA is the folder of real data. NAME may hold wildcards: pictures of a place are left out together. A training learns
as the recipe says, from `data.train` and from what is beside it but for those, which score: cloud of any thickness, and
shadow, each against all else where labels tell, at the finest pixels that the recipe knows. What the shipped weights
say of the same pictures is printed beside it; they learned from them. --trained OUT, what `rspipe train` has made of
the same recipe, saves the steps on simulated patches.
"""

import argparse
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import reduce
from operator import add
from pathlib import Path

import numpy as np
import torch
from bench.folds import labelled_in
from bench.learned import finished
from bench.protocol import WORKFLOWS
from bench.shipped import begin
from torch import nn

from rspipe.models.crops import Size, shrunk
from rspipe.models.data import Patch
from rspipe.models.labelling import Wanted
from rspipe.models.labels import IGNORE_ID, LabelSet
from rspipe.models.metrics import Confusion
from rspipe.models.normalise import Normaliser
from rspipe.models.predictor import Predictor
from rspipe.models.recipe import Recipe
from rspipe.models.registry import resolve
from rspipe.models.score import predicted
from rspipe.pipeline.train import simulated_patches
from rspipe.pipeline.training import TrainingConfig, load_training

KINDS = {"cloud": {"thin cloud", "thick cloud"}, "shadow": {"cloud shadow"}}


@dataclass(frozen=True, slots=True)
class Found:
    """What a model finds of one kind of pixel."""

    kind: str
    iou: float
    precision: float
    recall: float

    def __str__(self) -> str:
        return f"{self.kind} IoU {self.iou:.3f}, precision {self.precision:.3f}, recall {self.recall:.3f}"


def told(labels: LabelSet, names: Collection[str]) -> np.ndarray[tuple[int], np.dtype[np.uint8]]:
    """Return what each label says: 1 one of these classes, 0 none, `IGNORE_ID` where it may be either."""
    ids = {number for number, name in enumerate(labels.names) if name in names}
    said = np.full(256, IGNORE_ID, np.uint8)
    for label, members in enumerate(labels.members):
        if set(members) <= ids:
            said[label] = 1
        elif not set(members) & ids:
            said[label] = 0
    return said


def found_in(model: nn.Module, patches: Sequence[Patch], recipe: Recipe) -> list[Found]:
    """Compare what a model says of pictures with their labels; kinds that no label tells are left out."""
    normalise = Normaliser.of(recipe.card_bands, torch.device("cpu"))
    pairs = [(patch.labels.numpy(), predicted(model, patch, normalise).argmax(dim=1)[0].numpy()) for patch in patches]
    found = []
    for kind, names in KINDS.items():
        said = told(recipe.label_set, names)
        counts = reduce(add, (Confusion.of(said[label], said[guess], 2) for label, guess in pairs)).counts
        hits, truth, claimed = counts[1, 1], counts[1].sum(), counts[:, 1].sum()
        if truth:
            found.append(Found(kind, hits / (truth + claimed - hits), hits / max(claimed, 1), hits / truth))
    return found


def known_size(patch: Patch, finest_m: float) -> Patch:
    """Return a picture averaged to the finest pixels that the recipe learns from, if its own are finer."""
    height, width = (max(1, round(side * min(1.0, patch.pixel_m / finest_m))) for side in patch.labels.shape)
    return shrunk(patch, Size(height, width))


def trained_without(config: TrainingConfig, patches: Sequence[Patch], out: str, trained: Path | None) -> nn.Module:
    """Train as the recipe says, but for pictures of that name."""
    learned = [patch for patch in patches if not fnmatchcase(patch.name, out)]
    simulated = simulated_patches(config)
    trainer = config.recipe.trainer(learned, simulated)
    if trained:
        begin(trainer, config.recipe, simulated, trained)
    return finished(trainer).model


def main() -> None:
    """Train and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--out", action="append", default=[], metavar="NAME", help="of the pictures that score")
    parser.add_argument("--trained", type=Path, metavar="OUT", help="output of rspipe train")
    parser.add_argument("--training", type=Path, default=WORKFLOWS / "train_cloud_thickness.yaml")
    parser.add_argument("--model", default="cloud-thickness", help="what is printed beside it")
    given = parser.parse_args()
    config = load_training(given.training, given.data, [])
    torch.set_num_threads(config.threads)
    recipe = config.recipe
    wanted = Wanted(recipe.card_bands, recipe.label_set, config.data.pixel_m)
    beside = labelled_in(config.data.beside or (), wanted)
    held = {out: [patch for patch in beside if fnmatchcase(patch.name, out)] for out in given.out}
    if not held or not all(held.values()):
        raise SystemExit(f"--out takes, also with wildcards: {', '.join(patch.name for patch in beside)}")
    patches = [*labelled_in(config.data.train, wanted), *beside]
    shipped = Predictor.load(resolve(given.model))
    for out, some in held.items():
        scoring = [known_size(patch, recipe.feed.crop.finest_m) for patch in some]
        print(f"{out}, learned from:", *found_in(shipped._model, scoring, recipe), sep="\n  ", flush=True)
        model = trained_without(config, patches, out, given.trained)
        print(f"{out}, left out:", *found_in(model, scoring, recipe), sep="\n  ", flush=True)


if __name__ == "__main__":
    main()
