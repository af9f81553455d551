"""How visible windows are in a class map: classes that change across the lines where windows begin, and elsewhere."""

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from rspipe.catalogs.legends import NODATA_ID


@dataclass(frozen=True, slots=True, kw_only=True)
class LineRates:
    """Pairs of neighbouring valid pixels, and how many of them differ in class; apart for window lines and the rest."""

    line_pairs: int = 0
    line_changes: int = 0
    other_pairs: int = 0
    other_changes: int = 0

    @classmethod
    def of(cls, block: NDArray[np.uint8], top_px: int, stride_px: int) -> Self:
        """Count the pairs in a block of whole rows, one above the other and, below its first row, side by side.

        Blocks that overlap by one row cover a map, when the first of them is preceded by a row of nodata.

        Args:
            block: (rows, columns) class ids, all columns of the scene.
            top_px: scene row of the block's first row, whose own pairs side by side are not counted.
            stride_px: T; a window begins at every multiple of it.
        """
        down = (top_px + 1 + np.arange(block.shape[0] - 1)) % stride_px == 0
        across = (1 + np.arange(block.shape[1] - 1)) % stride_px == 0
        return cls._pairs(block[:-1], block[1:], down[:, None]) + cls._pairs(block[1:, :-1], block[1:, 1:], across)

    @classmethod
    def _pairs(cls, one: NDArray[np.uint8], other: NDArray[np.uint8], on_line: NDArray[np.bool_]) -> Self:
        both = (one != NODATA_ID) & (other != NODATA_ID)
        changed = both & (one != other)
        pairs, changes = int(both.sum()), int(changed.sum())
        line_pairs, line_changes = int((both & on_line).sum()), int((changed & on_line).sum())
        return cls(
            line_pairs=line_pairs,
            line_changes=line_changes,
            other_pairs=pairs - line_pairs,
            other_changes=changes - line_changes,
        )

    def __add__(self, other: Self) -> Self:
        return type(self)(
            line_pairs=self.line_pairs + other.line_pairs,
            line_changes=self.line_changes + other.line_changes,
            other_pairs=self.other_pairs + other.other_pairs,
            other_changes=self.other_changes + other.other_changes,
        )

    @property
    def ratio(self) -> float:
        """Rate of change across window lines over the rate elsewhere: 1 where windows leave no trace, NaN unknown."""
        if not (self.line_pairs and self.other_changes):
            return float("nan")
        return (self.line_changes / self.line_pairs) / (self.other_changes / self.other_pairs)
