"""Dumb oracle of sliding-window inference: every window of the whole raster, sums in float64, plain Python indices.

Nothing of the engine is used but the model that is handed in.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Model = Callable[[NDArray[np.float32], NDArray[np.bool_]], NDArray[np.float32]]
"""(C, S, S) numbers and (C, S, S) present -> (N, S, S) probabilities."""


@dataclass(frozen=True)
class Blended:
    """A whole scene."""

    probabilities: NDArray[np.float64]
    """(N, H, W); zeros where no window was run."""
    weights: NDArray[np.float64]
    """(H, W): sum of the weights of the windows that were run."""
    windows: int
    skipped: int

    def classes(self, valid: NDArray[np.bool_]) -> NDArray[np.uint8]:
        return np.where(valid, self.probabilities.argmax(axis=0), 255).astype(np.uint8)

    def confidence(self, valid: NDArray[np.bool_]) -> NDArray[np.uint8]:
        return np.where(valid, np.rint(254 * self.probabilities.max(axis=0)), 255).astype(np.uint8)

    def margin(self) -> NDArray[np.float64]:
        """How far the best class is ahead of the second."""
        ordered = np.sort(self.probabilities, axis=0)
        return np.asarray(ordered[-1] - ordered[-2])


def starts(length: int, window: int, overlap: int) -> list[int]:
    """Begin of every window: go on until the end is covered."""
    found = [0]
    while found[-1] + window < length:
        found.append(found[-1] + window - overlap)
    return found


def mirrored(position: int, length: int) -> int:
    """Walk back and forth between the first and the last pixel."""
    if length == 1:
        return 0
    at, step = 0, 1
    for _ in range(position):
        if not 0 <= at + step < length:
            step = -step
        at += step
    return at


def profile(window: int, overlap: int, *, first: bool, last: bool) -> list[float]:
    """Weight of each pixel of a window along one axis."""
    weights = [1.0] * window
    for k in range(overlap):
        rising = math.sin(math.pi / 2 * (k + 0.5) / overlap) ** 2
        if not first:
            weights[k] = rising
        if not last:
            weights[window - overlap + k] = 1.0 - rising
    return weights


def blend(
    numbers: NDArray[np.float32], present: NDArray[np.bool_], valid: NDArray[np.bool_], model: Model,
    sides: tuple[int, int],
) -> Blended:  # fmt: skip
    """Run everything. `sides` are the window's side and the overlap."""
    window, overlap = sides
    height, width = valid.shape
    sums: NDArray[np.float64] | None = None
    weights = np.zeros((height, width))
    counted = skipped = 0
    row_starts, column_starts = starts(height, window, overlap), starts(width, window, overlap)
    for top in row_starts:
        rows = [mirrored(top + k, height) for k in range(window)]
        down = profile(window, overlap, first=top == 0, last=top == row_starts[-1])
        for left in column_starts:
            columns = [mirrored(left + k, width) for k in range(window)]
            across = profile(window, overlap, first=left == 0, last=left == column_starts[-1])
            counted += 1
            h, w = min(window, height - top), min(window, width - left)
            if not valid[top : top + h, left : left + w].any():
                skipped += 1
                continue
            said = model(numbers[:, rows][:, :, columns], present[:, rows][:, :, columns])
            weight = np.outer(down, across)
            sums = np.zeros((len(said), height, width)) if sums is None else sums
            sums[:, top : top + h, left : left + w] += (said.astype(np.float64) * weight)[:, :h, :w]
            weights[top : top + h, left : left + w] += weight[:h, :w]
    return Blended(np.zeros((2, height, width)) if sums is None else sums, weights, counted, skipped)
