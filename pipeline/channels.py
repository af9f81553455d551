"""What is blended: the probabilities of the classes, and beside them what the rasters on request need.

All that is asked of a pixel after blending is made of steps that round alike wherever the pixel lies in a tensor: sums
in a fixed order, products, comparisons and a table. Logarithms of torch do not, so they stand in the table.
"""

from dataclasses import dataclass
from functools import lru_cache
from math import log2
from typing import Self

import torch
from torch import Tensor

from rspipe.catalogs.legends import NODATA_ID
from rspipe.pipeline.rasters import KINDS, LARGEST_STEP, RasterName, channel_count

_TABLE_STEPS = 2**16 - 1


@dataclass(frozen=True, slots=True)
class Channels:
    """The channels of a blended tensor (K, rows, columns): N probabilities, own entropies, distances."""

    classes: int
    """N."""
    rasters: tuple[RasterName, ...]
    """Those on request."""

    @classmethod
    def of(cls, count: int, rasters: tuple[RasterName, ...]) -> Self:
        """Return the channels of which there are K."""
        return cls(count - cls(0, rasters).count, rasters)

    @property
    def count(self) -> int:
        """K."""
        return channel_count(self.classes, self.rasters)

    def stack(self, probabilities: Tensor, unfamiliar: Tensor | None) -> Tensor:
        """Return what is blended of some windows, (B, K, S, S).

        Args:
            probabilities: (B, N, S, S) float32.
            unfamiliar: (B, 1, S, S) float32; None where it is not asked for.
        """
        parts = [probabilities]
        if "disagreement" in self.rasters:
            parts.append(entropy_bits(probabilities.movedim(1, 0)).unsqueeze(1))
        if unfamiliar is not None:
            parts.append(unfamiliar)
        return torch.cat(parts, dim=1) if len(parts) > 1 else probabilities

    def raster(self, name: RasterName, blended: Tensor, valid: Tensor) -> Tensor:
        """Return the bytes of a raster: (rows, columns) or, of the probabilities, (N, rows, columns) uint8.

        Args:
            name: one of `rasters`.
            blended: (K, rows, columns) float32.
            valid: (rows, columns) bool; elsewhere it is nodata.
        """
        stored = (self._value(name, blended) * KINDS[name].steps).round().clamp(0, LARGEST_STEP).to(torch.uint8)
        return torch.where(valid, stored, NODATA_ID)

    def _value(self, name: RasterName, blended: Tensor) -> Tensor:
        probabilities = blended[: self.classes]
        match name:
            case "probabilities":
                return probabilities
            case "entropy":
                return entropy_bits(probabilities) / log2(max(self.classes, 2))
            case "margin":
                return _margin(probabilities)
            case "disagreement":
                return entropy_bits(probabilities) - blended[self.classes]
            case "unfamiliarity":
                return blended[self.count - 1]


def entropy_bits(probabilities: Tensor) -> Tensor:
    """Return the entropy over the first axis, within 2e-4 bits per class."""
    table = _entropy_table(probabilities.device)
    places = (probabilities * _TABLE_STEPS).round().clamp(0, _TABLE_STEPS).to(torch.int32)
    total: Tensor = table[places[0]]
    for place in places[1:]:
        total = total + table[place]
    return total


@lru_cache(maxsize=8)
def _entropy_table(device: torch.device) -> Tensor:
    """Return -p log2 p for p = 0 .. 1; computed on the CPU, so that it is the same on every device."""
    p = torch.arange(_TABLE_STEPS + 1, dtype=torch.float64) / _TABLE_STEPS
    bits: Tensor = torch.special.entr(p) / torch.log(torch.tensor(2.0, dtype=torch.float64))
    return bits.to(torch.float32).to(device)


def _margin(probabilities: Tensor) -> Tensor:
    largest, second = probabilities[0], torch.zeros_like(probabilities[0])
    for other in probabilities[1:]:
        second = torch.maximum(second, torch.minimum(largest, other))
        largest = torch.maximum(largest, other)
    return largest - second
