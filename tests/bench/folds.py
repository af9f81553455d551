"""The patches of a data set, and which of them a fold holds back."""

import json
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.protocol import Protocol, number, texts, whole
from pydantic import TypeAdapter

from rspipe.models.data import Patch, digest_of
from rspipe.models.folds import dealt_to_folds
from rspipe.models.labelling import SourceSpec, Wanted
from rspipe.models.recipe import Recipe
from rspipe.models.sources import Sources, read_sources

DEAL_SEED = 0


@dataclass(frozen=True, slots=True)
class Split:
    """What one fold learns from, and what scores it."""

    learned: list[Patch]
    scored: list[Patch]

    @property
    def digest(self) -> str:
        """SHA-256 over every number and label, and over which patch is where."""
        return digest_of(self.learned, digest_of(self.scored, ""))[:16]


def read_patches(protocol: Protocol, dataset: str, data: Path, recipe: Recipe) -> list[Patch]:
    """Read all patches of a data set, in the bands of a recipe."""
    settings = protocol.dataset(dataset)
    sources = TypeAdapter[Sources](Sources).validate_json(json.dumps(settings["sources"]))
    wanted = Wanted(recipe.card_bands, recipe.label_set, number(settings["pixel_m"]))
    return labelled_in([source.under(data) for source in sources], wanted)


def labelled_in(sources: Iterable[SourceSpec], wanted: Wanted) -> list[Patch]:
    """Read the patches of sources; pictures that tell nothing are named on standard error."""
    found = read_sources(sources, wanted)
    if found.warning:
        print(found.warning, file=sys.stderr, flush=True)
    return found.patches


def split(protocol: Protocol, dataset: str, fold: int, patches: Sequence[Patch]) -> Split:
    """Deal the scenes of a data set to folds, as `rspipe train` does; where it names those that score, there is one."""
    settings = protocol.dataset(dataset)
    named = texts(settings, "scored", [])
    scenes = [patch.scene for patch in patches]
    held = (
        [scene in named for scene in scenes]
        if named
        else (dealt_to_folds(scenes, whole(settings["folds"]), DEAL_SEED) == fold).tolist()
    )
    kept = [patch for patch, out in zip(patches, held, strict=True) if not out]
    return Split(kept, [patch for patch, out in zip(patches, held, strict=True) if out])
