"""The settings of a training: strict like a workflow's, read from YAML."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Self

from pydantic import AwareDatetime, Field, StringConstraints, ValidationError, model_validator

from rspipe.catalogs.errors import YamlError
from rspipe.catalogs.yamlfile import Yaml, dotted, parse_yaml, read_document
from rspipe.models.recipe import Recipe
from rspipe.models.sources import Sources
from rspipe.pipeline.config import Section
from rspipe.pipeline.devices import DeviceSetting
from rspipe.pipeline.errors import ConfigError


class SimulatedPatches(Section):
    """Patches computed from a seed; their pixel sizes spread from the real ones' to the coarsest of a crop."""

    patches: int = Field(ge=1)
    size_px: int = Field(default=256, ge=64)
    polar: float = Field(default=0.0, ge=0, le=1)
    """Share of the patches that lie in a polar climate: snow, dry and cold air, a low sun."""
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
    score: Sources | None = None
    """Scored once, by the final weights."""
    pixel_m: float = Field(gt=0)
    """Ground size of a pixel where neither a file nor its source says it."""


class CardText(Section):
    """What the model card says beyond what the training knows."""

    model_id: str
    version: str
    title: str
    description: str
    licence: str
    made_at: AwareDatetime
    data: str
    limits: str
    window_px: int = 256
    overlap_px: int = 128


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
        content = document.content
        for setting in settings:
            _set(content, setting)
    except YamlError as error:
        raise ConfigError(str(error)) from error
    root = (data or path.parent).absolute()
    try:
        config = TrainingConfig.model_validate_json(json.dumps(content))
    except ValidationError as error:
        problems = error.errors(include_url=False)
        lines = [f"{document.where(entry['loc'])}: {dotted(entry['loc'])}: {entry['msg']}" for entry in problems]
        raise ConfigError("\n".join(lines)) from error
    return _anchored(config, root)


def _set(content: dict[str, Yaml], setting: str) -> None:
    path, equals, value = setting.partition("=")
    *parents, last = path.strip().split(".")
    for step in parents:
        below = content.setdefault(step, {})
        if not isinstance(below, dict):
            raise ConfigError(f"--set {setting}: {step} is no section")
        content = below
    if not equals or not last:
        raise ConfigError(f"--set {setting}: must read a.b=value, for instance recipe.seed=1")
    content[last] = parse_yaml(value, f"--set {path}")


def _anchored(config: TrainingConfig, root: Path) -> TrainingConfig:
    """Return the settings with every path below a folder."""

    def under(sources: Sources) -> Sources:
        return tuple(source.under(root) for source in sources)

    score = under(config.data.score) if config.data.score else None
    data = config.data.model_copy(update={"train": under(config.data.train), "score": score})
    folds = config.folds and config.folds.model_copy(update={"folders": under(config.folds.folders)})
    start = config.init_from
    if start is not None and start.endswith(".json"):
        start = str(root / start)
    pretrained = config.recipe.pretrained and config.recipe.pretrained.under(root)
    teacher = config.recipe.teacher and config.recipe.teacher.under(root)
    recipe = config.recipe.model_copy(update={"pretrained": pretrained, "teacher": teacher})
    return config.model_copy(update={"data": data, "folds": folds, "init_from": start, "recipe": recipe})
