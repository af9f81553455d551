"""Cross-entropy with smoothed labels."""

from typing import Literal

from torch import Tensor
from torch.nn import functional

from rspipe.catalogs.legends import NODATA_ID

Mean = Literal["valid", "all"]
"""Over which pixels the loss is averaged. `all` is the official release: ignored pixels give 0 but are counted."""


def smooth_cross_entropy(logits: Tensor, labels: Tensor, smoothing: float, mean: Mean = "valid") -> Tensor:
    """Mean of (1 - eps) * -log p_label + eps / N * sum_c -log p_c; 0 where there is nothing to learn from.

    Args:
        logits: (B, N, H, W), any floating type; computed in float32.
        labels: (B, H, W) int64, 255 is ignored.
        smoothing: eps in [0, 1).
        mean: the pixels counted in the denominator.
    """
    summed = functional.cross_entropy(
        logits.float(), labels, ignore_index=NODATA_ID, reduction="sum", label_smoothing=smoothing
    )
    counted = labels.numel() if mean == "all" else (labels != NODATA_ID).sum().clamp(min=1)
    return summed / counted
