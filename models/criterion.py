"""The training loss of a model: named terms and their weighted sum."""

from dataclasses import dataclass

import torch
from pydantic import Field
from torch import Tensor

from rspipe.models.dice import dice_loss
from rspipe.models.outputs import SegOutput
from rspipe.models.scatter import scatter_ratio
from rspipe.models.smooth_ce import Mean, smooth_cross_entropy
from rspipe.models.specs import StrictModel


class CriterionSpec(StrictModel):
    """Weights of the terms; the defaults are those of D2LS, but for the mean over labelled pixels only."""

    smoothing: float = Field(default=0.05, ge=0.0, lt=1.0)
    mean: Mean = "valid"
    dice: float = Field(default=1.0, ge=0.0)
    static: float = Field(default=0.4, ge=0.0)
    scatter: float = Field(default=1.0, ge=0.0)
    class_weights: tuple[float, ...] | None = None
    """How much a pixel of each class counts in the cross-entropies. None: all alike, as in the paper."""


@dataclass(frozen=True, slots=True)
class Loss:
    """What one batch costs."""

    total: Tensor
    """The weighted sum, to be differentiated."""
    terms: dict[str, Tensor]
    """Each term before its weight, detached, for the log."""


class Criterion:
    """CE + Dice of the logits, CE of every auxiliary branch, scatter ratio of every table. Always in float32."""

    def __init__(self, spec: CriterionSpec) -> None:
        self.spec = spec

    def __call__(self, output: SegOutput, labels: Tensor) -> Loss:
        """Return the loss of one batch.

        Args:
            output: what the model returned in training mode.
            labels: (B, H, W) int64 class ids, 255 is ignored.
        """
        spec = self.spec
        weighted = {"ce": (1.0, self._ce(output.logits, labels)), "dice": (spec.dice, dice_loss(output.logits, labels))}
        for name, logits in output.aux.items():
            weighted[f"{name}_ce"] = (spec.static, self._ce(logits, labels))
        for index, table in enumerate(output.tables):
            weighted[f"scatter{index or ''}"] = (spec.scatter, scatter_ratio(table))
        total = torch.stack([weight * term for weight, term in weighted.values()]).sum()
        return Loss(total, {name: term.detach() for name, (_, term) in weighted.items()})

    def _ce(self, logits: Tensor, labels: Tensor) -> Tensor:
        weights = None if self.spec.class_weights is None else logits.new_tensor(self.spec.class_weights)
        return smooth_cross_entropy(logits, labels, self.spec.smoothing, self.spec.mean, weights)
