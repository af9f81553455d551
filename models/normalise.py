"""From physical units to what a model sees."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from rspipe.models.card import CardBand
from rspipe.models.errors import InputError


@dataclass(frozen=True, slots=True)
class Prepared:
    """A batch as a model takes it."""

    image: Tensor
    """(B, C, H, W) float32: z-scores, and 0 where the pixel is invalid or the band is missing."""
    valid: Tensor
    """(B, 1, H, W) bool: every required band is present."""


@dataclass(frozen=True, slots=True)
class Normaliser:
    """Mean, standard deviation and need of every band, as tensors of one device."""

    mean: Tensor
    """(C, 1, 1) float32."""
    stddev: Tensor
    """(C, 1, 1) float32."""
    required: Tensor
    """Channels whose band is required, int64."""

    @classmethod
    def of(cls, bands: Sequence[CardBand], device: torch.device) -> Self:
        """Make the normaliser of a card's bands."""
        mean = torch.tensor([band.mean for band in bands], dtype=torch.float32, device=device)
        stddev = torch.tensor([band.stddev for band in bands], dtype=torch.float32, device=device)
        required = torch.tensor([channel for channel, band in enumerate(bands) if band.required], device=device)
        return cls(mean.view(-1, 1, 1), stddev.view(-1, 1, 1), required)

    def __call__(self, numbers: Tensor, present: Tensor) -> Prepared:
        """Normalise a batch; what stands where `present` is false influences nothing.

        Args:
            numbers: (B, C, H, W) float32 in physical units, channels as in the card.
            present: (B, C, H, W) bool.

        Raises:
            InputError: shapes or types are others.
        """
        if numbers.shape != present.shape or numbers.ndim != 4 or numbers.shape[1] != len(self.mean):
            found = f"numbers {tuple(numbers.shape)} and present {tuple(present.shape)}"
            raise InputError(f"{found} must both be (B, {len(self.mean)}, H, W)")
        if numbers.dtype != torch.float32 or present.dtype != torch.bool:
            raise InputError(f"numbers must be float32 and present bool, found {numbers.dtype} and {present.dtype}")
        if torch.compiler.is_compiling():
            return self._traced(numbers, present)
        inverse = self.stddev.reciprocal()  # to divide takes three times as long
        # minima of bytes are 20 times as fast as `all`
        if bool(present.view(torch.uint8).amin()):
            return Prepared((numbers - self.mean).mul_(inverse), present[:, :1])
        valid = present.index_select(1, self.required).view(torch.uint8).amin(dim=1, keepdim=True).view(torch.bool)
        scores = (numbers - self.mean).mul_(inverse)
        # `where` as a mask over bits: on a CPU three times as fast, and NaN goes as well.
        kept = -(present & valid).to(torch.int32)
        return Prepared((scores.view(torch.int32) & kept).view(torch.float32), valid)

    def _traced(self, numbers: Tensor, present: Tensor) -> Prepared:
        """Say the same in the plain form: a graph holds for every batch, and compilers take no bits for numbers."""
        valid = present.index_select(1, self.required).all(dim=1, keepdim=True)
        return Prepared(torch.where(present & valid, (numbers - self.mean) * self.stddev.reciprocal(), 0.0), valid)
