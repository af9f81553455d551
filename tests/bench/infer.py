"""What infer and blend cost beside the bare forward of the same windows, and beside MONAI's SlidingWindowInferer.

    OMP_NUM_THREADS=1 python -m bench.infer --side 4096 --pairs 7    # in tests/, like every bench

A simulated scene is ingested once. Then, pair by pair, its bands go through the engine (from the stored integers of the
first window to the last shard, seams included) and as many ready windows through the bare model, band by band in turn,
so that both see the same machine. Printed are the median ratios of wall and CPU seconds with their quartiles.

--monai adds MONAI on the same windows, from a normalised scene in memory to classes in memory (install `monai` by hand;
--no-pairs for it alone). Each of the two runs in a process of its own, in turn: ours with the variables that a worker
has, MONAI with those of the shell, as whoever uses it would start it; --alike gives it a worker's too. --compiled runs
ours as machine code, the bare model and MONAI as ever; --overlap another overlap than the card's, for all three.
--memory tells how far a fresh process with the model loaded grows, ours and MONAI's.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import cycle, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.memory import MIB, peak_bytes, prepare

from rspipe.pipeline.cluster import worker_environment

if TYPE_CHECKING:
    from torch import Tensor

    from rspipe.models.predictor import Predictor
    from rspipe.pipeline.engine import Model
    from rspipe.pipeline.inferjob import BandJob
    from rspipe.pipeline.task import Task

READY = 16
"""Different windows that the bare model is given in turn."""
Spent = tuple[float, float]
"""Wall and CPU seconds."""


def spent(work: Callable[[], object]) -> Spent:
    """Return what some work took."""
    wall_s, cpu_s = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - wall_s, time.process_time() - cpu_s


@dataclass(frozen=True, slots=True)
class Scene:
    """One ingested scene, its tasks, and the model."""

    inferring: "list[Task]"
    """Bands, then seams."""
    predictor: "Predictor"
    """Eager."""
    model: "Model"
    """What the engine runs."""
    windows: list[int]
    """How many windows of each task go through the model, once `warm_up` has counted them."""

    @classmethod
    def lay(cls, side_px: int, folder: Path, more: Sequence[str] = (), *, compiled: bool = False) -> "Scene":
        """Simulate and ingest a scene in this process."""
        graph = prepare(side_px, folder, more=more)
        import torch

        from rspipe.models.predictor import Predictor
        from rspipe.pipeline import ingest
        from rspipe.pipeline.engine import open_model
        from rspipe.pipeline.inferjob import InferJob

        torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
        for task in graph.tasks:
            if isinstance(task.job, ingest.IngestJob):
                ingest.run_ingest(task.job)
        inferring = [task for task in graph.tasks if isinstance(task.job, InferJob)]
        job = _first_band(inferring)
        predictor = Predictor.load(job.card, job.fingerprint.device)
        if not compiled:
            return cls(inferring, predictor, predictor, [])
        asked = job.fingerprint.using("float32", "compiled")
        return cls(inferring, predictor, open_model(job.card, asked, job.grid.window_px), [])

    def warm_up(self) -> None:
        """Run every task once."""
        self.windows.extend(self.carry_out(task) for task in self.inferring)

    def carry_out(self, task: "Task") -> int:
        """Run one task; return how many windows went through the model."""
        from rspipe.pipeline import infer
        from rspipe.pipeline.inferjob import BandJob, SeamJob

        if isinstance(task.job, BandJob):
            counts = infer.infer_band(task.job, self.model).counts
            return int(counts["windows"] - counts["skipped_windows"])
        if isinstance(task.job, SeamJob):
            infer.run_seam(task.job)
        return 0

    def ready(self) -> "list[tuple[Tensor, Tensor]]":
        """Return some windows of the scene as the bare model takes them."""
        import torch

        from rspipe.pipeline import infer
        from rspipe.pipeline.source import Source
        from rspipe.pipeline.swath import Swath

        job, card = _first_band(self.inferring), self.predictor.card
        source = Source.open(job.bands, [band.name for band in card.bands], infer.required_bands(self.predictor))
        found: list[tuple[Tensor, Tensor]] = []
        for row in range(job.grid.rows.count):
            swath = Swath(source, job.grid, range(row, row + 1), torch.device("cpu"))
            for stretch in swath.stretches(1):
                window = stretch.window(*stretch.columns)
                if not window.skipped and len(found) < READY:
                    batch = self.predictor._normalise(window.numbers[None], window.present[None])
                    found.append((batch.image, batch.valid))
        return found

    def bare(self, windows: "list[tuple[Tensor, Tensor]]", count: int) -> None:
        """Run the model and nothing else."""
        import torch

        with torch.inference_mode():
            for image, valid in islice(cycle(windows), count):
                self.predictor._model(image, valid, explain=False)


def _first_band(inferring: "list[Task]") -> "BandJob":
    from rspipe.pipeline.inferjob import BandJob

    return next(task.job for task in inferring if isinstance(task.job, BandJob))


def pair(scene: Scene, windows: "list[tuple[Tensor, Tensor]]", *, bare_first: bool) -> tuple[Spent, Spent]:
    """Run the engine and the bare model, task by task in turn; return both sums."""
    ours, bare = (0.0, 0.0), (0.0, 0.0)
    for task, count in zip(scene.inferring, scene.windows, strict=True):
        works: list[Callable[[], object]] = [partial(scene.carry_out, task), partial(scene.bare, windows, count)]
        times = [spent(work) for work in (works[::-1] if bare_first else works)]
        ours, bare = _plus(ours, times[bare_first]), _plus(bare, times[not bare_first])
    return ours, bare


def _plus(one: Spent, other: Spent) -> Spent:
    return one[0] + other[0], one[1] + other[1]


def monai_scene(scene: Scene) -> "Tensor":
    """Return the whole scene as MONAI is given it: (1, C + 1, H, W), normalised, its valid pixels last."""
    import numpy as np
    import torch

    from rspipe.pipeline import infer, store
    from rspipe.pipeline.source import Source

    job, card = _first_band(scene.inferring), scene.predictor.card
    source = Source.open(job.bands, [band.name for band in card.bands], infer.required_bands(scene.predictor))
    bits = torch.from_numpy(np.asarray(store.open_array(job.bands, store.VALIDITY)[...]).astype(np.int32))
    whole = torch.zeros((1, len(card.bands) + 1, *bits.shape))
    for index, band in enumerate(source.bands):
        if band is not None:
            stored = torch.from_numpy(np.asarray(band.array[:, :]).astype(np.float32))
            asked = card.bands[index]
            number = (stored * band.scale + band.offset - asked.mean) / asked.stddev
            whole[0, index] = torch.where((bits >> band.bit) & 1 == 1, number, 0)
    whole[0, -1] = (bits & source.required_mask) == source.required_mask
    return whole


def monai_classes(scene: Scene, whole: "Tensor") -> "Tensor":
    """Run MONAI's inferer over the same windows, with its Gaussian weights."""
    import torch
    from monai.inferers import SlidingWindowInferer  # type: ignore[import-not-found,attr-defined,unused-ignore]

    grid = _first_band(scene.inferring).grid

    def said(window: "Tensor") -> "Tensor":
        output: Any = scene.predictor._model(window[:, :-1], window[:, -1:] > 0, explain=False)
        return torch.softmax(output.logits / scene.predictor.card.temperature, dim=1)

    inferer = SlidingWindowInferer(
        roi_size=(grid.window_px, grid.window_px),
        sw_batch_size=1,
        overlap=grid.overlap_px / grid.window_px,
        mode="gaussian",
    )
    with torch.inference_mode():
        blended: Any = inferer(whole, said)
        classes: Tensor = blended.argmax(dim=1).to(torch.uint8)
        return classes


def told(name: str, ratios: list[Spent]) -> None:
    """Print the median of some ratios with its quartiles."""
    for clock, column in zip(("wall", "CPU"), zip(*ratios, strict=True), strict=True):
        low, middle, high = statistics.quantiles(column, n=4) if len(column) > 1 else (column[0],) * 3
        print(f"{name}, {clock}: {middle:.3f} (quartiles {low:.3f} to {high:.3f}, {len(column)} pairs)", flush=True)


def compare(scene: Scene, pairs: int) -> None:
    """Print the engine's times over those of the bare model."""
    windows = scene.ready()
    scene.warm_up()
    ratios = []
    for number in range(pairs):
        ours, bare = pair(scene, windows, bare_first=bool(number % 2))
        ratios.append((ours[0] / bare[0], ours[1] / bare[1]))
        each = f"ours {ours[0]:.2f} s ({ours[1]:.2f} CPU), bare {bare[0]:.2f} s ({bare[1]:.2f} CPU)"
        print(f"  {sum(scene.windows)} windows: {each}", flush=True)
    told("ours over the bare forward", ratios)


def compare_monai(scene: Scene, pairs: int, monai: "subprocess.Popen[str]") -> None:
    """Print the times of MONAI, which waits in another process, over the engine's."""
    ratios = []
    for _ in range(pairs):
        ours = spent(lambda: [scene.carry_out(task) for task in scene.inferring])
        other = asked(monai)
        ratios.append((other[0] / ours[0], other[1] / ours[1]))
        print(f"  ours {ours[0]:.2f} s ({ours[1]:.2f} CPU), MONAI {other[0]:.2f} s ({other[1]:.2f} CPU)", flush=True)
    told("MONAI over ours", ratios)
    monai.terminate()


def started_monai(*, alike: bool) -> "subprocess.Popen[str]":
    """Start a process that lays the same scene and runs MONAI whenever it reads a line; it has run it once."""
    environment = dict(os.environ)
    if not alike:
        threads = os.environ["OMP_NUM_THREADS"]
        for name in worker_environment(threads=int(threads)):
            environment.pop(name)
        environment["OMP_NUM_THREADS"] = threads
    command = [sys.executable, "-m", "bench.infer", *sys.argv[1:], "--waiting"]
    process = subprocess.Popen(command, env=environment, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    asked(process)
    return process


def asked(process: "subprocess.Popen[str]") -> Spent:
    """Let the other process run MONAI; return what that took."""
    if process.stdin is None or process.stdout is None:
        raise TypeError("the process was started without pipes")
    process.stdin.write("go\n")
    process.stdin.flush()
    wall_s, cpu_s = process.stdout.readline().split()
    return float(wall_s), float(cpu_s)


def wait_and_run(scene: Scene) -> None:
    """Run MONAI whenever a line comes in, and say what it took."""
    whole = monai_scene(scene)
    for _ in sys.stdin:
        print(*spent(lambda: monai_classes(scene, whole)), flush=True)


def grown(scene: Scene, *, monai: bool) -> None:
    """In a fresh process: run a window, then the scene; print by how much the peak rose."""
    windows = scene.ready()
    scene.bare(windows, 2)
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    idle = peak_bytes()
    if monai:
        monai_classes(scene, monai_scene(scene))
    else:
        for task in scene.inferring:
            scene.carry_out(task)
    name = "MONAI" if monai else "ours"
    print(f"{name}: idle {idle / MIB:.0f} MiB, peak {(peak_bytes() - idle) / MIB:.0f} MiB above it", flush=True)


def as_a_worker() -> None:
    """Begin anew with the variables of a worker; malloc reads its own at the start of a process only."""
    wanted = worker_environment(threads=int(os.environ.get("OMP_NUM_THREADS", "1")))
    if not wanted.items() <= os.environ.items():
        again = [sys.executable, "-m", "bench.infer", *sys.argv[1:]]
        raise SystemExit(subprocess.run(again, env={**os.environ, **wanted}, check=False).returncode)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--side", type=int, default=1024, help="of the scene, in pixels")
    parser.add_argument("--overlap", type=int, help="of windows, in pixels, instead of the card's")
    parser.add_argument("--pairs", type=int, default=7)
    parser.add_argument("--no-pairs", action="store_true", help="leave the bare forward out")
    parser.add_argument("--monai", action="store_true")
    parser.add_argument("--compiled", action="store_true", help="ours as machine code")
    parser.add_argument("--memory", action="store_true")
    parser.add_argument("--alike", action="store_true", help="MONAI with a worker's variables")
    parser.add_argument("--waiting", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--grown", choices=["ours", "MONAI"], help=argparse.SUPPRESS)
    given = parser.parse_args()
    if not given.waiting:
        as_a_worker()
    if given.memory:
        asked = [one for one in sys.argv[1:] if one != "--memory"]
        for name in ("ours", "MONAI") if given.monai else ("ours",):
            subprocess.run([sys.executable, "-m", "bench.infer", *asked, "--grown", name], check=True)
        return
    with tempfile.TemporaryDirectory() as folder:
        more = [] if given.overlap is None else [f"infer.overlap_px={given.overlap}"]
        scene = Scene.lay(given.side, Path(folder), more, compiled=given.compiled)
        if given.grown:
            grown(scene, monai=given.grown == "MONAI")
            return
        if given.waiting:
            wait_and_run(scene)
            return
        monai = started_monai(alike=given.alike) if given.monai else None
        if not given.no_pairs:
            compare(scene, given.pairs)
        if monai:
            compare_monai(scene, given.pairs, monai)


if __name__ == "__main__":
    main()
