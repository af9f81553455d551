"""How scenes are shared out among workers where the workflow does not say: as bands of how many window rows. Pure."""

import heapq
from collections.abc import Sequence

from rspipe.pipeline.grid import WindowGrid

USUAL_BAND_ROWS = 4
"""Where nobody knows how many workers there are, and at most where their memory is limited."""
MOST_BAND_ROWS = 12
"""What a band reads and what is lost with a worker grow with its rows."""
BAND_COST_ROWS = 0.3
"""What a band costs beside its windows, in window rows: opening arrays, reading the overlap again, its seam. With bands
of 2, 4 and 11 rows a scene of 4096 x 4096 pixels took 1.13, 1.04 and 1 times the CPU time."""
TOLERANCE = 1.02
"""The fewest rows are taken whose time is within this of the best."""


def band_rows(grids: Sequence[WindowGrid], workers: int, most: int = MOST_BAND_ROWS) -> int:
    """Return k, the window rows per band with which the last of some workers ends early; the fewer the better.

    Bands of k rows cut a scene into pieces that may not come out even: 22 rows in fours are 12 for one worker and 10
    for the other, in elevens they are 11 each. k changes no byte of what comes out.

    Args:
        grids: of all scenes, in the order of the run.
        workers: how many there are, one or more.
        most: k is at most that.
    """
    ends = {rows: _end(grids, workers, rows) for rows in range(1, most + 1)}
    best = min(ends.values())
    return next(rows for rows, end in ends.items() if end <= TOLERANCE * best)


def _end(grids: Sequence[WindowGrid], workers: int, rows: int) -> float:
    """When the last worker ends if each takes the next band as soon as it is free; a window takes 1."""
    free = [0.0] * workers
    for grid in grids:
        count, across = grid.rows.count, grid.columns.count
        for first in range(0, count, rows):
            heapq.heapreplace(free, free[0] + across * (min(rows, count - first) + BAND_COST_ROWS))
    return max(free)
