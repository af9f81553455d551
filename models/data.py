"""Labelled patches: what a model is trained on and measured with."""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from rspipe.models.errors import DataError


@dataclass(frozen=True, slots=True, eq=False)
class Patch:
    """One labelled picture in physical units."""

    name: str
    bands: Tensor
    """(bands, H, W) float32 in the order of a card; NaN where a band has no number."""
    labels: Tensor
    """(H, W) uint8 class ids, `IGNORE_ID` where nothing is known."""
    pixel_m: float
    """Ground size of a pixel."""
    scene: str = ""
    """What it was cut from: patches of one scene are never in two folds. The patch's name unless given."""
    weight: float = 1.0
    """How often it is drawn, relative to other patches."""
    display: bool = False
    """A picture for the eye: gain and offset from its numbers to physical units are unknown."""

    def __post_init__(self) -> None:
        if not self.scene:
            object.__setattr__(self, "scene", self.name)
        if self.weight <= 0:
            raise DataError(f"patch {self.name!r}: weight {self.weight:g} found, more than 0 is needed")
        if self.bands.shape[1:] != self.labels.shape:
            raise DataError(
                f"patch {self.name!r}: bands are {tuple(self.bands.shape[1:])}, labels {tuple(self.labels.shape)} px"
            )


def without(patch: Patch, channels: Sequence[int]) -> Patch:
    """Return a patch in which some bands have no number at all."""
    bands = patch.bands.clone()
    bands[list(channels)] = torch.nan
    return replace(patch, bands=bands)


def is_holed(bands: Tensor) -> bool:
    """Tell whether any number is missing; a sum is quicker than a mask."""
    return bool(bands.sum().isnan())


def digest_of(patches: Iterable[Patch], start: str = "") -> str:
    """Return the SHA-256 over everything that is learned from patches, after the text `start`."""
    digest = hashlib.sha256(start.encode())
    for patch in patches:
        digest.update(f"{tuple(patch.bands.shape)} {patch.pixel_m!r} {patch.weight!r} {patch.display}".encode())
        for part in (patch.bands, patch.labels):
            digest.update(part.contiguous().numpy().tobytes())
    return digest.hexdigest()
