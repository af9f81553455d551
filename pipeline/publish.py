"""Publish: a scene's polygons and rasters become final files, and the scenes of a run become one GeoPackage."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from pyproj import CRS

from rspipe.catalogs.legends import Legend
from rspipe.catalogs.scene import Grid
from rspipe.pipeline import atomic, cog, geopackage, layerfile, manifest, quicklook, store
from rspipe.pipeline.errors import ConfigError
from rspipe.pipeline.footprint import Survey, survey
from rspipe.pipeline.geopackage import Package
from rspipe.pipeline.layerformat import SUFFIXES, LayerFormat
from rspipe.pipeline.layout import Layout
from rspipe.pipeline.ledger import Vouched
from rspipe.pipeline.manifest import Manifest, PublishedModel, PublishedScene
from rspipe.pipeline.polygonfile import ExtraField, PolygonFile, fields_of, open_polygons, publish_polygons
from rspipe.pipeline.rasters import KINDS, RasterName
from rspipe.pipeline.reproject import same_crs
from rspipe.pipeline.sceneentry import SceneEntry
from rspipe.pipeline.task import Receipt

VERSION = 2
"""Raised when the bytes of an output change; part of every publish task's key."""
CLASSES = "classes.tif"
CONFIDENCE = "confidence.tif"
POLYGONS = "polygons.parquet"
QUICKLOOK = "quicklook.png"
SCENE_FILES = (CLASSES, CLASSES + cog.SIDE_SUFFIX, CONFIDENCE, POLYGONS, QUICKLOOK)
"""What every scene has; rasters on request stand beside them."""
_FALLBACK_CRS = "EPSG:4326"


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishSceneJob:
    """One scene, inferred and vectorized by one model."""

    root: Path
    scene: str
    """Slug."""
    scene_id: str
    acquired_at: datetime | None
    model: str
    """Slug."""
    model_id: str
    grid: Grid
    """Of the ingested bands and of all that was inferred from them."""
    bands: tuple[str, ...]
    """Ingested bands by common name."""
    legend: Legend
    polygon_classes: tuple[int, ...]
    """Ids of the classes that became polygons."""
    rasters: tuple[RasterName, ...] = ()
    """Those on request."""
    extras: tuple[ExtraField, ...] = ()
    """Fields of the polygons that are on request."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SceneOutcome:
    """What became of one scene of a run, for the layer `scenes` and the manifest."""

    scene: str
    """Slug."""
    scene_id: str
    key: str
    """See `SceneGraph.key`: equal keys, equal bytes. Empty if the scene was refused before it had one, or failed by
    what may be gone the next time."""
    acquired_at: datetime | None
    reason: str
    """Why it failed; empty means that `publish_scene` has published it."""
    grid: Grid | None
    """None if the scene failed before its grid was known."""
    inputs: Mapping[str, str]
    """Input name to sha-256; names are relative, never a path of this host."""
    counts: Mapping[str, int | float]
    """What the stages counted; nothing that depends on time, workers or resuming."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishRunRequest:
    """All that the run's own files say."""

    root: Path
    workflow: str
    run_id: str
    config: Mapping[str, Any]
    """The resolved configuration as a JSON object, without paths of this host."""
    versions: Mapping[str, str]
    models: tuple[PublishedModel, ...]
    legend: Legend
    polygon_classes: tuple[int, ...]
    output_crs: str | None
    """Anything that pyproj understands; None: the scenes' common CRS."""
    scenes: tuple[SceneOutcome, ...]
    rasters: tuple[RasterName, ...] = ()
    """Those on request, of every scene."""
    extras: tuple[ExtraField, ...] = ()
    """Fields of the polygons that are on request."""
    formats: tuple[LayerFormat, ...] = ()
    """Further formats of the layer of polygons."""


def scene_files(rasters: tuple[RasterName, ...]) -> tuple[str, ...]:
    """Return the names of the files of a published scene."""
    return (*SCENE_FILES, *(f"{name}.tif" for name in rasters))


def publish_scene(job: PublishSceneJob) -> Receipt:
    """Write all final files of one scene, then move them to their place together.

    Raises:
        SceneFailedError: the polygons are not as the vectorize stage should have left them.
        EnvironmentFailedError: the disk is full or cannot be written.
    """
    layout = Layout(job.root)
    folder = layout.published(job.scene)
    vectors = layout.vectors(job.scene, job.model)
    classes = store.open_array(vectors / "sieved.zarr", "classes")
    confidence = store.open_array(layout.inferred(job.scene, job.model), "confidence")
    provenance = cog.Provenance(scene_id=job.scene_id, model_id=job.model_id, acquired_at=job.acquired_at)
    found = survey(classes, job.grid)
    names = scene_files(job.rasters)
    with atomic.staging(folder, names) as room:
        cog.write_classes(room / CLASSES, classes, job.grid, job.legend, provenance)
        cog.write_raster(room / CONFIDENCE, confidence, job.grid, cog.CONFIDENCE, provenance)
        polygons = publish_polygons(
            (vectors / POLYGONS, room / POLYGONS), fields_of(job.extras), crs_wkt=job.grid.crs_wkt, survey=found
        )
        quicklook.draw(room / QUICKLOOK, _picture(job))
        for name in job.rasters:
            array = store.open_array(layout.inferred(job.scene, job.model), name)
            cog.write_raster(room / f"{name}.tif", array, job.grid, _look(name, job.legend), provenance)
    outputs = tuple(folder / name for name in names)
    return Receipt(outputs=outputs, counts={"polygons": polygons, **_pixel_counts(found)})


def publish_run(request: PublishRunRequest) -> Manifest:
    """Assemble the GeoPackage, remove outputs of scenes that are not published any more, write the manifest last.

    To be called by the one process that holds the output folder's lock.

    Raises:
        ConfigError: the scenes have several CRSs and the configuration names none.
        SceneFailedError: the published polygons of a scene cannot be read.
        EnvironmentFailedError: the disk is full or cannot be written.
    """
    layout = Layout(request.root)
    atomic.sweep(request.root)
    outcomes = sorted(request.scenes, key=lambda outcome: outcome.scene)
    files = {
        outcome.scene: open_polygons(layout.published(outcome.scene) / POLYGONS)
        for outcome in outcomes
        if not outcome.reason
    }
    package = Package(
        workflow=request.workflow,
        run_id=request.run_id,
        crs_wkt=_output_crs(request, files),
        legend=request.legend,
        polygon_classes=request.polygon_classes,
        scenes=tuple(_entry(outcome, files.get(outcome.scene), request.legend) for outcome in outcomes),
        extras=request.extras,
    )
    with atomic.replacing(layout.geopackage(request.workflow)) as path:
        geopackage.write(path, package)
    outputs = [layout.geopackage(request.workflow)]
    for kind in request.formats:
        outputs.append(layout.layer(request.workflow, kind))
        with atomic.replacing(outputs[-1]) as path:
            layerfile.write(path, package, kind)
    outputs += [layout.published(scene) / name for scene in files for name in scene_files(request.rasters)]
    _remove_others(layout, outputs)
    result = Manifest(
        workflow=request.workflow,
        run_id=request.run_id,
        config=request.config,
        versions=request.versions,
        models=tuple(sorted(request.models, key=lambda model: model.id)),
        scenes=tuple(_published(outcome, files.get(outcome.scene), request.legend) for outcome in outcomes),
        outputs=tuple(Vouched.of(path, request.root) for path in sorted(outputs)),
    )
    manifest.write(layout.manifest, result)
    return result


def _picture(job: PublishSceneJob) -> quicklook.Picture:
    layout = Layout(job.root)
    step = quicklook.step_px(job.grid.height_px, job.grid.width_px)
    names = quicklook.natural_bands(job.bands)
    bands = layout.bands(job.scene)
    classes = store.open_array(layout.vectors(job.scene, job.model) / "sieved.zarr", "classes")
    date = "" if job.acquired_at is None else f"   {job.acquired_at:%Y-%m-%d}"
    return quicklook.Picture(
        title=f"{job.scene_id}{date}   {', '.join(names)}",
        bands=tuple(quicklook.sample(store.open_array(bands, name), step) for name in names),
        classes=quicklook.sample(classes, step),
        legend=job.legend,
        drawn=tuple(entry for entry in job.legend.classes if entry.id in job.polygon_classes),
    )


def _look(name: RasterName, legend: Legend) -> cog.ScaledRaster:
    each = tuple(entry.name for entry in legend.classes) if name == "probabilities" else (name,)
    return cog.ScaledRaster(bands=each, scale=KINDS[name].scale, meaning=KINDS[name].meaning)


def _pixel_counts(found: Survey) -> dict[str, int | float]:
    return {"pixels": found.pixels, "valid_px": found.valid_px}


def _output_crs(request: PublishRunRequest, files: Mapping[str, PolygonFile]) -> str:
    if request.output_crs is not None:
        return str(CRS.from_user_input(request.output_crs).to_wkt())
    grids = [outcome.grid.crs_wkt for outcome in request.scenes if outcome.grid is not None]
    found = [file.crs_wkt for file in files.values()] or grids or [CRS.from_user_input(_FALLBACK_CRS).to_wkt()]
    if not all(same_crs(found[0], other) for other in found[1:]):
        names = sorted({CRS.from_wkt(wkt).name for wkt in found})
        raise ConfigError(
            f"output.crs is not set, and the scenes lie in {'; '.join(names)}: name one CRS for the layer"
        )
    return found[0]


def _entry(outcome: SceneOutcome, polygons: PolygonFile | None, legend: Legend) -> SceneEntry:
    counted = {entry.id: outcome.counts.get(f"vectorize.class_{entry.id}_m2") for entry in legend.classes}
    return SceneEntry(
        scene_id=outcome.scene_id,
        folder=f"scenes/{outcome.scene}",
        acquired_at=outcome.acquired_at,
        reason=outcome.reason,
        grid=outcome.grid,
        polygons=polygons,
        areas_m2={class_id: float(area_m2) for class_id, area_m2 in counted.items() if area_m2 is not None},
    )


def _published(outcome: SceneOutcome, polygons: PolygonFile | None, legend: Legend) -> PublishedScene:
    found = None if polygons is None else polygons.survey
    return PublishedScene(
        id=outcome.scene_id,
        slug=outcome.scene,
        key=outcome.key,
        status="failed" if outcome.reason else "published",
        reason=outcome.reason,
        acquired_at=outcome.acquired_at,
        inputs=dict(outcome.inputs),
        counts=dict(outcome.counts),
        valid_share=None if found is None else found.valid_px / found.pixels,
        class_share={} if found is None else {entry.name: found.share(entry.id) for entry in legend.classes},
    )


def _remove_others(layout: Layout, outputs: list[Path]) -> None:
    """Delete what an earlier run published and this one does not; files of any other name are left alone."""
    folders = [path for path in (layout.root / "scenes").glob("*") if path.is_dir() and not path.is_symlink()]
    ours = {folder / name for folder in folders for name in scene_files(tuple(KINDS))}
    try:
        earlier = manifest.read(layout.manifest)
    except manifest.ManifestDamagedError:
        earlier = None
    if earlier is not None:
        ours.add(layout.geopackage(earlier.workflow))
        ours |= {layout.layer(earlier.workflow, kind) for kind in SUFFIXES}
    atomic.remove(sorted(path for path in ours - set(outputs) if path.exists() or path.is_symlink()))
