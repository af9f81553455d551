"""The window grid: which windows a scene has, which task decides which pixel, where shards are cut. Pure arithmetic."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rspipe.pipeline.errors import ConfigError

WINDOW_MULTIPLE_PX = 32
"""Deepest stride of the models' pyramids: sides that it divides need no padding inside of a model."""
SHARD_WIDTH_PX = 4096
"""To make a file takes longer than to compress what is in it: at 2048 pixels 1.7 times as long per pixel."""
_SHARD_UNIT_PX = 512
"""Shards of narrow scenes are no wider than need be."""


def reflect(index: NDArray[np.intp], length_px: int) -> NDArray[np.intp]:
    """Return the pixel that each index reads: the scene mirrored at its first and last pixel, without repeating these.

    m = i mod (2 H - 2), then min(m, 2 H - 2 - m); H = 1 reads pixel 0.

    Args:
        index: pixel numbers along one axis, any integers.
        length_px: H, the axis's length.
    """
    if length_px == 1:
        return np.zeros_like(index)
    period = 2 * length_px - 2
    folded = index % period
    return np.minimum(folded, period - folded)


@dataclass(frozen=True, slots=True)
class Axis:
    """One axis of the window grid. All ranges are half-open and in pixels of the scene."""

    length_px: int
    window_px: int
    overlap_px: int

    @property
    def stride_px(self) -> int:
        """T = S - O."""
        return self.window_px - self.overlap_px

    @property
    def count(self) -> int:
        """Windows along this axis: max(1, ceil((H - O) / T))."""
        return max(1, -(-(self.length_px - self.overlap_px) // self.stride_px))

    def inside(self, window: int) -> slice:
        """Return the part of the scene that a window covers; what hangs over is cut."""
        start = window * self.stride_px
        return slice(start, min(start + self.window_px, self.length_px))

    def finished(self, window: int) -> slice:
        """Return the pixels that are complete once this window joins its predecessor: each in one such range."""
        start = window * self.stride_px
        last = window == self.count - 1
        return slice(start, self.length_px if last else start + self.stride_px)

    def pixels(self, window: int) -> NDArray[np.intp]:
        """Return the scene pixel under each of the window's S pixels."""
        start = window * self.stride_px
        return reflect(np.arange(start, start + self.window_px), self.length_px)

    def extent(self, window: int) -> slice:
        """Return the range of pixels a window reads; the mirror of the last one may reach back beyond its start."""
        pixels = self.pixels(window)
        return slice(int(pixels.min()), int(pixels.max()) + 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Band:
    """Some whole window rows, the unit of inference. `slice`s are scene rows."""

    index: int
    window_rows: range
    finished: slice
    """Rows whose classes this band writes; empty where every row is shared with a neighbour."""
    above: slice | None
    """The first O rows, shared with the band before and left as a partial sum; None at the scene's top."""
    below: slice | None
    """The O rows past the end, shared with the band after and left as a partial sum; None at the scene's bottom."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Seam:
    """The rows that bands `index` - 1 and `index` share, decided by neither of them."""

    index: int
    rows: slice

    @property
    def bands(self) -> tuple[int, int]:
        """The two bands it depends on."""
        return self.index - 1, self.index


@dataclass(frozen=True, slots=True, kw_only=True)
class WindowGrid:
    """All windows of a scene, anchored at pixel (0, 0); depends on the scene's size, the window and the overlap alone.

    Window (r, c) covers rows [r T, r T + S) and columns [c T, c T + S), T = S - O.
    """

    height_px: int
    width_px: int
    window_px: int
    """S, a multiple of 32."""
    overlap_px: int
    """O, a multiple of 32, at most S / 2, so that at most two windows meet per axis."""

    def __post_init__(self) -> None:
        if self.height_px < 1 or self.width_px < 1:
            raise ConfigError(f"a scene needs at least one pixel, found {self.height_px} x {self.width_px}")
        if self.window_px < WINDOW_MULTIPLE_PX or self.window_px % WINDOW_MULTIPLE_PX:
            raise ConfigError(
                f"infer.window_px: found {self.window_px}; give a multiple of {WINDOW_MULTIPLE_PX}, for instance 512"
            )
        if not 0 <= self.overlap_px <= self.window_px // 2 or self.overlap_px % WINDOW_MULTIPLE_PX:
            raise ConfigError(
                f"infer.overlap_px: found {self.overlap_px} for windows of {self.window_px}; give a multiple of "
                f"{WINDOW_MULTIPLE_PX} from 0 to half a window ({self.window_px // 2})"
            )

    @property
    def rows(self) -> Axis:
        """The grid along the scene's height."""
        return Axis(self.height_px, self.window_px, self.overlap_px)

    @property
    def columns(self) -> Axis:
        """The grid along the scene's width."""
        return Axis(self.width_px, self.window_px, self.overlap_px)

    @property
    def shard_px(self) -> tuple[int, int]:
        """Rows and columns of a shard of everything inferred. Every task border falls on a shard border, for any k.

        A shard is one chunk: what zarr spends on a chunk is more than what it takes to compress so few bytes.
        """
        stride_px = self.window_px - self.overlap_px
        columns = min(SHARD_WIDTH_PX, -(-self.width_px // _SHARD_UNIT_PX) * _SHARD_UNIT_PX)
        return math.gcd(stride_px, self.overlap_px), columns

    def band(self, band_rows: int, index: int) -> Band:
        """Return one band.

        Args:
            band_rows: k, window rows per band.
            index: which band, from the top.

        Raises:
            ConfigError: k is below 1, or there is no such band.
        """
        count = self._band_count(band_rows)
        if not 0 <= index < count:
            raise ConfigError(f"no band {index}: {self.rows.count} window rows in bands of {band_rows} make {count}")
        start, stop = index * band_rows, min((index + 1) * band_rows, self.rows.count)
        above = self._shared(start) if index > 0 and self.overlap_px else None
        below = self._shared(stop) if index < count - 1 and self.overlap_px else None
        return Band(
            index=index,
            window_rows=range(start, stop),
            finished=slice(above.stop if above else self.rows.finished(start).start, self.rows.finished(stop - 1).stop),
            above=above,
            below=below,
        )

    def bands(self, band_rows: int) -> tuple[Band, ...]:
        """Return all bands of k = `band_rows` window rows (the last may have fewer); they depend on nothing."""
        return tuple(self.band(band_rows, index) for index in range(self._band_count(band_rows)))

    def seams(self, band_rows: int) -> tuple[Seam, ...]:
        """Return the seams between the bands of k = `band_rows` window rows; none without an overlap."""
        count = self._band_count(band_rows) if self.overlap_px else 1
        return tuple(Seam(index=index, rows=self._shared(index * band_rows)) for index in range(1, count))

    def _band_count(self, band_rows: int) -> int:
        if band_rows < 1:
            raise ConfigError(f"infer.band_rows: found {band_rows}; a band needs at least one window row")
        return -(-self.rows.count // band_rows)

    def _shared(self, window_row: int) -> slice:
        """Rows that a window row shares with the one before it."""
        start = window_row * self.rows.stride_px
        return slice(start, start + self.overlap_px)
