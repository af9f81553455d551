"""Cross-entropy with smoothed labels, also of pixels of which only a group of classes is known."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from rspipe.models.labels import IGNORE_ID

Mean = Literal["valid", "all"]
"""Over which pixels the loss is averaged. `all` is the official release: ignored pixels give 0 but are counted."""


@dataclass(frozen=True, slots=True)
class SmoothCE:
    """Mean of (1 - eps) * w_y * -log p_y + eps / N * sum_c w_c * -log p_c; 0 where there is nothing to learn from.

    A pixel labelled with a group G belongs to one of its classes. Its cost is that of the smoothed label after the
    classes of G have been merged into one, of probability p_G = sum of p_c over G and weight w_G = mean of w_c over G:
    (1 - eps) * w_G * -log p_G + eps / N * (sum over G of w_c * -log p_G + sum outside of G of w_c * -log p_c).
    A group of one class costs what the class costs, the group of all classes nothing.
    """

    smoothing: float
    """eps in [0, 1)."""
    mean: Mean = "valid"
    """The pixels counted in the denominator."""
    weights: tuple[float, ...] | None = None
    """How much a pixel of each class counts, also in the denominator of `valid`; None counts all alike."""
    groups: Sequence[tuple[int, ...]] = ()
    """Class ids behind the labels N, N + 1, ..."""

    def __call__(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Return the mean over a batch.

        Args:
            logits: (B, N, H, W), any floating type; computed in float32.
            labels: (B, H, W) int64 class and group ids, 255 is ignored.
        """
        inside, outside, counts = (rows.to(logits.device) for rows in self._rows(logits.shape[1]))
        likely = logits.float().log_softmax(dim=1)
        united = [likely[:, list(group)].logsumexp(dim=1, keepdim=True) for group in self.groups]
        summed = functional.nll_loss(
            torch.cat([likely, *united], dim=1), labels, weight=inside, ignore_index=IGNORE_ID, reduction="sum"
        )
        rows = labels.clamp(max=len(counts) - 1)
        if self.smoothing:
            summed = summed - (outside[rows].movedim(-1, 1) * likely).sum()
        if self.mean == "all":
            return summed / labels.numel()
        counted = counts[rows].sum()
        return summed / counted.where(counted > 0, 1.0)

    def _rows(self, classes: int) -> tuple[Tensor, Tensor, Tensor]:
        """Return, per label, the weight of its own cost, those of the other classes' (I + 1, N), and its count (I + 1).

        The last row is that of ignored pixels.
        """
        weights = torch.ones(classes) if self.weights is None else torch.tensor(self.weights)
        member = torch.zeros(classes + len(self.groups), classes)
        for label, group in enumerate((*((number,) for number in range(classes)), *self.groups)):
            member[label, list(group)] = 1.0
        counts = member @ weights / member.sum(dim=1)
        spread = weights * self.smoothing / classes
        inside, outside = (1 - self.smoothing) * counts + member @ spread, (1 - member) * spread
        return inside, functional.pad(outside, (0, 0, 0, 1)), functional.pad(counts, (0, 1))
