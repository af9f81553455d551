"""How far a pixel lies from what a model was trained on: the distance of its profile from those seen in training.

A cell's profile says how near the cell is to every class's atom, and with what the classes are compared there. Its
distance to the training cells' mean is Mahalanobis's (as Lee et al., arXiv 1807.03888, take for features), averaged
over a few cells, because strange surfaces are wider than a pixel. Its unit is what training rarely exceeds; or, since
what was learned from lies nearer than anything else can, what scenes rarely exceed that folds held out.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from rspipe.models.distances import Distances
from rspipe.models.mlm import USUAL, USUAL_HELD_OUT, Familiar

REACH_CELLS = 5
"""Side of the square that a distance is averaged over."""
SHRINK = 1e-3
"""Added to the diagonal of the correlations, so that channels that always agree do not count without bound."""
STILL = 1e-6
"""A channel that varies by less counts as if it varied by this."""


@dataclass(frozen=True, slots=True)
class Yardstick:
    """What a card says of the training cells' profiles, as tensors of one device."""

    mean: Tensor
    """(K)."""
    whiten: Tensor
    """(K, K)."""

    @classmethod
    def of(cls, familiar: Familiar, device: torch.device) -> Self:
        """Put a card's entry on a device."""
        mean = torch.tensor(familiar.mean, dtype=torch.float32, device=device)
        whiten = torch.zeros(len(mean), len(mean))
        for number, row in enumerate(familiar.whiten):
            whiten[number, : number + 1] = torch.tensor(row)
        return cls(mean, whiten.to(device))

    def __call__(self, cells: Tensor, valid: Tensor) -> Tensor:
        """Return the distances (B, 1, h, w); 1 is what few training cells exceed.

        Args:
            cells: (B, K, h, w) profiles.
            valid: (B, 1, h, w) bool, the cells that are averaged over; far from all of them the distance is 0.
        """
        lengths = ((cells.movedim(1, -1) - self.mean) @ self.whiten.T).norm(dim=-1).unsqueeze(1)
        return _around(lengths.where(valid, 0)) / _around(valid.to(lengths.dtype)).clamp(min=1)


def _around(x: Tensor) -> Tensor:
    """Sum over the square around every cell."""
    return functional.avg_pool2d(x, REACH_CELLS, stride=1, padding=REACH_CELLS // 2, divisor_override=1)


def familiar_of(profiles: Sequence[Tensor], valid: Sequence[Tensor]) -> Familiar:
    """Sum up the profiles of a training.

    Args:
        profiles: per image (K, h, w).
        valid: per image (1, h, w) bool, the cells that count; there must be more than one.
    """
    rows = torch.cat([cells[:, mask[0]].T for cells, mask in zip(profiles, valid, strict=True)]).double()
    spread = rows.std(dim=0).clamp(min=STILL)
    scores = (rows - rows.mean(dim=0)) / spread
    correlation = scores.T @ scores / len(scores) + SHRINK * torch.eye(len(spread), dtype=torch.float64)
    whiten = torch.linalg.inv(torch.linalg.cholesky(correlation)) / spread
    free = Yardstick(rows.mean(dim=0), whiten)
    lengths = [free(cells[None].double(), mask[None])[0][mask] for cells, mask in zip(profiles, valid, strict=True)]
    unit = float(np.quantile(torch.cat(lengths).numpy(), USUAL))
    lines = (whiten / unit).unbind()
    return Familiar(mean=_rounded(free.mean), whiten=tuple(_rounded(row[: n + 1]) for n, row in enumerate(lines)))


def in_units_of(distances: Distances, familiar: Familiar) -> Familiar:
    """Measure in units of what cells of unseen scenes rarely exceed.

    Args:
        distances: of such cells from what was familiar to models of the same recipe, in the units of their trainings.
        familiar: in the unit of its own training.
    """
    unit = distances.within(USUAL_HELD_OUT)
    whiten = tuple(_rounded(torch.tensor(row, dtype=torch.float64) / unit) for row in familiar.whiten)
    return Familiar(mean=familiar.mean, whiten=whiten, scenes=distances.scenes)


def _rounded(row: Tensor) -> tuple[float, ...]:
    return tuple(float(f"{number:.6g}") for number in row.tolist())
