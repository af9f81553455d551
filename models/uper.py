"""The UPerNet head and the small FCN head, with pools and batch statistics that honour a mask."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from rspipe.models.align import resized

BINS = (1, 2, 3, 6)
DROPOUT = 0.1
MOMENTUM = 0.1

Masks = Sequence[Tensor | None]
"""Per level (B, 1, h, w) bool, the valid cells; None for all."""


class ValidNorm(nn.BatchNorm2d):
    """Batch normalisation whose statistics come from valid cells.

    In evaluation, and without a mask, it is `nn.BatchNorm2d` itself. With a mask, every cell is normalised in
    training, by the mean and variance over the valid ones; a mask without a hole gives the same up to rounding.
    """

    running_mean: Tensor
    running_var: Tensor
    num_batches_tracked: Tensor

    def forward(self, x: Tensor, valid: Tensor | None = None) -> Tensor:
        """Return (B, C, h, w) from (B, C, h, w) and its valid cells (B, 1, h, w)."""
        if valid is None or not self.training:
            return super().forward(x)
        wide = x.float()
        count = valid.sum().clamp(min=1)
        mean = (wide * valid).sum(dim=(0, 2, 3)) / count
        centred = wide - mean.view(-1, 1, 1)
        squares = (centred.square() * valid).sum(dim=(0, 2, 3))
        self._remember(mean, squares / (count - 1).clamp(min=1))
        factor = self.weight * torch.rsqrt(squares / count + self.eps)
        return (centred * factor.view(-1, 1, 1) + self.bias.view(-1, 1, 1)).to(x.dtype)

    @torch.no_grad()
    def _remember(self, mean: Tensor, variance: Tensor) -> None:
        self.num_batches_tracked.add_(1)
        self.running_mean.lerp_(mean, MOMENTUM)
        self.running_var.lerp_(variance, MOMENTUM)


class ConvUnit(nn.Module):
    """Convolution without bias, batch normalisation, ReLU."""

    def __init__(self, channels: int, width: int, side: int) -> None:
        super().__init__()
        self.convolve = nn.Conv2d(channels, width, side, padding=side // 2, bias=False)
        self.norm = ValidNorm(width, momentum=MOMENTUM)
        nn.init.kaiming_normal_(self.convolve.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: Tensor, valid: Tensor | None) -> Tensor:
        """Return (B, width, h, w) from (B, channels, h, w) and its valid cells."""
        return functional.relu(self.norm(self.convolve(x), valid))


class Classifier(nn.Sequential):
    """Whole channels dropped out, then one linear map per pixel."""

    def __init__(self, width: int, classes: int) -> None:
        super().__init__(nn.Dropout2d(DROPOUT), nn.Conv2d(width, classes, 1))
        for name, parameter in self.named_parameters():
            nn.init.zeros_(parameter) if name.endswith("bias") else nn.init.normal_(parameter, std=0.01)


def pooled(x: Tensor, valid: Tensor | None, bins: int) -> Tensor:
    """Average over the valid cells of each of bins x bins parts of a map.

    A part without a valid cell takes the mean of the image's valid cells. A mask without a hole is
    `adaptive_avg_pool2d`, bit for bit.

    Args:
        x: (B, C, h, w).
        valid: (B, 1, h, w) bool with at least one true cell per image; None for all.
        bins: parts per axis; neighbours share a row or column where the side does not divide.

    Returns:
        (B, C, bins, bins).
    """
    # The order of a sum depends on the layout, which masking may change.
    x = x.contiguous()
    if valid is None:
        return functional.adaptive_avg_pool2d(x, bins)
    kept = x.masked_fill(~valid, 0)
    share = functional.adaptive_avg_pool2d(valid.to(x.dtype), bins)
    sums = functional.adaptive_avg_pool2d(kept, bins)
    overall = kept.sum(dim=(2, 3), keepdim=True) / valid.sum(dim=(2, 3), keepdim=True)
    return torch.where(share > 0, sums / share.where(share > 0, 1), overall)


class PyramidPooling(nn.Module):
    """The coarsest map beside averages of it over 1, 4, 9 and 36 parts, mixed by a 3 x 3 convolution."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.branches = nn.ModuleList(ConvUnit(channels, width, 1) for _ in BINS)
        self.mix = ConvUnit(channels + len(BINS) * width, width, 3)

    def forward(self, x: Tensor, valid: Tensor | None) -> Tensor:
        """Return (B, width, h, w) from (B, channels, h, w) and its valid cells."""
        parts = [x]
        for bins, branch in zip(BINS, self.branches, strict=True):
            seen = None if valid is None else functional.adaptive_max_pool2d(valid.float(), bins) > 0
            parts.append(resized(branch(pooled(x, valid, bins), seen), x.shape[-2:]))
        mixed: Tensor = self.mix(torch.cat(parts, dim=1), valid)
        return mixed


class UPerHead(nn.Module):
    """UPerNet (arXiv 1807.10221): pyramid pooling of the coarsest map, then top-down sums, then all levels fused."""

    def __init__(self, channels: int, width: int, classes: int, levels: int = 4) -> None:
        super().__init__()
        self.pool = PyramidPooling(channels, width)
        self.laterals = nn.ModuleList(ConvUnit(channels, width, 1) for _ in range(levels - 1))
        self.smooths = nn.ModuleList(ConvUnit(width, width, 3) for _ in range(levels - 1))
        self.fuse = ConvUnit(levels * width, width, 3)
        self.classify = Classifier(width, classes)

    def forward(self, maps: Sequence[Tensor], valid: Masks) -> Tensor:
        """Return logits (B, N, h, w) on the grid of the first map, from maps (B, channels, h_i, w_i), finest first."""
        sums = [self.pool(maps[-1], valid[-1])]
        for lateral, x, cells in reversed(list(zip(self.laterals, maps[:-1], valid[:-1], strict=True))):
            sums.insert(0, lateral(x, cells) + resized(sums[0], x.shape[-2:]))
        size = maps[0].shape[-2:]
        smooth = [unit(x, cells) for unit, x, cells in zip(self.smooths, sums[:-1], valid[:-1], strict=True)]
        levels = torch.cat([resized(x, size) for x in (*smooth, sums[-1])], dim=1)
        logits: Tensor = self.classify(self.fuse(levels, valid[0]))
        return logits


class FCNHead(nn.Module):
    """One 3 x 3 convolution and a classifier."""

    def __init__(self, channels: int, width: int, classes: int) -> None:
        super().__init__()
        self.convolve = ConvUnit(channels, width, 3)
        self.classify = Classifier(width, classes)

    def forward(self, x: Tensor, valid: Tensor | None) -> Tensor:
        """Return logits (B, N, h, w) from (B, channels, h, w) and its valid cells."""
        logits: Tensor = self.classify(self.convolve(x, valid))
        return logits
