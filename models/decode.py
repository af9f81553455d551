"""From refined atoms and map to logits at full resolution."""

import torch
from timm.layers.norm import LayerNorm2d
from torch import Tensor, nn


class ShuffleUpsampler(nn.Sequential):
    """Two pixel shuffles without any convolution: (B, D, h, w) -> (B, D / 16, 4 h, 4 w)."""

    def __init__(self, width: int) -> None:
        super().__init__(nn.PixelShuffle(2), LayerNorm2d(width // 4), nn.GELU(), nn.PixelShuffle(2), nn.GELU())


class DotHead(nn.Module):
    """One short vector per class; a logit is its dot product with the pixel's vector."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.classes = nn.Sequential(
            nn.Linear(width, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, width // 16)
        )

    def forward(self, atoms: Tensor, x: Tensor) -> Tensor:
        """Return logits (B, N, H, W) from atoms (B, N, D) and pixels (B, D / 16, H, W)."""
        return torch.einsum("bnc,bchw->bnhw", self.classes(atoms), x)
