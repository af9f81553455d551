"""The way of a run for pictures in memory: the same windows, the same blending, but the probabilities stay."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from rspipe.models.data import Patch
from rspipe.pipeline.behind import Behind
from rspipe.pipeline.channels import Channels
from rspipe.pipeline.forward import Forward, ProbabilityModel
from rspipe.pipeline.grid import Band, WindowGrid
from rspipe.pipeline.source import Source
from rspipe.pipeline.stream import BandStream, RowSinks


@dataclass(frozen=True, slots=True, kw_only=True)
class Blended:
    """What a model says of a whole picture, on the CPU."""

    probabilities: Tensor
    """(N, H, W) float32; zeros in windows without a valid pixel."""
    valid: Tensor
    """(H, W) bool: every required band has a number."""


class _Columns:
    """Puts the columns of one window row where they belong."""

    def __init__(self, whole: Blended, rows: slice) -> None:
        self._whole, self._rows, self._done_px = whole, rows, 0

    def append(self, blended: Tensor, valid: Tensor) -> None:
        columns = slice(self._done_px, self._done_px + valid.shape[1])
        self._whole.probabilities[:, self._rows, columns] = blended.cpu()
        self._whole.valid[self._rows, columns] = valid.cpu()
        self._done_px = columns.stop


@dataclass(frozen=True, slots=True)
class _Whole:
    """All window rows as one band, hence without a seam."""

    grid: WindowGrid
    blended: Blended

    @property
    def band(self) -> Band:
        return self.grid.band(self.grid.rows.count, 0)

    def sinks(self, row: int, channels: Channels, behind: Behind) -> RowSinks:
        del channels, behind
        return RowSinks(_Columns(self.blended, self.grid.rows.finished(row)), None, None)


@torch.inference_mode()
def slide(model: ProbabilityModel, patch: Patch, window_px: int, overlap_px: int, device: torch.device) -> Blended:
    """Predict a picture window by window, and blend.

    Args:
        model: the picture's bands are in the order of its card.
        patch: its missing numbers are NaN.
        window_px: S, as in `WindowGrid`.
        overlap_px: O, as in `WindowGrid`.
        device: where the model is.

    Raises:
        ConfigError: there is no such window grid.
        SceneFailedError: the model returned no probabilities.
    """
    height, width = patch.labels.shape
    grid = WindowGrid(height_px=height, width_px=width, window_px=window_px, overlap_px=overlap_px)
    forward = Forward(model=model, device=device, batch=1, scene=patch.name)
    blended = Blended(
        probabilities=torch.zeros((forward.channels.classes, height, width)),
        valid=torch.zeros((height, width), dtype=torch.bool),
    )
    numbers = patch.bands.numpy()
    source = Source.hold(numbers, np.isfinite(numbers), model.card)
    BandStream(forward, source, _Whole(grid, blended)).run()
    return blended
