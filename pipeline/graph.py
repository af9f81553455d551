"""From a plan to tasks: what reads from what, and what each task's key is made of."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from typing import Any

from rspipe.catalogs.scene import Band, Grid, RasterBand, SimulatedBand
from rspipe.catalogs.simulation import VERSION as SIMULATION_VERSION
from rspipe.pipeline import inferjob, ingest, publish, vectorize
from rspipe.pipeline.inferjob import BandJob, SeamJob
from rspipe.pipeline.inferred import create_inferred
from rspipe.pipeline.ledger import InputDigests, Signature
from rspipe.pipeline.plan import PlannedScene, RunPlan
from rspipe.pipeline.rowblocks import row_blocks
from rspipe.pipeline.task import Stage, Task, digest_of, task_key
from rspipe.pipeline.vectorjob import VectorizeJob, VectorStep, strip_rows_px

_PUBLISH_IDENTITY = (publish.VERSION, version("rspipe"))
"""Rasters bear the name of the version that wrote them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SceneGraph:
    """All tasks of one scene; the last one publishes it."""

    planned: PlannedScene
    inputs: Mapping[str, str]
    """Band -> digest of what it is read from."""
    tasks: tuple[Task, ...]
    key: str
    """Digest of all that the scene's bytes hang on; how the work is cut into tasks is no part of it."""


def scene_graph(plan: RunPlan, planned: PlannedScene, digests: InputDigests) -> SceneGraph:
    """Build the tasks of one scene.

    Args:
        plan: of the run.
        planned: the scene.
        digests: of input files; those not seen before are read here.

    Raises:
        SceneFailedError: an input file cannot be read, or is being written.
    """
    read = [_read(band, digests) for band in planned.match.bands]
    inputs = {band.name: digest for band, (digest, _) in zip(planned.match.bands, read, strict=True)}
    build = _Build(plan, planned)
    ingested = list(build.ingest(inputs, tuple(signature for _, signature in read)))
    inferred = list(build.infer(ingested))
    vectors = list(build.vectorize(inferred))
    published = build.publish([*ingested, *inferred, *vectors])
    tasks = (*ingested, *inferred, *vectors, published)
    return SceneGraph(planned=planned, inputs=inputs, tasks=tasks, key=build.key(inputs))


def lay_out(plan: RunPlan, planned: PlannedScene) -> None:
    """Create the arrays that a scene's tasks write into; those of an earlier run with the same layout stay."""
    layout, slug = plan.layout, planned.scene.slug
    ingest.create(layout.bands(slug), planned.match.bands, planned.match.grid)
    path = layout.inferred(slug, plan.model.slug)
    create_inferred(path, planned.match.grid, planned.windows, plan.model.card.legend, plan.rasters)


def _read(band: Band, digests: InputDigests) -> tuple[str, Signature | None]:
    match band.origin:
        case RasterBand(path=path):
            found = digests.digest(path)
            return found.sha256, found.signature
        case SimulatedBand(spec=spec, channel=channel):
            return digest_of([SIMULATION_VERSION, asdict(spec), channel]), None


def _grid_identity(grid: Grid) -> list[object]:
    return [grid.crs_wkt, list(grid.transform)[:6], grid.height_px, grid.width_px]


def _band_identity(band: Band, digest: str) -> list[object]:
    """What of a band changes the numbers that are stored: never its path."""
    where: object = band.origin.index if isinstance(band.origin, RasterBand) else band.origin.channel
    conversion = [type(band.conversion).__name__, asdict(band.conversion)]
    fills = sorted(repr(fill) for fill in band.fills)
    return [band.name, digest, where, band.dtype, band.unit.value, conversion, fills, _grid_identity(band.grid)]


class _Build:
    """Builds the tasks of one scene, stage by stage."""

    def __init__(self, plan: RunPlan, planned: PlannedScene) -> None:
        self._plan, self._planned = plan, planned
        self._slug, self._scene_id = planned.scene.slug, planned.scene.id
        self._bands, self._grid = planned.match.bands, planned.match.grid
        self._row_of: dict[str, slice] = {}

    def key(self, inputs: Mapping[str, str]) -> str:
        """Return the scene's key."""
        return digest_of(
            [
                self._slug,
                self._ingest_identity(inputs),
                self._infer_identity(),
                self._vectorize_identity(),
                _PUBLISH_IDENTITY,
            ]
        )

    def ingest(self, inputs: Mapping[str, str], signatures: tuple[Signature | None, ...]) -> Iterator[Task]:
        identity = self._ingest_identity(inputs)
        step = ingest.rows_per_task_px(self._bands, self._grid)
        for rows in row_blocks(self._grid.height_px, step):
            job = ingest.IngestJob(
                scene_id=self._scene_id,
                bands=self._bands,
                signatures=signatures,
                grid=self._grid,
                first_row=rows.start,
                stop_row=rows.stop,
                path=self._plan.layout.bands(self._slug),
            )
            what = [*identity, rows.start, rows.stop]
            task = self._task("ingest", f"rows {rows.start}..{rows.stop}", (), what, job)
            self._row_of[task.key] = rows
            yield task

    def infer(self, ingested: Sequence[Task]) -> Iterator[Task]:
        bands: list[Task] = []
        common = self._infer_job()
        for band in self._planned.windows.bands(self._plan.band_rows):
            reads = [self._planned.windows.rows.extent(row) for row in band.window_rows]
            needs = [task.key for task in ingested if any(_meet(self._row_of[task.key], rows) for rows in reads)]
            job = BandJob(**common, card=self._plan.model.path, fingerprint=self._plan.fingerprint, band=band.index)
            what = [*self._infer_identity(), self._plan.band_rows, band.index]
            bands.append(self._task("infer", f"band {band.index}", needs, what, job))
        yield from bands
        required = tuple(band.name for band in self._plan.model.card.bands if band.required)
        for seam in self._planned.windows.seams(self._plan.band_rows):
            needs = [bands[index].key for index in seam.bands]
            seam_job = SeamJob(**common, required=required, seam=seam.index)
            yield self._task("seam", f"seam {seam.index}", needs, [inferjob.VERSION, seam.index], seam_job)

    def vectorize(self, inferred: Sequence[Task]) -> Iterator[Task]:
        settings, card = self._plan.config.vectorize, self._plan.model.card
        job = VectorizeJob(
            scene=self._slug,
            scene_id=self._scene_id,
            acquired_at=self._planned.scene.acquired_at,
            model_id=card.model_id,
            grid=self._grid,
            inferred=self._plan.layout.inferred(self._slug, self._plan.model.slug),
            vectors=self._plan.layout.vectors(self._slug, self._plan.model.slug),
            legend=card.legend,
            polygon_classes=self._plan.polygon_classes,
            minimum_area_m2=settings.minimum_area_m2,
            class_minimums_m2=self._plan.class_minimums_m2,
            by_probability=settings.into == "most probable",
            fill_below_m2=settings.fill_below_m2,
            tolerance_m=settings.tolerance_m,
            smooth=settings.smooth,
            max_vertices=settings.max_vertices,
            rasters=self._plan.rasters,
            strip_rows_px=strip_rows_px(self._grid.width_px, self._planned.windows.shard_px[0]),
        )
        done = list(inferred)
        for together in vectorize.steps(job):
            needs = [task.key for task in done]
            tasks = [self._vector_task(step, needs) for step in together]
            done += tasks
            yield from tasks

    def _vector_task(self, step: VectorStep, needs: Sequence[str]) -> Task:
        whole = step.step in {"sieve", "polygons"}
        label = step.step if whole else f"{step.step} of strip {step.strip}"
        known = self._vectorize_identity() if step.step == "polygons" else self._coverage_identity()
        what = [*known, step.step, step.strip, step.job.strip_rows_px]
        return self._task("vectorize", label, needs, what, step)

    def publish(self, read: Sequence[Task]) -> Task:
        """The rasters come from infer and vectorize, the quicklook's picture from ingest."""
        job = publish.PublishSceneJob(
            root=self._plan.layout.root,
            scene=self._slug,
            scene_id=self._scene_id,
            acquired_at=self._planned.scene.acquired_at,
            model=self._plan.model.slug,
            model_id=self._plan.model.card.model_id,
            grid=self._grid,
            bands=tuple(band.name for band in self._bands),
            legend=self._plan.model.card.legend,
            polygon_classes=self._plan.polygon_classes,
            rasters=self._plan.rasters,
            extras=self._plan.extras,
        )
        return self._task("publish", "files", [task.key for task in read], [_PUBLISH_IDENTITY, self._slug], job)

    def _infer_job(self) -> dict[str, Any]:
        """What bands and seams have in common; the job models check the types."""
        layout, model = self._plan.layout, self._plan.model.slug
        return {
            "scene": self._slug,
            "bands": layout.bands(self._slug),
            "inferred": layout.inferred(self._slug, model),
            "strips": layout.strips(self._slug, model),
            "grid": self._planned.windows,
            "band_rows": self._plan.band_rows,
            "rasters": self._plan.rasters,
        }

    def _ingest_identity(self, inputs: Mapping[str, str]) -> list[object]:
        bands = [_band_identity(band, inputs[band.name]) for band in self._bands]
        return [ingest.VERSION, _grid_identity(self._grid), bands]

    def _infer_identity(self) -> list[object]:
        """The card's digest covers the weights, normalisation and temperature."""
        return [
            inferjob.VERSION,
            self._plan.model.card.digest,
            self._plan.fingerprint.model_dump(),
            asdict(self._planned.windows),
            list(self._plan.rasters),
        ]

    def _coverage_identity(self) -> list[object]:
        """What decides the faces and their borders."""
        settings = self._plan.config.vectorize
        areas_m2 = [settings.minimum_area_m2, self._plan.class_minimums_m2, settings.fill_below_m2]
        return [vectorize.VERSION, asdict(self._plan.model.card.legend), areas_m2, settings.into, settings.max_vertices]

    def _vectorize_identity(self) -> list[object]:
        attributes = [self._scene_id, str(self._planned.scene.acquired_at), self._plan.polygon_classes]
        settings = self._plan.config.vectorize
        return [*self._coverage_identity(), *attributes, settings.tolerance_m, settings.smooth]

    def _task(self, stage: Stage, label: str, needs: Sequence[str], identity: object, job: object) -> Task:
        key = task_key(stage, self._slug, needs, identity)
        return Task(key=key, stage=stage, scene=self._slug, label=label, inputs=tuple(needs), job=job)


def _meet(one: slice, other: slice) -> bool:
    return bool(one.start < other.stop and other.start < one.stop)
