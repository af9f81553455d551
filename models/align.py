"""Brings the maps of a pyramid to one grid and one width."""

from collections.abc import Sequence
from functools import reduce

import torch
from torch import Tensor, nn
from torch.nn import functional


def resized(x: Tensor, size: torch.Size) -> Tensor:
    """Resize a map bilinearly, `align_corners=False`: the way of all models here."""
    if x.shape[-2:] == size:
        return x
    return functional.interpolate(x, size=size, mode="bilinear", align_corners=False)


class Level(nn.Module):
    """One level of `Fuse`: its projection, and the block of the mixing matrix that reads it."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.project = nn.Linear(channels, width)

    def forward(self, x: Tensor, block: Tensor, size: torch.Size) -> Tensor:
        """Return (B, D, *size) from x (B, C, h, w) and block (D, D)."""
        weight, bias = block @ self.project.weight, block @ self.project.bias
        y = functional.linear(x.permute(0, 2, 3, 1), weight, bias).permute(0, 3, 1, 2)
        return resized(y, size)


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
        fused: Tensor = reduce(torch.add, levels)
        return fused

    def projected(self, maps: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Return every map on its own grid after its projection, (B, D, h_i, w_i), finest first."""
        projections = [level.get_submodule("project") for level in self.levels]
        return tuple(project(x.movedim(1, -1)).movedim(-1, 1) for project, x in zip(projections, maps, strict=True))


class Deepest(nn.Module):
    """In place of `Fuse`: the deepest map alone, projected and resized to the finest."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.project = nn.Linear(channels, width)

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """Return (B, D, h, w) on the grid of the first map."""
        return resized(self.project(maps[-1].movedim(1, -1)).movedim(-1, 1), maps[0].shape[-2:])


class AlignLevels(nn.Module):
    """KTDA's alignment with its teacher: project each map to the teacher's width, resize it to the teacher's grid.

    Both are linear and resizing keeps constants, so that either may come first: the smaller grid is projected.
    """

    def __init__(self, widths: Sequence[int], width: int) -> None:
        super().__init__()
        self.projections = nn.ModuleList(nn.Conv2d(channels, width, 1) for channels in widths)
        for name, parameter in self.projections.named_parameters():
            nn.init.zeros_(parameter) if name.endswith("bias") else nn.init.trunc_normal_(parameter, std=0.02)

    def forward(self, maps: Sequence[Tensor], grid: torch.Size) -> tuple[Tensor, ...]:
        """Return one map (B, D, *grid) per map (B, C_i, h_i, w_i)."""
        return tuple(
            resized(project(resized(x, grid) if x.shape[-2:].numel() > grid.numel() else x), grid)
            for project, x in zip(self.projections, maps, strict=True)
        )
