"""Peak memory of each stage's worker on simulated scenes of growing size, and the windows inferred.

    python -m bench.memory --side 2048 --side 8192

Every stage runs in one fresh Dask worker of its own, all of its tasks one after another. Printed are the worker's peak
resident size, its ratio to the first side, what the idle worker held, and the counts of infer beside the grid's.
8192 takes some 20 minutes.
"""

import argparse
import json
import os
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rspipe.pipeline.cluster import ClusterSpec, open_cluster, worker_environment
from rspipe.pipeline.task import STAGES, Stage
from rspipe.pipeline.worker import Failed, work

if TYPE_CHECKING:
    from rspipe.pipeline.graph import SceneGraph

WORKFLOW = Path(__file__).parents[2] / "workflows" / "cloud_thickness.yaml"
MIB = 2**20


def peak_bytes() -> int:
    """Return the largest resident size that this process has had; `ru_maxrss` would begin with its parent's."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmHWM"))


def prepare(side_px: int, output: Path, width_px: int | None = None, more: Sequence[str] = ()) -> "SceneGraph":
    """Plan a simulated scene, square if no width is given; imported here, so that no worker inherits what it loads."""
    os.environ.update(worker_environment(threads=1))
    from rspipe.pipeline.graph import lay_out
    from rspipe.pipeline.ledger import InputDigests
    from rspipe.pipeline.plan import plan_run
    from rspipe.pipeline.run import graphs_of
    from rspipe.pipeline.workflow import Overrides, load_workflow

    settings = (f"scenes.simulated.height_px={side_px}", f"scenes.simulated.width_px={width_px or side_px}", *more)
    plan = plan_run(load_workflow(WORKFLOW, Overrides(settings=settings, output=output)))
    graph = graphs_of(plan, InputDigests(plan.layout.inputs))[1][0]
    lay_out(plan, graph.planned)
    return graph


def run_stage(graph: "SceneGraph", stage: Stage, root: Path) -> tuple[int, int, float, Counter[str]]:
    """Run one stage in a fresh worker; return its idle and peak bytes, its seconds and its counts."""
    counts: Counter[str] = Counter()
    with open_cluster(ClusterSpec(workers=1, threads=1, memory_bytes=None)) as client:
        (idle,) = client.run(peak_bytes).values()
        start_s = time.perf_counter()
        for task in graph.tasks:
            if task.stage == stage:
                outcome = client.submit(work, task, root, [], pure=False).result()
                if isinstance(outcome, Failed):
                    raise SystemExit(outcome.reason)
                counts.update(outcome.counts)
        elapsed_s = time.perf_counter() - start_s
        (peak,) = client.run(peak_bytes).values()
    return idle, peak, elapsed_s, counts


def main() -> None:
    """Measure every stage at every side."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--side", type=int, action="append", required=True, help="side in pixels; repeatable")
    parser.add_argument("--width", type=int, help="of all scenes, which then are as high as --side says")
    given = parser.parse_args()
    first: dict[Stage, int] = {}
    print(f"{'side':>6} {'stage':>10} {'idle MiB':>9} {'peak MiB':>9} {'ratio':>6} {'seconds':>8}")
    for side_px in given.side:
        with tempfile.TemporaryDirectory() as folder:
            graph = prepare(side_px, Path(folder), given.width)
            for stage in STAGES:
                idle, peak, elapsed_s, counts = run_stage(graph, stage, Path(folder))
                ratio = peak / first.setdefault(stage, peak)
                sizes = f"{idle / MIB:>9.0f} {peak / MIB:>9.0f} {ratio:>6.2f} {elapsed_s:>8.1f}"
                print(f"{side_px:>6} {stage:>10} {sizes}", flush=True)
                if stage == "infer":
                    print(f"       counted {json.dumps(counts)}, grid {json.dumps(graph.planned.cost)}", flush=True)


if __name__ == "__main__":
    main()
