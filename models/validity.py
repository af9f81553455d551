"""Which cells of a feature map have seen a valid pixel."""

import torch
from torch import Tensor
from torch.nn import functional


def valid_cells(valid: Tensor, stride_px: int) -> Tensor:
    """Shrink a pixel mask to the grid of a feature map: a cell is valid if any of its pixels is.

    An image without a single valid pixel counts as wholly valid: its output is never used, but must be finite.

    Args:
        valid: (B, 1, H, W) bool, H and W multiples of the stride.
        stride_px: side of one cell.

    Returns:
        (B, 1, H / stride, W / stride) bool.
    """
    cells = functional.max_pool2d(valid.float(), stride_px) > 0
    return torch.logical_or(cells, ~cells.flatten(1).any(dim=1).view(-1, 1, 1, 1))
