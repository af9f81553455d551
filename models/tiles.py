"""Tiles: what a picture too large for memory is read by."""

from itertools import pairwise
from math import ceil

import numpy as np

type Tile = tuple[slice, slice]
"""Rows and columns."""


def tiles_of(height_px: int, width_px: int, side_px: int) -> list[Tile]:
    """Cut a picture into the fewest tiles of at most `side_px`, as equal as can be, row by row."""
    rows, columns = _cut(height_px, side_px), _cut(width_px, side_px)
    return [(row, column) for row in rows for column in columns]


def shuffled(tiles: list[Tile], seed: int) -> list[Tile]:
    """Return the tiles in a random order that the seed decides."""
    return [tiles[place] for place in np.random.default_rng(seed).permutation(len(tiles))]


def tile_name(picture: str, tile: Tile, tiles: int) -> str:
    """Return the picture's name, with the tile's first row and column where there are several."""
    rows, columns = tile
    return picture if tiles == 1 else f"{picture}/r{rows.start}c{columns.start}"


def _cut(length_px: int, side_px: int) -> list[slice]:
    edges = np.linspace(0, length_px, ceil(length_px / side_px) + 1).round().astype(int).tolist()
    return [slice(start, stop) for start, stop in pairwise(edges)]
