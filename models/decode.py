"""From refined atoms and map to logits at full resolution."""

from typing import Self

import torch
from torch import Tensor, nn
from torch.nn import functional


def shuffled(x: Tensor) -> Tensor:
    """Shuffle a map whose channels come last by two: (B, h, w, 4 C) -> (B, 2 h, 2 w, C)."""
    images, height, width, channels = x.shape
    blocks = x.view(images, height, width, channels // 4, 2, 2).permute(0, 1, 4, 2, 5, 3)
    return blocks.reshape(images, 2 * height, 2 * width, channels // 4)


class ShuffleUpsampler(nn.Module):
    """Two pixel shuffles without any convolution, each followed by GELU, the first one normalised.

    The second shuffle is left to the head, behind the dot product: there it moves a number per class instead of a
    vector, and GELU does not care where a number stands. With channels last all steps run through memory in order.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        # The name is that of the weights that are already about, from when this was a list of five modules.
        self.add_module("1", nn.LayerNorm(width // 4, eps=1e-6))

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, 2 h, 2 w, D / 4) from (B, D, h, w): channel 4 c + 2 i + j is channel c of sub-pixel (i, j)."""
        normalised: Tensor = self.get_submodule("1")(shuffled(x.permute(0, 2, 3, 1).contiguous()))
        return functional.gelu(functional.gelu(normalised))


def compared(x: Tensor, vectors: Tensor) -> Tensor:
    """Return <vector, sub-pixel> at full resolution, (B, N, 2 h, 2 w).

    Args:
        x: (B, h, w, 4 C), channel 4 c + s being channel c of sub-pixel s.
        vectors: (B, N, C).
    """
    images, height, width, channels = x.shape
    classes, places = vectors.shape[1], torch.eye(4, dtype=vectors.dtype, device=vectors.device)
    # One matrix (4 C, 4 N) per image, which compares each sub-pixel with every vector.
    spread = torch.einsum("bnc,st->bcsnt", vectors, places).reshape(images, channels, 4 * classes)
    products = torch.bmm(x.view(images, height * width, channels), spread)
    blocks = products.view(images, height, width, classes, 2, 2).permute(0, 3, 1, 4, 2, 5)
    return blocks.reshape(images, classes, 2 * height, 2 * width)


def cell_means(x: Tensor) -> Tensor:
    """Return the means (B, C, h, w) over the 4 x 4 pixels of every cell of what `ShuffleUpsampler` returned."""
    channels = torch.unflatten(x, -1, (-1, 4)).float().mean(dim=-1).movedim(-1, 1)
    return functional.avg_pool2d(channels, 2)


def smoothed(logits: Tensor) -> Tensor:
    """Average (B, N, H, W) about every pixel over the length of a cell, weights 1 2 2 2 1 to either side.

    Pixel shuffles give every place in a cell of 4 x 4 pixels channels of its own, and nothing behind them knows of the
    next cell: borders between classes follow the cells. These weights take out exactly what repeats every 4 pixels
    and leave constants and slopes; at the edge the last pixel stands for what is missing.
    """
    sums = functional.pad(logits, (2, 2, 2, 2), mode="replicate")
    for axis in (2, 3):
        for step in (1, 2, 1):
            size = sums.shape[axis] - step
            sums = sums.narrow(axis, 0, size) + sums.narrow(axis, step, size)
    return sums / 64


class DotHead(nn.Module):
    """One short vector per class; a logit is its dot product with the pixel's vector."""

    def __init__(self, classes: nn.Module, *, smooth: bool) -> None:
        super().__init__()
        self.classes = classes
        self.smooth = smooth

    @classmethod
    def deep(cls, width: int, *, smooth: bool = False) -> Self:
        """Return D2LS's head: the short vectors come out of three layers."""
        layers = [nn.Linear(width, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, width // 16)]
        return cls(nn.Sequential(*layers), smooth=smooth)

    @classmethod
    def linear(cls, width: int, *, smooth: bool = False) -> Self:
        """Return BiCoR-Seg's head: they are a linear map, without bias, of the long ones."""
        return cls(nn.Linear(width, width // 16, bias=False), smooth=smooth)

    def forward(self, atoms: Tensor, x: Tensor) -> Tensor:
        """Return logits (B, N, H, W) from atoms (B, N, D) and what `ShuffleUpsampler` returned."""
        logits = compared(x, self.classes(atoms))
        return smoothed(logits) if self.smooth and not self.training else logits


class PlainHead(nn.Module):
    """One fixed vector and bias per class: a 1 x 1 convolution."""

    def __init__(self, width: int, classes: int, *, smooth: bool = False) -> None:
        super().__init__()
        self.classes = nn.Linear(width // 16, classes)
        self.smooth = smooth

    def forward(self, x: Tensor) -> Tensor:
        """Return logits (B, N, H, W) from what `ShuffleUpsampler` returned."""
        vectors = self.classes.weight.expand(len(x), -1, -1)
        logits = compared(x, vectors) + self.classes.bias.view(-1, 1, 1)
        return smoothed(logits) if self.smooth and not self.training else logits
