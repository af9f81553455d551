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
    return _or_all(functional.max_pool2d(valid.float(), stride_px) > 0)


def valid_grid(valid: Tensor, size: torch.Size) -> Tensor:
    """Shrink a pixel mask to any grid: a cell is valid if any pixel that it touches is. Otherwise as `valid_cells`.

    Args:
        valid: (B, 1, H, W) bool.
        size: rows and columns of the grid, at most H and W.

    Returns:
        (B, 1, *size) bool.
    """
    return _or_all(functional.adaptive_max_pool2d(valid.float(), list(size)) > 0)


def _or_all(cells: Tensor) -> Tensor:
    return torch.logical_or(cells, ~cells.flatten(1).any(dim=1).view(-1, 1, 1, 1))
