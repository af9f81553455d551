"""The settings of a training: strict like a workflow's, read from YAML."""

from collections.abc import Sequence
from functools import reduce
from pathlib import Path
from typing import Annotated, Self

from pydantic import AwareDatetime, Field, StringConstraints, model_validator

from rspipe.catalogs.errors import YamlError
from rspipe.catalogs.radiation import THICK_FROM
from rspipe.catalogs.yamlfile import read_document
from rspipe.models.card import WINDOW_UNIT_PX
from rspipe.models.mlm import Slug, Version
from rspipe.models.recipe import Recipe
from rspipe.models.sources import Sources
from rspipe.pipeline.config import Section
from rspipe.pipeline.devices import DeviceSetting
from rspipe.pipeline.errors import ConfigError
from rspipe.pipeline.settings import assignment, checked, merged


class SimulatedPatches(Section):
    """Patches computed from a seed; their pixel sizes spread from the real ones' to the coarsest of a crop."""

    patches: int = Field(ge=1)
    size_px: int = Field(default=256, ge=64)
    polar: float = Field(default=0.0, ge=0, le=1)
    """Share of the patches that lie in a polar climate: snow, dry and cold air, a low sun."""
    grey_ice: float = Field(default=0.0, ge=0, le=1)
    """Share of the polar patches in which grey ice lies instead of snow."""
    thick_from: float = Field(default=THICK_FROM, gt=0)
    """Optical thickness from which a cloud is labelled thick. People who label Landsat scenes begin at about 3.5, where
    a fifth of the light is turned back."""
    unsure: float = Field(default=0.0, ge=0, lt=1)
    """Clouds whose thickness is within that share of it are not learned from."""
    seed: int = Field(default=0, ge=0)


class CrossValidation(Section):
    """Scenes dealt to folds; each fold is scored by a model that saw no patch of its scenes."""

    count: int = Field(ge=2)
    folders: Sources
    """Labelled patches, as `data.train` names them."""
    without: tuple[Annotated[tuple[str, ...], Field(min_length=1)], ...] = ()
    """Each fold is scored once more without these optional bands: what it costs that a sensor lacks them."""
    seed: int = Field(default=0, ge=0)


class DataSettings(Section):
    """Labelled patches: each entry is a folder with images/ and masks/, or says more of itself (`models.sources`)."""

    train: Sources
    beside: Sources | None = None
    """Learned from in every fold and by the final weights, never scored: partial labels, other sensors."""
    score: Sources | None = None
    """Scored once, by the final weights."""
    pixel_m: float = Field(gt=0)
    """Ground size of a pixel where neither a file nor its source says it."""


class CardText(Section):
    """What the model card says beyond what the training knows."""

    model_id: Slug
    version: Version
    title: str = Field(min_length=1)
    description: str
    licence: str
    made_at: AwareDatetime
    data: str
    limits: str
    window_px: int = Field(default=256, ge=WINDOW_UNIT_PX, multiple_of=WINDOW_UNIT_PX)
    overlap_px: int = Field(default=128, ge=0, multiple_of=WINDOW_UNIT_PX)

    @model_validator(mode="after")
    def _overlap(self) -> Self:
        if self.overlap_px > self.window_px // 2:
            raise ValueError(f"overlap_px: found {self.overlap_px}, at most half of window_px {self.window_px}")
        return self


class TrainingConfig(Section):
    """One training: the folds that measure it, and the weights that it ships."""

    name: Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9_-]{0,62}$")]
    """Of the weights and the card."""
    data: DataSettings
    simulated: SimulatedPatches | None = None
    folds: CrossValidation | None = None
    recipe: Recipe
    card: CardText
    threads: int = Field(default=2, ge=1, le=256)
    """CPU threads; another number gives other last bits."""
    checkpoint_steps: int = Field(default=200, ge=1)
    devices: DeviceSetting = "auto"
    init_from: str | None = None
    """A shipped model, or the card of another one (.json), whose weights the training starts from."""

    @model_validator(mode="after")
    def _simulable(self) -> Self:
        feed = self.recipe.feed
        if self.simulated is None and (feed.simulated_steps or feed.simulated_share):
            found = f"{feed.simulated_steps} and {feed.simulated_share:g}"
            raise ValueError(
                f"recipe.feed: simulated_steps and simulated_share are {found}; they must be 0 without simulated:"
            )
        return self

    @model_validator(mode="after")
    def _coarser(self) -> Self:
        if self.data.pixel_m > self.recipe.feed.crop.coarsest_m:
            found = f"{self.data.pixel_m:g} m, recipe.feed.crop.coarsest_m {self.recipe.feed.crop.coarsest_m:g} m"
            raise ValueError(f"data.pixel_m: found {found}; it must not be above")
        return self

    @model_validator(mode="after")
    def _may_lack(self) -> Self:
        optional = [band.name for band in self.recipe.bands if not band.required]
        strange = [
            name for bands in (self.folds.without if self.folds else ()) for name in bands if name not in optional
        ]
        if strange:
            known = ", ".join(optional) or "none"
            raise ValueError(f"folds.without: {', '.join(strange)} cannot be missing; optional bands: {known}")
        return self


def load_training(path: Path, data: Path | None = None, settings: Sequence[str] = ()) -> TrainingConfig:
    """Read a training file.

    Args:
        path: the YAML file.
        data: what the folders named in the file are relative to; its own folder if not given.
        settings: `a.b=value`, the value in YAML; they win over the file.

    Raises:
        ConfigError: the file or a setting is wrong; one line per problem.
    """
    try:
        document = read_document(path)
        changes = [assignment(setting, "recipe.seed=1") for setting in settings]
    except YamlError as error:
        raise ConfigError(str(error)) from error
    config = checked(TrainingConfig, document, reduce(merged, changes, document.content), changes)
    return _anchored(config, (data or path.parent).absolute())


def _anchored(config: TrainingConfig, root: Path) -> TrainingConfig:
    """Return the settings with every path below a folder."""

    def under(sources: Sources) -> Sources:
        return tuple(source.under(root) for source in sources)

    named = {name: getattr(config.data, name) for name in ("train", "beside", "score")}
    data = config.data.model_copy(update={name: under(some) for name, some in named.items() if some})
    folds = config.folds and config.folds.model_copy(update={"folders": under(config.folds.folders)})
    start = config.init_from
    if start is not None and start.endswith(".json"):
        start = str(root / start)
    pretrained = config.recipe.pretrained and config.recipe.pretrained.under(root)
    teacher = config.recipe.teacher and config.recipe.teacher.under(root)
    recipe = config.recipe.model_copy(update={"pretrained": pretrained, "teacher": teacher})
    return config.model_copy(update={"data": data, "folds": folds, "init_from": start, "recipe": recipe})
