"""Windows through a model: stored numbers go up to the device, probabilities come out, one check on all of them."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import batched
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rspipe.models.card import ModelCard
from rspipe.pipeline.ahead import ahead
from rspipe.pipeline.channels import Channels
from rspipe.pipeline.errors import EnvironmentFailedError, SceneFailedError
from rspipe.pipeline.grid import WindowGrid
from rspipe.pipeline.rasters import RasterName
from rspipe.pipeline.source import Source, WindowInput, WindowRow

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
            (B, N, S, S) float32, calibrated, each pixel summing to one.
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
    """(K, S, S) float32 on the device; see `Channels`."""


@dataclass(frozen=True, slots=True)
class _Batch:
    """Windows that go through the model together, and their numbers on the device."""

    row: int
    columns: tuple[int, ...]
    windows: tuple[WindowInput, ...]
    inputs: tuple[Tensor, Tensor] | None
    """(B, C, S, S) numbers and what is present of them, short batches padded; None where all windows are skipped."""

    def __str__(self) -> str:
        return f"window row {self.row}, columns {self.columns[0]}..{self.columns[-1]}"


def predict(forward: Forward, source: Source, grid: WindowGrid, rows: Iterable[int]) -> Iterator[Predicted]:
    """Yield the windows of some window rows, each from left to right; the next are read while the model runs.

    No batch spans two rows, each has the same shape.
    """
    zeros = torch.zeros((forward.channels.count, grid.window_px, grid.window_px), device=forward.device)
    for batch in ahead(_batches(forward, source, grid, rows)):
        outputs = iter(() if batch.inputs is None else _run(forward, *batch.inputs, str(batch)))
        for column, window in zip(batch.columns, batch.windows, strict=True):
            yield Predicted(batch.row, column, window, zeros if window.skipped else next(outputs))


def _batches(forward: Forward, source: Source, grid: WindowGrid, rows: Iterable[int]) -> Iterator[_Batch]:
    for row in rows:
        reader = WindowRow(source, grid, row)
        for columns in batched(range(grid.columns.count), forward.batch):
            windows = tuple(reader.read(column) for column in columns)
            wanted = [window for window in windows if not window.skipped]
            yield _Batch(row, columns, windows, _inputs(forward, source, wanted))


def _inputs(forward: Forward, source: Source, windows: Sequence[WindowInput]) -> tuple[Tensor, Tensor] | None:
    """A short batch is padded with its first window, an empty one never reaches the model."""
    if not windows:
        return None
    inputs = [physical(source, window, forward.device) for window in windows]
    inputs += [inputs[0]] * (forward.batch - len(inputs))
    numbers, present = zip(*inputs, strict=True)
    if forward.batch == 1:
        return numbers[0].unsqueeze(0), present[0].unsqueeze(0)
    return torch.stack(numbers), torch.stack(present)


def _run(forward: Forward, numbers: Tensor, present: Tensor, where: str) -> Sequence[Tensor]:
    """Run one batch."""
    try:
        probabilities, unfamiliar = forward.say(numbers, present)
    except torch.OutOfMemoryError as error:
        raise EnvironmentFailedError(
            f"scene {forward.scene!r}, infer, {where}: out of GPU memory with {forward.batch} windows per batch; "
            "set a smaller infer.batch and run again"
        ) from error
    _check(forward, probabilities, (forward.batch, forward.channels.classes, *numbers.shape[-2:]), where)
    return forward.channels.stack(probabilities, unfamiliar).unbind()


def physical(source: Source, window: WindowInput, device: torch.device) -> tuple[Tensor, Tensor]:
    """Convert one window to physical units on the device.

    Returns:
        (C, S, S) float32, 0 wherever a band is not valid whatever is stored there, and (C, S, S) bool: it is valid.
    """
    kind: type[np.signedinteger[Any] | np.unsignedinteger[Any]] = np.uint8 if window.bits.itemsize == 1 else np.int32
    bits = _upload(window.bits.astype(kind), device)
    numbers = torch.zeros((len(source.bands), *bits.shape), device=device)
    present = torch.zeros(numbers.shape, dtype=torch.bool, device=device)
    everywhere = int(np.bitwise_and.reduce(window.bits, axis=None))
    for index, (band, stored) in enumerate(zip(source.bands, window.stored, strict=True)):
        if band is not None and stored is not None:
            numbers[index].copy_(_upload(stored, device)).mul_(band.scale).add_(band.offset)
            if everywhere >> band.bit & 1:
                present[index] = True
            else:
                torch.ne(bits & (1 << band.bit), 0, out=present[index])
                numbers[index].masked_fill_(~present[index], 0)
    return numbers, present


def _upload(stored: NDArray[Any], device: torch.device) -> Tensor:
    """On a GPU the copy goes from pinned memory and nobody waits for it."""
    numbers = torch.from_numpy(stored)
    return numbers if device.type == "cpu" else numbers.pin_memory().to(device, non_blocking=True)


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
