"""What a training step costs beside a plain loop over the same model, with the same batches ready in memory.

    OMP_NUM_THREADS=1 python -m bench.train ../workflows/train_cloud_thickness.yaml --pairs 9 --steps 10

Both take the same steps in turn; which goes first changes from pair to pair. The plain loop is AdamW and nothing else:
no crops, no augmentation, no Lookahead, no average, no clipping, no log. Printed are the median ratio of wall times
with its quartiles, and that of CPU times: while a core is free, the feed works beside the step and costs no wall time.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from itertools import islice
from pathlib import Path

import torch

from rspipe.models.build import build
from rspipe.models.feed import Batch
from rspipe.models.train import Trainer
from rspipe.pipeline.devices import devices_of
from rspipe.pipeline.train import simulated_patches
from rspipe.pipeline.training import load_training


def plain_loop(trainer: Trainer, batches: list[Batch], model: torch.nn.Module) -> Callable[[], None]:
    """Return a function that takes one plain step per batch."""
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=True)
    model.train()

    def steps() -> None:
        for batch in batches:
            loss = trainer.criterion(model(batch.image, batch.valid), batch.labels).total
            optimiser.zero_grad(set_to_none=True)
            torch.autograd.backward(loss)
            optimiser.step()

    return steps


def seconds(work: Callable[[], object], device: torch.device) -> tuple[float, float]:
    """Return wall and CPU seconds of some work."""
    wall_s, cpu_s = time.perf_counter(), time.process_time()
    work()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - wall_s, time.process_time() - cpu_s


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", type=Path)
    parser.add_argument("--pairs", type=int, default=9)
    parser.add_argument("--steps", type=int, default=10)
    given = parser.parse_args()
    steps = 2 + given.pairs * given.steps
    changes = [
        "data={train: [none], pixel_m: 30.0}",
        "folds=null",
        "simulated.patches=16",
        "recipe.feed.simulated_steps=0",
    ]
    config = load_training(given.config, settings=[*changes, "recipe.feed.simulated_share=1.0"])
    torch.set_num_threads(config.threads)
    recipe = config.recipe.model_copy(
        update={"optimiser": config.recipe.optimiser.model_copy(update={"steps": max(steps, 100)})}
    )
    device = torch.device(devices_of(config.devices, recipe.feed.batch)[0])
    trainer = recipe.trainer([], simulated_patches(config), device=str(device))
    batches = [trainer.feed.batch(step).to(device) for step in range(given.steps)]
    plain = plain_loop(trainer, batches, build(recipe.model, recipe.seed).to(device))
    running = trainer.run()
    list(islice(running, 2))
    plain()
    ratios: list[tuple[float, float]] = []
    for pair in range(given.pairs):
        works: list[Callable[[], object]] = [lambda: list(islice(running, given.steps)), plain]
        order = works if pair % 2 == 0 else works[::-1]
        times = {work is plain: seconds(work, device) for work in order}
        ratios.append((times[False][0] / times[True][0], times[False][1] / times[True][1]))
        ours_s, plain_s = (times[kind][0] / given.steps for kind in (False, True))
        print(f"pair {pair}: ours {ours_s:.3f} s a step, plain {plain_s:.3f} s")
    for name, column in zip(("wall", "cpu"), zip(*ratios, strict=True), strict=True):
        low, middle, high = statistics.quantiles(column, n=4)
        print(f"{name}: {middle:.3f} times the plain loop (quartiles {low:.3f} to {high:.3f}, {len(column)} pairs)")


if __name__ == "__main__":
    main()
