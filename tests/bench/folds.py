"""The patches of a data set, and which of them a fold holds back."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.protocol import Json, Protocol, texts, whole
from pydantic import TypeAdapter

from rspipe.models.data import Patch
from rspipe.models.folds import dealt_to_folds
from rspipe.models.labelling import Wanted
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
        digest = hashlib.sha256()
        for part, patches in (("learned", self.learned), ("scored", self.scored)):
            for patch in patches:
                digest.update(f"{part} {patch.name}".encode())
                digest.update(patch.bands.contiguous().numpy().tobytes())
                digest.update(patch.labels.contiguous().numpy().tobytes())
        return digest.hexdigest()[:16]


def read_patches(protocol: Protocol, dataset: str, data: Path, recipe: Recipe) -> list[Patch]:
    """Read all patches of a data set, in the bands of a recipe."""
    settings = protocol.dataset(dataset)
    sources = TypeAdapter(Sources).validate_json(json.dumps(settings["folders"]))
    wanted = Wanted(recipe.card_bands, recipe.label_set, _number(settings["pixel_m"]))
    return read_sources([source.under(data) for source in sources], wanted)


def split(protocol: Protocol, dataset: str, fold: int, patches: Sequence[Patch]) -> Split:
    """Deal the scenes of a data set to folds; where it names the scenes that score, there is one fold."""
    settings = protocol.dataset(dataset)
    named = texts(settings, "scored", [])
    if named:
        held = {patch.name for patch in patches if any(patch.name.startswith(prefix) for prefix in named)}
    else:
        scenes = sorted({patch.scene for patch in patches})
        dealt = dealt_to_folds(scenes, whole(settings["folds"]), DEAL_SEED)
        out = {scene for scene, where in zip(scenes, dealt, strict=True) if where == fold}
        held = {patch.name for patch in patches if patch.scene in out}
    learned = [patch for patch in patches if patch.name not in held]
    return Split(learned, [patch for patch in patches if patch.name in held])


def _number(value: Json) -> float:
    if not isinstance(value, int | float):
        raise TypeError(f"a number was expected, found {value!r}")
    return float(value)
