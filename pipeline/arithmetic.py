"""Arithmetic: the same windows computed as asked for and as the reference does, and how many classes agree."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray

from rspipe.catalogs.scene import Scene
from rspipe.models.card import CardBand
from rspipe.models.errors import DataError
from rspipe.models.scenesource import read_tile
from rspipe.pipeline.checkup import PlannedModel
from rspipe.pipeline.engine import Model, open_model
from rspipe.pipeline.fingerprint import Fingerprint
from rspipe.pipeline.grid import WindowGrid
from rspipe.pipeline.parity import Parity

WINDOWS = 8
"""Looked at in a run, evenly spaced over the windows of all its scenes."""


def compare(
    model: PlannedModel, asked: Fingerprint, scenes: Sequence[tuple[Scene, WindowGrid]], *, judging: bool = False
) -> Parity:
    """Run some windows as asked for, and as the reference does.

    Args:
        model: what is run.
        asked: says on what, with how many threads, in which arithmetic.
        scenes: each with its window grid, which lies on the scene's grid; all have windows of one size.
        judging: the run will ask what is unfamiliar.

    Raises:
        ModelRefusedError: card or weights are refused.
        EnvironmentFailedError: no code can be made.
    """
    torch.set_num_threads(asked.threads)
    found = Parity(precision=asked.precision, engine="compiled" if asked.is_compiled else "eager")
    if not scenes:
        return found
    window_px = scenes[0][1].window_px
    exact = open_model(model.path, asked.using("float32", "eager"), window_px)
    near = open_model(model.path, asked, window_px, judging=judging)
    bands = model.card.bands
    required = [index for index, band in enumerate(bands) if band.required]
    tiles = list(_tiles(scenes, bands))
    pixels, agreeing = 0, 0
    for numbers in tiles:
        if numbers is None:
            continue
        valid = np.isfinite(numbers[required]).all(axis=0)
        same = _classes(exact, numbers, asked.batch) == _classes(near, numbers, asked.batch)
        pixels, agreeing = pixels + int(valid.sum()), agreeing + int((same & valid).sum())
    return replace(found, pixels=pixels, agreeing=agreeing, unread=sum(numbers is None for numbers in tiles))


def _classes(model: Model, numbers: NDArray[np.float32], batch: int) -> NDArray[np.int64]:
    given = torch.from_numpy(numbers).expand(batch, *numbers.shape)
    classes: NDArray[np.int64] = model.probabilities(given, given.isfinite())[0].argmax(dim=0).cpu().numpy()
    return classes


def _tiles(
    scenes: Sequence[tuple[Scene, WindowGrid]], bands: Sequence[CardBand]
) -> Iterator[NDArray[np.float32] | None]:
    """Yield some whole windows, (C, S, S), NaN beyond the scene; None where a file cannot be read."""
    counts = [grid.rows.count * grid.columns.count for _, grid in scenes]
    total, ends = sum(counts), np.cumsum(counts)
    for number in sorted({(2 * place + 1) * total // (2 * WINDOWS) for place in range(WINDOWS)} if total else ()):
        index = int(np.searchsorted(ends, number, side="right"))
        scene, grid = scenes[index]
        row, column = divmod(number - int(ends[index]) + counts[index], grid.columns.count)
        try:
            tile = read_tile(scene, bands, (grid.rows.inside(row), grid.columns.inside(column)))
        except DataError:
            yield None
            continue
        missing = [(0, grid.window_px - side) for side in tile.shape[1:]]
        yield np.pad(tile, [(0, 0), *missing], constant_values=np.nan)
