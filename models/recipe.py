"""A training as data: everything that decides its weights but the patches themselves."""

import hashlib
from collections.abc import Mapping
from typing import Self

from pydantic import Field, ValidationInfo, field_validator, model_validator

from rspipe.catalogs.bands import PHYSICAL_UNIT
from rspipe.catalogs.errors import SourceError
from rspipe.catalogs.legends import Legend, LegendClass, legend_of
from rspipe.models.build import build
from rspipe.models.card import CardBand
from rspipe.models.criterion import PUBLISHED, Criterion, CriterionSpec
from rspipe.models.crops import Cutter
from rspipe.models.data import Patch
from rspipe.models.errors import DataError
from rspipe.models.feed import Feed, FeedSpec
from rspipe.models.labels import LabelSet
from rspipe.models.pretrained import Pretrained, load_encoder
from rspipe.models.ranks import ALONE, Ranks
from rspipe.models.segmenter import Segmenter
from rspipe.models.specs import ModelSpec, StrictModel
from rspipe.models.teacher import TeacherSpec, teacher_of
from rspipe.models.train import OptimiserSpec, Restart, Trainer
from rspipe.models.unlabelled import Unlabelled, told
from rspipe.models.weather import Overcast, WeatherSpec
from rspipe.models.weights import sha256_of

GPU_MAKERS = 4
"""A GPU takes a step in less time than one thread takes to make a batch."""


class BandSetting(StrictModel):
    """One band as the model will take it; its unit follows from its name."""

    name: str
    required: bool
    mean: float
    stddev: float = Field(gt=0)

    @field_validator("name")
    @classmethod
    def _known(cls, name: str) -> str:
        if name not in PHYSICAL_UNIT:
            raise ValueError(f"unknown band {name!r}; known are {', '.join(PHYSICAL_UNIT)}")
        return name


class LegendEntry(StrictModel):
    """One class of a legend that a training brings along."""

    id: int
    name: str = Field(min_length=1)
    colour: str = Field(pattern="^#[0-9a-f]{6}$")


class OwnLegend(StrictModel):
    """A legend that is not one of `legends.LEGENDS`; ids run from 0 without a gap."""

    name: str = Field(min_length=1)
    classes: tuple[LegendEntry, ...]


class Recipe(StrictModel):
    """Model, bands and way of training."""

    model: ModelSpec
    bands: tuple[BandSetting, ...]
    legend: str | OwnLegend
    """Name of a legend, or one written out; patches are labelled with its ids."""
    groups: Mapping[str, tuple[str, ...]] = {}
    """Name of a partial label -> the classes it may be. Their ids follow those of the classes, in this order."""
    unlabelled: tuple[Unlabelled, ...] = ()
    """Classes that the labels of some patches leave out."""
    feed: FeedSpec
    optimiser: OptimiserSpec
    criterion: CriterionSpec = Field(default=CriterionSpec(), validate_default=True)
    """What is not given is as published for the model's architecture."""
    teacher: TeacherSpec | None = None
    """Whose maps KTDA's student imitates; it is neither trained nor part of the weights."""
    pretrained: Pretrained | None = None
    """What the encoder starts from, instead of weights drawn from the seed."""
    seed: int = Field(default=42, ge=0, lt=2**31)

    @field_validator("criterion")
    @classmethod
    def _published(cls, given: CriterionSpec, info: ValidationInfo) -> CriterionSpec:
        if "model" not in info.data:
            return given
        return PUBLISHED[info.data["model"].name].model_copy(
            update={name: getattr(given, name) for name in given.model_fields_set}
        )

    @model_validator(mode="after")
    def _teachable(self) -> Self:
        if self.teacher is not None and self.model.name != "ktda":
            raise ValueError(f"teacher: a {self.model.name} has no maps that a teacher could correct, only a ktda has")
        return self

    @model_validator(mode="after")
    def _bands_agree(self) -> Self:
        names = [band.name for band in self.bands]
        if len(names) != self.model.pyramid.in_bands:
            raise ValueError(f"bands: {len(names)} are named, model.pyramid.in_bands is {self.model.pyramid.in_bands}")
        if len(set(names)) != len(names) or not any(band.required for band in self.bands):
            raise ValueError(f"bands: must differ and one be required, found {', '.join(names)}")
        return self

    @model_validator(mode="after")
    def _classes_agree(self) -> Self:
        weights, classes = self.criterion.class_weights, self.model.classes
        try:
            found = len(self.legend_classes.classes)
        except SourceError as error:
            raise ValueError(f"legend: {error}") from error
        if found != classes:
            raise ValueError(f"legend: the legend has {found} classes, the model {classes}")
        if weights is not None and len(weights) != classes:
            raise ValueError(f"criterion.class_weights: {len(weights)} are given, the model has {classes} classes")
        try:
            labels = LabelSet.of(self.legend_classes, self.groups)
        except DataError as error:
            raise ValueError(f"groups: {error}") from error
        try:
            for rule in self.unlabelled:
                rule.check(labels)
        except DataError as error:
            raise ValueError(str(error)) from error
        return self

    @property
    def card_bands(self) -> tuple[CardBand, ...]:
        """The bands as a card has them."""
        return tuple(CardBand(unit=PHYSICAL_UNIT[band.name], **band.model_dump()) for band in self.bands)

    @property
    def legend_classes(self) -> Legend:
        """The legend itself.

        Raises:
            SourceError: there is none of that name, or the ids of the own one have a gap.
        """
        if isinstance(self.legend, str):
            return legend_of(self.legend)
        return Legend(
            self.legend.name, tuple(LegendClass(entry.id, entry.name, entry.colour) for entry in self.legend.classes)
        )

    @property
    def label_set(self) -> LabelSet:
        """What labels may say."""
        return LabelSet.of(self.legend_classes, self.groups)

    @property
    def beginning(self) -> "Recipe":
        """The same recipe, but for what its simulated steps do not depend on: two that agree in it begin alike.

        Where the rate falls to its floor before a restart that comes after these steps, nothing beyond it counts.
        """
        feed = self.feed.model_copy(update={"simulated_share": 0.0, "weather": WeatherSpec()})
        optimiser, restart = self.optimiser, self.optimiser.restart
        if restart is not None and restart.step >= feed.simulated_steps:
            fixed = {"restart": Restart(step=restart.step, lr=optimiser.lr), "steps": restart.step + 1}
            optimiser = optimiser.model_copy(update=fixed)
        return self.model_copy(update={"feed": feed, "optimiser": optimiser, "unlabelled": ()})

    @property
    def digest(self) -> str:
        """SHA-256 of all settings, of the weights that the encoder starts from, and of the teacher.

        Raises:
            ModelError: these are not to be had.
        """
        start = "" if self.pretrained is None else sha256_of(self.pretrained.encoder().path)
        taught = "" if self.teacher is None else sha256_of(self.teacher.file())
        settings = self.model_dump_json(exclude={"pretrained": {"path"}, "teacher": {"path", "card"}})
        return hashlib.sha256(f"{settings}{start}{taught}".encode()).hexdigest()

    def _built(self) -> Segmenter:
        model = build(self.model, self.seed)
        if self.pretrained is not None:
            load_encoder(model.pyramid, self.pretrained.encoder(), [band.name for band in self.bands])
        return model

    def _overcast(self, real: list[Patch]) -> Overcast | None:
        settings = self.feed
        if not real or not settings.weather.share:
            return None
        return Overcast.over(real, settings.crop, self.card_bands, self.label_set, settings.weather)

    def trainer(self, real: list[Patch], simulated: list[Patch], ranks: Ranks = ALONE, device: str = "cpu") -> Trainer:
        """Return the trainer at its first step, its model drawn from the seed on the CPU and put on a device."""
        real = [told(patch, self.unlabelled, self.label_set) for patch in real]
        cutters = [Cutter(some, self.feed.crop) if some else None for some in (real, simulated)]
        makers = 1 if device == "cpu" else GPU_MAKERS
        feed = Feed(self.feed, self.card_bands, self.seed, cutters[0], cutters[1], self._overcast(real), ranks, makers)
        criterion = Criterion(self.criterion, tuple(self.label_set.groups.values()))
        teacher = None if self.teacher is None else teacher_of(self.teacher, self.card_bands).to(device)
        return Trainer(self._built().to(device), feed, self.optimiser, criterion, teacher)
