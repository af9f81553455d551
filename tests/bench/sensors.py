"""How the shipped recipe does on a picture of another sensor that it did not learn from.

    OMP_NUM_THREADS=1 python -m bench.sensors DATA                  # in tests/: what there is to leave out
    OMP_NUM_THREADS=1 python -m bench.sensors DATA --out NAME ...   # one training each, seven minutes of one core

DATA is the folder of real data. A training learns as the recipe says, from `data.train` and from what is beside it but
for one picture, which scores: cloud of any thickness against all else, at the finest pixels that the recipe knows. What
the shipped weights say of the same picture is printed beside it; they learned from it.
"""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from bench.learned import finished
from bench.protocol import WORKFLOWS
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
from rspipe.models.sources import read_sources
from rspipe.pipeline.train import simulated_patches
from rspipe.pipeline.training import TrainingConfig, load_training

CLOUDS = {"thin cloud", "thick cloud"}


@dataclass(frozen=True, slots=True)
class Found:
    """What a model finds of the cloud in a picture."""

    iou: float
    precision: float
    recall: float

    def __str__(self) -> str:
        return f"cloud IoU {self.iou:.3f}, precision {self.precision:.3f}, recall {self.recall:.3f}"


def clouds(labels: LabelSet) -> np.ndarray[tuple[int], np.dtype[np.uint8]]:
    """Return what each label says: 1 cloud, 0 none, `IGNORE_ID` where it may be either."""
    ids = {number for number, name in enumerate(labels.names) if name in CLOUDS}
    said = np.full(256, IGNORE_ID, np.uint8)
    for label, members in enumerate(labels.members):
        if set(members) <= ids:
            said[label] = 1
        elif not set(members) & ids:
            said[label] = 0
    return said


def found_in(model: nn.Module, patch: Patch, recipe: Recipe) -> Found:
    """Compare what a model says of a picture with its labels."""
    said = clouds(recipe.label_set)
    guess = predicted(model, patch, Normaliser.of(recipe.card_bands, torch.device("cpu"))).argmax(dim=1)[0]
    counts = Confusion.of(said[patch.labels.numpy()], said[guess.numpy()], 2).counts
    hits = counts[1, 1]
    truth, claimed = counts[1].sum(), counts[:, 1].sum()
    return Found(hits / (truth + claimed - hits), hits / max(claimed, 1), hits / max(truth, 1))


def known_size(patch: Patch, finest_m: float) -> Patch:
    """Return a picture averaged to the finest pixels that the recipe learns from, if its own are finer."""
    height, width = (max(1, round(side * min(1.0, patch.pixel_m / finest_m))) for side in patch.labels.shape)
    return shrunk(patch, Size(height, width))


def trained_without(config: TrainingConfig, patches: Sequence[Patch], out: str) -> nn.Module:
    """Train as the recipe says, but for one picture."""
    learned = [patch for patch in patches if patch.name != out]
    return finished(config.recipe.trainer(learned, simulated_patches(config))).model


def main() -> None:
    """Train and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--out", action="append", default=[], metavar="NAME", help="of the picture that scores")
    parser.add_argument("--training", type=Path, default=WORKFLOWS / "train_cloud_thickness.yaml")
    parser.add_argument("--model", default="cloud-thickness", help="what is printed beside it")
    given = parser.parse_args()
    config = load_training(given.training, given.data, [])
    torch.set_num_threads(config.threads)
    recipe = config.recipe
    wanted = Wanted(recipe.card_bands, recipe.label_set, config.data.pixel_m)
    beside = {patch.name: patch for patch in read_sources(config.data.beside or (), wanted)}
    if not given.out or set(given.out) - beside.keys():
        raise SystemExit(f"--out takes one of {', '.join(beside)}")
    patches = [*read_sources(config.data.train, wanted), *beside.values()]
    shipped = Predictor.load(resolve(given.model))
    for name in given.out:
        held = known_size(beside[name], recipe.feed.crop.finest_m)
        print(f"{name}, learned from: {found_in(shipped._model, held, recipe)}", flush=True)
        print(f"{name}, left out: {found_in(trained_without(config, patches, name), held, recipe)}", flush=True)


if __name__ == "__main__":
    main()
