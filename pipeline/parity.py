"""Parity: a model may compute in fewer bits where it gives the classes that it gives in float32."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rspipe.catalogs.scene import Scene
from rspipe.models.card import CardBand
from rspipe.models.errors import DataError, ModelError
from rspipe.models.predictor import Predictor
from rspipe.models.scenesource import read_tile
from rspipe.models.specs import Precision
from rspipe.pipeline.errors import ModelRefusedError
from rspipe.pipeline.fingerprint import Fingerprint
from rspipe.pipeline.grid import WindowGrid

WINDOWS = 8
"""Looked at in a run, evenly spaced over the windows of all its scenes."""
LEAST_SHARE = 0.995
"""Of the valid pixels must get the same class. Those that do not lie where two classes are as probable."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Parity:
    """What a look at some windows found."""

    precision: Precision
    """Compared with float32."""
    pixels: int
    """Valid ones that were looked at."""
    agreeing: int

    @property
    def share(self) -> float:
        """Of the pixels that agree; 0 where there was none to look at."""
        return self.agreeing / self.pixels if self.pixels else 0.0

    @property
    def holds(self) -> bool:
        """The precision may be used."""
        return self.share >= LEAST_SHARE

    def __str__(self) -> str:
        """Tell what was found and what follows."""
        used = self.precision if self.holds else "float32"
        return (
            f"infer.precision: {self.precision} gives {self.share:.2%} of {self.pixels} pixels in some windows the "
            f"class that float32 gives them; {used} is used (at least {LEAST_SHARE:.1%} must agree)"
        )


def compare(
    card_path: Path, fingerprint: Fingerprint, scenes: Sequence[tuple[Scene, WindowGrid]], precision: Precision
) -> Parity:
    """Run some windows in both precisions.

    Args:
        card_path: of the model.
        fingerprint: says on what and with how many threads.
        scenes: each with its window grid, which lies on the scene's grid.
        precision: to be compared with float32.

    Raises:
        ModelRefusedError: card or weights are refused.
    """
    torch.set_num_threads(fingerprint.threads)
    try:
        exact = Predictor.load(card_path, fingerprint.device)
        near = Predictor.load(card_path, fingerprint.device, precision)
    except ModelError as error:
        raise ModelRefusedError(str(error)) from error
    required = [index for index, band in enumerate(exact.card.bands) if band.required]
    pixels, agreeing = 0, 0
    for numbers in _tiles(scenes, exact.card.bands):
        valid = np.isfinite(numbers[required]).all(axis=0)
        same = (_classes(exact, numbers) == _classes(near, numbers)).cpu().numpy()
        pixels, agreeing = pixels + int(valid.sum()), agreeing + int((same & valid).sum())
    return Parity(precision=precision, pixels=pixels, agreeing=agreeing)


def _classes(predictor: Predictor, numbers: NDArray[np.float32]) -> Tensor:
    given = torch.from_numpy(numbers).unsqueeze(0)
    return predictor.probabilities(given, given.isfinite())[0].argmax(dim=0)


def _tiles(scenes: Sequence[tuple[Scene, WindowGrid]], bands: Sequence[CardBand]) -> Iterator[NDArray[np.float32]]:
    """Yield what lies under some windows, (C, rows, columns); a file that cannot be read is for ingest to tell of."""
    counts = [grid.rows.count * grid.columns.count for _, grid in scenes]
    total, ends = sum(counts), np.cumsum(counts)
    for number in sorted({(2 * place + 1) * total // (2 * WINDOWS) for place in range(WINDOWS)} if total else ()):
        index = int(np.searchsorted(ends, number, side="right"))
        scene, grid = scenes[index]
        row, column = divmod(number - int(ends[index]) + counts[index], grid.columns.count)
        try:
            yield read_tile(scene, bands, (grid.rows.inside(row), grid.columns.inside(column)))
        except DataError:
            continue
