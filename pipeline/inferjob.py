"""What the infer stage is told: which window rows of a scene, or which rows between two bands of them."""

from pathlib import Path

from pydantic import BaseModel, ConfigDict, NonNegativeInt, PositiveInt

from rspipe.pipeline.fingerprint import Fingerprint
from rspipe.pipeline.grid import WindowGrid
from rspipe.pipeline.rasters import RasterName

VERSION = 2
"""Part of every key: raised when the same input would give other bytes."""


class InferJob(BaseModel):
    """What bands and seams have in common."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")

    scene: str
    """Slug, for messages."""
    bands: Path
    """The Zarr group that ingest wrote."""
    inferred: Path
    """The Zarr group that `create_inferred` laid out."""
    strips: Path
    """Folder of the scene's seam strips."""
    grid: WindowGrid
    band_rows: PositiveInt
    """k, window rows per band; changes no byte of `inferred`."""
    rasters: tuple[RasterName, ...] = ()
    """Those on request, beside classes and confidence."""

    @property
    def is_judging(self) -> bool:
        """The model is asked what is unfamiliar."""
        return "unfamiliarity" in self.rasters


class BandJob(InferJob):
    """Some whole window rows of one scene."""

    card: Path
    fingerprint: Fingerprint
    band: NonNegativeInt


class SeamJob(InferJob):
    """The rows between bands `seam` - 1 and `seam`; needs no model."""

    required: tuple[str, ...]
    """The bands that the model requires; see `required_bands`."""
    seam: PositiveInt
