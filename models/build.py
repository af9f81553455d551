"""From an architecture spec to a model."""

import torch

from rspipe.models.d2ls import D2LS
from rspipe.models.specs import ModelSpec


def build(spec: ModelSpec, seed: int = 0) -> D2LS:
    """Build the model with weights drawn from the seed; the global random state is left as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return D2LS(spec)
