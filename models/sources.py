"""Sources of labelled patches, as a training names them."""

from collections.abc import Iterable
from itertools import chain
from typing import Annotated, Any, NamedTuple

from pydantic import BeforeValidator, Field

from rspipe.models.benchmarks import IsprsSource, LoveDASource
from rspipe.models.biome import BiomeSource
from rspipe.models.data import Patch
from rspipe.models.errors import DataError
from rspipe.models.foldersource import FolderSource
from rspipe.models.labelling import SourceSpec, Wanted
from rspipe.models.labels import IGNORE_ID
from rspipe.models.pairsource import PairSource
from rspipe.models.scenesource import SceneSource

NAMED = 10
"""Pictures without a label that a warning names; there may be thousands."""


def _spelled_out(value: Any) -> Any:  # noqa: ANN401  whatever the file holds
    """Let a bare path stand for a folder with images/ and masks/, and a mapping without kind for a folder."""
    if isinstance(value, str):
        return {"kind": "folder", "folder": value}
    return {"kind": "folder"} | value if isinstance(value, dict) else value


type Source = Annotated[
    Annotated[
        FolderSource | PairSource | SceneSource | LoveDASource | IsprsSource | BiomeSource, Field(discriminator="kind")
    ],
    BeforeValidator(_spelled_out),
]
"""One entry of a training's list of labelled data."""

type Sources = Annotated[tuple[Source, ...], Field(min_length=1)]


class Collected(NamedTuple):
    """What sources hold."""

    patches: list[Patch]
    """Those with a label, in the order in which the sources are named."""
    unlabelled: list[str]
    """Names of those that tell nothing and are left out."""

    @property
    def warning(self) -> str | None:
        """What is left out, in words; None if nothing is."""
        if not self.unlabelled:
            return None
        count = f"{len(self.unlabelled)} of {len(self.patches) + len(self.unlabelled)}"
        names = ", ".join(self.unlabelled[:NAMED]) + (" ..." if len(self.unlabelled) > NAMED else "")
        return f"{count} pictures have no label and are left out: {names}"


def read_sources(sources: Iterable[SourceSpec], wanted: Wanted) -> Collected:
    """Read the patches of all sources.

    Raises:
        DataError: a source cannot be read, or no pixel of all patches is labelled.
    """
    found = Collected([], [])
    for patch in chain.from_iterable(source.patches(wanted) for source in sources):
        if bool((patch.labels != IGNORE_ID).any()):
            found.patches.append(patch)
        else:
            found.unlabelled.append(patch.name)
    if not found.patches:
        names = ", ".join(found.unlabelled[:3])
        raise DataError(f"no pixel of {len(found.unlabelled)} patches ({names} ...) is labelled: all is to be ignored")
    return found
