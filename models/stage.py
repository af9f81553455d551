"""What an interactor is: atoms and map go in, and come out of every stage refined by one another."""

from abc import abstractmethod
from dataclasses import dataclass
from math import sqrt

import torch
from torch import Tensor, nn


@dataclass(frozen=True, slots=True)
class Stage:
    """Atoms and map after one stage."""

    atoms: Tensor
    """(B, N, D)."""
    x: Tensor
    """(B, D, h, w)."""
    drawn: Tensor | None = None
    """(B, N, h, w), the heatmap logits by which the stage worked; None if it needs none."""

    @property
    def heat(self) -> Tensor:
        """(B, N, h, w) heatmap logits: those of the stage, or <atoms, x> / sqrt(D) where it drew none."""
        if self.drawn is not None:
            return self.drawn
        with torch.autocast(self.x.device.type, enabled=False):
            kind = torch.promote_types(self.x.dtype, torch.float32)
            return torch.einsum("bnd,bdhw->bnhw", self.atoms.to(kind), self.x.to(kind)) / sqrt(self.x.shape[1])


class Interactor(nn.Module):
    """L stages in which atoms and map refine one another. Any one fits any model."""

    @abstractmethod
    def forward(self, atoms: Tensor, x: Tensor, valid: Tensor | None) -> list[Stage]:
        """Return what each stage made, the last one last.

        Args:
            atoms: (B, N, D).
            x: (B, D, h, w).
            valid: (B, 1, h, w) bool, the cells that may be read; None for all.
        """
