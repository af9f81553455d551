"""`scene.yaml`: what lies in the files of one scene, in its owner's words."""

from datetime import datetime
from difflib import get_close_matches
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, field_validator, model_validator
from pydantic_core import ErrorDetails

from rspipe.catalogs.bands import PHYSICAL_UNIT
from rspipe.catalogs.errors import SceneError, YamlError
from rspipe.catalogs.sensors import SENSORS, Circumstances
from rspipe.catalogs.yamlfile import Document, dotted, read_document

FILE_NAME = "scene.yaml"

UnitName = Literal["dn", "reflectance", "kelvin", "celsius"]


def _one_of(kind: str, known: tuple[str, ...]) -> BeforeValidator:
    """Return a validator that names the nearest known word."""

    def check(value: object) -> object:
        if not isinstance(value, str) or value in known:
            return value
        near = get_close_matches(value, known, n=1)
        hint = f"did you mean {near[0]!r}? " if near else ""
        raise ValueError(f"unknown {kind} {value!r}; {hint}known: {', '.join(known)}")

    return BeforeValidator(check)


def _moment(value: object) -> object:
    """Read a date or a time of ISO 8601; a time without zone stays without."""
    if not isinstance(value, str):
        raise ValueError(f"found {value!r}, a date such as 2015-10-22 or 2015-10-22T15:33:10Z is needed")  # noqa: TRY004  pydantic reports ValueError only
    return datetime.fromisoformat(value)


BandName = Annotated[str, _one_of("band", tuple(PHYSICAL_UNIT))]
_STRICT = ConfigDict(strict=True, extra="forbid", frozen=True, allow_inf_nan=False)


class FileEntry(BaseModel):
    """What one file, or one band of it, holds."""

    model_config = _STRICT

    band: BandName | None = None
    bands: tuple[BandName, ...] | None = Field(None, strict=False)
    """All bands of a multi-band file, in the file's order."""
    index: int | None = Field(None, ge=1)
    """Which band of a multi-band file `band` is, counted from 1."""
    unit: Annotated[UnitName, _one_of("unit", get_args(UnitName))]
    fill: float | None = None
    scale: float | None = None
    offset: float | None = None
    """unit = scale * stored + offset, where the stored numbers are packed and the file does not say how."""

    @model_validator(mode="after")
    def _check_bands(self) -> "FileEntry":
        if (self.band is None) == (self.bands is None):
            raise ValueError("give either band: NAME or bands: [NAME, ...]")
        if self.bands is not None and self.index is not None:
            raise ValueError("index: goes with band:, not with bands:")
        if self.unit == "dn" and (self.scale is not None or self.offset is not None):
            raise ValueError("scale: and offset: give a physical unit, but unit: says dn; name the unit they give")
        return self


class SceneDescription(BaseModel):
    """One `scene.yaml`."""

    model_config = _STRICT

    id: str = Field(min_length=1, max_length=1000)
    sensor: Annotated[str, _one_of("sensor", tuple(SENSORS))] | None = None
    acquired_at: Annotated[datetime, BeforeValidator(_moment)] | None = None
    sun_elevation_deg: float | None = None
    processing_baseline: str | None = None
    offset_applied: bool = False
    """Sentinel-2's -1000 offset has already been added by the supplier."""
    crs: str | None = None
    """For files that carry none."""
    files: dict[str, tuple[FileEntry, ...]] = Field(min_length=1)
    """Pattern of file names, relative to this file's folder -> what the one file it matches holds."""

    @property
    def circumstances(self) -> Circumstances:
        """What conversions depend on."""
        return Circumstances(
            sun_elevation_deg=self.sun_elevation_deg,
            processing_baseline=self.processing_baseline,
            offset_applied=self.offset_applied,
        )

    @field_validator("files", mode="before")
    @classmethod
    def _as_tuples(cls, value: object) -> object:
        """Let a file have one entry, or a list of them."""
        if not isinstance(value, dict):
            return value
        return {name: tuple(entry) if isinstance(entry, list) else (entry,) for name, entry in value.items()}

    @field_validator("files")
    @classmethod
    def _check_patterns(cls, value: dict[str, tuple[FileEntry, ...]]) -> dict[str, tuple[FileEntry, ...]]:
        for pattern in value:
            parts = PurePosixPath(pattern).parts
            if not parts or pattern.startswith("/") or "\\" in pattern or ".." in parts or "**" in parts:
                raise ValueError(f"pattern {pattern!r} must name files in the scene's own folder")
        return value


def read_scene_yaml(path: Path) -> SceneDescription:
    """Read and check a `scene.yaml`.

    Raises:
        SceneError: malformed YAML, an unknown key, a missing one or a wrong value: all of them, each with its path.
    """
    try:
        document = read_document(path)
        return SceneDescription.model_validate(document.content)
    except YamlError as error:
        raise SceneError(str(error)) from error
    except ValidationError as error:
        problems = "; ".join(_problem(detail, document) for detail in error.errors(include_url=False))
        raise SceneError(problems) from error


def _problem(detail: ErrorDetails, document: Document) -> str:
    """Say one problem with its place, what was found and, for an unknown key, the nearest known one."""
    loc = detail["loc"]
    where = f"{document.where(loc)}: {dotted(loc)}".removesuffix(": ")
    if detail["type"] == "extra_forbidden":
        return f"{where}: unknown key{_nearest_key(loc)}"
    if detail["type"] == "missing":
        return f"{where}: missing"
    message = detail["msg"].removeprefix("Value error, ")
    return f"{where}: {message}" + _found(detail)


def _found(detail: ErrorDetails) -> str:
    value: Any = detail["input"]
    return "" if detail["type"] == "value_error" else f", found {str(value)[:60]!r} ({type(value).__name__})"


def _nearest_key(loc: tuple[int | str, ...]) -> str:
    model: type[BaseModel] = SceneDescription if len(loc) == 1 else FileEntry
    near = get_close_matches(str(loc[-1]), model.model_fields, n=1)
    return f", did you mean {near[0]!r}?" if near else f"; known keys are {', '.join(model.model_fields)}"
