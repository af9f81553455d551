"""The training loss of a model: named terms and their weighted sum."""

from collections.abc import Sequence
from dataclasses import dataclass
from types import MappingProxyType

import torch
from pydantic import Field
from torch import Tensor

from rspipe.models.align import resized
from rspipe.models.dice import dice_loss
from rspipe.models.distill import DistillSpec, Taught, distillation
from rspipe.models.outputs import SegOutput
from rspipe.models.scatter import scatter_ratio
from rspipe.models.smooth_ce import Mean, SmoothCE
from rspipe.models.specs import StrictModel


class CriterionSpec(StrictModel):
    """Weights of the terms; the defaults are those of D2LS, but for the mean over labelled pixels only."""

    smoothing: float = Field(default=0.05, ge=0.0, lt=1.0)
    mean: Mean = "valid"
    dice: float = Field(default=1.0, ge=0.0)
    aux: float = Field(default=0.4, ge=0.0)
    """Of the cross-entropy of every auxiliary branch."""
    aux_dice: float = Field(default=0.0, ge=0.0)
    """Of its Dice loss, which the text of D2LS has and the released code has not."""
    heat: float = Field(default=0.1, ge=0.0)
    """Of cross-entropy and Dice of every heatmap, resized to the labels."""
    scatter: float = Field(default=1.0, ge=0.0)
    """Of the scatter ratio of every table."""
    scatter_floor: float = Field(default=0.0, ge=0.0)
    """The smallest distance between classes that the ratio divides by."""
    distill: DistillSpec = DistillSpec()
    """Of the aligned maps against a teacher's, where there is one."""
    class_weights: tuple[float, ...] | None = None
    """How much a pixel of each class counts in the cross-entropies. None: all alike, as in the papers."""


PUBLISHED: MappingProxyType[str, CriterionSpec] = MappingProxyType(
    {
        "d2ls": CriterionSpec(),
        "bicor": CriterionSpec(scatter=0.1, scatter_floor=1e-4),
        "ktda": CriterionSpec(smoothing=0.0, dice=0.0),
    }
)
"""Name of an architecture -> the weights of its released code."""


@dataclass(frozen=True, slots=True)
class Loss:
    """What one batch costs."""

    total: Tensor
    """The weighted sum, to be differentiated."""
    terms: dict[str, Tensor]
    """Each term before its weight, detached, for the log."""


class Criterion:
    """The weighted sum of one term per thing that a model returns. Always in float32."""

    def __init__(self, spec: CriterionSpec, groups: Sequence[tuple[int, ...]] = ()) -> None:
        self.spec = spec
        self.groups = tuple(groups)
        self._ce = SmoothCE(spec.smoothing, spec.mean, spec.class_weights, self.groups)

    def __call__(self, output: SegOutput, labels: Tensor, taught: Taught | None = None) -> Loss:
        """Return the loss of one batch.

        Args:
            output: what the model returned in training mode.
            labels: (B, H, W) int64 class ids, and N, N + 1, ... for the groups; 255 is ignored.
            taught: what a teacher makes of the same images; None where there is no teacher.
        """
        spec = self.spec
        ce, dice = self._ce, self._dice
        weighted = {"ce": (1.0, ce(output.logits, labels)), "dice": (spec.dice, dice(output.logits, labels))}
        for name, logits in output.aux.items():
            weighted[f"{name}_ce"] = (spec.aux, ce(logits, labels))
            if spec.aux_dice:
                weighted[f"{name}_dice"] = (spec.aux_dice, dice(logits, labels))
        for index, heat in enumerate(output.heatmaps):
            logits = resized(heat.float(), labels.shape[-2:])
            weighted[f"heat{index or ''}_ce"] = (spec.heat, ce(logits, labels))
            weighted[f"heat{index or ''}_dice"] = (spec.heat, dice(logits, labels))
        for index, table in enumerate(output.tables):
            weighted[f"scatter{index or ''}"] = (spec.scatter, scatter_ratio(table, spec.scatter_floor))
        if taught is not None:
            weighted["distill"] = (spec.distill.weight, distillation(output.aligned, taught, spec.distill))
        total = torch.stack([weight * term for weight, term in weighted.values()]).sum()
        return Loss(total, {name: term.detach() for name, (_, term) in weighted.items()})

    def _dice(self, logits: Tensor, labels: Tensor) -> Tensor:
        return dice_loss(logits, labels, self.groups)
