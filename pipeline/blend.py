"""Cosine blending: what a window gives at once, what it owes its neighbours. Tensors in, tensors out, on any device.

Weights sum to one by construction, so nothing is ever divided. Every sum has two terms along each axis: columns first,
then rows. Products are rounded to float32 before they are added (no fused multiply-add, no compiler): a partial sum
gives the same bits whether it stayed in memory or went through a strip on disk.
"""

from dataclasses import dataclass
from itertools import accumulate
from typing import Literal, Self

import torch
from torch import Tensor

from rspipe.catalogs.legends import NODATA_ID
from rspipe.pipeline.rasters import CONFIDENCE_SCALE

COLUMNS: Literal[-1] = -1
ROWS: Literal[-2] = -2


@dataclass(frozen=True, slots=True)
class Ramp:
    """The weights of two neighbours over the O pixels they share: `rising` of the later, `falling` of the earlier."""

    rising: Tensor
    """(O,) float32."""
    falling: Tensor
    """(O,) float32, exactly 1 - rising."""

    @classmethod
    def cosine(cls, overlap_px: int, device: torch.device) -> Self:
        """Return sin^2 at half-pixel offsets; computed on the CPU, so that it is the same on every device."""
        offset = (torch.arange(overlap_px, dtype=torch.float64) + 0.5) / max(overlap_px, 1)
        rising = torch.sin(offset * (torch.pi / 2)).square().to(torch.float32)
        return cls(rising.to(device), (1 - rising).to(device))

    def rise(self, block: Tensor, axis: int) -> Tensor:
        """Return the block's first O pixels along an axis, with the rising weight."""
        return block.narrow(axis, 0, len(self.rising)) * _along(self.rising, axis)

    def fall(self, block: Tensor, start_px: int, axis: int) -> Tensor:
        """Return the block's O pixels from `start_px` along an axis, with the falling weight."""
        return block.narrow(axis, start_px, len(self.falling)) * _along(self.falling, axis)

    def join(self, block: Tensor, carry: Tensor, axis: int) -> Tensor:
        """Weigh the block's first O pixels in place, and add a predecessor's falling part; return the block."""
        block.narrow(axis, 0, len(self.rising)).mul_(_along(self.rising, axis)).add_(carry)
        return block


@dataclass(frozen=True, slots=True)
class Decision:
    """What is kept of blended probabilities: one byte each."""

    classes: Tensor
    """(rows, columns) uint8: the most probable class, ties to the lowest id; 255 where invalid."""
    confidence: Tensor
    """(rows, columns) uint8: round(254 * the largest probability); 255 where invalid."""


def decide(probabilities: Tensor, valid: Tensor) -> Decision:
    """Turn blended probabilities (N, rows, columns) float32 into bytes; `valid` is (rows, columns) bool."""
    # On a CPU ten times as fast as argmax along the axis: before its first largest, the largest so far is smaller.
    *running, largest = accumulate(probabilities, torch.maximum)
    classes = torch.zeros_like(largest, dtype=torch.uint8)
    for so_far in running:
        classes += (so_far < largest).view(torch.uint8)
    confidence = (largest * CONFIDENCE_SCALE).round_().to(torch.uint8)
    nodata = (~valid).view(torch.uint8) * NODATA_ID  # all bits, which no other number survives
    return Decision(classes | nodata, confidence | nodata)


def _along(weights: Tensor, axis: int) -> Tensor:
    return weights if axis == COLUMNS else weights.unsqueeze(-1)
