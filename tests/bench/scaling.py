"""What a second worker brings: infer and seams of one scene on one and on two workers, beside the bare model.

    python -m bench.scaling --side 4096 --rounds 3

A simulated scene is ingested once. In every round one worker, then two, go through its windows, the bare model and the
engine in turn; workers are warm. Scaling is the time of one worker over that of two; ours over the bare model's says
what the engine loses beside what the machine itself loses (memory, heat, other work). Busy is the share of the stage's
time in which a worker computed, from Dask's task stream.
"""

import argparse
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from bench.memory import prepare

from rspipe.pipeline.cluster import ClusterSpec, open_cluster
from rspipe.pipeline.execute import Agenda, execute
from rspipe.pipeline.worker import Failed

if TYPE_CHECKING:
    from distributed import Client

    from rspipe.pipeline.graph import SceneGraph
    from rspipe.pipeline.task import Task

WORKERS = (1, 2)


@dataclass(frozen=True, slots=True)
class Round:
    """What one number of workers took."""

    ours_s: float
    bare_s: float
    busy: list[float]
    """Of each worker."""


def bare(card: Path, windows: int) -> None:
    """Run the bare model on as many windows, as a worker does it."""
    import torch

    from rspipe.models.predictor import Predictor

    predictor = Predictor.load(card)
    size = predictor.card.window_px
    generator = torch.Generator().manual_seed(0)
    image = torch.randn(1, len(predictor.card.bands), size, size, generator=generator)
    valid = torch.ones(1, 1, size, size, dtype=torch.bool)
    with torch.inference_mode():
        for _ in range(windows):
            predictor._model(image, valid, explain=False)


def carry_out(client: "Client", root: Path, tasks: "list[Task]") -> None:
    """Run tasks whose inputs outside of them are done already, under keys of their own: what is done is not redone."""
    prefix = f"{time.time_ns()}-"
    known = {task.key for task in tasks}
    pending = tuple(
        replace(task, key=prefix + task.key, inputs=tuple(prefix + key for key in task.inputs if key in known))
        for task in tasks
    )
    for _, outcome in execute(client, root, Agenda(done={}, pending=pending, states={})):
        if isinstance(outcome, Failed):
            raise SystemExit(outcome.reason)


def busy_shares(client: "Client", begun_s: float, ended_s: float) -> list[float]:
    """Return the share of some time in which each worker computed."""
    shares: dict[str, float] = {}
    records: Any = client.get_task_stream(start=begun_s, stop=ended_s)  # type: ignore[no-untyped-call] # not annotated
    for record in records:
        for part in record["startstops"]:
            if part["action"] == "compute":
                shares[record["worker"]] = shares.get(record["worker"], 0.0) + part["stop"] - part["start"]
    return [share / (ended_s - begun_s) for share in shares.values()]


def _on_each(client: "Client", names: list[str], card: Path, shares: list[int]) -> None:
    """Let every worker run the bare model on its share of the windows."""
    futures = [
        client.submit(bare, card, share, workers=[name], pure=False) for name, share in zip(names, shares, strict=True)
    ]
    for future in futures:
        future.result()


def measure(graph: "SceneGraph", root: Path, workers: int, windows: int) -> Round:
    """Run the engine and the bare model on so many fresh workers, warmed up."""
    tasks = [task for task in graph.tasks if task.stage in {"infer", "seam"}]
    card = next(task.job.card for task in tasks if task.stage == "infer")  # type: ignore[attr-defined] # a BandJob
    with open_cluster(ClusterSpec(workers=workers, threads=1, memory_bytes=None)) as client:
        names = list(client.scheduler_info()["workers"])
        client.get_task_stream()  # type: ignore[no-untyped-call] # begins to be kept with the first question
        shares = [windows // workers] * workers
        _on_each(client, names, card, [5] * workers)
        begun_s = time.time()
        _on_each(client, names, card, shares)
        bare_s = time.time() - begun_s
        carry_out(client, root, [task for task in tasks if task.stage == "infer"][:workers])
        begun_s = time.time()
        carry_out(client, root, tasks)
        ended_s = time.time()
        return Round(ended_s - begun_s, bare_s, busy_shares(client, begun_s, ended_s))


def main() -> None:
    """Measure, and print medians."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--side", type=int, default=4096, help="side of the scene in pixels")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        graph = prepare(options.side, root)
        with open_cluster(ClusterSpec(workers=2, threads=1, memory_bytes=None)) as client:
            carry_out(client, root, [task for task in graph.tasks if task.stage == "ingest"])
        windows = int(graph.planned.cost["windows"])
        found = [[measure(graph, root, workers, windows) for workers in WORKERS] for _ in range(options.rounds)]
    ours = sorted(one.ours_s / two.ours_s for one, two in found)
    model = sorted(one.bare_s / two.bare_s for one, two in found)
    ratios = sorted((one.ours_s / two.ours_s) / (one.bare_s / two.bare_s) for one, two in found)
    busy = [share for _, two in found for share in two.busy]
    print(f"{options.side} x {options.side}, {windows} windows, {options.rounds} rounds")
    print(
        f"scaling of ours {median(ours):.3f} ({ours[0]:.3f} to {ours[-1]:.3f}), of the bare model {median(model):.3f}"
    )
    print(f"ours over the bare model's {median(ratios):.3f} ({ratios[0]:.3f} to {ratios[-1]:.3f})")
    print(f"busy on two workers {median(busy):.3f} ({min(busy):.3f} to {max(busy):.3f})")


if __name__ == "__main__":
    main()
