"""Windows through a model: what a swath holds goes in, probabilities come out, one check on all of them."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from rspipe.models.card import ModelCard
from rspipe.pipeline.ahead import ahead
from rspipe.pipeline.channels import Channels
from rspipe.pipeline.errors import EnvironmentFailedError, SceneFailedError
from rspipe.pipeline.grid import WindowGrid
from rspipe.pipeline.rasters import RasterName
from rspipe.pipeline.source import Source
from rspipe.pipeline.swath import Stretch, Swath, WindowInput

_SUM_TOLERANCE = 1e-4


class ProbabilityModel(Protocol):
    """What infer needs of a model; `rspipe.models.predictor.Predictor` is one."""

    @property
    def card(self) -> ModelCard:
        """Bands and legend of the model."""
        ...

    def probabilities(self, numbers: Tensor, present: Tensor) -> Tensor:
        """Return what the model says of some windows.

        Args:
            numbers: (B, C, S, S) float32 in physical units, bands in the card's order; 0 where not present.
            present: (B, C, S, S) bool: that band is valid at that pixel.

        Returns:
            (B, N, S, S) float32, calibrated, each pixel summing to one; the taker writes in it.
        """
        ...


type Judge = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
"""Takes what `ProbabilityModel.probabilities` takes, adds (B, 1, S, S) float32: how unfamiliar the pixels are."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Forward:
    """How windows are run: everything but the windows themselves."""

    model: ProbabilityModel
    device: torch.device
    batch: int
    scene: str
    """For messages."""
    rasters: tuple[RasterName, ...] = ()
    """Those on request."""
    judge: Judge | None = None
    """Of the model; None where nobody asks what is unfamiliar."""

    @property
    def channels(self) -> Channels:
        """What is blended."""
        return Channels(len(self.model.card.legend.classes), self.rasters)

    def say(self, numbers: Tensor, present: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return probabilities, and how unfamiliar the pixels are if that is asked for."""
        if self.judge is None:
            return self.model.probabilities(numbers, present), None
        return self.judge(numbers, present)


@dataclass(frozen=True, slots=True)
class Predicted:
    """One window after the model; a skipped one has zeros."""

    row: int
    column: int
    window: WindowInput
    channels: Tensor
    """(K, S, S) float32 on the device, the taker's to write in; see `Channels`."""


def predict(forward: Forward, source: Source, grid: WindowGrid, rows: range) -> Iterator[Predicted]:
    """Yield the windows of some window rows, by columns: down the rows, then on to the right.

    The next columns are read while the model runs. No batch spans two rows, each has the same shape: with batches of b
    windows, b columns are taken at a time.
    """
    stretches = Swath(source, grid, rows, forward.device).stretches(forward.batch)
    for stretch in ahead(stretches, len(rows)):
        yield from _predict_stretch(forward, stretch)


def _predict_stretch(forward: Forward, stretch: Stretch) -> Iterator[Predicted]:
    row, windows = stretch.row, [stretch.window(column) for column in stretch.columns]
    wanted = [window for window in windows if not window.skipped]
    where = f"window row {row}, columns {stretch.columns[0]}..{stretch.columns[-1]}"
    outputs = iter(_run(forward, wanted, where))
    shape = (forward.channels.count, *[stretch.grid.window_px] * 2)
    for column, window in zip(stretch.columns, windows, strict=True):
        channels = torch.zeros(shape, device=forward.device) if window.skipped else next(outputs)
        yield Predicted(row, column, window, channels)


def _run(forward: Forward, windows: Sequence[WindowInput], where: str) -> Sequence[Tensor]:
    """Run one batch; a short one is padded with its first window, an empty one never reaches the model."""
    if not windows:
        return ()
    padded = [*windows, *[windows[0]] * (forward.batch - len(windows))]
    numbers = _stack([window.numbers for window in padded])
    try:
        probabilities, unfamiliar = forward.say(numbers, _stack([window.present for window in padded]))
    except torch.OutOfMemoryError as error:
        raise EnvironmentFailedError(
            f"scene {forward.scene!r}, infer, {where}: out of GPU memory with {forward.batch} windows per batch; "
            "set a smaller infer.batch and run again"
        ) from error
    _check(forward, probabilities, (forward.batch, forward.channels.classes, *numbers.shape[-2:]), where)
    return forward.channels.stack(probabilities, unfamiliar).unbind()


def _stack(planes: Sequence[Tensor]) -> Tensor:
    return planes[0].unsqueeze(0) if len(planes) == 1 else torch.stack(list(planes))


def _check(forward: Forward, outputs: Tensor, shape: tuple[int, ...], where: str) -> None:
    """A model that fails must never end as a class: every number is looked at once."""
    if outputs.shape != shape or outputs.dtype != torch.float32:
        raise SceneFailedError(
            f"scene {forward.scene!r}, infer, {where}: the model returned {tuple(outputs.shape)} {outputs.dtype}, "
            f"expected {shape} torch.float32; its card does not describe it"
        )
    low, high = outputs.sum(dim=1).aminmax()
    if not (outputs.min() >= 0 and low >= 1 - _SUM_TOLERANCE and high <= 1 + _SUM_TOLERANCE):
        raise SceneFailedError(
            f"scene {forward.scene!r}, infer, {where}: the model returned numbers that are no probabilities (sums "
            f"{low.item():g} .. {high.item():g}); check the scene's units and the weights"
        )
