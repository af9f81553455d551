"""The JSON of a model card: a STAC item with the `mlm` extension, version 1.4 (https://github.com/stac-extensions/mlm).

Only the fields that this project fills; whatever else stands in a card refuses it. What the extension has no word for
carries the prefix `rspipe:`.
"""

from typing import Annotated, Literal, Self

from pydantic import AwareDatetime, Field, StringConstraints, model_validator

from rspipe.catalogs.bands import PHYSICAL_UNIT, Unit
from rspipe.models.specs import ModelSpec, StrictModel

MLM_SCHEMA = "https://stac-extensions.github.io/mlm/v1.4.0/schema.json"
FILE_SCHEMA = "https://stac-extensions.github.io/file/v2.1.0/schema.json"
VERSION_SCHEMA = "https://stac-extensions.github.io/version/v1.2.0/schema.json"
CLASSIFICATION_SCHEMA = "https://stac-extensions.github.io/classification/v2.0.0/schema.json"

USUAL = 0.99
"""The share of training cells whose distance from what is familiar is at most 1."""
USUAL_HELD_OUT = 0.95
"""The same of held-out cells, where some were measured: of a few dozen scenes, the strangest alone would decide what is
rarer."""

Slug = Annotated[str, StringConstraints(pattern=r"^[a-z0-9]([a-z0-9-]{0,62}[a-z0-9])$")]
Version = Annotated[str, StringConstraints(pattern=r"^\d+\.\d+\.\d+$")]


class ZScore(StrictModel):
    """How one band is normalised: (number - mean) / stddev, in the band's physical unit."""

    type: Literal["z-score"] = "z-score"
    mean: float = Field(allow_inf_nan=False)
    stddev: float = Field(gt=0, allow_inf_nan=False)


class Tensor4(StrictModel):
    """Shape and type of a tensor; -1 is any size."""

    shape: tuple[int, int, int, int]
    dim_order: tuple[str, str, str, str]
    data_type: Literal["float32"] = "float32"


class ModelInput(StrictModel):
    """The one input: bands by common name, in the order of the tensor's channels."""

    name: Literal["scene"] = "scene"
    bands: tuple[str, ...] = Field(min_length=1)
    input: Tensor4
    value_scaling: tuple[ZScore, ...]
    resize_type: None = None


class ClassObject(StrictModel):
    """One class as the `classification` extension writes it."""

    value: int
    name: str = Field(min_length=1)
    color_hint: str = Field(pattern=r"^[0-9A-F]{6}$")


class ModelOutput(StrictModel):
    """The one output: class probabilities; its name is the legend's."""

    name: str = Field(min_length=1)
    tasks: tuple[Literal["semantic-segmentation"]] = ("semantic-segmentation",)
    result: Tensor4
    classes: tuple[ClassObject, ...] = Field(alias="classification:classes", min_length=1)


class BandObject(StrictModel):
    """One band as STAC 1.1 writes it."""

    name: str
    unit: Unit
    required: bool = Field(alias="rspipe:required")

    @model_validator(mode="after")
    def _physical(self) -> Self:
        expected = PHYSICAL_UNIT.get(self.name)
        if expected is not self.unit:
            known = f"is seen in {expected}" if expected else f"is unknown; known: {', '.join(PHYSICAL_UNIT)}"
            raise ValueError(f"band {self.name!r} in unit {self.unit}: this band {known}")
        return self


class GroundResolution(StrictModel):
    """The pixel sizes that the model was trained for."""

    min: float = Field(gt=0, allow_inf_nan=False)
    max: float = Field(gt=0, allow_inf_nan=False)

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.min > self.max:
            raise ValueError(f"min {self.min} is larger than max {self.max}")
        return self


class Training(StrictModel):
    """Where the weights come from and how far they may be trusted, for people."""

    data: str
    metrics: str
    limits: str


class ReliabilityBin(StrictModel):
    """The pixels whose chosen class was given a probability above `low` and up to `high`."""

    low: float = Field(ge=0, lt=1)
    high: float = Field(gt=0, le=1)
    pixels: int = Field(ge=1)
    confidence: float = Field(ge=0, le=1)
    """The mean of these probabilities."""
    accuracy: float = Field(ge=0, le=1)
    """How many of the pixels were right."""


class Calibration(StrictModel):
    """How the temperature was fitted, and how well probabilities agree with labels under it."""

    scenes: int = Field(ge=1)
    """So many were predicted, each by a model that had learned nothing of it."""
    window_px: int = Field(ge=1)
    overlap_px: int = Field(ge=0)
    """Of the windows whose probabilities were blended."""
    expected_error: float = Field(ge=0, le=1)
    """Expected calibration error: the mean over pixels of |accuracy - confidence| of their bin."""
    bins: tuple[ReliabilityBin, ...] = Field(min_length=1)


class Familiar(StrictModel):
    """Where the profiles of the training's cells lie: see `familiar.Yardstick`."""

    mean: tuple[Annotated[float, Field(allow_inf_nan=False)], ...] = Field(min_length=1)
    """Per channel of a profile."""
    whiten: tuple[tuple[Annotated[float, Field(allow_inf_nan=False)], ...], ...]
    """A lower triangle: the length of its product with (profile - mean) is the distance, in units of what is usual."""
    scenes: int | None = Field(default=None, ge=1, exclude_if=lambda scenes: scenes is None)
    """From so many it is known what is usual, each seen by a model that had learned nothing of it; None: from the
    training."""

    @model_validator(mode="after")
    def _triangle(self) -> Self:
        if [len(row) for row in self.whiten] != list(range(1, len(self.mean) + 1)):
            count = len(self.mean)
            raise ValueError(f"mean has {count} numbers, whiten must have as many rows, of 1, 2, ... {count} numbers")
        return self


class Properties(StrictModel):
    """What the model is, takes and gives."""

    datetime: AwareDatetime
    version: Version
    title: str = Field(min_length=1)
    description: str
    licence: str = Field(alias="license")
    bands: tuple[BandObject, ...] = Field(min_length=1)
    name: Slug = Field(alias="mlm:name")
    architecture: str = Field(alias="mlm:architecture")
    framework: Literal["PyTorch"] = Field(default="PyTorch", alias="mlm:framework")
    tasks: tuple[Literal["semantic-segmentation"]] = Field(default=("semantic-segmentation",), alias="mlm:tasks")
    total_parameters: int = Field(alias="mlm:total_parameters", ge=1)
    spec: ModelSpec = Field(alias="mlm:hyperparameters")
    inputs: tuple[ModelInput] = Field(alias="mlm:input")
    outputs: tuple[ModelOutput] = Field(alias="mlm:output")
    resolution_m: GroundResolution = Field(alias="rspipe:resolution_m")
    overlap_px: int = Field(alias="rspipe:overlap_px", ge=0)
    temperature: float = Field(alias="rspipe:temperature", gt=0, allow_inf_nan=False)
    calibration: Calibration | None = Field(
        default=None, alias="rspipe:calibration", exclude_if=lambda calibration: calibration is None
    )
    familiar: Familiar | None = Field(
        default=None, alias="rspipe:familiar", exclude_if=lambda familiar: familiar is None
    )
    training: Training = Field(alias="rspipe:training")


class WeightsAsset(StrictModel):
    """The weights file beside the card."""

    href: str = Field(pattern=r"^\./[A-Za-z0-9][A-Za-z0-9._-]*\.safetensors$")
    type: Literal["application/octet-stream; application=safetensors"] = (
        "application/octet-stream; application=safetensors"
    )
    roles: tuple[Literal["mlm:model"], Literal["mlm:weights"]] = ("mlm:model", "mlm:weights")
    artifact_type: Literal["safetensors"] = Field(default="safetensors", alias="mlm:artifact_type")
    checksum: str = Field(alias="file:checksum", pattern=r"^1220[0-9a-f]{64}$")
    """Multihash: 12 = SHA-256, 20 = 32 bytes."""


class Assets(StrictModel):
    """The files of a model."""

    weights: WeightsAsset


class Item(StrictModel):
    """The whole file. A model lies nowhere on Earth: geometry is null and there is no bounding box."""

    type: Literal["Feature"] = "Feature"
    stac_version: Literal["1.1.0"] = "1.1.0"
    stac_extensions: tuple[str, ...] = (MLM_SCHEMA, FILE_SCHEMA, VERSION_SCHEMA, CLASSIFICATION_SCHEMA)
    id: str
    geometry: None = None
    properties: Properties
    links: tuple[()] = ()
    assets: Assets
