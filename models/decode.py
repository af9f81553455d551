"""From refined atoms and map to logits at full resolution."""

from typing import Self

import torch
from timm.layers.norm import LayerNorm2d
from torch import Tensor, nn


class ShuffleUpsampler(nn.Sequential):
    """Two pixel shuffles without any convolution: (B, D, h, w) -> (B, D / 16, 4 h, 4 w)."""

    def __init__(self, width: int) -> None:
        super().__init__(nn.PixelShuffle(2), LayerNorm2d(width // 4), nn.GELU(), nn.PixelShuffle(2), nn.GELU())


class DotHead(nn.Module):
    """One short vector per class; a logit is its dot product with the pixel's vector."""

    def __init__(self, classes: nn.Module) -> None:
        super().__init__()
        self.classes = classes

    @classmethod
    def deep(cls, width: int) -> Self:
        """Return D2LS's head: the short vectors come out of three layers."""
        return cls(
            nn.Sequential(
                nn.Linear(width, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, width // 16)
            )
        )

    @classmethod
    def linear(cls, width: int) -> Self:
        """Return BiCoR-Seg's head: they are a linear map, without bias, of the long ones."""
        return cls(nn.Linear(width, width // 16, bias=False))

    def forward(self, atoms: Tensor, x: Tensor) -> Tensor:
        """Return logits (B, N, H, W) from atoms (B, N, D) and pixels (B, D / 16, H, W)."""
        return torch.einsum("bnc,bchw->bnhw", self.classes(atoms), x)


class PlainHead(nn.Module):
    """One fixed vector and bias per class: a 1 x 1 convolution."""

    def __init__(self, width: int, classes: int) -> None:
        super().__init__()
        self.classes = nn.Linear(width // 16, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits (B, N, H, W) from pixels (B, D / 16, H, W)."""
        logits: Tensor = self.classes(x.movedim(1, -1))
        return logits.movedim(-1, 1)
