"""The run: the only room that knows the order of the stages, from a plan to published files."""

import contextlib
import json
import shutil
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from rspipe.catalogs.files import RefusedScene
from rspipe.pipeline import atomic, manifest
from rspipe.pipeline.budget import check_fits
from rspipe.pipeline.checkup import peak_bytes
from rspipe.pipeline.cluster import AddressSpec, ClusterSpec, losses_told, open_cluster
from rspipe.pipeline.config import WorkflowConfig
from rspipe.pipeline.errors import EnvironmentFailedError, ModelRefusedError, SceneFailedError
from rspipe.pipeline.execute import Agenda, agenda, execute
from rspipe.pipeline.graph import SceneGraph, lay_out, scene_graph
from rspipe.pipeline.ledger import InputDigests, Ledger, sweep_partials
from rspipe.pipeline.lock import locked
from rspipe.pipeline.manifest import Manifest, PublishedModel, PublishedScene
from rspipe.pipeline.plan import RunPlan, as_begun, compiling_told, decide_arithmetic, plan_run
from rspipe.pipeline.progress import Progress
from rspipe.pipeline.publish import PublishRunRequest, SceneOutcome, publish_run
from rspipe.pipeline.rollcall import roll_call
from rspipe.pipeline.task import STAGES, Stage, Task, digest_of
from rspipe.pipeline.worker import Failed

_FATAL = {EnvironmentFailedError.exit_code: EnvironmentFailedError, ModelRefusedError.exit_code: ModelRefusedError}


def run(
    config: WorkflowConfig, *, fresh: bool, retry_failed: bool, progress: Progress, cluster: ClusterSpec | None = None
) -> int:
    """Run a workflow and return its exit code: 0 when all scenes are published, 3 when some are not.

    Args:
        config: the workflow.
        fresh: forget earlier work on this output.
        retry_failed: try scenes again that failed before.
        progress: where to tell of it.
        cluster: who computes; None: as `compute` in the workflow says.

    Raises:
        PipelineError: the run could not be finished; what is done stays and is not done again.
    """
    compiling_told(config, progress)
    plan = decide_arithmetic(plan_run(config, anew=fresh))
    with atomic.writing(plan.layout.root), locked(plan.layout.lock):
        if fresh:
            _forget(plan)
        atomic.sweep(plan.layout.root)
        sweep_partials([plan.layout.work])
        plan.checkup.keep(plan.layout.checkup)
        plan = as_begun(plan)
        progress.log_to(plan.layout.log)
        if plan.parity is not None:
            (progress.note if plan.parity.holds else progress.warn)(str(plan.parity))
        return _Run(
            plan, progress, cluster or plan.cluster, retry_failed=retry_failed and not fresh, trust_published=not fresh
        ).carry_out()


def run_id(plan: RunPlan, keys: Mapping[str, str]) -> str:
    """Return the digest of everything that a run's published bytes hang on."""
    refused = [[scene.slug, plan.portable(scene.reason)] for scene in plan.refused]
    return digest_of([plan.config.identity(), plan.model.card.digest, dict(keys), refused])


def graphs_of(plan: RunPlan, digests: InputDigests) -> tuple[RunPlan, list[SceneGraph]]:
    """Build the tasks of all scenes; reads the input files whose digests are not remembered.

    Returns:
        The plan, in which scenes whose files cannot be read are refused, and the tasks of each of the others.
    """
    graphs, refused = [], list(plan.refused)
    for planned in plan.scenes:
        try:
            graphs.append(scene_graph(plan, planned, digests))
        except SceneFailedError as error:
            refused.append(RefusedScene(id=planned.scene.id, slug=planned.scene.slug, reason=str(error)))
    return replace(plan, scenes=tuple(graph.planned for graph in graphs), refused=tuple(refused)), graphs


@dataclass(slots=True)
class _Tally:
    """What the scenes' tasks counted, and which scenes failed."""

    counts: dict[str, Counter[str]] = field(default_factory=dict)
    failures: dict[str, Failed] = field(default_factory=dict)

    def add(self, task: Task, counts: Mapping[str, int | float]) -> None:
        named = {f"{task.stage}.{name}": count for name, count in counts.items()}
        self.counts.setdefault(task.scene, Counter()).update(named)


class _Run:
    """One run that holds the lock of its output folder."""

    def __init__(
        self,
        plan: RunPlan,
        progress: Progress,
        cluster: ClusterSpec | AddressSpec,
        *,
        retry_failed: bool,
        trust_published: bool,
    ) -> None:
        digests = InputDigests(plan.layout.inputs)
        plan, self._graphs = graphs_of(plan, digests)
        digests.save()
        self._plan, self._progress, self._cluster = plan, progress, cluster
        self._ledger = Ledger(plan.layout.root, plan.layout.ledger)
        self._earlier = self._read_manifest() if trust_published else None
        self._retry_failed = retry_failed
        self._run_id = run_id(plan, {graph.planned.scene.slug: graph.key for graph in self._graphs})

    def carry_out(self) -> int:
        settled = self._settled()
        todo = [graph for graph in self._graphs if graph.planned.scene.slug not in settled]
        if self._earlier is not None and self._is_current(self._earlier, todo):
            self._progress.note(f"nothing to do: {self._plan.layout.root} holds this run already ({self._run_id[:12]})")
            self._warn_of_failures(self._earlier, told=())
            return self._exit_code(self._earlier)
        atomic.write_text(self._plan.layout.config, json.dumps(self._plan.config.resolved(), indent=1) + "\n")
        tally = self._work(todo)
        published = publish_run(self._request(settled, tally))
        self._plan.layout.band_rows.unlink(missing_ok=True)
        self._report(published, tally)
        return self._exit_code(published)

    def _settled(self) -> dict[str, PublishedScene]:
        """Scenes that an earlier run has published (or failed) with the same key, and whose files still hold."""
        if self._earlier is None:
            return {}
        keys = {graph.planned.scene.slug: graph.key for graph in self._graphs}
        gone = set(self._earlier.unmet(self._plan.layout.root))
        settled = {}
        for scene in self._earlier.scenes:
            same = keys.get(scene.slug) == scene.key
            whole = not any(path.startswith(f"scenes/{scene.slug}/") for path in gone)
            if same and whole and (scene.status == "published" or not self._retry_failed):
                settled[scene.slug] = scene
        return settled

    def _is_current(self, earlier: Manifest, todo: Sequence[SceneGraph]) -> bool:
        if todo or earlier.run_id != self._run_id:
            return False
        return not any(True for _ in earlier.unmet(self._plan.layout.root))

    def _work(self, todo: Sequence[SceneGraph]) -> _Tally:
        tally = _Tally()
        tasks = [task for graph in todo for task in graph.tasks]
        plan = agenda(tasks, [graph.tasks[-1].key for graph in todo], self._ledger)
        pending = {task.key for task in plan.pending}
        for task in tasks:
            if task.key not in pending:
                tally.add(task, self._ledger.counts(task.key))
        if plan.pending:
            check_fits(self._plan, max(self._plan.checkup.process_bytes, peak_bytes()))
            atomic.write_text(self._plan.layout.band_rows, f"{self._plan.band_rows}\n")
            waiting = {task.scene for task in plan.pending}
            for graph in todo:
                if graph.planned.scene.slug in waiting:
                    lay_out(self._plan, graph.planned)
            self._execute(plan, tally)
        return tally

    def _execute(self, plan: Agenda, tally: _Tally) -> None:
        layout, cluster = self._plan.layout, self._cluster
        with (
            _bars(self._progress, plan.pending) as advance,
            open_cluster(cluster) as client,
            roll_call(client, layout.work, cluster.threads) as terms,
            losses_told(client, self._progress.warn),
        ):
            for task, outcome in execute(client, layout.root, plan, terms):
                advance(task.stage, 0.0 if isinstance(outcome, Failed) else outcome.busy_s)
                if not isinstance(outcome, Failed):
                    tally.add(task, outcome.counts)
                elif outcome.exit_code in _FATAL:
                    raise _FATAL[outcome.exit_code](outcome.reason)
                elif task.scene not in tally.failures:
                    tally.failures[task.scene] = outcome
                    self._progress.warn(outcome.reason)
                    self._progress.detail(outcome.details)

    def _request(self, settled: Mapping[str, PublishedScene], tally: _Tally) -> PublishRunRequest:
        plan, card = self._plan, self._plan.model.card
        outcomes = [_outcome(graph, settled, tally) for graph in self._graphs]
        outcomes += [_refusal(refused) for refused in plan.refused]
        outcomes = [replace(outcome, reason=plan.portable(outcome.reason)) for outcome in outcomes]
        return PublishRunRequest(
            root=plan.layout.root,
            workflow=plan.config.name,
            run_id=self._run_id,
            config=plan.config.identity(),
            versions=manifest.installed_versions(),
            models=(_published_model(plan),),
            legend=card.legend,
            polygon_classes=plan.polygon_classes,
            output_crs=plan.config.output.crs,
            formats=plan.config.output.formats,
            rasters=plan.rasters,
            extras=plan.extras,
            scenes=tuple(outcomes),
        )

    def _read_manifest(self) -> Manifest | None:
        try:
            return manifest.read(self._plan.layout.manifest)
        except manifest.ManifestDamagedError as error:
            self._progress.warn(f"{error}")
            return None

    def _warn_of_failures(self, published: Manifest, told: Collection[str]) -> None:
        for scene in published.scenes:
            if scene.status == "failed" and scene.slug not in told:
                way_out = " (before; --retry-failed tries it again)" if scene.key else ""
                self._progress.warn(f"scene {scene.id!r} failed{way_out}: {scene.reason}")

    def _report(self, published: Manifest, tally: _Tally) -> None:
        self._warn_of_failures(published, tally.failures)
        done = sum(scene.status == "published" for scene in published.scenes)
        layer = self._plan.layout.geopackage(self._plan.config.name)
        self._progress.note(f"{done} of {len(published.scenes)} scenes published: {layer}")

    @staticmethod
    def _exit_code(published: Manifest) -> int:
        failed = any(scene.status == "failed" for scene in published.scenes)
        return SceneFailedError.exit_code if failed else 0


@contextlib.contextmanager
def _bars(progress: Progress, pending: Sequence[Task]) -> Iterator[Callable[[Stage, float], None]]:
    """Show one bar per stage while the tasks run; what is yielded takes stage and seconds of each task that is over."""
    waiting: Counter[Stage] = Counter(task.stage for task in pending)
    open_stages = [stage for stage in STAGES if waiting[stage]]
    for stage in open_stages:
        progress.start(stage, waiting[stage])

    def advance(stage: Stage, busy_s: float) -> None:
        progress.advance(stage, busy_s=busy_s)
        waiting[stage] -= 1
        if not waiting[stage]:
            open_stages.remove(stage)
            progress.finish(stage)

    try:
        yield advance
    finally:
        for stage in open_stages:
            progress.finish(stage)


def _outcome(graph: SceneGraph, settled: Mapping[str, PublishedScene], tally: _Tally) -> SceneOutcome:
    scene, earlier = graph.planned.scene, settled.get(graph.planned.scene.slug)
    failure = tally.failures.get(scene.slug)
    counts: Mapping[str, int | float] = tally.counts.get(scene.slug, {})
    return SceneOutcome(
        scene=scene.slug,
        scene_id=scene.id,
        key=graph.key if failure is None or failure.lasting else "",
        acquired_at=scene.acquired_at,
        reason=earlier.reason if earlier else failure.reason if failure else "",
        grid=graph.planned.match.grid,
        inputs=graph.inputs,
        counts=earlier.counts if earlier else {} if failure else dict(sorted(counts.items())),
    )


def _published_model(plan: RunPlan) -> PublishedModel:
    return PublishedModel(
        id=plan.model.card.model_id,
        sha256=plan.model.card.weights_sha256,
        precision=plan.fingerprint.precision,
        engine="compiled" if plan.fingerprint.is_compiled else "eager",
        agreement=plan.parity.share if plan.parity is not None and plan.parity.pixels else None,
    )


def _refusal(refused: RefusedScene) -> SceneOutcome:
    return SceneOutcome(
        scene=refused.slug,
        scene_id=refused.id,
        key="",
        acquired_at=None,
        reason=refused.reason,
        grid=None,
        inputs={},
        counts={},
    )


def _forget(plan: RunPlan) -> None:
    """Delete the working state, except for the lock that this run holds."""
    for path in plan.layout.work.iterdir():
        if path == plan.layout.lock:
            continue
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()
