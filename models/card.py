"""The model card: everything that must be known about a model before its weights are touched."""

import hashlib
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Self

from pydantic import ValidationError

from rspipe.catalogs.bands import Unit
from rspipe.catalogs.errors import SourceError
from rspipe.catalogs.legends import Legend, LegendClass
from rspipe.models.errors import CardError
from rspipe.models.mlm import (
    Assets,
    BandObject,
    Calibration,
    ClassObject,
    Familiar,
    GroundResolution,
    Item,
    ModelInput,
    ModelOutput,
    Properties,
    Tensor4,
    Training,
    WeightsAsset,
    ZScore,
)
from rspipe.models.specs import ModelSpec

LARGEST_CARD_BYTES = 2**20
WINDOW_UNIT_PX = 32
MULTIHASH_SHA256 = "1220"
CHANNELS = ("batch", "bands", "height", "width")
PROBABILITIES = ("batch", "class", "height", "width")


@dataclass(frozen=True, slots=True, kw_only=True)
class CardBand:
    """One band as the model takes it."""

    name: str
    """Common name."""
    unit: Unit
    """Physical unit of the numbers, and of mean and stddev."""
    required: bool
    """A pixel without it is invalid; where an optional band is missing, the model sees its mean."""
    mean: float
    stddev: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelCard:
    """What a model takes, gives, is made of and is good for. Lies as JSON beside the weights."""

    model_id: str
    version: str
    title: str
    description: str
    licence: str
    made_at: datetime
    spec: ModelSpec
    parameters: int
    bands: tuple[CardBand, ...]
    """In the order of the model's input channels."""
    legend: Legend
    resolution_m: GroundResolution
    """The range of pixel sizes that the model was trained for."""
    window_px: int
    overlap_px: int
    """How far neighbouring windows overlap unless the workflow says otherwise."""
    temperature: float
    """Logits are divided by it before the softmax, so that probabilities are calibrated."""
    training: Training
    weights_name: str
    """The file beside the card."""
    weights_sha256: str
    calibration: Calibration | None = None
    """What the temperature was fitted on; None where it was not, and in cards of old."""
    familiar: Familiar | None = None
    """What pixels like those of the training look like to the model; None where nobody noted it."""

    def __post_init__(self) -> None:
        names = [band.name for band in self.bands]
        if len(set(names)) != len(names) or not any(band.required for band in self.bands):
            raise CardError(f"card {self.model_id!r}: bands must differ and one be required, found {', '.join(names)}")
        if len(names) != self.spec.pyramid.in_bands:
            raise CardError(f"card {self.model_id!r}: {len(names)} bands, the model takes {self.spec.pyramid.in_bands}")
        if len(self.legend.classes) != self.spec.classes:
            found = len(self.legend.classes)
            raise CardError(f"card {self.model_id!r}: {found} classes, the model has {self.spec.classes}")
        if self.window_px % WINDOW_UNIT_PX or self.overlap_px % WINDOW_UNIT_PX or self.window_px < 1:
            sides = f"{self.window_px} and {self.overlap_px}"
            raise CardError(f"card {self.model_id!r}: window and overlap must be multiples of 32 px, found {sides}")
        if not 0 <= self.overlap_px <= self.window_px // 2:
            raise CardError(
                f"card {self.model_id!r}: overlap {self.overlap_px} px is above half of {self.window_px} px"
            )

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read and check a card.

        Raises:
            CardError: it cannot be read, an entry is unknown, missing or wrong, or two entries contradict each other.
        """
        try:
            item = Item.model_validate_json(_text(path))
            card = cls._from_item(item)
        except ValidationError as error:
            raise CardError(f"{path} is not a model card: {_listed(error)}") from error
        except (CardError, SourceError) as error:
            raise CardError(f"{path}: {error}") from error
        if card.to_item() != item:
            raise CardError(f"{path} contradicts itself in {', '.join(_unequal(card.to_item(), item))}")
        return card

    def write(self, path: Path) -> None:
        """Write the card as indented JSON."""
        path.write_text(self.to_item().model_dump_json(by_alias=True, indent=2) + "\n", encoding="utf-8")

    @property
    def digest(self) -> str:
        """SHA-256 over the whole card, hence also over the weights that it names."""
        return hashlib.sha256(self.to_item().model_dump_json(by_alias=True).encode()).hexdigest()

    def to_item(self) -> Item:
        """Return the card as a STAC item.

        Raises:
            CardError: a field is not what the item may hold.
        """
        try:
            return Item(id=f"{self.model_id}-{self.version}", properties=self._properties(), assets=self._assets())
        except ValidationError as error:
            raise CardError(f"card {self.model_id!r}: {_listed(error)}") from error

    def _properties(self) -> Properties:
        return Properties.model_validate(
            {
                "datetime": self.made_at,
                "version": self.version,
                "title": self.title,
                "description": self.description,
                "license": self.licence,
                "bands": tuple(
                    BandObject.model_validate({"name": band.name, "unit": band.unit, "rspipe:required": band.required})
                    for band in self.bands
                ),
                "mlm:name": self.model_id,
                "mlm:architecture": self.spec.name,
                "mlm:total_parameters": self.parameters,
                "mlm:hyperparameters": self.spec,
                "mlm:input": (self._input(),),
                "mlm:output": (self._output(),),
                "rspipe:resolution_m": self.resolution_m,
                "rspipe:overlap_px": self.overlap_px,
                "rspipe:temperature": self.temperature,
                "rspipe:calibration": self.calibration,
                "rspipe:familiar": self.familiar,
                "rspipe:training": self.training,
            }
        )

    def _input(self) -> ModelInput:
        return ModelInput(
            bands=tuple(band.name for band in self.bands),
            input=Tensor4(shape=(-1, len(self.bands), self.window_px, self.window_px), dim_order=CHANNELS),
            value_scaling=tuple(ZScore(mean=band.mean, stddev=band.stddev) for band in self.bands),
        )

    def _output(self) -> ModelOutput:
        classes = tuple(
            ClassObject(value=entry.id, name=entry.name, color_hint=entry.colour.removeprefix("#").upper())
            for entry in self.legend.classes
        )
        shape = (-1, len(classes), self.window_px, self.window_px)
        return ModelOutput.model_validate(
            {
                "name": self.legend.name,
                "result": Tensor4(shape=shape, dim_order=PROBABILITIES),
                "classification:classes": classes,
            }
        )

    def _assets(self) -> Assets:
        checksum = MULTIHASH_SHA256 + self.weights_sha256
        asset = WeightsAsset.model_validate({"href": f"./{self.weights_name}", "file:checksum": checksum})
        return Assets(weights=asset)

    @classmethod
    def _from_item(cls, item: Item) -> Self:
        what, asset = item.properties, item.assets.weights
        taken, given = what.inputs[0], what.outputs[0]
        return cls(
            model_id=what.name,
            version=what.version,
            title=what.title,
            description=what.description,
            licence=what.licence,
            made_at=what.datetime,
            spec=what.spec,
            parameters=what.total_parameters,
            bands=tuple(
                CardBand(name=band.name, unit=band.unit, required=band.required, mean=scale.mean, stddev=scale.stddev)
                for band, scale in zip(what.bands, taken.value_scaling, strict=False)
            ),
            legend=Legend(given.name, tuple(_class(entry) for entry in given.classes)),
            resolution_m=what.resolution_m,
            window_px=taken.input.shape[2],
            overlap_px=what.overlap_px,
            temperature=what.temperature,
            training=what.training,
            weights_name=asset.href.removeprefix("./"),
            weights_sha256=asset.checksum.removeprefix(MULTIHASH_SHA256),
            calibration=what.calibration,
            familiar=what.familiar,
        )


def _class(entry: ClassObject) -> LegendClass:
    return LegendClass(entry.value, entry.name, f"#{entry.color_hint.lower()}")


def _text(path: Path) -> str:
    try:
        if path.stat().st_size > LARGEST_CARD_BYTES:
            raise CardError(f"{path.stat().st_size} bytes are too many for a model card, at most {LARGEST_CARD_BYTES}")
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise CardError(f"cannot be read ({error.strerror})") from error
    except UnicodeDecodeError as error:
        raise CardError(f"is not text ({error.reason} at byte {error.start})") from error


def _listed(error: ValidationError) -> str:
    lines = [f"{'.'.join(map(str, entry['loc']))}: {entry['msg']}" for entry in error.errors()]
    return "; ".join(lines[:5])


def _unequal(one: Item, other: Item) -> list[str]:
    left, right = one.model_dump(by_alias=True), other.model_dump(by_alias=True)
    left |= left.pop("properties")
    right |= right.pop("properties")
    return [name for name, value in left.items() if value != right[name]]
