"""Plan: what a run would do, decided before anything is written."""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from pyproj import CRS
from pyproj.exceptions import CRSError

from rspipe.catalogs.errors import CatalogError, SourceError
from rspipe.catalogs.files import RefusedScene, SceneListing, list_scenes
from rspipe.catalogs.scene import Grid, Scene
from rspipe.catalogs.simulated import scene as simulated_scene
from rspipe.models.card import ModelCard
from rspipe.models.toolchain import CompileError
from rspipe.pipeline.checkup import CheckUp, PlannedModel, check_up
from rspipe.pipeline.cluster import AddressSpec, ClusterSpec, spec_of
from rspipe.pipeline.config import WorkflowConfig
from rspipe.pipeline.contract import Match, match
from rspipe.pipeline.errors import ConfigError, EnvironmentFailedError, SceneFailedError
from rspipe.pipeline.fingerprint import Fingerprint
from rspipe.pipeline.grid import WindowGrid
from rspipe.pipeline.layout import Layout
from rspipe.pipeline.parity import Parity
from rspipe.pipeline.polygonfile import ExtraField, extras_of
from rspipe.pipeline.progress import Progress
from rspipe.pipeline.rasters import RasterName, arranged
from rspipe.pipeline.reproject import holds
from rspipe.pipeline.sharing import MOST_BAND_ROWS, USUAL_BAND_ROWS, band_rows


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedScene:
    """A scene that will be run."""

    scene: Scene
    match: Match
    windows: WindowGrid

    @property
    def cost(self) -> Mapping[str, int]:
        """What it takes."""
        pixels = self.windows.height_px * self.windows.width_px
        return {
            "windows": self.windows.rows.count * self.windows.columns.count,
            "pixels": pixels,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class RunPlan:
    """Everything that is decided before the first byte is written."""

    config: WorkflowConfig
    layout: Layout
    model: PlannedModel
    checkup: CheckUp
    fingerprint: Fingerprint
    cluster: ClusterSpec | AddressSpec
    """Who computes."""
    polygon_classes: tuple[int, ...]
    class_minimums_m2: tuple[tuple[int, float], ...]
    """Class ids and the areas of `vectorize.class_minimum_area_m2`, by id."""
    scenes: tuple[PlannedScene, ...]
    refused: tuple[RefusedScene, ...]
    band_rows: int
    """Window rows per task."""
    parity: Parity | None = None
    """What a look at fewer bits or compiled code found, where the workflow asks for them; see `decide_arithmetic`."""

    @property
    def rasters(self) -> tuple[RasterName, ...]:
        """Those on request, in one order."""
        return arranged(self.config.infer.rasters)

    @property
    def is_judging(self) -> bool:
        """The model is asked what is unfamiliar."""
        return "unfamiliarity" in self.rasters

    @property
    def extras(self) -> tuple[ExtraField, ...]:
        """Fields of the polygons that are on request."""
        return extras_of(self.rasters, self.config.vectorize.max_vertices)

    def portable(self, text: str) -> str:
        """Return a message without the folders that the scenes lie in on this machine: it is to be published."""
        for source in self.config.scenes.paths or ():
            parts = itertools.takewhile(lambda part: not set("*[") & set(part), source.parent.parts)
            text = text.replace(f"{Path(*parts)}/", "")
        return text


def plan_run(config: WorkflowConfig, *, anew: bool = False) -> RunPlan:
    """Check model, scenes and settings against one another. Reads headers and weights, writes nothing.

    Args:
        config: the workflow.
        anew: look at model and machine whatever an earlier run has found.

    Raises:
        ConfigError: a source cannot be listed, windows, a class or the output's CRS are not possible, or several CRSs
            meet without `output.crs`.
        ModelRefusedError: card or weights are refused; no scene was looked at.
    """
    model, layout = PlannedModel.find(config.models[0]), Layout(config.output_folder)
    checkup = check_up(model, config.compute, None if anew else layout.checkup)
    fingerprint = checkup.fingerprint
    cluster = spec_of(config.compute, on_gpu=fingerprint.device == "cuda")
    _check_rasters(config, model.card)
    _check_sieve(config)
    _check_output_crs(config)
    classes, minimums_m2 = _polygon_classes(config, model.card), _class_minimums(config, model.card)
    planned: list[PlannedScene] = []
    refused: list[RefusedScene] = []
    for listing in _list(config):
        outcome = _plan_scene(config, model.card, listing)
        (planned if isinstance(outcome, PlannedScene) else refused).append(outcome)  # type: ignore[arg-type]
    _check_crs(config, planned)
    return RunPlan(
        config=config,
        layout=layout,
        model=model,
        checkup=checkup,
        fingerprint=fingerprint,
        cluster=cluster,
        polygon_classes=classes,
        class_minimums_m2=minimums_m2,
        scenes=tuple(planned),
        refused=tuple(refused),
        band_rows=config.infer.band_rows or _band_rows(cluster, planned),
    )


def compiling_told(config: WorkflowConfig, progress: Progress) -> None:
    """Say before the first look at a compiled model why nothing may happen for a while."""
    if config.infer.engine == "compiled":
        progress.note("engine compiled: if this computer has no code of the model yet, it is made now, a minute or two")


def decide_arithmetic(plan: RunPlan) -> RunPlan:
    """Let the model compute as the workflow asks if it says the same there, eagerly in float32 if it does not.

    Reads a few windows of the scenes and runs them, unless nothing else is asked for. The code of a compiled model is
    made here if this computer has none.
    """
    wanted = plan.config.infer
    if (wanted.precision, wanted.engine) == ("float32", "eager"):
        return plan
    trouble = Parity(precision=wanted.precision, engine=wanted.engine)
    if plan.fingerprint.device != "cpu" and wanted.engine == "compiled":
        return replace(plan, parity=replace(trouble, trouble="code is made for CPUs only"))
    places = [(replace(one.scene, grid=one.match.grid), one.windows) for one in plan.scenes]
    try:
        from rspipe.pipeline.arithmetic import compare  # noqa: PLC0415 - loads torch, which takes seconds

        asked = plan.fingerprint.using(wanted.precision, wanted.engine)
        found = compare(plan.model, asked, places, judging=plan.is_judging)
    except (CompileError, EnvironmentFailedError) as error:
        return replace(plan, parity=replace(trouble, trouble=str(error)))
    return replace(plan, parity=found, fingerprint=asked if found.holds else plan.fingerprint)


def as_begun(plan: RunPlan) -> RunPlan:
    """Go on with the bands of a run that was interrupted: others would be other tasks, and all be inferred again."""
    try:
        rows = int(plan.layout.band_rows.read_text(encoding="ascii"))
    except (OSError, ValueError):
        return plan
    return plan if plan.config.infer.band_rows else replace(plan, band_rows=rows)


def _band_rows(cluster: ClusterSpec | AddressSpec, planned: Sequence[PlannedScene]) -> int:
    if isinstance(cluster, AddressSpec):
        return USUAL_BAND_ROWS
    most = MOST_BAND_ROWS if cluster.memory_bytes is None else USUAL_BAND_ROWS
    return band_rows([one.windows for one in planned], cluster.workers, most)


def _check_rasters(config: WorkflowConfig, card: ModelCard) -> None:
    if "unfamiliarity" in config.infer.rasters and card.familiar is None:
        raise ConfigError(
            f"infer.rasters: unfamiliarity: the card of model {card.model_id!r} does not say what is familiar to it; "
            "leave unfamiliarity out, or train the model anew"
        )


def _check_sieve(config: WorkflowConfig) -> None:
    if config.vectorize.into == "most probable" and "probabilities" not in config.infer.rasters:
        raise ConfigError(
            "vectorize.into: most probable needs the probabilities of all classes; "
            "add infer.rasters: [probabilities], or leave it at longest border"
        )


def _polygon_classes(config: WorkflowConfig, card: ModelCard) -> tuple[int, ...]:
    names = config.vectorize.classes
    if names is None:
        return tuple(entry.id for entry in card.legend.classes)
    return tuple(sorted(_class_id(card, name, "vectorize.classes") for name in names))


def _class_minimums(config: WorkflowConfig, card: ModelCard) -> tuple[tuple[int, float], ...]:
    place = "vectorize.class_minimum_area_m2"
    areas_m2 = config.vectorize.class_minimum_area_m2
    return tuple(sorted((_class_id(card, name, place), area_m2) for name, area_m2 in areas_m2.items()))


def _class_id(card: ModelCard, name: str, place: str) -> int:
    try:
        return card.legend.by_name(name).id
    except SourceError as error:
        raise ConfigError(f"{place}: {error}") from error


def _list(config: WorkflowConfig) -> list[SceneListing]:
    if config.scenes.simulated is not None:
        return [simulated_scene(config.scenes.simulated)]
    try:
        return list_scenes(config.scenes.paths or (), config.scenes.sensor)
    except CatalogError as error:
        raise ConfigError(f"scenes: {error}") from error


def _plan_scene(config: WorkflowConfig, card: ModelCard, listing: SceneListing) -> PlannedScene | RefusedScene:
    if isinstance(listing, RefusedScene):
        return listing
    try:
        found = match(card, listing, config.grid.resolution_m)
        _check_place(config, listing.id, found.grid)
    except SceneFailedError as error:
        return RefusedScene(id=listing.id, slug=listing.slug, reason=str(error))
    windows = WindowGrid(
        height_px=found.grid.height_px,
        width_px=found.grid.width_px,
        window_px=config.infer.window_px or card.window_px,
        overlap_px=card.overlap_px if config.infer.overlap_px is None else config.infer.overlap_px,
    )
    return PlannedScene(scene=listing, match=found, windows=windows)


def _check_output_crs(config: WorkflowConfig) -> None:
    name = config.output.crs
    if name is None:
        return
    try:
        crs = CRS.from_user_input(name)
    except CRSError as error:
        raise ConfigError(f"output.crs: {name} is not known ({error}); write for example EPSG:32618") from error
    if not (crs.is_projected or crs.is_geographic):
        raise ConfigError(f"output.crs: {name} ({crs.name}) places nothing on a map; write for example EPSG:32618")


def _check_place(config: WorkflowConfig, scene_id: str, grid: Grid) -> None:
    """See that the layer's CRS can hold a scene, before hours are spent on it."""
    if config.output.crs is None:
        return
    target = CRS.from_user_input(config.output.crs)
    if not holds(target, grid):
        raise SceneFailedError(
            f"scene {scene_id!r}: output.crs {target.name} has no coordinates where it lies, in "
            f"{CRS.from_wkt(grid.crs_wkt).name}; choose one that covers all scenes"
        )


def _check_crs(config: WorkflowConfig, planned: list[PlannedScene]) -> None:
    if config.output.crs is not None:
        return
    found: dict[str, str] = {}
    for entry in planned:
        crs = CRS.from_wkt(entry.match.grid.crs_wkt)
        found.setdefault(crs.to_string(), entry.scene.id)
    if len(found) > 1:
        places = ", ".join(f"{crs} ({scene})" for crs, scene in sorted(found.items()))
        raise ConfigError(f"output.crs: the scenes lie in {places}; name one, for instance --set output.crs=EPSG:4326")
