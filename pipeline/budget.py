"""Budget: what a run takes, in room, memory and time; what cannot fit is refused before anything is computed."""

import shutil

from rspipe.pipeline.cluster import ClusterSpec, machine_bytes
from rspipe.pipeline.contract import ingested_bytes
from rspipe.pipeline.errors import EnvironmentFailedError
from rspipe.pipeline.grid import WindowGrid
from rspipe.pipeline.plan import PlannedScene, RunPlan
from rspipe.pipeline.rasters import channel_count
from rspipe.pipeline.source import READ_PX

_MIB = 2**20
_PACKED = 0.5
"""Of what is written, at least this much stays after compression."""


def disk_bytes(plan: RunPlan, planned: PlannedScene) -> int:
    """Return the bytes of a scene's working state before compression: bands, what is inferred, seam strips."""
    grid = planned.windows
    pixels = grid.height_px * grid.width_px
    strips = 2 * len(grid.seams(plan.band_rows)) * _channels(plan) * grid.overlap_px * grid.width_px * 4
    vectors = pixels
    return ingested_bytes(planned.match.bands, planned.match.grid) + _decided_bytes(plan) * pixels + strips + vectors


def floats_bytes(plan: RunPlan) -> int:
    """Return the most that a worker keeps of what is blended: a batch of windows, and what they owe to others."""
    return max((4 * _channels(plan) * _floats_px(plan, planned.windows) for planned in plan.scenes), default=0)


def worker_bytes(plan: RunPlan, process_bytes: int) -> int:
    """Return the most that an inferring worker holds: the process and its model, what is read, blended and decided."""
    bytes_held = (_read_bytes(plan, one.windows) + _waiting_bytes(plan, one.windows) for one in plan.scenes)
    return process_bytes + floats_bytes(plan) + max(bytes_held, default=0)


def check_fits(plan: RunPlan, process_bytes: int) -> None:
    """Refuse a run that cannot fit.

    Args:
        plan: of the run.
        process_bytes: what a worker holds before it is given anything, see `CheckUp`.

    Raises:
        EnvironmentFailedError: disk or memory cannot be enough; the message names what is needed and what there is.
    """
    root = next(path for path in (plan.layout.root, *plan.layout.root.parents) if path.exists())
    free, needed = shutil.disk_usage(root).free, sum(disk_bytes(plan, planned) for planned in plan.scenes)
    lying = sum(path.lstat().st_size for path in plan.layout.work.rglob("*")) if plan.layout.work.exists() else 0
    if needed * _PACKED > free + lying:
        raise EnvironmentFailedError(
            f"{plan.layout.root}: the working state takes {_mib(needed)} before compression, {_mib(free)} are free; "
            "free space, choose another --output, or run fewer scenes at a time"
        )
    limit, peak = plan.config.compute.memory_per_worker_bytes, worker_bytes(plan, process_bytes)
    if limit is not None and peak > limit:
        raise EnvironmentFailedError(
            f"compute.memory_per_worker: a worker needs some {_mib(peak)} ({_mib(process_bytes)} with the model "
            f"loaded, {_mib(floats_bytes(plan))} of blended windows), allowed are {_mib(limit)}; allow more, or choose "
            "a smaller infer.band_rows"
        )
    memory, cluster = machine_bytes(), plan.cluster
    if isinstance(cluster, ClusterSpec) and peak * cluster.workers > memory:
        raise EnvironmentFailedError(
            f"{cluster.workers} workers of some {_mib(peak)} each do not fit into this machine's {_mib(memory)}; use "
            "fewer (--workers)"
        )


def _floats_px(plan: RunPlan, grid: WindowGrid) -> int:
    """Windows of a batch; the right of one per window row, the bottom of a batch; a shard of each strip, twice."""
    batch, rows = plan.fingerprint.batch, min(plan.band_rows, grid.rows.count)
    owed = rows * grid.window_px + batch * grid.columns.stride_px
    return batch * grid.window_px**2 + grid.overlap_px * (owed + 4 * min(grid.shard_px[1], grid.width_px))


def _read_bytes(plan: RunPlan, grid: WindowGrid) -> int:
    """Numbers, bits and validity in the rows of a band; the columns before stay until the next are there."""
    bands, rows = len(plan.model.card.bands), min(plan.band_rows, grid.rows.count)
    height_px = rows * grid.rows.stride_px + grid.overlap_px
    width_px = READ_PX + grid.window_px + (plan.fingerprint.batch - 1) * grid.columns.stride_px
    return 2 * height_px * min(width_px, grid.width_px + grid.window_px) * (bands * 4 + 4 + 1)


def _waiting_bytes(plan: RunPlan, grid: WindowGrid) -> int:
    """What is decided in the rows of a band and waits for its shards to be full, then for them to be written."""
    rows_px = min(plan.band_rows, grid.rows.count) * grid.rows.stride_px + grid.overlap_px
    return 2 * rows_px * min(grid.shard_px[1], grid.width_px) * _decided_bytes(plan)


def _decided_bytes(plan: RunPlan) -> int:
    """Of one pixel: class, confidence and the rasters on request, one byte each; of the probabilities one per class."""
    return 2 + len(plan.rasters) + ("probabilities" in plan.rasters) * (len(plan.model.card.legend.classes) - 1)


def _channels(plan: RunPlan) -> int:
    return channel_count(len(plan.model.card.legend.classes), plan.rasters)


def _mib(count: int) -> str:
    return f"{count / _MIB:.0f} MiB"
