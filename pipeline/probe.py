"""Probe: what one window of the model takes on this machine, seen by running a few."""

import time
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from rspipe.pipeline.checkup import peak_bytes
from rspipe.pipeline.engine import Model, open_model
from rspipe.pipeline.plan import RunPlan

_PROBES = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """What one window was seen to take in this process."""

    window_s: float
    """The quickest of a few."""
    window_flops: int
    process_bytes: int
    """Largest resident size of a process that has the model loaded and runs windows."""


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


def _seconds(model: Model, numbers: Tensor, present: Tensor) -> float:
    began_s = time.perf_counter()
    model.probabilities(numbers, present).sum().item()
    return time.perf_counter() - began_s
