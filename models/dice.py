"""Soft Dice loss over the classes of a batch."""

from torch import Tensor
from torch.nn import functional

from rspipe.catalogs.legends import NODATA_ID

SMOOTH = 0.05


def dice_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Mean over all N classes of 1 - dice_c, where a class that is absent from the labels gives 0 but is counted.

    dice_c = (2 sum(p_c t_c) + s) / (sum(p_c) + sum(t_c) + s), sums over the labelled pixels of the whole batch.

    Args:
        logits: (B, N, H, W), any floating type; computed in float32.
        labels: (B, H, W) int64, 255 is ignored.
    """
    classes = logits.shape[1]
    labelled = labels != NODATA_ID
    truth = functional.one_hot(labels.where(labelled, 0), classes).movedim(-1, 1) * labelled.unsqueeze(1)
    probabilities = logits.float().softmax(dim=1) * labelled.unsqueeze(1)
    axes = (0, 2, 3)
    truth_sum = truth.sum(axes)
    shared = (probabilities * truth).sum(axes)
    dice = (2 * shared + SMOOTH) / (probabilities.sum(axes) + truth_sum + SMOOTH)
    return ((1 - dice) * (truth_sum > 0)).sum() / classes
