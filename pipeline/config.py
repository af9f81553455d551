"""The settings of a workflow: strict, frozen, each one marked by whether it can change the bytes of the output."""

from collections.abc import Iterator, Sequence
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, JsonValue, model_validator

from rspipe.catalogs.simulation import SimulationSpec
from rspipe.models.specs import Engine, Precision
from rspipe.pipeline.grid import WINDOW_MULTIPLE_PX
from rspipe.pipeline.layerformat import LayerFormat
from rspipe.pipeline.rasters import RasterName

RESERVED_NAMES = frozenset({"scenes", "areas", "layer_styles"})
"""Layers that stand beside the workflow's own in its GeoPackage."""
_BYTES_OF = {"MiB": 2**20, "GiB": 2**30}


class Effect(Enum):
    """What a setting does to the output."""

    BYTES = "can change the output's bytes: part of the run id"
    NONE = "cannot change the output's bytes"
    WITNESSED = "names something whose own digest is part of the run id: input files, weights"


class Section(BaseModel):
    """Base of every part of a workflow: no unknown key, no conversion between types, no change after loading."""

    model_config = ConfigDict(
        extra="forbid", strict=True, frozen=True, allow_inf_nan=False, use_attribute_docstrings=True
    )


def _twice(names: Sequence[str]) -> str:
    return ", ".join(sorted({name for name in names if names.count(name) > 1}))


class Scenes(Section):
    """Where the scenes come from: give `simulated` or `paths`, not both."""

    simulated: Annotated[SimulationSpec | None, Effect.BYTES] = None
    """One scene computed from a seed: nothing is read."""
    paths: Annotated[tuple[Path, ...] | None, Field(min_length=1), Effect.WITNESSED] = None
    """Files, folders or globs, relative to the workflow file."""
    sensor: Annotated[str | None, Effect.BYTES] = None
    """Sensor of scenes whose files do not say it."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if (self.simulated is None) == (self.paths is None):
            raise ValueError("give either simulated: or paths:, one of the two")
        if self.sensor is not None and self.paths is None:
            raise ValueError("sensor: goes with paths; a simulated scene knows its own")
        return self


class GridSettings(Section):
    """The pixel grid that bands are brought onto."""

    resolution_m: Annotated[float | None, Field(gt=0), Effect.BYTES] = None
    """Resample scenes to this pixel size. Null: scenes keep theirs, outside of the model's range they are refused."""


class InferSettings(Section):
    """Sliding windows."""

    window_px: Annotated[int | None, Field(ge=WINDOW_MULTIPLE_PX, multiple_of=WINDOW_MULTIPLE_PX), Effect.BYTES] = None
    """Side of a window. Null: the model card's."""
    overlap_px: Annotated[int | None, Field(ge=0, multiple_of=WINDOW_MULTIPLE_PX), Effect.BYTES] = None
    """Pixels that neighbouring windows share, at most half a window. Null: the model card's."""
    band_rows: Annotated[int | None, Field(ge=1), Effect.NONE] = None
    """Window rows per task. Null: so many that all workers end together, 12 at most."""
    precision: Annotated[Precision, Effect.BYTES] = "float32"
    """What the model computes in. Fewer bits are used only if the classes of some windows agree with float32's."""
    engine: Annotated[Engine, Effect.BYTES] = "eager"
    """How it runs. Compiled code is made once per computer and used on the same condition; it needs a C++ compiler."""
    rasters: Annotated[tuple[RasterName, ...], Effect.BYTES] = ()
    """Rasters to publish beside classes and confidence, for instance `[entropy, unfamiliarity]`."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        twice = _twice(self.rasters)
        if twice:
            raise ValueError(f"rasters: {twice} given twice")
        if self.window_px is not None and self.overlap_px is not None and self.overlap_px > self.window_px // 2:
            raise ValueError(
                f"overlap_px: found {self.overlap_px} for windows of {self.window_px}; "
                f"at most half a window ({self.window_px // 2}) may be shared"
            )
        return self


class VectorizeSettings(Section):
    """From classes to polygons."""

    classes: Annotated[tuple[str, ...] | None, Field(min_length=1), Effect.BYTES] = None
    """Names of the classes that become polygons. Null: all of the model's legend."""
    minimum_area_m2: Annotated[float | None, Field(ge=0), Effect.BYTES] = None
    """Smaller faces are merged into a neighbour; 0 keeps every face. Null: a default that follows the pixel size."""
    class_minimum_area_m2: Annotated[dict[str, Annotated[float, Field(ge=0)]], Effect.BYTES] = {}
    """Other minimum areas for single classes, by name."""
    into: Annotated[Literal["longest border", "most probable"], Effect.BYTES] = "longest border"
    """Which neighbour a small face goes into; the most probable one needs `infer.rasters: [probabilities]`."""
    fill_below_m2: Annotated[float, Field(ge=0), Effect.BYTES] = 0.0
    """Smaller faces that lie wholly inside of one other face become part of it; 0 fills none. Never nodata."""
    tolerance_m: Annotated[float, Field(ge=0), Effect.BYTES] = 0.0
    """Corners of borders go while their triangle is smaller than this squared; 0 keeps the pixels' stairs."""
    smooth: Annotated[bool, Effect.BYTES] = False
    """Corners become curves, after some of them went; best with a `tolerance_m` of about two pixels."""
    max_vertices: Annotated[int | None, Field(ge=1000), Effect.BYTES] = None
    """Polygons with more, before corners go, are split on a grid of 1024 pixels; null splits none."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        twice = _twice(self.classes or ())
        if twice:
            raise ValueError(f"classes: {twice} given twice")
        return self


class OutputSettings(Section):
    """Where the results go."""

    folder: Annotated[Path | None, Effect.NONE] = None
    """Relative to the workflow file. Null: `out/<name>` under the current folder."""
    crs: Annotated[str | None, Field(pattern=r"^[A-Za-z]+:[A-Za-z0-9]+$"), Effect.BYTES] = None
    """Authority and code, for instance EPSG:32618. Null: the scenes' common CRS."""
    formats: Annotated[tuple[LayerFormat, ...], Effect.BYTES] = ()
    """Formats that the polygons are written in beside the GeoPackage: `flatgeobuf`, `geoparquet`."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        twice = _twice(self.formats)
        if twice:
            raise ValueError(f"formats: {twice} given twice")
        return self


class ClusterSettings(Section):
    """Who computes."""

    kind: Annotated[Literal["local", "address"], Effect.NONE] = "local"
    """`local`: worker processes on this machine. `address`: those of a Dask scheduler that is running already."""
    address: Annotated[str | None, Field(pattern=r"^tls://[^\s/@]+:[0-9]{1,5}$"), Effect.NONE] = None
    """The scheduler's `tls://host:port`. Never `tcp://`, not even on this machine: who reaches Dask runs any code."""
    ca: Annotated[Path | None, Effect.NONE] = None
    """Certificate (PEM) that has signed those of all peers, relative to the workflow file."""
    cert: Annotated[Path | None, Effect.NONE] = None
    """Certificate of this side (PEM), relative to the workflow file."""
    key: Annotated[Path | None, Effect.NONE] = None
    """Private key of `cert` (PEM), relative to the workflow file."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        given = {"address": self.address, "ca": self.ca, "cert": self.cert, "key": self.key}
        missing = [name for name, value in given.items() if value is None]
        if self.kind == "local" and len(missing) < len(given):
            idle = next(name for name in given if name not in missing)
            raise ValueError(f"{idle}: goes with kind: address; the workers of kind: local are this machine's own")
        if self.kind == "address" and missing:
            raise ValueError(
                f"kind: address without {', '.join(missing)}; Dask runs whatever code a peer sends, so both sides "
                "prove who they are: give address (tls://host:port), ca, cert and key"
            )
        return self


class ComputeSettings(Section):
    """Machines, not results; `device` and `threads` do change the last bits of a sum, so they count."""

    workers: Annotated[int | None, Field(ge=1, le=1024), Effect.NONE] = None
    """Worker processes of a `local` cluster; GPUs are dealt out to them. Null: one per GPU, else per core."""
    threads: Annotated[int, Field(ge=1, le=1024), Effect.BYTES] = 1
    """Threads of one forward pass."""
    device: Annotated[Literal["auto", "cpu", "cuda"], Effect.BYTES] = "auto"
    """Where the model runs; `auto` takes a GPU when there is one."""
    memory_per_worker: Annotated[str | None, Field(pattern=r"^[0-9]{1,6}(\.[0-9]+)? ?(MiB|GiB)$"), Effect.NONE] = None
    """A worker above this is ended and its task repeated, for instance `4 GiB`. Null: a fair share of the machine."""
    cluster: ClusterSettings = ClusterSettings()

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.cluster.kind == "address" and self.workers is not None:
            raise ValueError(
                f"workers: found {self.workers}, but a cluster of kind: address has the workers that it has; leave it "
                "out, and say beside the scheduler how many: rspipe worker --workers"
            )
        return self

    @property
    def memory_per_worker_bytes(self) -> int | None:
        """`memory_per_worker` as a number."""
        if self.memory_per_worker is None:
            return None
        unit = self.memory_per_worker[-3:]
        return int(float(self.memory_per_worker.removesuffix(unit)) * _BYTES_OF[unit])


class WorkflowConfig(Section):
    """One workflow: scenes, a model, and what becomes of them."""

    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_-]{0,62}$"), Effect.BYTES]
    """Names the GeoPackage and its layer: lower-case letters, digits, `_` and `-`."""
    scenes: Scenes
    models: Annotated[tuple[str, ...], Field(min_length=1, max_length=1), Effect.WITNESSED]
    """The model: a name that `rspipe models list` shows, or the path of a model card (.json), relative to this file."""
    grid: GridSettings = GridSettings()
    infer: InferSettings = InferSettings()
    vectorize: VectorizeSettings = VectorizeSettings()
    output: OutputSettings = OutputSettings()
    compute: ComputeSettings = ComputeSettings()

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.name in RESERVED_NAMES or self.name.startswith(("gpkg_", "rtree_", "sqlite_")):
            raise ValueError(f"name: {self.name!r} is taken inside of a GeoPackage; choose another")
        return self

    @property
    def output_folder(self) -> Path:
        """Where the results go, absolute."""
        return (self.output.folder or Path("out", self.name)).absolute()

    def resolved(self) -> dict[str, JsonValue]:
        """Return every setting as plain JSON, defaults written out; loading it gives the same configuration again."""
        plain: dict[str, Any] = self.model_dump(mode="json")
        plain["output"]["folder"] = str(self.output_folder)
        return plain

    def identity(self) -> dict[str, JsonValue]:
        """Return the settings that can change the output's bytes, by dotted path, for keys and the run id.

        What `Effect.WITNESSED` marks is left out: the caller adds the digests of inputs and weights.
        """
        plain = self.resolved()
        paths = [path for path, effect in effects(type(self)) if effect is Effect.BYTES]
        return {path: _at(plain, path) for path in paths}


def effects(section: type[Section], prefix: str = "") -> Iterator[tuple[str, Effect]]:
    """Yield the dotted path of every setting of a section with its effect.

    Raises:
        TypeError: a setting is not marked.
    """
    for name, field in section.model_fields.items():
        path = f"{prefix}{name}"
        if isinstance(field.annotation, type) and issubclass(field.annotation, Section):
            yield from effects(field.annotation, f"{path}.")
            continue
        marks = [mark for mark in field.metadata if isinstance(mark, Effect)]
        if len(marks) != 1:
            raise TypeError(f"setting {path} must carry one Effect, found {marks}")
        yield path, marks[0]


def _at(plain: JsonValue, path: str) -> JsonValue:
    for step in path.split("."):
        plain = plain[step] if isinstance(plain, dict) else None
    return plain
