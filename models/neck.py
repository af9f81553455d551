"""From maps on one grid back to a pyramid: the neck between KTDA's alignment and its transformer blocks."""

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional

SCALES = (4.0, 2.0, 1.0, 0.5)
"""Sides of the levels over the side of the common grid; half of an odd side is rounded down."""


class NeckLevel(nn.Module):
    """One level: a 1 x 1 convolution, a bilinear resize by a factor, a 3 x 3 convolution. No norm, no activation."""

    def __init__(self, width: int, scale: float) -> None:
        super().__init__()
        self.scale = scale
        self.lateral = nn.Conv2d(width, width, 1)
        self.smooth = nn.Conv2d(width, width, 3, padding=1)
        for name, parameter in self.named_parameters():
            nn.init.zeros_(parameter) if name.endswith("bias") else nn.init.xavier_uniform_(parameter)

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, D, floor(h * scale), floor(w * scale)) from (B, D, h, w)."""
        resized = functional.interpolate(self.lateral(x), scale_factor=self.scale, mode="bilinear", align_corners=False)
        smoothed: Tensor = self.smooth(resized)
        return smoothed


class MultiLevelNeck(nn.Module):
    """Four maps of one grid -> the levels 4 g, 2 g, g and floor(g / 2), each from its own map."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.levels = nn.ModuleList(NeckLevel(width, scale) for scale in SCALES)

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """Return the levels, finest first, from four maps (B, D, g_h, g_w)."""
        return [level(x) for level, x in zip(self.levels, maps, strict=True)]
