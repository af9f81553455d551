"""From an architecture spec to a model."""

import torch

from rspipe.models.bicor import BiCoR
from rspipe.models.d2ls import D2LS
from rspipe.models.ktda import KTDA
from rspipe.models.plain import Plain
from rspipe.models.segmenter import Segmenter
from rspipe.models.specs import ModelSpec


def build(spec: ModelSpec, seed: int = 0) -> Segmenter:
    """Build the model with weights drawn from the seed; the global random state is left as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return _built(spec)


def _built(spec: ModelSpec) -> Segmenter:
    if spec.name == "bicor":
        return BiCoR(spec)
    if spec.name == "ktda":
        return KTDA(spec)
    return Plain(spec) if spec.dictionary == "none" else D2LS(spec)
