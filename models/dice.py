"""Soft Dice loss over the classes of a batch."""

from collections.abc import Sequence

import torch
from torch import Tensor

from rspipe.models.labels import IGNORE_ID

SMOOTH = 0.05


def dice_loss(logits: Tensor, labels: Tensor, groups: Sequence[tuple[int, ...]] = ()) -> Tensor:
    """Mean over all N classes of 1 - dice_c, where a class that is absent from the labels gives 0 but is counted.

    dice_c = (2 sum(p_c t_c) + s) / (sum(p_c) + sum(t_c) + s), sums over all pixels of the batch of which it is known
    whether they are c. A pixel labelled with a group is none of the classes outside of it; of those inside nothing is
    known, unless there is only one.

    Args:
        logits: (B, N, H, W), any floating type; computed in float32.
        labels: (B, H, W) int64 class and group ids, 255 is ignored.
        groups: class ids behind the labels N, N + 1, ...
    """
    classes = logits.shape[1]
    truth = labels.unsqueeze(1) == torch.arange(classes, device=labels.device).view(-1, 1, 1)
    known = (labels != IGNORE_ID).unsqueeze(1)
    for label, group in enumerate(groups, start=classes):
        within = torch.zeros(classes, 1, 1, dtype=torch.bool, device=labels.device)
        within[list(group)] = True
        here = (labels == label).unsqueeze(1)
        if len(group) == 1:
            truth = truth | (here & within)
        else:
            known = known & ~(here & within)
    probabilities = logits.float().softmax(dim=1) * known
    axes = (0, 2, 3)
    truth_sum = truth.sum(axes)
    shared = (probabilities * truth).sum(axes)
    dice = (2 * shared + SMOOTH) / (probabilities.sum(axes) + truth_sum + SMOOTH)
    return ((1 - dice) * (truth_sum > 0)).sum() / classes
