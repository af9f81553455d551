"""Cross-entropy with smoothed labels."""

from typing import Literal

from torch import Tensor
from torch.nn import functional

from rspipe.catalogs.legends import NODATA_ID

Mean = Literal["valid", "all"]
"""Over which pixels the loss is averaged. `all` is the official release: ignored pixels give 0 but are counted."""


def smooth_cross_entropy(
    logits: Tensor, labels: Tensor, smoothing: float, mean: Mean = "valid", weights: Tensor | None = None
) -> Tensor:
    """Mean of (1 - eps) * -log p_label + eps / N * sum_c -log p_c; 0 where there is nothing to learn from.

    Args:
        logits: (B, N, H, W), any floating type; computed in float32.
        labels: (B, H, W) int64, 255 is ignored.
        smoothing: eps in [0, 1).
        mean: the pixels counted in the denominator.
        weights: (N,), how much a pixel of each class counts, in both sums of `valid`; None counts all alike.
    """
    summed = functional.cross_entropy(
        logits.float(), labels, weight=weights, ignore_index=NODATA_ID, reduction="sum", label_smoothing=smoothing
    )
    if mean == "all":
        return summed / labels.numel()
    labelled = labels != NODATA_ID
    counted = labelled.sum() if weights is None else weights[labels.where(labelled, 0)].masked_fill(~labelled, 0).sum()
    return summed / (counted if bool(labelled.any()) else 1)
