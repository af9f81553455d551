"""How visible windows are in a class map: classes that change across the lines where windows begin, and elsewhere."""

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from rspipe.catalogs.legends import NODATA_ID


@dataclass(frozen=True, slots=True, kw_only=True)
class LineRates:
    """Pairs of neighbouring valid pixels, and how many of them differ in class: across window lines and elsewhere.

    A model that works on cells of several pixels changes its class more often where cells meet, and every window line
    is such a place. Windows are therefore compared with the other lines between cells.
    """

    line_pairs: int = 0
    line_changes: int = 0
    cell_pairs: int = 0
    """Across lines between the model's cells that are no window lines."""
    cell_changes: int = 0
    other_pairs: int = 0
    other_changes: int = 0

    @classmethod
    def of(cls, block: NDArray[np.uint8], top_px: int, stride_px: int, cell_px: int) -> Self:
        """Count the pairs in a block of whole rows, one above the other and, below its first row, side by side.

        Blocks that overlap by one row cover a map, when the first of them is preceded by a row of nodata.

        Args:
            block: (rows, columns) class ids, all columns of the scene.
            top_px: scene row of the block's first row, whose own pairs side by side are not counted.
            stride_px: T; a window begins at every multiple of it.
            cell_px: a cell of the model begins at every multiple of it.
        """
        down = top_px + 1 + np.arange(block.shape[0] - 1)
        across = 1 + np.arange(block.shape[1] - 1)
        sides = (stride_px, cell_px)
        return cls._pairs(block[:-1], block[1:], down[:, None], sides) + cls._pairs(
            block[1:, :-1], block[1:, 1:], across, sides
        )

    @classmethod
    def _pairs(
        cls, one: NDArray[np.uint8], other: NDArray[np.uint8], at_px: NDArray[np.int_], sides: tuple[int, int]
    ) -> Self:
        both = (one != NODATA_ID) & (other != NODATA_ID)
        changed = both & (one != other)
        on_line = at_px % sides[0] == 0
        on_cell = (at_px % sides[1] == 0) & ~on_line
        elsewhere = ~(on_line | on_cell)
        return cls(
            line_pairs=int((both & on_line).sum()),
            line_changes=int((changed & on_line).sum()),
            cell_pairs=int((both & on_cell).sum()),
            cell_changes=int((changed & on_cell).sum()),
            other_pairs=int((both & elsewhere).sum()),
            other_changes=int((changed & elsewhere).sum()),
        )

    def __add__(self, other: Self) -> Self:
        return type(self)(
            line_pairs=self.line_pairs + other.line_pairs,
            line_changes=self.line_changes + other.line_changes,
            cell_pairs=self.cell_pairs + other.cell_pairs,
            cell_changes=self.cell_changes + other.cell_changes,
            other_pairs=self.other_pairs + other.other_pairs,
            other_changes=self.other_changes + other.other_changes,
        )

    @property
    def ratio(self) -> float:
        """Rate of change across window lines over that across other lines between cells.

        1 where windows leave no trace, NaN where it is unknown.
        """
        return _rate(self.line_changes, self.line_pairs) / (_rate(self.cell_changes, self.cell_pairs) or float("nan"))

    @property
    def cell_ratio(self) -> float:
        """Rate of change across lines between cells over that inside of cells: what the model's cells leave."""
        return _rate(self.cell_changes, self.cell_pairs) / (_rate(self.other_changes, self.other_pairs) or float("nan"))


def _rate(changes: int, pairs: int) -> float:
    return changes / pairs if pairs else float("nan")
