"""Check: the same scenes inferred under several partitions, byte for byte, and how visible the windows are in them."""

import shutil
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from affine import Affine
from numpy.typing import NDArray

from rspipe.catalogs.legends import NODATA_ID
from rspipe.models.pyramid import FINEST_STRIDE_PX
from rspipe.pipeline import ingest, store
from rspipe.pipeline.cluster import ClusterSpec, open_cluster
from rspipe.pipeline.config import WorkflowConfig
from rspipe.pipeline.errors import EnvironmentFailedError, ModelRefusedError, SceneFailedError
from rspipe.pipeline.execute import Agenda, agenda, execute
from rspipe.pipeline.graph import lay_out, scene_graph
from rspipe.pipeline.inferjob import InferJob
from rspipe.pipeline.inferred import CLASSES, array_names, create_inferred
from rspipe.pipeline.layout import Layout
from rspipe.pipeline.ledger import InputDigests, Ledger
from rspipe.pipeline.lines import LineRates
from rspipe.pipeline.lock import locked
from rspipe.pipeline.partition import Difference, Partition, SceneSeams
from rspipe.pipeline.plan import PlannedScene, RunPlan, compiling_told, decide_arithmetic, plan_run
from rspipe.pipeline.progress import Progress
from rspipe.pipeline.rasters import CONFIDENCE_SCALE
from rspipe.pipeline.rowblocks import SHARD_PX, row_blocks
from rspipe.pipeline.task import STAGES, Task, digest_of
from rspipe.pipeline.worker import Failed

ROWS_PX = 512
"""Scene rows that are compared at a time."""
_FATAL = {EnvironmentFailedError.exit_code: EnvironmentFailedError, ModelRefusedError.exit_code: ModelRefusedError}


def check_seams(
    config: WorkflowConfig, asked: Sequence[Partition], progress: Progress, *, processes: bool = True
) -> list[SceneSeams]:
    """Infer the scenes of a workflow once per partition and compare; published files are not touched.

    Args:
        config: the workflow; room for its working state is taken below its output folder and given back.
        asked: the first one is what the others are compared with.
        progress: is told of every partition.
        processes: whether workers are processes of their own.

    Raises:
        PipelineError: a scene cannot be inferred at all.
    """
    layout = Layout(config.output_folder)
    room = layout.work / "check"
    with locked(layout.lock):
        shutil.rmtree(room, ignore_errors=True)
        try:
            return _Check(config, room, progress, processes=processes).run(asked)
        finally:
            shutil.rmtree(room, ignore_errors=True)


class _Check:
    """One check that holds the lock of the output folder."""

    def __init__(self, config: WorkflowConfig, room: Path, progress: Progress, *, processes: bool) -> None:
        output = config.output.model_copy(update={"folder": room})
        self._config = config.model_copy(update={"output": output})
        self._room, self._progress, self._processes = room, progress, processes
        self._digests = InputDigests(room / "inputs.json")
        compiling_told(self._config, progress)
        self._decided = decide_arithmetic(plan_run(self._config))

    def run(self, asked: Sequence[Partition]) -> list[SceneSeams]:
        plan = self._plan(asked[0])
        if plan.refused:
            raise SceneFailedError("\n".join(f"{scene.id}: {scene.reason}" for scene in plan.refused))
        for planned in plan.scenes:
            lay_out(plan, planned)
        return [self._scene(planned, asked) for planned in plan.scenes]

    def _plan(self, partition: Partition) -> RunPlan:
        return replace(self._decided, band_rows=partition.band_rows)

    def _scene(self, planned: PlannedScene, asked: Sequence[Partition]) -> SceneSeams:
        outcomes = [self._infer(planned, partition, str(index)) for index, partition in enumerate(asked)]
        names = array_names(self._config.infer.rasters)
        differences = [
            _difference(outcomes[0], outcome, names, partition)
            for outcome, partition in zip(outcomes, asked, strict=True)
        ]
        return SceneSeams(
            scene_id=planned.scene.id,
            pixels=planned.windows.height_px * planned.windows.width_px,
            differences=tuple(differences),
            lines=_line_rates(outcomes[0], planned.windows.rows.stride_px),
            shifted_share=self._shifted_share(planned, asked[0], outcomes[0]),
        )

    def _infer(self, planned: PlannedScene, partition: Partition, name: str, *, ingested: bool = False) -> Path:
        """Infer a scene under a partition and return where its classes lie; ingest runs once."""
        plan = self._plan(partition)
        inferred = self._room / planned.scene.slug / name
        create_inferred(inferred, planned.match.grid, planned.windows, plan.model.card.legend, plan.rasters)
        graph = scene_graph(plan, planned, self._digests)
        tasks = _moved(graph.tasks, inferred, ingested=ingested)
        self._execute(tasks, partition)
        return inferred

    def _execute(self, tasks: Sequence[Task], partition: Partition) -> None:
        root, compute = self._room, self._config.compute
        todo = agenda(tasks, [task.key for task in tasks], Ledger(root, Layout(root).ledger))
        if partition.last_first:
            todo = _turned_round(todo)
        spec = ClusterSpec(
            workers=partition.workers,
            threads=compute.threads,
            memory_bytes=compute.memory_per_worker_bytes,
            on_gpu=self._decided.fingerprint.device == "cuda",
            processes=self._processes,
        )
        with open_cluster(spec) as client:
            for _, outcome in execute(client, root, todo):
                if isinstance(outcome, Failed):
                    raise _FATAL.get(outcome.exit_code, SceneFailedError)(outcome.reason)
        self._progress.note(f"{partition}: inferred")

    def _shifted_share(self, planned: PlannedScene, partition: Partition, inferred: Path) -> float:
        """Infer the scene without its first T / 2 rows and columns, and compare away from the edges that mirror."""
        shift_px, margin_px = planned.windows.rows.stride_px // 2, planned.windows.window_px
        height_px, width_px = planned.windows.height_px - shift_px, planned.windows.width_px - shift_px
        if min(height_px, width_px) <= 2 * margin_px:
            return float("nan")
        shifted = _shifted(planned, shift_px)
        room = Layout(self._room)
        ingest.create(room.bands(shifted.scene.slug), shifted.match.bands, shifted.match.grid)
        for name in (*(band.name for band in shifted.match.bands), store.VALIDITY):
            _copy_shifted(room.bands(planned.scene.slug), room.bands(shifted.scene.slug), name, shift_px)
        other = self._infer(shifted, partition, "0", ingested=True)
        inner = slice(margin_px, height_px - margin_px), slice(margin_px, width_px - margin_px)
        return _changed_share(inferred, other, inner, shift_px)


def _shifted(planned: PlannedScene, shift_px: int) -> PlannedScene:
    """Return the scene without its first rows and columns."""
    height_px, width_px = planned.windows.height_px - shift_px, planned.windows.width_px - shift_px
    origin = Affine.translation(shift_px, shift_px)
    grid = replace(
        planned.match.grid,
        transform=planned.match.grid.transform @ origin,
        height_px=height_px,
        width_px=width_px,
    )
    return replace(
        planned,
        scene=replace(planned.scene, slug=f"{planned.scene.slug}-shifted"),
        match=replace(planned.match, grid=grid),
        windows=replace(planned.windows, height_px=height_px, width_px=width_px),
    )


def _moved(tasks: Sequence[Task], inferred: Path, *, ingested: bool) -> list[Task]:
    """Return the tasks up to inference, with another place for their results; without ingest where that is done."""
    keys = {task.key: digest_of([task.key, inferred.name]) for task in tasks if isinstance(task.job, InferJob)}
    strips = inferred.with_name(f"{inferred.name}-strips")
    moved = [] if ingested else [task for task in tasks if task.stage == "ingest"]
    kept = keys | {task.key: task.key for task in moved}
    for task in tasks:
        if isinstance(task.job, InferJob):
            job = task.job.model_copy(update={"inferred": inferred, "strips": strips})
            inputs = tuple(kept[key] for key in task.inputs if key in kept)
            moved.append(replace(task, key=keys[task.key], inputs=inputs, job=job))
    return moved


def _turned_round(todo: Agenda) -> Agenda:
    """Hand the tasks of each stage out from the last to the first."""
    pending = list(todo.pending)
    pending.reverse()
    pending.sort(key=lambda task: STAGES.index(task.stage))
    return replace(todo, pending=tuple(pending))


def _difference(first: Path, other: Path, names: Sequence[str], partition: Partition) -> Difference:
    changed_px, largest = 0, 0
    for one, two in zip(_blocks(first, names), _blocks(other, names), strict=True):
        changed_px += int((one != two).any(axis=0).sum())
        largest = max(largest, int(np.abs(one[1].astype(np.int16) - two[1]).max()))
    return Difference(partition=partition, changed_px=changed_px, largest_dp=largest / CONFIDENCE_SCALE)


def _blocks(inferred: Path, names: Sequence[str]) -> Iterator[NDArray[np.uint8]]:
    """Yield classes, confidence and what else is asked for, (planes, rows, columns), from top to bottom."""
    arrays = [store.open_array(inferred, name) for name in names]
    for rows in row_blocks(arrays[0].shape[0], ROWS_PX):
        planes = [np.asarray(array[..., rows, :]) for array in arrays]
        yield np.concatenate([plane.reshape(-1, *plane.shape[-2:]) for plane in planes])


def _line_rates(inferred: Path, stride_px: int) -> LineRates:
    rates, top_px = LineRates(), -1
    above: NDArray[np.uint8] | None = None
    for (classes,) in _blocks(inferred, (CLASSES,)):
        before = np.full_like(classes[:1], NODATA_ID) if above is None else above
        rates += LineRates.of(np.concatenate([before, classes]), top_px, stride_px, FINEST_STRIDE_PX)
        above, top_px = classes[-1:], top_px + len(classes)
    return rates


def _copy_shifted(source: Path, target: Path, name: str, shift_px: int) -> None:
    """Copy an array without its first rows and columns, whole shards at a time."""
    read, write = store.open_array(source, name), store.open_array(target, name, write=True)
    height_px, width_px = write.shape
    for rows in row_blocks(height_px, SHARD_PX):
        for cols in row_blocks(width_px, SHARD_PX):
            write[rows, cols] = read[
                rows.start + shift_px : rows.stop + shift_px, cols.start + shift_px : cols.stop + shift_px
            ]


def _changed_share(inferred: Path, shifted: Path, inner: tuple[slice, slice], shift_px: int) -> float:
    rows, cols = inner
    before, after = store.open_array(inferred, CLASSES), store.open_array(shifted, CLASSES)
    pairs = changes = 0
    for block in row_blocks(rows.stop - rows.start, ROWS_PX):
        some = slice(rows.start + block.start, rows.start + block.stop)
        one = np.asarray(after[some, cols])
        other = np.asarray(
            before[some.start + shift_px : some.stop + shift_px, cols.start + shift_px : cols.stop + shift_px]
        )
        valid = (one != NODATA_ID) & (other != NODATA_ID)
        pairs, changes = pairs + int(valid.sum()), changes + int((valid & (one != other)).sum())
    return changes / pairs if pairs else float("nan")
