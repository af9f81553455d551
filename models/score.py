"""How a model does on labelled patches that it is shown whole."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from operator import add

import torch
from torch import Tensor, nn

from rspipe.models.data import Patch
from rspipe.models.feed import collated
from rspipe.models.metrics import Confusion
from rspipe.models.normalise import Normaliser
from rspipe.models.predictor import reflected


@dataclass(frozen=True, slots=True, eq=False)
class Score:
    """One matrix per scene, so that scores of several folds add up and scenes can be drawn again."""

    scenes: Mapping[str, Confusion]

    def __add__(self, other: "Score") -> "Score":
        total = dict(self.scenes)
        for scene, confusion in other.scenes.items():
            total[scene] = total[scene] + confusion if scene in total else confusion
        return Score(total)

    @property
    def confusion(self) -> Confusion:
        """Of all scenes."""
        return reduce(add, self.scenes.values())


def scored(model: nn.Module, patches: Sequence[Patch], normalise: Normaliser, classes: int) -> Score:
    """Predict every patch in one piece and compare; a pixel of which only a group is known is not scored."""
    total = Score({})
    for patch in patches:
        labels = collated([patch], normalise).labels[0].numpy()
        guess = predicted(model, patch, normalise).argmax(dim=1)[0].numpy()
        total = total + Score({patch.scene: Confusion.of(labels, guess, classes)})
    return total


@torch.inference_mode()
def predicted(model: nn.Module, patch: Patch, normalise: Normaliser) -> Tensor:
    """Return the logits (1, N, H, W) of one patch on the CPU."""
    device = next(model.parameters()).device
    batch = collated([patch], normalise).to(device)
    logits: Tensor = model.eval()(reflected(batch.image), reflected(batch.valid)).logits
    height, width = patch.labels.shape
    return logits[..., :height, :width].float().cpu()
