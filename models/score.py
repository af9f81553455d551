"""How a model does on labelled patches: confusion, and how well its probabilities are calibrated."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from rspipe.models.data import Patch
from rspipe.models.feed import collated
from rspipe.models.labels import IGNORE_ID
from rspipe.models.metrics import Confusion
from rspipe.models.normalise import Normaliser
from rspipe.models.predictor import reflected

TEMPERATURES = tuple(round(0.5 * 1.05**power, 4) for power in range(38))
"""0.5 to 3.04: the temperatures under which the likelihood is summed."""


@dataclass(frozen=True, slots=True, eq=False)
class Score:
    """Sums over pixels, so that scores of several folds add up."""

    confusion: Confusion
    surprise: NDArray[np.float64]
    """Per entry of `TEMPERATURES`, the sum of -log p(label) over all labelled pixels."""

    def __add__(self, other: "Score") -> "Score":
        return Score(self.confusion + other.confusion, self.surprise + other.surprise)

    @property
    def temperature(self) -> float:
        """The temperature under which the labels are likeliest."""
        return TEMPERATURES[int(self.surprise.argmin())]


def scored(model: nn.Module, patches: Sequence[Patch], normalise: Normaliser, classes: int) -> Score:
    """Predict every patch in one piece and compare; a pixel of which only a group is known is not scored."""
    total = Score(Confusion.empty(classes), np.zeros(len(TEMPERATURES)))
    for patch in patches:
        logits = predicted(model, patch, normalise)
        labels = collated([patch], normalise).labels
        labels = labels.masked_fill(labels >= classes, IGNORE_ID)
        confusion = Confusion.of(labels[0].numpy(), logits.argmax(dim=1)[0].numpy(), classes)
        total = total + Score(confusion, _surprise(logits, labels))
    return total


@torch.inference_mode()
def predicted(model: nn.Module, patch: Patch, normalise: Normaliser) -> Tensor:
    """Return the logits (1, N, H, W) of one patch on the CPU."""
    device = next(model.parameters()).device
    batch = collated([patch], normalise).to(device)
    logits: Tensor = model.eval()(reflected(batch.image), reflected(batch.valid)).logits
    height, width = patch.labels.shape
    return logits[..., :height, :width].float().cpu()


def _surprise(logits: Tensor, labels: Tensor) -> NDArray[np.float64]:
    sums = [
        functional.cross_entropy(logits / temperature, labels, ignore_index=IGNORE_ID, reduction="sum").item()
        for temperature in TEMPERATURES
    ]
    return np.array(sums)
