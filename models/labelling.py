"""What every source of labelled patches says, and what is asked of it."""

import re
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field, field_validator, model_validator

from rspipe.catalogs.scene import Grid
from rspipe.models.card import CardBand
from rspipe.models.data import Patch
from rspipe.models.errors import DataError
from rspipe.models.imagery import pixel_m_of
from rspipe.models.labels import LabelSet
from rspipe.models.specs import StrictModel

_PIXEL_TOLERANCE = 0.01


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a training asks of its sources."""

    bands: tuple[CardBand, ...]
    labels: LabelSet
    pixel_m: float
    """Ground size of a pixel where neither files nor sources say it."""


@dataclass(frozen=True, slots=True, eq=False)
class Labelled:
    """A picture with its labels, before its source says what kind of patch it makes."""

    name: str
    numbers: NDArray[np.float32]
    """(bands, H, W) in physical units."""
    labels: NDArray[np.uint8]
    """(H, W) ids."""
    pixel_m: float


class SourceSpec(StrictModel, ABC):
    """What every kind of source may say."""

    labels: Mapping[str, str | None] | None = None
    """What stands in the masks -> name of a class or group, or null: ignored."""
    scene: str | None = None
    """Regular expression; what its first group (or all of it) finds in a patch's name is the patch's scene. Patches of
    one scene are never in two folds. Not given: each patch is its own scene."""
    weight: float = Field(default=1.0, gt=0)
    """How often each patch is drawn, relative to those of other sources."""
    display: bool = False
    """Pictures for the eye, whose gain and offset are unknown: the numbers are scaled to 0 .. 1 only."""
    pixel_m: float | None = Field(default=None, gt=0)
    """Ground size of a pixel, where files do not say it."""

    @field_validator("scene")
    @classmethod
    def _compiles(cls, value: str | None) -> str | None:
        try:
            re.compile(value or "")
        except re.error as error:
            raise ValueError(f"{value!r} is no regular expression: {error}") from error
        return value

    @abstractmethod
    def under(self, root: Path) -> Self:
        """Return the source with its paths below a folder."""

    @abstractmethod
    def patches(self, wanted: Wanted) -> list[Patch]:
        """Read all patches, in an order that depends on names only.

        Raises:
            DataError: something is missing, contradicts itself or cannot be read.
        """

    def scene_of(self, name: str) -> str:
        """Return the scene of a patch by its name.

        Raises:
            DataError: the expression finds nothing there.
        """
        if self.scene is None:
            return name
        found = re.search(self.scene, name)
        if found is None:
            raise DataError(f"scene: {self.scene!r} finds nothing in the name {name!r}; every patch needs a scene")
        return found[1] if found.re.groups and found[1] is not None else found[0]

    def patch(self, labelled: Labelled, scene: str | None = None) -> Patch:
        """Return a patch as this source makes them."""
        return Patch(
            name=labelled.name,
            bands=torch.from_numpy(np.ascontiguousarray(labelled.numbers)),
            labels=torch.from_numpy(np.ascontiguousarray(labelled.labels)),
            pixel_m=labelled.pixel_m,
            scene=scene or self.scene_of(labelled.name),
            weight=self.weight,
            display=self.display,
        )

    def pixel_m_at(self, grid: Grid | None, wanted: Wanted, where: str) -> float:
        """Return the pixel size: the georeferencing's, else the source's, else the training's.

        Raises:
            DataError: source and georeferencing contradict each other.
        """
        if grid is None:
            return self.pixel_m or wanted.pixel_m
        found = pixel_m_of(grid)
        if self.pixel_m and abs(found / self.pixel_m - 1) > _PIXEL_TOLERANCE:
            raise DataError(
                f"{where}: its pixels are {found:g} m, the source says {self.pixel_m:g} m; leave pixel_m: out"
            )
        return found


class DrawnSpec(SourceSpec):
    """A source whose labels are mask rasters, or polygons that are burned."""

    masks: str | None = None
    """Pattern of the mask files."""
    polygons: Path | None = None
    """A vector file, instead of masks."""
    attribute: str | None = None
    """The field of the polygons that says what they are."""

    @model_validator(mode="after")
    def _drawn(self) -> Self:
        if self.polygons and self.masks:
            raise ValueError("give either masks: or polygons:, not both")
        if self.polygons and not (self.attribute and self.labels):
            raise ValueError("polygons: goes with attribute: (a field) and labels: (its values -> classes)")
        if self.attribute and not self.polygons:
            raise ValueError("attribute: goes with polygons:")
        return self
