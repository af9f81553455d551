"""Test-time views: the same window turned, mirrored and resized; their logits are turned back and averaged.

Views are merged as the mean of logits, then softmax (models as published do it so). Resizing is linear, not bicubic as
published: where pixels are missing only the present ones may count, which needs weights that are never negative.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import Literal, Protocol

import torch
from torch import Tensor
from torch.nn import functional

from rspipe.models.card import ModelCard
from rspipe.models.errors import InputError

ROWS, COLUMNS = -2, -1
Symmetry = Literal["none", "flips", "d4"]
SYMMETRIES: tuple[Symmetry, ...] = ("none", "flips", "d4")
SMALLEST_SCALE, LARGEST_SCALE = 0.25, 4.0


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """One way to look at a window: first transposed, then mirrored, then resized."""

    transposed: bool = False
    mirrored: tuple[int, ...] = ()
    """Axes: `ROWS`, `COLUMNS`, both or none."""
    scale: float = 1.0

    def __post_init__(self) -> None:
        if not SMALLEST_SCALE <= self.scale <= LARGEST_SCALE:
            raise InputError(
                f"a view's scale must lie in {SMALLEST_SCALE:g} to {LARGEST_SCALE:g}, found {self.scale:g}"
            )

    def turn(self, x: Tensor) -> Tensor:
        """Transpose and mirror (..., H, W)."""
        x = x.transpose(ROWS, COLUMNS) if self.transposed else x
        return x.flip(self.mirrored)

    def turn_back(self, x: Tensor) -> Tensor:
        """Undo `turn`, exactly."""
        x = x.flip(self.mirrored)
        return x.transpose(ROWS, COLUMNS) if self.transposed else x

    def resize(self, numbers: Tensor, present: Tensor) -> tuple[Tensor, Tensor]:
        """Resize (B, C, H, W) numbers by `scale`; a pixel is the mean of the present ones under it, weighted.

        Returns:
            The numbers, and where at least half of the weight is present.
        """
        if self.scale == 1.0:
            return numbers, present
        size = [max(1, round(side * self.scale)) for side in numbers.shape[ROWS:]]
        weight = _resized(present.to(numbers.dtype), size)
        summed = _resized(torch.where(present, numbers, 0), size)
        found = weight >= 0.5
        return torch.where(found, summed / weight.clamp_min(0.5), 0), found


def views_of(symmetry: Symmetry, scales: Sequence[float] = (1.0,)) -> tuple[View, ...]:
    """Return every view of a symmetry at every scale.

    Args:
        symmetry: `none`; `flips`, the 4 mirrorings ("lr" in the papers); `d4`, the 8 mirrorings and quarter turns.
        scales: of the window's sides.
    """
    axes: tuple[tuple[int, ...], ...] = ((), (ROWS,), (COLUMNS,), (ROWS, COLUMNS)) if symmetry != "none" else ((),)
    turns = (False, True) if symmetry == "d4" else (False,)
    return tuple(
        View(transposed=transposed, mirrored=mirrored, scale=scale)
        for scale, transposed, mirrored in product(scales, turns, axes)
    )


class LogitModel(Protocol):
    """What is looked through; `rspipe.models.predictor.Predictor` is one."""

    @property
    def card(self) -> ModelCard:
        """Of the model."""
        ...

    def logits(self, numbers: Tensor, present: Tensor) -> Tensor:
        """Return logits (B, N, H, W) float32 of numbers and presence, both (B, C, H, W)."""
        ...


@dataclass(frozen=True, slots=True)
class Viewed:
    """A predictor that looks at every window in several ways; takes and gives what the predictor does."""

    predictor: LogitModel
    views: tuple[View, ...]

    @property
    def card(self) -> ModelCard:
        """Of the predictor."""
        return self.predictor.card

    @torch.inference_mode()
    def logits(self, numbers: Tensor, present: Tensor) -> Tensor:
        """Return the mean of the views' logits; see `Predictor.logits`."""
        size = list(numbers.shape[ROWS:])
        found = [_fitted(self._seen(view, numbers, present), size) for view in self.views]
        return torch.stack(found).mean(dim=0)

    @torch.inference_mode()
    def probabilities(self, numbers: Tensor, present: Tensor) -> Tensor:
        """Return calibrated class probabilities; see `Predictor.probabilities`."""
        return self.logits(numbers, present).softmax(dim=1)

    def _seen(self, view: View, numbers: Tensor, present: Tensor) -> Tensor:
        numbers, present = view.resize(view.turn(numbers), view.turn(present))
        return view.turn_back(self.predictor.logits(numbers.contiguous(), present.contiguous()))


def _fitted(logits: Tensor, size: list[int]) -> Tensor:
    return logits if list(logits.shape[ROWS:]) == size else _resized(logits, size)


def _resized(x: Tensor, size: list[int]) -> Tensor:
    return functional.interpolate(x, size, mode="bilinear", align_corners=False, antialias=True)
