"""Brings the maps of a pyramid to one grid and one width."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional


class Level(nn.Module):
    """One level of `Fuse`: its projection, and the block of the mixing matrix that reads it."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.project = nn.Linear(channels, width)

    def forward(self, x: Tensor, block: Tensor, size: torch.Size) -> Tensor:
        """Return (B, D, *size) from x (B, C, h, w) and block (D, D)."""
        weight, bias = block @ self.project.weight, block @ self.project.bias
        y = functional.linear(x.permute(0, 2, 3, 1), weight, bias).permute(0, 3, 1, 2)
        return y if y.shape[-2:] == size else functional.interpolate(y, size=size, mode="bilinear", align_corners=False)


class Fuse(nn.Module):
    """Project each map, resize to the finest, concatenate deepest first, mix by a linear map without bias.

    Projecting, bilinear resizing and mixing are linear, and resizing keeps constants: the two matrices of a level are
    multiplied first and applied on the level's own small grid. The same function without a map of 4 D channels.
    """

    def __init__(self, widths: Sequence[int], width: int) -> None:
        super().__init__()
        self.levels = nn.ModuleList(Level(channels, width) for channels in widths)
        self.mix = nn.Linear(len(widths) * width, width, bias=False)

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """Return (B, D, h, w) on the grid of the first map, from maps (B, C_i, h_i, w_i), finest first."""
        blocks = reversed(self.mix.weight.chunk(len(maps), dim=1))
        size = maps[0].shape[-2:]
        levels = [level(x, block, size) for level, x, block in zip(self.levels, maps, blocks, strict=True)]
        return torch.stack(levels).sum(dim=0)
