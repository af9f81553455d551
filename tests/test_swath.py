"""What windows see at the scene's edges, against numpy's reflection."""

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from rspipe.pipeline.grid import Axis
from rspipe.pipeline.swath import _Held, _places

LENGTHS = st.integers(1, 150)


@given(LENGTHS, LENGTHS, st.sampled_from([(64, 0), (64, 32), (32, 0)]))
def test_every_window_is_numpys_reflection(rows_px: int, columns_px: int, tiling: tuple[int, int]) -> None:
    window_px, overlap_px = tiling
    axes = [Axis(length_px, window_px, overlap_px) for length_px in (rows_px, columns_px)]
    numbers = np.arange(2 * rows_px * columns_px, dtype=np.float32).reshape(2, rows_px, columns_px)
    bits = numbers[0].astype(np.uint16)
    held = _Held(numbers=torch.from_numpy(numbers), bits=bits, valid=bits % 3 == 0)
    over = [axis.count * axis.stride_px + overlap_px - axis.length_px for axis in axes]
    wide = np.pad(numbers, ((0, 0), *((0, px) for px in over)), mode="reflect")
    for row in range(axes[0].count):
        for column in range(axes[1].count):
            part = held.cut(_places(axes[0], row, 0), _places(axes[1], column, 0))
            top, left = row * axes[0].stride_px, column * axes[1].stride_px
            expected = wide[:, top : top + window_px, left : left + window_px]
            assert np.array_equal(part.numbers.numpy(), expected)
            assert np.array_equal(part.bits, expected[0].astype(np.uint16))
            assert np.array_equal(part.valid, expected[0].astype(np.uint16) % 3 == 0)
