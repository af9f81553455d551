"""Budget: what a run takes, in room, memory and time; what cannot fit is refused before anything is computed."""

import os
import shutil
import time
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from rspipe.pipeline.channels import Channels
from rspipe.pipeline.cluster import ClusterSpec
from rspipe.pipeline.contract import ingested_bytes
from rspipe.pipeline.engine import Model, open_model
from rspipe.pipeline.errors import EnvironmentFailedError
from rspipe.pipeline.grid import WindowGrid
from rspipe.pipeline.plan import PlannedScene, RunPlan
from rspipe.pipeline.swath import READ_PX

_MIB = 2**20
_PACKED = 0.5
"""Of what is written, at least this much stays after compression."""
_PROBES = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """What one window was seen to take in this process."""

    window_s: float
    """The quickest of a few."""
    window_flops: int
    process_bytes: int
    """Largest resident size of a process that has the model loaded and runs windows."""


def disk_bytes(plan: RunPlan, planned: PlannedScene) -> int:
    """Return the bytes of a scene's working state before compression: bands, what is inferred, seam strips."""
    grid, channels = planned.windows, _channels(plan)
    pixels = grid.height_px * grid.width_px
    inferred = 2 + len(plan.rasters) + ("probabilities" in plan.rasters) * (channels.classes - 1)
    strips = 2 * len(grid.seams(plan.band_rows)) * channels.count * grid.overlap_px * grid.width_px * 4
    vectors = pixels
    return ingested_bytes(planned.match.bands, planned.match.grid) + inferred * pixels + strips + vectors


def floats_bytes(plan: RunPlan) -> int:
    """Return the most that a worker keeps of what is blended: a batch of windows, and what they owe to others."""
    return max((4 * _channels(plan).count * _floats_px(plan, planned.windows) for planned in plan.scenes), default=0)


def worker_bytes(plan: RunPlan, process_bytes: int) -> int:
    """Return the most that an inferring worker holds: the process with its model, what is blended, and what is read."""
    read = max((_read_bytes(plan, planned.windows) for planned in plan.scenes), default=0)
    return process_bytes + floats_bytes(plan) + read


def probe(plan: RunPlan) -> Probe:
    """Run a few windows of the model in this process.

    Raises:
        ModelRefusedError: as in a run.
    """
    fingerprint, card = plan.fingerprint, plan.model.card
    torch.set_num_threads(fingerprint.threads)
    side = max((planned.windows.window_px for planned in plan.scenes), default=card.window_px)
    eager = open_model(plan.model.path, fingerprint.using(fingerprint.precision, "eager"), side)
    model = (
        open_model(plan.model.path, fingerprint, side, judging=plan.is_judging) if fingerprint.is_compiled else eager
    )
    means = torch.tensor([band.mean for band in card.bands], device=fingerprint.device).view(1, -1, 1, 1)
    numbers = means.expand(fingerprint.batch, -1, side, side).contiguous()
    present = torch.ones_like(numbers, dtype=torch.bool)
    with FlopCounterMode(display=False) as counter:
        eager.probabilities(numbers, present)
    taken = [_seconds(model, numbers, present) for _ in range(_PROBES)]
    return Probe(
        window_s=min(taken) / fingerprint.batch,
        window_flops=counter.get_total_flops() // fingerprint.batch,
        process_bytes=peak_bytes(),
    )


def check_fits(plan: RunPlan, process_bytes: int) -> None:
    """Refuse a run that cannot fit.

    Args:
        plan: of the run.
        process_bytes: what a worker holds before it is given anything, see `Probe`.

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
    memory, cluster = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"), plan.cluster
    if isinstance(cluster, ClusterSpec) and peak * cluster.workers > memory:
        raise EnvironmentFailedError(
            f"{cluster.workers} workers of some {_mib(peak)} each do not fit into this machine's {_mib(memory)}; use "
            "fewer (--workers)"
        )


def _floats_px(plan: RunPlan, grid: WindowGrid) -> int:
    """Windows of a batch; the right of one per window row, the bottom of a batch; a shard of two strips."""
    batch, rows = plan.fingerprint.batch, min(plan.band_rows, grid.rows.count)
    owed = rows * grid.window_px + batch * grid.columns.stride_px
    return batch * grid.window_px**2 + grid.overlap_px * (owed + 2 * min(grid.shard_px[1], grid.width_px))


def _read_bytes(plan: RunPlan, grid: WindowGrid) -> int:
    """Numbers, presence and validity in the rows of a band; the columns before stay until the next are there."""
    bands, rows = len(plan.model.card.bands), min(plan.band_rows, grid.rows.count)
    height_px = rows * grid.rows.stride_px + grid.overlap_px
    width_px = READ_PX + grid.window_px + (plan.fingerprint.batch - 1) * grid.columns.stride_px
    return 2 * height_px * min(width_px, grid.width_px + grid.window_px) * (bands * (4 + 1) + 4 + 1)


def _channels(plan: RunPlan) -> Channels:
    return Channels(len(plan.model.card.legend.classes), plan.rasters)


def _seconds(model: Model, numbers: Tensor, present: Tensor) -> float:
    began_s = time.perf_counter()
    model.probabilities(numbers, present).sum().item()
    return time.perf_counter() - began_s


def peak_bytes() -> int:
    """Return the largest resident size that this process has had; `ru_maxrss` would begin with its parent's."""
    try:
        status = Path("/proc/self/status").read_text(encoding="ascii")
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmHWM")), 0)


def _mib(count: int) -> str:
    return f"{count / _MIB:.0f} MiB"
